package picture

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/picharvest/picharvest/internal/failure"
)

const (
	jpegMagic = "\xff\xd8\xff"
	pngMagic  = "\x89PNG\r\n\x1a\n"
	gif87     = "GIF87a"
	gif89     = "GIF89a"
	// sniffSize is how many bytes what is no picture is judged by.
	sniffSize = 512
)

// kind tells the kind from the first bytes and moves on by none.
func (s *source) kind() (Kind, error) {
	p, err := s.peek(12)
	switch {
	case bytes.HasPrefix(p, []byte(jpegMagic)):
		return JPEG, nil
	case bytes.HasPrefix(p, []byte(pngMagic)):
		return PNG, nil
	case bytes.HasPrefix(p, []byte(gif87)), bytes.HasPrefix(p, []byte(gif89)):
		return GIF, nil
	case len(p) == 12 && string(p[:4]) == "RIFF" && string(p[8:]) == "WEBP":
		return WebP, nil
	}
	if err != nil && !errors.Is(err, errEnd) {
		return "", err
	}
	if k := cutMagic(p); err != nil && k != "" {
		return "", failure.Newf(failure.ReasonBrokenPicture, failure.Temporary, "%s breaks off after %d bytes", k, len(p))
	}
	p, err = s.peek(sniffSize)
	if err != nil && !errors.Is(err, errEnd) {
		return "", err
	}
	return "", failure.Newf(failure.ReasonNotAPicture, failure.Final,
		"%s, not a jpeg, png, gif or webp", looksLike(p))
}

// cutMagic returns the kind whose first bytes p is the beginning of.
func cutMagic(p []byte) Kind {
	if len(p) == 0 {
		return ""
	}
	begins := func(magic string) bool { return strings.HasPrefix(magic, string(p)) }
	switch {
	case begins(jpegMagic):
		return JPEG
	case begins(pngMagic):
		return PNG
	case begins(gif87), begins(gif89):
		return GIF
	case begins("RIFF"), len(p) > 4 && string(p[:4]) == "RIFF" && strings.HasPrefix("WEBP", string(p[min(8, len(p)):])):
		return WebP
	}
	return ""
}

// looksLike says in a few words what bytes that are no picture may be.
func looksLike(p []byte) string {
	if len(p) == 0 {
		return "an empty file"
	}
	at := func(i int, magics ...string) bool {
		for _, m := range magics {
			if len(p) >= i+len(m) && string(p[i:i+len(m)]) == m {
				return true
			}
		}
		return false
	}
	switch {
	case at(0, "%PDF-"):
		return "a PDF"
	case at(0, "II*\x00", "MM\x00*", "II+\x00", "MM\x00+"):
		return "a TIFF"
	case at(0, "\x00\x00\x01\x00", "\x00\x00\x02\x00"):
		return "an ICO"
	case at(4, "ftypavif", "ftypavis"):
		return "an AVIF"
	case at(4, "ftyphei", "ftyphev", "ftypmif1", "ftypmsf1"):
		return "a HEIC"
	case at(4, "ftyp"):
		return "an MP4"
	case at(0, "\xff\x0a", "\x00\x00\x00\x0cJXL "):
		return "a JPEG XL"
	case at(0, "\x00\x00\x00\x0cjP  ", "\xff\x4f\xff\x51"):
		return "a JPEG 2000"
	case at(0, "8BPS"):
		return "a Photoshop file"
	case at(0, "PK\x03\x04"):
		return "a ZIP"
	case at(0, "\x1f\x8b"):
		return "gzip"
	case at(0, "RIFF"):
		return "a RIFF file"
	case at(0, "BM"):
		return "a BMP"
	}
	text := strings.ToLower(strings.TrimLeft(strings.TrimPrefix(string(p), "\ufeff"), " \t\r\n\f"))
	switch {
	case strings.HasPrefix(text, "<svg"), strings.HasPrefix(text, "<?xml") && strings.Contains(text, "<svg"):
		return "SVG"
	case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html"), strings.Contains(text, "<head"), strings.Contains(text, "<body"):
		return "an HTML page"
	case strings.HasPrefix(text, "<?xml"):
		return "XML"
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return "JSON"
	case isText(p):
		return "text"
	}
	return "unknown bytes"
}

// isText reports whether p has neither control characters nor bad UTF-8, but
// for a character cut at its end.
func isText(p []byte) bool {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			return !utf8.FullRune(p)
		}
		if r < ' ' && !strings.ContainsRune("\t\r\n\f", r) {
			return false
		}
		p = p[n:]
	}
	return true
}
