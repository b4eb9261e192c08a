package hostiletest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
)

// whole are pictures with which nothing is wrong, by kind.
var whole = map[string][]byte{
	"jpeg": encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, scene(80, 60), nil) }),
	"png":  encoded(func(b *bytes.Buffer) error { return png.Encode(b, scene(80, 60)) }),
	"gif":  encoded(func(b *bytes.Buffer) error { return gif.Encode(b, scene(80, 60), nil) }),
	"webp": decoded("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="),
}

var kinds = []string{"jpeg", "png", "gif", "webp"}

// scene is a picture that does not compress well.
func scene(width, height int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	x := uint32(7)
	for i := range width * height {
		x = x*1664525 + 1013904223
		m.SetRGBA(i%width, i/width, color.RGBA{byte(x >> 24), byte(x >> 16), byte(i), 255})
	}
	return m
}

func encoded(encode func(*bytes.Buffer) error) []byte {
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func decoded(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// Sum is the hash that a stored picture must have.
func Sum(p []byte) [32]byte { return sha256.Sum256(p) }

// numbered returns a good picture that no other number has: the kinds in
// turn, with the number in a comment as each kind has them.
func numbered(n int) []byte {
	comment := fmt.Appendf(nil, "number %06d", n)
	p := whole[kinds[n%len(kinds)]]
	switch kinds[n%len(kinds)] {
	case "jpeg":
		return slices.Insert(slices.Clone(p), 2, segment(0xfe, comment...)...)
	case "png":
		return slices.Insert(slices.Clone(p), 33, pngChunk("tEXt", append([]byte("n\x00"), comment...))...)
	case "gif":
		block := slices.Concat([]byte{0x21, 0xfe, byte(len(comment))}, comment, []byte{0})
		return slices.Insert(slices.Clone(p), len(p)-1, block...)
	default:
		return riff(p[12:], webpChunk("note", comment))
	}
}

// borders returns where the structure of a whole picture has its joints, and
// some places between them.
func borders(kind string, p []byte) []int {
	switch kind {
	case "jpeg":
		at := []int{2, 3}
		i := 2
		for p[i+1] != 0xda {
			i += 2 + int(binary.BigEndian.Uint16(p[i+2:]))
			at = append(at, i, i+1, i+3)
		}
		data := i + 2 + int(binary.BigEndian.Uint16(p[i+2:]))
		return append(at, data, (data+len(p))/2, len(p)-2, len(p)-1)
	case "png":
		at := []int{4, 8}
		for i := 8; i < len(p); {
			n := int(binary.BigEndian.Uint32(p[i:]))
			at = append(at, i+4, i+8, i+8+n/2, i+8+n, i+12+n)
			i += 12 + n
		}
		at = slices.Compact(at)
		return at[:len(at)-1] // the last one is the end
	case "gif":
		table := 13 + 3<<(1+p[10]&7)
		return []int{3, 6, 10, 13, table / 2, table, table + 5, table + 10, len(p) / 2, len(p) - 2, len(p) - 1}
	default:
		return []int{4, 8, 12, 16, 20, 25, len(p) - 1}
	}
}

// segment is a jpeg's (ITU-T T.81 B.1.1.4).
func segment(mark byte, data ...byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, mark}, uint16(len(data)+2)), data...)
}

func frameHeader(mark byte, width, height int) []byte {
	return segment(mark, 8, byte(height>>8), byte(height), byte(width>>8), byte(width), 1, 1, 0x11, 0)
}

// jpegHead is a jpeg up to its scan, which may go on for ever.
func jpegHead(width, height int) []byte {
	return slices.Concat([]byte{0xff, 0xd8}, frameHeader(0xc0, width, height), segment(0xda, 1, 1, 0, 0, 0x3f, 0))
}

// scansJPEG is a progressive jpeg of that many scans.
func scansJPEG(scans int) []byte {
	out := slices.Concat([]byte{0xff, 0xd8}, frameHeader(0xc2, 64, 64))
	for range scans {
		out = append(out, segment(0xda, 1, 1, 0, 0, 0, 0)...)
		out = append(out, bytes.Repeat([]byte{0x12, 0xff, 0}, 40)...)
	}
	return append(out, 0xff, 0xd9)
}

func pngChunk(name string, data []byte) []byte {
	c := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	c = append(append(c, name...), data...)
	return binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
}

func pngHead(width, height uint32) []byte {
	h := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	return append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", append(h, 8, 2, 0, 0, 0))...)
}

// framesGIF announces a canvas and repeats one small frame.
func framesGIF(side, frames int) []byte {
	p := slices.Clone(whole["gif"][:13])
	binary.LittleEndian.PutUint16(p[6:], uint16(side))
	binary.LittleEndian.PutUint16(p[8:], uint16(side))
	p[10] = 0x80 // a table of two colours
	p = append(p, 0, 0, 0, 255, 255, 255)
	frame := []byte{0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0}
	return append(append(p, bytes.Repeat(frame, frames)...), 0x3b)
}

// framesPNG is an animated png that announces frames and has them.
func framesPNG(side uint32, frames int) []byte {
	two := func(a, b uint32) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, a), b)
	}
	p := append(pngHead(side, side), pngChunk("acTL", two(uint32(frames), 0))...)
	p = append(p, pngChunk("IDAT", make([]byte, 16))...)
	seq := uint32(0)
	for range frames {
		control := slices.Concat(two(seq, side), two(side, 0), two(0, 0x00010001), []byte{0, 0})
		p = append(p, pngChunk("fcTL", control)...)
		p = append(p, pngChunk("fdAT", append(binary.BigEndian.AppendUint32(nil, seq+1), 0, 0))...)
		seq += 2
	}
	return append(p, pngChunk("IEND", nil)...)
}

func riff(chunks ...[]byte) []byte {
	body := append([]byte("WEBP"), slices.Concat(chunks...)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

func webpChunk(name string, data []byte) []byte {
	c := append(binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data))), data...)
	if len(data)%2 == 1 {
		c = append(c, 0)
	}
	return c
}

func put24(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16)} }

// lossless announces a size in 30 bytes, with no picture in it.
func lossless(width, height int) []byte {
	bits := uint32(width-1) | uint32(height-1)<<14
	return riff(webpChunk("VP8L", append(binary.LittleEndian.AppendUint32([]byte{0x2f}, bits), 0)))
}

// framesWebP repeats one small frame on a large canvas.
func framesWebP(side, frames int) []byte {
	chunks := [][]byte{
		webpChunk("VP8X", slices.Concat([]byte{2, 0, 0, 0}, put24(side-1), put24(side-1))),
		webpChunk("ANIM", make([]byte, 6)),
	}
	for range frames {
		chunks = append(chunks, webpChunk("ANMF", slices.Concat(make([]byte, 12), put24(100), []byte{0}, whole["webp"][12:])))
	}
	return riff(chunks...)
}
