package names

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxBatchBytes is the length of the longest batch name.
const MaxBatchBytes = 64

// extensions are dropped from a names file's name, as often as one is found,
// so that people.txt.gz and people.csv are the batch people. Others stay: what
// follows the dot of people.2024 tells it from people.2025.
var extensions = []string{".gz", ".txt", ".text", ".csv", ".tsv", ".jsonl", ".ndjson", ".lst", ".list", ".names"}

// BatchName returns the batch that the names file at path fills when the user
// names none: its base name without extensions, mapped to what CheckBatch
// allows. The same name always gives the same batch, on every system and in
// either Unicode form: accents are dropped and runs of other characters become
// one dash. Where that, or the cut to MaxBatchBytes, loses letters or digits,
// a short hash of the base name is appended, so that files that differ in
// them alone do not share a batch. It is an error for Stdin, which has no
// name.
func BatchName(path string) (string, error) {
	if path == Stdin {
		return "", errors.New("standard input has no name to call the batch by: add --batch NAME")
	}
	base := filepath.Base(path)
	for {
		ext := strings.ToLower(filepath.Ext(base))
		if len(ext) == len(base) || !slices.Contains(extensions, ext) {
			return mapBatch(base), nil
		}
		base = base[:len(base)-len(ext)]
	}
}

// CheckBatch says whether name can be a batch's: 1 to MaxBatchBytes of a-z,
// 0-9, dot, underscore and dash, with no dot or dash first, no dot last, and
// none of the names that Windows keeps for devices, since a store makes a
// folder of it. The error offers the nearest name that can.
func CheckBatch(name string) error {
	const rule = "up to 64 of a-z 0-9 . _ - with no dot or dash first and no dot last"
	if name == "" {
		return errors.New("batch name is empty: give " + rule)
	}
	if near := mapBatch(name); near != name {
		return fmt.Errorf("batch name %s is not %s: try --batch %s", excerpt([]byte(name)), rule, near)
	}
	return nil
}

// mapBatch returns the name nearest to s that a batch can have. It returns s
// itself if that is one.
func mapBatch(s string) string {
	var out []byte
	dash, lost := false, false
	// Decomposed, an accented letter is a plain one and a mark, and file
	// systems that decompose give the same name as those that do not.
	for _, c := range norm.NFKD.String(s) {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
			if len(out) == 0 && (c == '.' || c == '-') {
				continue
			}
			if dash && c != '-' && out[len(out)-1] != '-' {
				out = append(out, '-')
			}
			dash = false
			out = append(out, byte(c))
		case unicode.Is(unicode.Mn, c):
		default:
			dash = len(out) > 0
			lost = lost || c == utf8.RuneError || unicode.In(c, unicode.L, unicode.N, unicode.Mc)
		}
	}
	name := strings.TrimRight(string(out), ".")
	if isDevice(name) {
		name = "batch-" + name
	}
	if !lost && name != "" && len(name) <= MaxBatchBytes {
		return name
	}
	if name == "" {
		name = "batch"
	}
	sum := sha256.Sum256([]byte(norm.NFKD.String(s)))
	hash := hex.EncodeToString(sum[:4])
	name = name[:min(len(name), MaxBatchBytes-len("-")-len(hash))]
	return strings.TrimRight(name, "-.") + "-" + hash
}

// isDevice says whether Windows takes name, whatever follows a dot in it, for
// a device.
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	port, serial := strings.CutPrefix(stem, "com")
	if !serial {
		var parallel bool
		if port, parallel = strings.CutPrefix(stem, "lpt"); !parallel {
			return false
		}
	}
	return len(port) == 1 && port >= "0" && port <= "9"
}
