package names

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	utf "golang.org/x/text/encoding/unicode"
)

func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"Ada\nGrace\r\nLin\rKay",
		"\ufeff# people\n\n  Ada  \n\ufeffGrace\ufeff\n",
		"Ada Lovelace\nA\x00b\n\x1b[31m\nJos\xe9\nA\tB\n\u202eAda\n\ufffd\n\u200b\n",
		"张伟\u3000\nעדה\u200f\n👩\u200d🚀\n\u2028",
		strings.Repeat("x", 257) + "\n" + strings.Repeat("y", MaxLineBytes+1) + "\r\nAda",
		strings.Repeat(" ", MaxLineBytes) + "\r\n#" + strings.Repeat("z", MaxLineBytes) + "\rAda",
		utf16(f, utf.LittleEndian, "Ada\r\n张伟\n") + "\x00\xd8",
		utf16(f, utf.BigEndian, "Ada\r\n张伟\n") + "x",
		zip(f, "Ada\nGrace\n"),
		zip(f, "Ada\nGrace\n")[:20],
		"\x89PNG\r\n\x1a\n",
		"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, wholeErr := readChecked(t, bytes.NewReader(data))
		pieces, piecesErr := readChecked(t, iotest.OneByteReader(bytes.NewReader(data)))
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("the source in one and byte by byte (-one +bytes):\n%s", diff)
		}
		if (wholeErr == nil) != (piecesErr == nil) || wholeErr != nil && wholeErr.Error() != piecesErr.Error() {
			t.Errorf("in one %v, byte by byte %v", wholeErr, piecesErr)
		}
	})
}

// readChecked is story with every promise of Next looked at.
func readChecked(t *testing.T, src io.Reader) ([]string, error) {
	r, err := NewReader("source", src)
	if err != nil {
		return nil, err
	}
	var out []string
	var last, names, bads int64
	for {
		line, err := r.Next()
		number := line.Number
		if bad, ok := errors.AsType[*BadLine](err); ok {
			number = bad.Number
			bads++
			checkExcerpt(t, bad.Excerpt)
			out = append(out, bad.Error())
		} else if err != nil {
			got := r.Totals()
			if got.Names != names || got.Bad != bads || got.Lines != names+bads+got.Blank+got.Comments || got.Lines < last {
				t.Fatalf("totals %+v of %d names and %d bad lines, the last on line %d", got, names, bads, last)
			}
			if err == io.EOF {
				err = nil
			}
			return out, err
		} else {
			names++
			checkName(t, line.Name)
			out = append(out, line.Name)
		}
		if number <= last {
			t.Fatalf("line %d after line %d", number, last)
		}
		last = number
	}
}

func checkName(t *testing.T, name string) {
	if len(name) < 1 || len(name) > MaxNameBytes || !utf8.ValidString(name) {
		t.Fatalf("name of %d bytes: %q", len(name), name)
	}
	if strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl) || strings.HasPrefix(name, "#") {
		t.Fatalf("name %q", name)
	}
}
