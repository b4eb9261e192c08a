package names

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestBadLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		line string
		want string
	}{
		{"escape", "\x1b[31mAda", `line 1: a control character: "\x1b[31mAda"`},
		{"NUL", "A\x00da Lovelace", `line 1: a control character: "A\x00da Lovelace"`},
		{"bytes", "Jos\xe9 the Great", `line 1: not valid UTF-8: "Jos\xe9 the Great"`},
		{"tab and quotes", "Ada\t\"Ada\"", `line 1: a tab within the name (one name on a line, no columns): "Ada\t\"Ada\""`},
		{"direction", "Ada\u202egpj", `line 1: a character that overrides the direction of text: "Ada\u202egpj"`},
		{"lost", "Jos\ufffd the Great", "line 1: a character was lost when the file was converted (U+FFFD): \"Jos\ufffd the Great\""},
		{"invisible", "\u200b", `line 1: an invisible name or mark: "\u200b"`},
		{"long", strings.Repeat("x", 257), `line 1: longer than 256 bytes: "` + strings.Repeat("x", 64) + `"…`},
		{"long, cut before a character", "x" + strings.Repeat("张", 100), `line 1: longer than 256 bytes: "x` + strings.Repeat("张", 21) + `"…`},
		{"very long", "   " + strings.Repeat("\x1b", 1) + strings.Repeat("x", 9000), `line 1: longer than 256 bytes: "\x1b` + strings.Repeat("x", 63) + `"…`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := NewReader("source", strings.NewReader(tt.line))
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Next()
			bad, ok := errors.AsType[*BadLine](err)
			if !ok {
				t.Fatalf("got %v, want a bad line", err)
			}
			if bad.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", bad, tt.want)
			}
			checkExcerpt(t, bad.Excerpt)
		})
	}
}

func TestExcerptOfNoise(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		checkExcerpt(t, excerpt([]byte(strings.Repeat(string([]byte{byte(c)}), 100))))
	}
}

func checkExcerpt(t *testing.T, s string) {
	t.Helper()
	if len(s) > 300 || !utf8.ValidString(s) {
		t.Errorf("excerpt of %d bytes: %q", len(s), s)
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			t.Errorf("excerpt has %U: %q", c, s)
		}
	}
}

func TestRejects(t *testing.T) {
	t.Parallel()
	r, err := NewReader("source", strings.NewReader("Ada\nJos\xe9\nA\tB\n\x1b]0;x\x07\n"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	rejects := NewRejects(&out)
	for {
		_, err := r.Next()
		if err == io.EOF {
			break
		}
		if bad, ok := errors.AsType[*BadLine](err); ok {
			if err := rejects.Write(bad); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := rejects.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "2\tinvalid_utf8\t\"Jos\\xe9\"\n" +
		"3\ttab\t\"A\\tB\"\n" +
		"4\tcontrol\t\"\\x1b]0;x\\a\"\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestRejectsTellOfAFullDisk(t *testing.T) {
	t.Parallel()
	rejects := NewRejects(fullDisk{})
	err := rejects.Write(&BadLine{Number: 1, Reason: ReasonTab, Excerpt: `"a\tb"`})
	if err = errors.Join(err, rejects.Flush()); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v, want the writer's error", err)
	}
}
