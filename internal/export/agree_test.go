package export_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/picharvest/picharvest/internal/export"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
)

// seen is what a reader finds out of one row, whatever the format.
type seen struct {
	Name        string `json:"name"`
	State       string `json:"state"`
	Rank        string `json:"rank"`
	URL         string `json:"url"`
	SHA256      string `json:"sha256"`
	Bytes       string `json:"bytes"`
	Licence     string `json:"licence"`
	Attribution string `json:"attribution"`
	Attributes  string `json:"attributes"`
	Columns     string `json:"columns"`
	Reason      string `json:"reason"`
	// Image is the hash of the bytes that came along.
	Image string `json:"image,omitempty"`
}

// stored are the rows that have a picture, without what only some formats
// have.
func stored(rows []seen) []seen {
	var all []seen
	for _, r := range rows {
		if r.SHA256 != "" {
			r.Image = r.SHA256
			all = append(all, r)
		}
	}
	return all
}

// TestExportsAgree: five exports of one batch tell the same, row by row, to
// other readers.
func TestExportsAgree(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	table, report := w.export(export.Options{Format: export.CSV})
	lines, _ := w.export(export.Options{Format: export.JSONL})
	columns, _ := w.export(export.Options{Format: export.Parquet, Images: true})
	bare, _ := w.export(export.Options{Format: export.Parquet})
	samples, _ := w.export(export.Options{Format: export.WebDataset, Shard: export.ShardSize{Pictures: 7}})
	tree, _ := w.export(export.Options{Format: export.Folder})

	want := fromTable(t, table)
	if int64(len(want)) != report.Rows || report.Names != int64(len(hostile())+6) || int64(len(stored(want))) != report.Pictures {
		t.Fatalf("%d rows of CSV, %d with pictures; the report says %+v", len(want), len(stored(want)), report)
	}
	withImages := slices.Clone(want)
	for i := range withImages {
		withImages[i].Image = withImages[i].SHA256
	}
	for _, got := range []struct {
		what string
		rows []seen
		want []seen
	}{
		{"jsonl", fromLines(t, lines), want},
		{"parquet", fromParquet(t, columns, true), withImages},
		{"parquet without images", fromParquet(t, bare, false), want},
		{"webdataset", fromShards(t, samples), stored(want)},
		{"webdataset's table", fromTable(t, filepath.Join(samples, export.TableFile)), want},
		{"folder's table", fromTable(t, filepath.Join(tree, export.TableFile)), want},
		{"folder", fromTree(t, tree), stored(want)},
	} {
		if diff := cmp.Diff(got.want, got.rows); diff != "" {
			t.Errorf("%s (-csv +%s):\n%s", got.what, got.what, diff)
		}
	}
	t.Run("python", func(t *testing.T) {
		for how, wanted := range map[string][]seen{
			"csv " + table: want, "jsonl " + lines: want, "webdataset " + samples: stored(want), "folder " + tree: stored(want),
		} {
			if diff := cmp.Diff(wanted, python(t, how)); diff != "" {
				t.Errorf("python reads %s (-csv by Go +python):\n%s", how, diff)
			}
		}
	})
}

// python reads an export with the standard library of Python.
func python(t *testing.T, how string) []seen {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		redistest.Missing(t, "python3", err.Error())
	}
	format, file, _ := strings.Cut(how, " ")
	cmd := exec.Command(path, "testdata/read.py", format, file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", how, err, stderr.String())
	}
	var rows []seen
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func fromTable(t *testing.T, path string) []seen {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []seen
	for _, line := range all[1:] {
		cell := func(column string) string {
			s := line[slices.Index(all[0], column)]
			// What a spreadsheet would calculate begins with an apostrophe.
			if len(s) > 1 && s[0] == '\'' && strings.ContainsRune("=+-@\t\r", rune(s[1])) {
				s = s[1:]
			}
			return s
		}
		rows = append(rows, seen{
			Name: cell("name"), State: cell("state"), Rank: cell("rank"), URL: cell("url"), SHA256: cell("sha256"), Bytes: cell("bytes"),
			Licence: cell("licence"), Attribution: cell("attribution"), Attributes: cell("attributes"), Columns: cell("columns"), Reason: cell("reason"),
		})
	}
	return rows
}

func fromLines(t *testing.T, path string) []seen {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []seen
	for d := json.NewDecoder(f); ; {
		var n recordjson.Name
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Record(); err != nil {
			t.Errorf("%q is no record: %v", n.Name, err)
		}
		rows = append(rows, ofName(t, n)...)
	}
}

// ofName are the rows of a name, made without the code under test.
func ofName(t *testing.T, n recordjson.Name) []seen {
	t.Helper()
	row := seen{Name: n.Name, State: string(n.State), Licence: n.Licence, Attribution: n.Attribution, Reason: string(n.Reason)}
	for to, from := range map[*string]recordjson.Attributes{&row.Attributes: n.Attributes, &row.Columns: n.Columns} {
		if len(from) == 0 {
			continue
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(from); err != nil {
			t.Fatal(err)
		}
		*to = strings.TrimSpace(b.String())
	}
	if len(n.Pictures) == 0 {
		return []seen{row}
	}
	var rows []seen
	for _, p := range n.Pictures {
		r := row
		r.Rank, r.URL, r.SHA256, r.Reason = strconv.Itoa(p.Rank), p.URL, p.SHA256, string(p.Reason)
		if p.Bytes > 0 {
			r.Bytes = strconv.FormatInt(p.Bytes, 10)
		}
		rows = append(rows, r)
	}
	return rows
}

// fromParquet reads the values of each row by the names of the columns, and
// not by the struct that they were written from.
func fromParquet(t *testing.T, path string, images bool) []seen {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Schema().Lookup("image"); ok != images {
		t.Errorf("there is a column of images: %v, want %v", ok, images)
	}
	var rows []seen
	for _, group := range p.RowGroups() {
		in := group.Rows()
		buffer := make([]parquet.Row, 1)
		for {
			n, err := in.ReadRows(buffer)
			if n == 1 {
				rows = append(rows, ofValues(t, p.Schema(), buffer[0]))
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

func ofValues(t *testing.T, schema *parquet.Schema, row parquet.Row) seen {
	t.Helper()
	value := func(column string) parquet.Value {
		leaf, ok := schema.Lookup(column)
		if !ok {
			t.Fatalf("no column %s in %s", column, schema)
		}
		return row[leaf.ColumnIndex]
	}
	text := func(column string) string {
		if v := value(column); !v.IsNull() {
			return v.String()
		}
		return ""
	}
	s := seen{
		Name: text("name"), State: text("state"), Rank: text("rank"), URL: text("url"), SHA256: text("sha256"), Bytes: text("bytes"),
		Licence: text("licence"), Attribution: text("attribution"), Attributes: text("attributes"), Columns: text("columns"), Reason: text("reason"),
	}
	if _, ok := schema.Lookup("image"); ok && !value("image").IsNull() {
		s.Image = hash(value("image").ByteArray())
	}
	if v := value("updated"); v.Int64() != 1_700_000_000_000_000 {
		t.Errorf("%s: updated %v", s.Name, v)
	}
	if v := value("stale_since"); v.IsNull() == (s.Name == "stale") {
		t.Errorf("%s: stale since %v", s.Name, v)
	}
	return s
}

// fromShards reads samples as webdataset's loader groups them: files that
// follow each other and are equal up to the first dot of their last element.
func fromShards(t *testing.T, dir string) []seen {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var rows []seen
	for i, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		samples := readSamples(t, bytes.NewReader(data))
		if want := 7; len(samples) != want && i < len(names)-1 {
			t.Errorf("%s: %d samples, want %d", name, len(samples), want)
		}
		for _, s := range samples {
			rows = append(rows, s.seen(t))
		}
	}
	return rows
}

type sample struct {
	key   string
	files map[string][]byte
}

func readSamples(t *testing.T, r io.Reader) []sample {
	t.Helper()
	var samples []sample
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return samples
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		key, ext, _ := strings.Cut(h.Name, ".")
		if strings.ContainsAny(h.Name, "/\\") || strings.Contains(ext, ".") || h.Uid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("header %+v", h)
		}
		if len(samples) == 0 || samples[len(samples)-1].key != key {
			samples = append(samples, sample{key, make(map[string][]byte)})
		}
		samples[len(samples)-1].files[ext] = data
	}
}

func (s sample) seen(t *testing.T) seen {
	t.Helper()
	var n recordjson.Name
	if err := json.Unmarshal(s.files["json"], &n); err != nil {
		t.Fatalf("sample %s: %v", s.key, err)
	}
	if len(s.files) != 3 || len(n.Pictures) != 1 || string(s.files["txt"]) != n.Name {
		t.Fatalf("sample %s of %q: %d files, %d pictures, text %q", s.key, n.Name, len(s.files), len(n.Pictures), s.files["txt"])
	}
	row := ofName(t, n)[0]
	for _, ext := range []string{"jpg", "png", "gif", "webp"} {
		if data, ok := s.files[ext]; ok {
			row.Image = hash(data)
		}
	}
	return row
}

// fromTree reads the files that a folder's table names.
func fromTree(t *testing.T, dir string) []seen {
	t.Helper()
	rows := stored(fromTable(t, filepath.Join(dir, export.TableFile)))
	f, err := os.Open(filepath.Join(dir, export.TableFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, line := range all[1:] {
		file := line[slices.Index(all[0], "file")]
		if file == "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, filepath.Base(strings.TrimPrefix(file, "'"))))
		if err != nil {
			t.Fatal(err)
		}
		rows[i].Image = hash(data)
		i++
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(rows)+2 {
		t.Errorf("%d files in the folder for %d pictures", len(entries), len(rows))
	}
	return rows
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// TestLinesAreThoseOfResults: what is imported is what was exported.
func TestLinesAreThoseOfResults(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	path, _ := w.export(export.Options{Format: export.JSONL})
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	b := w.batch()
	for r, err := range w.db.Each(t.Context(), b, results.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := enc.Encode(recordjson.Of(b, r)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("(-results +export):\n%s", diff)
	}
}

// TestExportsRepeat: the same batch makes the same bytes.
func TestExportsRepeat(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	for _, f := range export.Formats() {
		opts := export.Options{Format: f, Images: f == export.Parquet, Shard: export.ShardSize{Bytes: 20_000}}
		first, a := w.export(opts)
		second, b := w.export(opts)
		if diff := cmp.Diff(content(t, first), content(t, second)); diff != "" {
			t.Errorf("%s differs from itself:\n%s", f, diff)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s: the reports differ:\n%s", f, diff)
		}
	}
}
