package names

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	utf "golang.org/x/text/encoding/unicode"
)

func TestOpenReads(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text string }{
		{"names.txt", "Ada\nGrace\n"},
		{"names.txt.gz", zip(t, "Ada\nGrace\n")},
		{"gzip by its bytes alone.txt", zip(t, "Ada\nGrace\n")},
		{"text by its bytes alone.gz", "Ada\nGrace\n"},
		{"utf-16.txt", utf16(t, utf.LittleEndian, "Ada\r\nGrace\r\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), tt.name)
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := story(f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"1 Ada", "2 Grace"}, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if err := f.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestOpenStdin(t *testing.T) {
	t.Parallel()
	f, err := Open(Stdin, strings.NewReader("Ada\nGrace"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := story(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1 Ada", "2 Grace"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 9, 9))); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 10_000)
	for i, x := 0, uint32(7); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	halfAndHalf := strings.Repeat("A\x00d\x00a\x00\n\x00", 100)
	tests := []struct {
		name string
		text string
		want error
		says string
	}{
		{"empty", "", ErrEmpty, "empty"},
		{"a BOM alone", "\ufeff", ErrEmpty, "empty"},
		{"a UTF-16 BOM alone", "\xff\xfe", ErrEmpty, "empty"},
		{"empty gzip", zip(t, ""), ErrEmpty, "empty"},
		{"PNG", picture.String(), ErrNotText, "a PNG picture"},
		{"PNG in gzip", zip(t, picture.String()), ErrNotText, "a PNG picture"},
		{"PDF", "%PDF-1.7\n1 0 obj\n", ErrNotText, "a PDF document"},
		{"office document", "PK\x03\x04\x14\x00", ErrNotText, "an office document"},
		{"gzip in gzip", zip(t, zip(t, "Ada\n")), ErrNotText, "gzip within gzip"},
		{"tar in gzip", zip(t, "names.txt"+strings.Repeat("\x00", 248)+"ustar\x00"+strings.Repeat("Ada\n", 900)), ErrNotText, "a tar archive"},
		{"zstd", "\x28\xb5\x2f\xfd\x04\x00", ErrNotText, "zstd"},
		{"UTF-32", "\xff\xfe\x00\x00A\x00\x00\x00", ErrNotText, "UTF-32"},
		{"zeros", strings.Repeat("\x00", 100), ErrNotText, "binary"},
		{"noise", string(noise), ErrNotText, "binary"},
		{"noise behind a UTF-16 BOM", "\xff\xfe" + strings.Repeat("\x01\x00", 99), ErrNotText, "binary"},
		{"UTF-16 without a BOM", halfAndHalf, ErrNotText, "save it as UTF-8"},
		{"Windows-1251", "\xc0\xe4\xe0\n\xc3\xf0\xe5\xe9\xf1\n", ErrNotText, "save it as UTF-8"},
		{"broken gzip", "\x1f\x8b\x08\x00", io.ErrUnexpectedEOF, "unpack: unexpected EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "names.txt")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, nil)
			checkRefusal(t, err, tt.want, `names.txt": `, tt.says)
			_, err = Open(Stdin, iotest.OneByteReader(strings.NewReader(tt.text)))
			checkRefusal(t, err, tt.want, "standard input: ", tt.says)
		})
	}
}

func TestOpenRefusesPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := []struct {
		name string
		path string
		want error
		says string
	}{
		{"missing", filepath.Join(dir, "missing.txt"), fs.ErrNotExist, `missing.txt": no such file`},
		{"empty path", "", fs.ErrNotExist, `names file "": no such file`},
		{"folder", dir, errFolder, "it is a folder"},
		{"terminal escapes in the path", filepath.Join(dir, "\x1b[31m"), fs.ErrNotExist, `\x1b[31m": no such file`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(tt.path, nil)
			checkRefusal(t, err, tt.want, "names file", tt.says)
		})
	}
}

func TestOpenPassesOnReadErrors(t *testing.T) {
	t.Parallel()
	want := &fs.PathError{Op: "read", Path: "/dev/stdin", Err: fs.ErrPermission}
	_, err := Open(Stdin, iotest.ErrReader(want))
	checkRefusal(t, err, fs.ErrPermission, "standard input", "standard input: permission denied")
}

func checkRefusal(t *testing.T, err, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
		t.Errorf("%q is not one clean line", err)
	}
}

func TestLooksLikeText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		head string
		cut  bool
		want bool
	}{
		{"plain", "Ada\n", false, true},
		{"one NUL in a short file", "Ada\nB\x00b\n", false, true},
		{"Latin-1", "Jos\xe9\nM\xfcller\n", false, true},
		{"white space of all kinds", "\t\v\f\r\n\u0085", false, true},
		{"three in ten", "\x00\x01\x021234567", false, true},
		{"four in ten", "\x00\x01\x02\x03123456", false, false},
		{"cut character at the end of the block", "张\xe4\xbc", true, true},
		{"cut character at the end of the file", "张\xe4\xbc", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := looksLikeText([]byte(tt.head), tt.cut); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
