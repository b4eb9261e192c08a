package names

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	utf "golang.org/x/text/encoding/unicode"
)

// story is all that a Reader says of a source, one line each.
func story(r Source) ([]string, error) {
	var out []string
	for {
		line, err := r.Next()
		bad, isBad := errors.AsType[*BadLine](err)
		switch {
		case err == io.EOF:
			return out, nil
		case isBad:
			out = append(out, strconv.FormatInt(bad.Number, 10)+" BAD "+string(bad.Reason))
		case err != nil:
			return out, err
		default:
			out = append(out, strconv.FormatInt(line.Number, 10)+" "+line.Name)
		}
	}
}

func utf16(t testing.TB, e utf.Endianness, text string) string {
	t.Helper()
	out, err := utf.UTF16(e, utf.UseBOM).NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func zip(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestNext(t *testing.T) {
	t.Parallel()
	n256 := strings.Repeat("n", 256)
	tests := []struct {
		name   string
		text   string
		want   []string
		totals Totals // Lines is added up by the test
	}{
		{"LF", "Ada\nGrace\n", []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
		{"CRLF", "Ada\r\nGrace\r\n", []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
		{"CR", "Ada\rGrace\r", []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
		{"all three", "a\rb\r\nc\nd", []string{"1 a", "2 b", "3 c", "4 d"}, Totals{Names: 4}},
		{"LF CR is two ends", "a\n\rb", []string{"1 a", "3 b"}, Totals{Names: 2, Blank: 1}},
		{"CR CR LF is two ends", "a\r\r\nb", []string{"1 a", "3 b"}, Totals{Names: 2, Blank: 1}},
		{"no end at the end", "Ada\nGrace", []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
		{"blank lines count", "\n \t\nAda\n\n", []string{"3 Ada"}, Totals{Names: 1, Blank: 3}},
		{"blank and no end", "Ada\n  ", []string{"1 Ada"}, Totals{Names: 1, Blank: 1}},
		{"comments", "# people\n  # more\n#\nAda # not one\n", []string{"4 Ada # not one"}, Totals{Names: 1, Comments: 3}},
		{"only comments", "# people\n", nil, Totals{Comments: 1}},
		{"comment with bytes of any kind", "# \xff\x1b\nAda\nGrace\n", []string{"2 Ada", "3 Grace"}, Totals{Names: 2, Comments: 1}},
		{"white space at the ends", " \t\v\fAda  Lovelace\u00a0\u3000\u2028\n", []string{"1 Ada  Lovelace"}, Totals{Names: 1}},
		{"BOM", "\ufeffAda\n", []string{"1 Ada"}, Totals{Names: 1}},
		{"BOM before a comment", "\ufeff# people\nAda\n", []string{"2 Ada"}, Totals{Names: 1, Comments: 1}},
		{"BOM of a joined file", "Ada\n\ufeffGrace\n\ufeff\n", []string{"1 Ada", "2 Grace"}, Totals{Names: 2, Blank: 1}},
		{"BOM within a name", "Ada\ufeffGrace\n", []string{"1 BAD invisible"}, Totals{Bad: 1}},
		{"kept exactly", "A\u0301da\n\u00c1da\nADA\n\"Ada\", x\n", []string{"1 A\u0301da", "2 \u00c1da", "3 ADA", "4 \"Ada\", x"}, Totals{Names: 4}},
		{"scripts", "张伟\nעדה\nآدا\u200cلاولیس\n👩\u200d🚀\n", []string{"1 张伟", "2 עדה", "3 آدا\u200cلاولیس", "4 👩\u200d🚀"}, Totals{Names: 4}},
		{"right-to-left marks stay", "עדה\u200f\n", []string{"1 עדה\u200f"}, Totals{Names: 1}},
		{"NUL", "Ada\nGra\x00ce\nLin\n", []string{"1 Ada", "2 BAD control", "3 Lin"}, Totals{Names: 2, Bad: 1}},
		{"ESC", "Ada\n\x1b[31mGrace\nLin\n", []string{"1 Ada", "2 BAD control", "3 Lin"}, Totals{Names: 2, Bad: 1}},
		{"DEL", "Ad\x7fa\n", []string{"1 BAD control"}, Totals{Bad: 1}},
		{"C1", "Ad\u009ba\n", []string{"1 BAD control"}, Totals{Bad: 1}},
		{"NEL within", "Ad\u0085a\n", []string{"1 BAD control"}, Totals{Bad: 1}},
		{"line separator within", "Ad\u2028a\n", []string{"1 BAD control"}, Totals{Bad: 1}},
		{"tab within", "Ada\tLovelace\n", []string{"1 BAD tab"}, Totals{Bad: 1}},
		{"override", "Ada\u202egpj\n", []string{"1 BAD bidi"}, Totals{Bad: 1}},
		{"isolate", "\u2066Ada\u2069\n", []string{"1 BAD bidi"}, Totals{Bad: 1}},
		{"bad UTF-8", "Ada\nJos\xe9\nGrace\n", []string{"1 Ada", "2 BAD invalid_utf8", "3 Grace"}, Totals{Names: 2, Bad: 1}},
		{"surrogate in UTF-8", "Ada Lovelace \xed\xa0\x80\n", []string{"1 BAD invalid_utf8"}, Totals{Bad: 1}},
		{"overlong slash", "Ada Lovelace \xc0\xaf\n", []string{"1 BAD invalid_utf8"}, Totals{Bad: 1}},
		{"character lost before", "Ada Lovelace Jos\ufffd\n", []string{"1 BAD replacement"}, Totals{Bad: 1}},
		{"nothing to see", "\u200b\u200d\nAda\n", []string{"1 BAD invisible", "2 Ada"}, Totals{Names: 1, Bad: 1}},
		{"256 bytes", n256 + "\n", []string{"1 " + n256}, Totals{Names: 1}},
		{"256 bytes and white space", "  " + n256 + "  \r\n", []string{"1 " + n256}, Totals{Names: 1}},
		{"257 bytes", n256 + "n\nAda", []string{"1 BAD too_long", "2 Ada"}, Totals{Names: 1, Bad: 1}},
		{"257 bytes in 129 characters", strings.Repeat("é", 128) + "n", []string{"1 BAD too_long"}, Totals{Bad: 1}},
		{"longest line", strings.Repeat(" ", MaxLineBytes-3) + "Ada\n", []string{"1 Ada"}, Totals{Names: 1}},
		{"line too long by one", strings.Repeat(" ", MaxLineBytes-3) + "Ada \nGrace", []string{"1 BAD too_long", "2 Grace"}, Totals{Names: 1, Bad: 1}},
		{"longest line, then CRLF", "Ada" + strings.Repeat(" ", MaxLineBytes-3) + "\r\nGrace", []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
		{"too long, then CRLF", strings.Repeat("x", 70000) + "\r\nGrace", []string{"1 BAD too_long", "2 Grace"}, Totals{Names: 1, Bad: 1}},
		{"too long, then CR", strings.Repeat("x", 70000) + "\rGrace", []string{"1 BAD too_long", "2 Grace"}, Totals{Names: 1, Bad: 1}},
		{"too long and last", "Ada\n" + strings.Repeat("x", 70000), []string{"1 Ada", "2 BAD too_long"}, Totals{Names: 1, Bad: 1}},
		{"too much white space", strings.Repeat(" ", 70000) + "\nAda", []string{"1 BAD too_long", "2 Ada"}, Totals{Names: 1, Bad: 1}},
		{"long comment", "Ada\n # " + strings.Repeat("x", 70000) + "\nGrace\n", []string{"1 Ada", "3 Grace"}, Totals{Names: 2, Comments: 1}},
		{"binary from the middle on", strings.Repeat("n\n", sniffBytes/2) + "\x00\x01\n\x00\xff\nAda\n",
			append(repeat("n", sniffBytes/2), "2049 BAD control", "2050 BAD invalid_utf8", "2051 Ada"), Totals{Names: sniffBytes/2 + 1, Bad: 2}},
		{"character across the first block", strings.Repeat("n\n", sniffBytes/2-1) + "x张伟\n",
			append(repeat("n", sniffBytes/2-1), "2048 x张伟"), Totals{Names: sniffBytes / 2}},
		{"UTF-16 LE", utf16(t, utf.LittleEndian, "Ada\r\n张伟\n👩\u200d🚀\n"), []string{"1 Ada", "2 张伟", "3 👩\u200d🚀"}, Totals{Names: 3}},
		{"UTF-16 BE", utf16(t, utf.BigEndian, "Ada\r\n张伟\n👩\u200d🚀\n"), []string{"1 Ada", "2 张伟", "3 👩\u200d🚀"}, Totals{Names: 3}},
		{"UTF-16, half a pair", utf16(t, utf.LittleEndian, "Ada\nGrace Hopper") + "\x00\xd8\n\x00L\x00i\x00n\x00", []string{"1 Ada", "2 BAD replacement", "3 Lin"}, Totals{Names: 2, Bad: 1}},
		{"UTF-16, half a unit", utf16(t, utf.LittleEndian, "Ada\nGrace Hopper") + "x", []string{"1 Ada", "2 BAD replacement"}, Totals{Names: 1, Bad: 1}},
		{"gzip", zip(t, "\ufeffAda\r\nGrace"), []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
		{"gzip of two parts", zip(t, "Ada\nGra") + zip(t, "ce\n"), []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
		{"gzip of UTF-16", zip(t, utf16(t, utf.BigEndian, "Ada\nGrace")), []string{"1 Ada", "2 Grace"}, Totals{Names: 2}},
	}
	sources := map[string]func(io.Reader) io.Reader{
		"whole":            func(r io.Reader) io.Reader { return r },
		"halves":           iotest.HalfReader,
		"bytes":            iotest.OneByteReader,
		"end with the end": iotest.DataErrReader,
	}
	for _, tt := range tests {
		tt.totals.Lines = tt.totals.Names + tt.totals.Blank + tt.totals.Comments + tt.totals.Bad
		for how, source := range sources {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				r, err := NewReader("source", source(strings.NewReader(tt.text)))
				if err != nil {
					t.Fatal(err)
				}
				got, err := story(r)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("names (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.totals, r.Totals()); diff != "" {
					t.Errorf("totals (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// repeat is the story of n good lines with the same name.
func repeat(name string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i+1) + " " + name
	}
	return out
}

func TestNextAtTheEnd(t *testing.T) {
	t.Parallel()
	r, err := NewReader("source", strings.NewReader("Ada"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := story(r); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("got %v behind the end, want io.EOF", err)
	}
}

func TestNextOfABrokenSource(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("Ada\n", 2000)
	random := make([]byte, 0, 200_000)
	for x := uint32(1); len(random) < cap(random); {
		x = x*1664525 + 1013904223
		random = append(random, 'a'+byte(x>>24)%26)
		if len(random)%20 == 0 {
			random = append(random, '\n')
		}
	}
	packed := zip(t, string(random))
	errDisk := errors.New("disk on fire")
	tests := []struct {
		name   string
		source io.Reader
		want   error
		text   string
	}{
		{"error at a line's end", io.MultiReader(strings.NewReader(long), iotest.ErrReader(errDisk)), errDisk, "source: after line 2000: disk on fire"},
		{"error within a line", io.MultiReader(strings.NewReader(long+"Gra"), iotest.ErrReader(errDisk)), errDisk, "source: after line 2000: disk on fire"},
		{"error within a line too long", io.MultiReader(strings.NewReader(long+strings.Repeat("x", 9000)), iotest.ErrReader(errDisk)), errDisk, "source: after line 2001: disk on fire"},
		{"error in UTF-16", io.MultiReader(strings.NewReader(utf16(t, utf.BigEndian, long)), iotest.ErrReader(errDisk)), errDisk, "source: after line 2000: disk on fire"},
		{"gzip that breaks off", strings.NewReader(packed[:len(packed)/2]), io.ErrUnexpectedEOF, ": unexpected EOF"},
		{"gzip with a wrong checksum", strings.NewReader(packed[:len(packed)-8] + "\x00\x00\x00\x00" + packed[len(packed)-4:]), gzip.ErrChecksum, "invalid checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := NewReader("source", tt.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := story(r)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q", err, tt.text)
			}
			if len(got) == 0 || strings.HasSuffix(got[len(got)-1], "Gra") {
				t.Errorf("the last of %d lines is %q, want whole lines alone", len(got), got[len(got)-1:])
			}
			if _, again := r.Next(); !errors.Is(again, tt.want) {
				t.Errorf("got %v on the next call, want the same error", again)
			}
		})
	}
}

// repeater sends text over and over until n bytes are sent.
type repeater struct {
	text string
	n    int64
}

func (r *repeater) Read(p []byte) (int, error) {
	if r.n <= 0 {
		return 0, io.EOF
	}
	sent := 0
	for sent < len(p) && r.n > 0 {
		c := copy(p[sent:], r.text)
		sent += c
		r.n -= int64(c)
	}
	return sent, nil
}

// TestMemory counts what the process allocates, so nothing may run beside it.
func TestMemory(t *testing.T) {
	const limit = 1 << 20
	tests := []struct {
		name   string
		source func() io.Reader
		totals Totals
	}{
		{"a line of 10 MB", func() io.Reader {
			return io.MultiReader(strings.NewReader("Ada\n"), &repeater{"x", 10 << 20}, strings.NewReader("\nGrace\n"))
		}, Totals{Lines: 3, Names: 2, Bad: 1}},
		{"a line of 10 MB in UTF-16", func() io.Reader {
			return io.MultiReader(strings.NewReader("\xff\xfeA\x00\n\x00"), &repeater{"x\x00", 10 << 20}, strings.NewReader("\n\x00G\x00"))
		}, Totals{Lines: 3, Names: 2, Bad: 1}},
		{"a comment of 10 MB", func() io.Reader {
			return io.MultiReader(strings.NewReader("Ada\n#"), &repeater{"x", 10 << 20})
		}, Totals{Lines: 2, Names: 1, Comments: 1}},
		{"an endless line", func() io.Reader { return &repeater{strings.Repeat("x", 1<<16), 96 << 20} }, Totals{Lines: 1, Bad: 1}},
		{"endless blank lines", func() io.Reader { return &repeater{strings.Repeat("\r\n", 1<<15), 4 << 20} }, Totals{Lines: 2 << 20, Blank: 2 << 20}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := tt.source()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := NewReader("source", source)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := story(r); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > limit {
				t.Errorf("allocated %d bytes, want at most %d", got, limit)
			}
			if diff := cmp.Diff(tt.totals, r.Totals()); diff != "" {
				t.Errorf("totals (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOneAllocationPerName(t *testing.T) {
	const names = 10_000
	text := strings.Repeat("Ada Lovelace\r\n\n# x\n", names)
	got := testing.AllocsPerRun(3, func() {
		r, err := NewReader("source", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = r.Next()
		}
	})
	if got > names+20 {
		t.Errorf("%v allocations for %d names, want one for each", got, names)
	}
}

// TestNextDoesNotWait proves that a name is handed out as soon as its line has
// ended, though the pipe stays open and silent.
func TestNextDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n", "\r", "\r\n"} {
		pipe, w := io.Pipe()
		t.Cleanup(func() { _ = w.Close() })
		go func() { _, _ = io.WriteString(w, strings.Repeat("#\n", sniffBytes/2)+"Ada"+end) }()
		r, err := NewReader("pipe", pipe)
		if err != nil {
			t.Fatal(err)
		}
		line, err := r.Next()
		if err != nil || line.Name != "Ada" {
			t.Errorf("got %v, %v; want Ada", line, err)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	var text strings.Builder
	for i := range 1_000_000 {
		text.WriteString("Ada Lovelace the " + strconv.Itoa(i) + "\n")
	}
	inputs := map[string]string{
		"ascii": text.String(),
		"crlf":  strings.ReplaceAll(text.String(), "\n", "\r\n"),
		"cr":    strings.ReplaceAll(text.String(), "\n", "\r"),
		"utf8":  strings.ReplaceAll(text.String(), "the", "张伟é"),
		"utf16": utf16(b, utf.LittleEndian, text.String()),
		"gzip":  zip(b, text.String()),
	}
	for name, input := range inputs {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(input)))
			for b.Loop() {
				r, err := NewReader("source", strings.NewReader(input))
				for err == nil {
					_, err = r.Next()
				}
				if err != io.EOF || r.Totals().Names != 1_000_000 {
					b.Fatal(r.Totals(), err)
				}
			}
		})
	}
}
