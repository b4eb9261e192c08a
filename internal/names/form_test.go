package names

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/charmap"
	utf "golang.org/x/text/encoding/unicode"
)

// rows tells a file's lines as "number name column=value… (truncated)", and
// its bad ones by reason.
func rows(t *testing.T, f *File) []string {
	t.Helper()
	var told []string
	for {
		l, err := f.Next()
		if bad, ok := errors.AsType[*BadLine](err); ok {
			told = append(told, fmt.Sprintf("%d-%d %s", bad.Number, bad.Last, bad.Reason))
			continue
		}
		if errors.Is(err, io.EOF) {
			totals := f.Totals()
			if totals.Lines != totals.Names+totals.Blank+totals.Comments+totals.Bad || int(totals.Names+totals.Bad) != len(told) {
				t.Errorf("totals %+v do not fit %d rows", totals, len(told))
			}
			return told
		}
		if err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("%d %s", l.Number, l.Name)
		for _, c := range l.Columns {
			s += fmt.Sprintf(" %s=%q", c.Name, c.Value)
		}
		if l.Truncated {
			s += " truncated"
		}
		told = append(told, s)
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxRowBytes+10)
	for name, tt := range map[string]struct {
		file, text string
		form       Form
		table      Table
		rows       []string
	}{
		"commas and quotes": {
			"a.csv", "name,url,note\nAda,http://x/1,\"says \"\"hi\"\", twice\"\n\"Grace\nHopper\",u,\"two\r\nlines\"\nBob,\"\" ,5\" disk\n", Form{},
			Table{CSV, []string{"name", "url", "note"}, "name", ','},
			[]string{`2 Ada url="http://x/1" note="says \"hi\", twice"`, `3-5 control`, `6 Bob note="5\" disk"`},
		},
		"a value of several lines": {
			"a.csv", "name,note\nAda,\"one\r\ntwo\"\nBob,\n", Form{},
			Table{CSV, []string{"name", "note"}, "name", ','}, []string{`2 Ada note="one\ntwo"`, `4 Bob`},
		},
		"semicolons, byte order mark, capitals": {
			"a.CSV", "\ufeffID;Name\r\n7;José, the first\r\n;Bob\r\n", Form{},
			Table{CSV, []string{"ID", "Name"}, "Name", ';'}, []string{`2 José, the first ID="7"`, `3 Bob`},
		},
		"tabs": {"a.tsv", "id\tlogin\n1\tada\n", Form{Column: "login"}, Table{CSV, []string{"id", "login"}, "login", '\t'}, []string{`2 ada id="1"`}},
		"told by Excel": {
			"a.csv", "sep=;\nname;a,b,c\nAda;1\n", Form{}, Table{CSV, []string{"name", "a,b,c"}, "name", ';'}, []string{`3 Ada a,b,c="1"`},
		},
		"one column": {"a.csv", "Artist\nAda\n\n\"Hopper, Grace\"\n", Form{}, Table{CSV, []string{"Artist"}, "Artist", ','}, []string{"2 Ada", "4 Hopper, Grace"}},
		"row numbers without a name": {
			"a.csv", ",name,x\n0,Ada,1\n1,Bob,\n", Form{}, Table{CSV, []string{"", "name", "x"}, "name", ','}, []string{`2 Ada x="1"`, `3 Bob`},
		},
		"bad rows by number": {
			"-", "name,x\nAda\nBob,1,2\n,3\n#c,1\n\"a\"b,1\n,\n\n\xff,1\nEve,\xff\nZoe,1\n", Form{Format: CSV},
			Table{CSV, []string{"name", "x"}, "name", ','},
			[]string{"2-0 fields", "3-0 fields", "4-0 no_name", "5-0 comment", "6-0 quotes", "9-0 invalid_utf8", "10-0 invalid_utf8", `11 Zoe x="1"`},
		},
		"a quote that nobody closed": {
			"a.csv", "name,x\nAda,\"1\nBob,2\nEve,3", Form{}, Table{CSV, []string{"name", "x"}, "name", ','}, []string{"2-4 quotes"},
		},
		"rows that are too long": {
			"a.csv", "name,x\nAda," + long + "\nBob,\"" + long + "\n\"\nEve,\"1\n" + long + "\"\nZoe,1\n", Form{},
			Table{CSV, []string{"name", "x"}, "name", ','}, []string{"2-0 too_long", "3-4 too_long", "5-6 too_long", `7 Zoe x="1"`},
		},
		"more columns than are kept": {
			"a.csv", "name,bio,url\nAda," + strings.Repeat("y", MaxColumnBytes) + ",u\n", Form{},
			Table{CSV, []string{"name", "bio", "url"}, "name", ','}, []string{`2 Ada url="u" truncated`},
		},
		"latin1": {
			"a.csv", latin1(t, "name,café\nRené,é\n"), Form{Encoding: "latin1"}, Table{CSV, []string{"name", "café"}, "name", ','}, []string{`2 René café="é"`},
		},
		"UTF-16 without a byte order mark": {
			"a.csv", utf16le(t, "name,x\nRené,é\n"), Form{Encoding: "utf-16"}, Table{CSV, []string{"name", "x"}, "name", ','}, []string{`2 René x="é"`},
		},
		"a byte order mark counts more than what is said": {
			"a.csv", "\ufeffname,x\nRené,é\n", Form{Encoding: "latin1"}, Table{CSV, []string{"name", "x"}, "name", ','}, []string{`2 René x="é"`},
		},
		"JSON lines": {
			"a.jsonl", "\n" + `{"id":7,"name":" Ada ","tags":["a","b"],"none":null,"ok":true,"name":"Bob"}` + "\n[1]\n{\"name\":5}\n{\"id\":1}\n{\"name\":\"a\\u0000\"}\n{x\n" +
				`{"name":"Eve","more":"é"}` + "\n{\"name\":\"x\",\"y\":\"" + long + "\"}", Form{},
			Table{JSONL, []string{"id", "name", "tags", "none", "ok"}, "name", 0},
			[]string{`2 Ada id="7" tags="[\"a\",\"b\"]" ok="true"`, "3-0 json", "4 5", "5-0 no_name", "6-0 control", "7-0 json", `8 Eve more="é"`, "9-0 too_long"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, stdin := Stdin, strings.NewReader(tt.text)
			if tt.file != Stdin {
				path = filepath.Join(t.TempDir(), tt.file)
				if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f, err := OpenAs(path, stdin, tt.form)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if diff := cmp.Diff(&tt.table, f.Table); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.rows, rows(t, f)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

func latin1(t *testing.T, s string) string {
	t.Helper()
	out, err := charmap.ISO8859_1.NewEncoder().String(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func utf16le(t *testing.T, s string) string {
	t.Helper()
	out, err := utf.UTF16(utf.LittleEndian, utf.IgnoreBOM).NewEncoder().String(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTablesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text string
		form Form
		want string
	}{
		"no column of that name":  {"id,Artist\n1,Ada\n", Form{Format: CSV, Column: "artst"}, `no column "artst": did you mean "Artist"? (there are "id", "Artist")`},
		"which column":            {"id,artist\n1,Ada\n", Form{Format: CSV}, `which column has the names? give --column (there are "id", "artist")`},
		"two of a name":           {"name,x,x\n", Form{Format: CSV}, `columns 2 and 3 are both called "x"`},
		"a header that is none":   {"name,a\tb\n", Form{Format: CSV}, "cannot be the name of one"},
		"a header without an end": {"name,\"x\n", Form{Format: CSV}, "its header cannot be read"},
		"blanks alone":            {"\n\n", Form{Format: CSV}, "no header"},
		"names for objects":       {"Ada\n", Form{Format: JSONL}, "line 1: no JSON object"},
		"which key":               {`{"a":1,"b":2}`, Form{Format: JSONL}, `which column has the names? give --column (there are "a", "b")`},
		"a column of lines":       {"Ada\n", Form{Column: "x"}, "a list of lines has no columns"},
		"unknown format":          {"Ada\n", Form{Format: "xml"}, `unknown format "xml"`},
		"unknown encoding":        {"Ada\n", Form{Encoding: "klingon"}, `unknown encoding "klingon"`},
		"a picture":               {"\x89PNG\r\n\x1a\n", Form{Format: CSV}, "a PNG picture"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := OpenAs(Stdin, strings.NewReader(tt.text), tt.form)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// Whatever a table holds, its rows come by number and it ends, and lines,
// tables and objects keep to their limits.
func FuzzTables(f *testing.F) {
	f.Add("name,x\nAda,\"1\n\"\n", true)
	f.Add(`{"name":"Ada","x":{"y":[1]}}`+"\n{", false)
	f.Add("sep=|\nname|x\n\"\"\"|\r\"|\n", true)
	f.Fuzz(func(t *testing.T, text string, csv bool) {
		form := Form{Format: JSONL}
		if csv {
			form.Format = CSV
		}
		file, err := OpenAs(Stdin, strings.NewReader(text), form)
		if err != nil {
			return
		}
		last := int64(0)
		for {
			l, err := file.Next()
			if bad, ok := errors.AsType[*BadLine](err); ok {
				l.Number = bad.Number
			} else if err != nil {
				return
			} else if reason := Check(l.Name); reason != "" {
				t.Fatalf("name %q is none: %s", l.Name, reason)
			}
			if l.Number <= last {
				t.Fatalf("line %d behind line %d", l.Number, last)
			}
			last = l.Number
			room := MaxColumnBytes
			for _, c := range l.Columns {
				room -= len(c.Name) + len(c.Value)
			}
			if room < 0 {
				t.Fatalf("line %d has columns of %d bytes too many", l.Number, -room)
			}
		}
	})
}
