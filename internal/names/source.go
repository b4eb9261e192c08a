package names

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	utf "golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

var (
	// ErrNotText says that a source is no text and none of it was handed out.
	ErrNotText = errors.New("not a text file")
	// ErrEmpty says that a source has not one byte of text. A source of blank
	// lines and comments alone is not empty: its Totals say zero names.
	ErrEmpty = errors.New("empty: put one name on each line")
)

const (
	bufferBytes = 64 << 10
	// sniffBytes is how much must look like text before any of it is a name.
	sniffBytes = 4 << 10
)

// formats lists what people give by mistake, by bytes that no list of names
// has there. What is not in it and is binary is refused without being named.
var formats = []struct {
	at    int
	magic string
	what  string
}{
	{0, "\x89PNG\r\n", "a PNG picture"},
	{0, "\xff\xd8\xff", "a JPEG picture"},
	{0, "GIF87a", "a GIF picture"},
	{0, "GIF89a", "a GIF picture"},
	{0, "%PDF-", "a PDF document; save its names as text"},
	{0, "PK\x03\x04", "a zip archive or an office document; save its names as text"},
	{0, "\xd0\xcf\x11\xe0", "an old office document; save its names as text"},
	{257, "ustar", "a tar archive; unpack it, only gzip is read as it is"},
	{0, "\x1f\x8b", "gzip within gzip; unpack it once"},
	{0, "\x28\xb5\x2f\xfd", "zstd; unpack it, only gzip is read as it is"},
	{0, "\xfd7zXZ\x00", "xz; unpack it, only gzip is read as it is"},
	{0, "BZh91AY&SY", "bzip2; unpack it, only gzip is read as it is"},
	{0, "7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it, only gzip is read as it is"},
	{0, "SQLite format 3\x00", "an SQLite database; export its names as text"},
	{0, "\x7fELF", "a program"},
	{0, "\xff\xfe\x00\x00", "UTF-32; save it as UTF-8"},
	{0, "\x00\x00\xfe\xff", "UTF-32; save it as UTF-8"},
}

// openText unwraps gzip, UTF-16 and byte order marks and returns the text
// within, or the reason why it is none. A gzip file is known by its first
// bytes, so its name does not matter. Text without a byte order mark is in
// enc, nil for UTF-8.
func openText(src io.Reader, enc encoding.Encoding) (*bufio.Reader, error) {
	text := bufio.NewReaderSize(src, bufferBytes)
	if head, _ := text.Peek(3); string(head) == "\x1f\x8b\x08" {
		unpacked, err := gzip.NewReader(text)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		text = bufio.NewReaderSize(unpacked, bufferBytes)
	}

	head, err := text.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	for _, f := range formats {
		if len(head) > f.at && bytes.HasPrefix(head[f.at:], []byte(f.magic)) {
			return nil, fmt.Errorf("%w: it looks like %s", ErrNotText, f.what)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		decoder := utf.UTF16(utf.LittleEndian, utf.UseBOM).NewDecoder()
		text = bufio.NewReaderSize(decoder.Reader(text), bufferBytes)
	case enc != nil:
		decoder := utf.BOMOverride(enc.NewDecoder())
		text = bufio.NewReaderSize(transform.NewReader(text, decoder), bufferBytes)
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = text.Discard(3)
	}

	head, err = text.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(head) == 0 {
		return nil, ErrEmpty
	}
	if !looksLikeText(head, err == nil) {
		return nil, fmt.Errorf("%w: it is binary or neither UTF-8 nor UTF-16 with a byte order mark; save it as UTF-8, or say in which encoding it is", ErrNotText)
	}
	return text, nil
}

// looksLikeText says whether at most three bytes in ten of head are such as no
// text has. A few of them make bad lines; more make a file that is something
// else, text in an older encoding included. cut says that head ends where the
// block ends, maybe within a character.
func looksLikeText(head []byte, cut bool) bool {
	strange := 0
	for rest := head; len(rest) > 0; {
		if cut && !utf8.FullRune(rest) {
			break
		}
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError:
			strange += size
		case unicode.IsControl(c) && !unicode.IsSpace(c):
			strange++
		}
		rest = rest[size:]
	}
	return strange*10 <= len(head)*3
}
