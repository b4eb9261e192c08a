"""Reads an export with Python's standard library and prints its rows."""

import csv
import glob
import hashlib
import json
import os
import sys
import tarfile


def attributes(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("\u2028", "\\u2028") if value else ""


def of_name(n):
    row = {k: str(n.get(k, "")) for k in ("name", "state", "licence", "attribution", "reason")}
    row |= {"rank": "", "url": "", "sha256": "", "bytes": "", "attributes": attributes(n.get("attributes"))}
    row["columns"] = attributes(n.get("columns"))
    pictures = n.get("pictures", [])
    if not pictures:
        return [row]
    return [row | {k: str(p.get(k, "")) for k in ("rank", "url", "sha256", "bytes", "reason")} for p in pictures]


def cell(s):
    return s[1:] if s[:1] == "'" and s[1:2] in tuple("=+-@\t\r") else s


def table(path):
    columns = ("name", "state", "rank", "url", "sha256", "bytes", "licence", "attribution", "attributes", "columns", "reason", "file")
    with open(path, newline="", encoding="utf-8-sig") as f:
        return [{k: cell(r[k]) for k in columns} for r in csv.DictReader(f)]


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [row for line in f for row in of_name(json.loads(line))]


def shards(path):
    rows = []
    for name in sorted(glob.glob(os.path.join(path, "*.tar"))):
        with tarfile.open(name) as tar:
            samples = {}
            for member in tar:
                key, ext = member.name.split(".", 1)
                samples.setdefault(key, {})[ext] = tar.extractfile(member).read()
        for sample in samples.values():
            about = json.loads(sample.pop("json"))
            assert sample.pop("txt").decode() == about["name"]
            (picture,) = sample.values()
            (row,) = of_name(about)
            rows.append(row | {"image": hashlib.sha256(picture).hexdigest()})
    return rows


def folder(path):
    rows = []
    for row in table(os.path.join(path, "names.csv")):
        if row["file"]:
            with open(os.path.join(path, row["file"]), "rb") as f:
                rows.append(row | {"image": hashlib.sha256(f.read()).hexdigest()})
    return rows


rows = {"csv": table, "jsonl": lines, "webdataset": shards, "folder": folder}[sys.argv[1]](sys.argv[2])
for row in rows:
    row.pop("file", None)
json.dump(rows, sys.stdout)
