package hostiletest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/failure"
)

// structures adds bytes that are no whole picture, and such as look worse
// than they are (demands 12 and 20).
func (b *builder) structures() {
	for _, kind := range kinds {
		p := whole[kind]
		for _, at := range borders(kind, p) {
			b.picture(fmt.Sprintf("%s cut at %d of %d", kind, at, len(p)), exhausted(failure.ReasonBrokenPicture), sends(p[:at]))
		}
		b.stored(kind, p, 1, sends(p))
		b.stored(kind+" with a zip behind it", append(slices.Clone(p), "PK\x03\x04 and more"...), 1,
			sends(append(slices.Clone(p), "PK\x03\x04 and more"...)))
	}

	for what, text := range map[string]string{
		"nothing":   "",
		"HTML":      "<!doctype html><title>404</title><body>No such picture",
		"JSON":      `{"error":"no such picture"}`,
		"SVG":       `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`,
		"XML":       `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>`,
		"PDF":       "%PDF-1.7\n" + strings.Repeat("x", 100),
		"TIFF":      "II*\x00\x08\x00\x00\x00" + strings.Repeat("\x00", 100),
		"BMP":       "BM\x9a\x00\x00\x00" + strings.Repeat("\x00", 100),
		"ICO":       "\x00\x00\x01\x00\x01\x00" + strings.Repeat("\x00", 100),
		"AVIF":      "\x00\x00\x00\x1cftypavif" + strings.Repeat("\x00", 100),
		"ZIP":       "PK\x03\x04" + strings.Repeat("\x00", 100),
		"gzip":      string(gzipOf([]byte("x"))),
		"a program": "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 100),
		"noise":     strings.Repeat("\x93\x01\xfe", 100),
		"RIFF that is a WAV": "RIFF\x24\x00\x00\x00WAVEfmt " +
			strings.Repeat("\x00", 100),
	} {
		b.picture("instead of a picture "+what, final(failure.ReasonNotAPicture), func(c *call) {
			c.Header().Set("Content-Type", "image/jpeg")
			sends([]byte(text))(c)
		})
	}
	for kind, magic := range map[string]string{
		"jpeg": "\xff\xd8\xff", "png": "\x89PNG\r\n\x1a\n", "gif": "GIF89a", "webp": "RIFF\x1a\x00\x00\x00WEBP",
	} {
		b.picture("nothing but the first bytes of "+kind, exhausted(failure.ReasonBrokenPicture), sends([]byte(magic)))
	}

	flipped := slices.Clone(whole["png"])
	flipped[len(flipped)/2] ^= 1
	for what, p := range map[string][]byte{
		"a png with a bad checksum":         flipped,
		"a png without data":                append(pngHead(10, 10), pngChunk("IEND", nil)...),
		"a png of 0 by 0":                   append(pngHead(0, 0), pngChunk("IEND", nil)...),
		"a jpeg without a scan":             append(append([]byte{0xff, 0xd8}, frameHeader(0xc0, 10, 10)...), 0xff, 0xd9),
		"a jpeg with a scan of nothing":     append(jpegHead(4000, 3000), 0xff, 0xd9),
		"a gif without a frame":             append(slices.Clone(whole["gif"][:13+3<<(1+whole["gif"][10]&7)]), 0x3b),
		"a webp without a picture":          riff(webpChunk("what", []byte("x"))),
		"a gif that is a script":            []byte("GIF89a/*\x01\x00\x00\x00" + "*/=1;alert(1);" + strings.Repeat(" ", 600)),
		"a jpeg that is HTML after 3 bytes": []byte("\xff\xd8\xff<html><script>alert(1)</script>" + strings.Repeat(" ", 70_000)),
	} {
		b.picture(what, final(failure.ReasonBrokenPicture), sends(p))
	}
	// Its script gives it sides of a thousand pixels and more.
	b.want("a gif that is a script", final(failure.ReasonBrokenPicture), final(failure.ReasonTooManyPixels))

	comment := slices.Insert(slices.Clone(whole["jpeg"]), 2, segment(0xfe, []byte("<script>alert(1)</script>")...)...)
	b.stored("a jpeg with a script in its comment", comment, 1, sends(comment))
	for what, header := range map[string][2]string{
		"says that it is HTML":      {"Content-Type", "text/html"},
		"says nothing":              {"Content-Type", ""},
		"says two types":            {"Content-Type", "image/png, text/html\t;x"},
		"has a name that climbs":    {"Content-Disposition", `attachment; filename="../../../../tmp/planted.png"`},
		"has a name that is a path": {"Content-Disposition", `attachment; filename="/etc/cron.d/planted"`},
		"sets a cookie":             {"Set-Cookie", "session=planted-cookie; Domain=127.0.0.1"},
	} {
		b.stored("a png that "+what, whole["png"], 1, func(c *call) {
			c.Header().Set(header[0], header[1])
			sends(whole["png"])(c)
		})
	}
}

// bombs adds pictures that are small to send and large to look at (demands 13
// and 14).
func (b *builder) bombs() {
	for what, p := range map[string][]byte{
		"webp bomb of 30 bytes": lossless(16383, 16383),
		"png bomb":              append(pngHead(20_000, 20_000), pngChunk("IDAT", make([]byte, 300<<10))...),
		"jpeg bomb":             append(jpegHead(65_000, 65_000), 0xff, 0xd9),
		"gif bomb of one frame": bytes.Replace(framesGIF(65_535, 1), []byte("\x3b"), []byte("\x3b"), 1),
		"png of 4 billion":      append(pngHead(1<<31-1, 2), pngChunk("IEND", nil)...),
	} {
		b.picture(what, final(failure.ReasonTooManyPixels), sends(p))
	}
	for what, p := range map[string][]byte{
		"gif of 4,000 frames":       framesGIF(1000, 4000),
		"png of 4,000 frames":       framesPNG(1000, 4000),
		"webp of 4,000 frames":      framesWebP(1000, 4000),
		"jpeg of 3,000 scans":       scansJPEG(3000),
		"jpeg of 101 scans, 1 more": scansJPEG(101),
	} {
		b.picture(what, final(failure.ReasonTooComplex), sends(p))
	}
}
