package picture_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
)

// scene returns a picture with edges and gradients.
func scene(width, height int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	x := uint32(7)
	for i := range width * height {
		x = x*1664525 + 1013904223
		px, py := i%width, i/width
		m.SetRGBA(px, py, color.RGBA{byte(px * 3), byte(py*5) ^ byte(x>>29), byte(px ^ py), 255})
	}
	return m
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encodeJPEG(m image.Image, quality int) []byte {
	var b bytes.Buffer
	must(0, jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}))
	return b.Bytes()
}

func encodePNG(m image.Image) []byte {
	var b bytes.Buffer
	must(0, png.Encode(&b, m))
	return b.Bytes()
}

func encodeGIF(width, height, frames int) []byte {
	palette := color.Palette{color.Black, color.White, color.RGBA{255, 0, 0, 255}, color.Transparent}
	g := &gif.GIF{Config: image.Config{Width: width, Height: height, ColorModel: palette}}
	for i := range frames {
		m := image.NewPaletted(image.Rect(0, 0, width, height), palette)
		for j := range m.Pix {
			m.Pix[j] = byte(i+j/3) % 4
		}
		g.Image = append(g.Image, m)
		g.Delay = append(g.Delay, 10)
		g.Disposal = append(g.Disposal, gif.DisposalNone)
	}
	var b bytes.Buffer
	must(0, gif.EncodeAll(&b, g))
	return b.Bytes()
}

// Whole webp pictures of 1x1 pixel.
var (
	losslessWebP = must(base64.StdEncoding.DecodeString("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="))
	lossyWebP    = must(base64.StdEncoding.DecodeString("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"))
)

// riff puts webp chunks in their container.
func riff(chunks ...[]byte) []byte {
	body := append([]byte("WEBP"), slices.Concat(chunks...)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

func webpChunk(name string, data []byte) []byte {
	c := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data)))
	c = append(c, data...)
	if len(data)%2 == 1 {
		c = append(c, 0)
	}
	return c
}

func put24(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16)} }

func vp8x(flags byte, width, height int) []byte {
	return webpChunk("VP8X", slices.Concat([]byte{flags, 0, 0, 0}, put24(width-1), put24(height-1)))
}

// vp8l is a VP8L chunk that announces a size, with no picture in it.
func vp8l(width, height int) []byte {
	bits := uint32(width-1) | uint32(height-1)<<14
	return webpChunk("VP8L", append(binary.LittleEndian.AppendUint32([]byte{0x2f}, bits), 0))
}

// anmf is a frame that holds the chunks of a whole webp of one picture.
func anmf(x, y, width, height int, chunks ...[]byte) []byte {
	return webpChunk("ANMF", slices.Concat(put24(x/2), put24(y/2), put24(width-1), put24(height-1), put24(100), []byte{0}, slices.Concat(chunks...)))
}

func animatedWebP(frames int) []byte {
	chunks := [][]byte{vp8x(2, 4, 4), webpChunk("ANIM", make([]byte, 6))}
	for i := range frames {
		still := losslessWebP
		if i%2 == 1 {
			still = lossyWebP
		}
		chunks = append(chunks, anmf(2*(i%2), 0, 1, 1, still[12:]))
	}
	return riff(chunks...)
}

func pngChunk(name string, data []byte) []byte {
	c := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	c = append(append(c, name...), data...)
	return binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
}

func pngHeader(width, height uint32) []byte {
	h := binary.BigEndian.AppendUint32(nil, width)
	h = binary.BigEndian.AppendUint32(h, height)
	return append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", append(h, 8, 2, 0, 0, 0))...)
}

// animatedPNG repeats the picture of a still; declared is what acTL says.
func animatedPNG(width, height, frames int, declared uint32, defaultIsFrame bool) []byte {
	still := encodePNG(scene(width, height))
	at := bytes.Index(still, []byte("IDAT")) - 4
	n := int(binary.BigEndian.Uint32(still[at:]))
	data := still[at+8 : at+8+n]
	seq := uint32(0)
	control := func() []byte {
		c := binary.BigEndian.AppendUint32(nil, seq)
		c = binary.BigEndian.AppendUint32(c, uint32(width))
		c = binary.BigEndian.AppendUint32(c, uint32(height))
		c = append(c, make([]byte, 8)...)
		seq++
		return pngChunk("fcTL", append(c, 0, 1, 0, 10, 0, 0))
	}
	out := slices.Clone(still[:at])
	out = append(out, pngChunk("acTL", binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, declared), 0))...)
	if defaultIsFrame {
		out = append(out, control()...)
		frames--
	}
	out = append(out, pngChunk("IDAT", data)...)
	for range frames {
		out = append(out, control()...)
		out = append(out, pngChunk("fdAT", append(binary.BigEndian.AppendUint32(nil, seq), data...))...)
		seq++
	}
	return append(out, pngChunk("IEND", nil)...)
}

func segment(mark byte, data ...byte) []byte {
	s := binary.BigEndian.AppendUint16([]byte{0xff, mark}, uint16(len(data)+2))
	return append(s, data...)
}

func sof(mark byte, width, height int) []byte {
	return segment(mark, 8, byte(height>>8), byte(height), byte(width>>8), byte(width), 1, 1, 0x11, 0)
}

// scansJPEG has the structure of a progressive jpeg with that many scans.
func scansJPEG(scans int) []byte {
	out := slices.Concat([]byte{0xff, 0xd8}, sof(0xc2, 64, 64))
	for range scans {
		out = append(out, segment(0xda, 1, 1, 0, 0, 0, 0)...)
		out = append(out, bytes.Repeat([]byte{0x12, 0xff, 0}, 40)...)
	}
	return append(out, 0xff, 0xd9)
}

func cut(b []byte, old, by string) []byte {
	if !bytes.Contains(b, []byte(old)) {
		panic("nothing to replace")
	}
	return bytes.Replace(b, []byte(old), []byte(by), 1)
}
