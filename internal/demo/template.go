package demo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image/color"
	"image/png"
	"math/rand/v2"
)

// pngTemplate is a PNG file of which only the colors and a number in a comment
// change from person to person, so that a picture costs a copy and two
// checksums. Chunks are those of the PNG specification (W3C, third edition).
type pngTemplate struct {
	file    []byte
	comment int // offset of the tEXt chunk
	palette int // offset of the PLTE chunk
}

const (
	pngHead      = 8 + 12 + 13 // signature and IHDR
	chunkHead    = 8           // length and type
	chunkFrame   = chunkHead + 4
	commentText  = "Comment\x00Made-up person 00000000"
	numberDigits = 8
)

// newTemplate draws s into a file of at least size bytes.
func newTemplate(s style, size int) (pngTemplate, error) {
	var b bytes.Buffer
	s.colors = madeUpColors(0) // opaque ones, or the file would say more of them
	if err := png.Encode(&b, s.plain(madeUpSide)); err != nil {
		return pngTemplate{}, err
	}
	drawn := b.Bytes()
	if string(drawn[pngHead+4:pngHead+chunkHead]) != "PLTE" {
		return pngTemplate{}, errors.New("the encoder put no palette behind the header")
	}
	rest := pngHead + chunkFrame + int(binary.BigEndian.Uint32(drawn[pngHead:]))

	t := pngTemplate{comment: pngHead, palette: pngHead + chunkFrame + len(commentText)}
	t.file = append(t.file, drawn[:pngHead]...)
	t.file = appendChunk(t.file, "tEXt", []byte(commentText))
	t.file = append(t.file, drawn[pngHead:rest]...)
	if missing := size - len(t.file) - len(drawn[rest:]); missing > 0 {
		// A private chunk of noise, which no link on the way can shrink.
		noise := make([]byte, max(0, missing-chunkFrame))
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		t.file = appendChunk(t.file, "paDd", noise)
	}
	t.file = append(t.file, drawn[rest:]...)
	return t, nil
}

// appendTo appends the picture of person n to b.
func (t pngTemplate) appendTo(b []byte, n int) []byte {
	start := len(b)
	b = append(b, t.file...)
	file := b[start:]

	digits := file[t.comment+chunkHead+len(commentText)-numberDigits:][:numberDigits]
	copy(digits, fmt.Sprintf("%0*d", numberDigits, n+1))
	sumChunk(file[t.comment:])

	palette := file[t.palette+chunkHead:]
	for i, c := range madeUpColors(n) {
		palette[3*i], palette[3*i+1], palette[3*i+2] = c.R, c.G, c.B
	}
	sumChunk(file[t.palette:])
	return b
}

// appendChunk appends a chunk, length and checksum included.
func appendChunk(b []byte, kind string, data []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = append(append(b, kind...), data...)
	b = append(b, 0, 0, 0, 0)
	sumChunk(b[start:])
	return b
}

// sumChunk writes the checksum of the chunk at the beginning of b.
func sumChunk(b []byte) {
	end := chunkHead + int(binary.BigEndian.Uint32(b))
	binary.BigEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[4:end]))
}

// madeUpColors returns the colors of person n.
func madeUpColors(n int) colors {
	h := mix(uint64(n + nameCount))
	pick := func(from ...color.NRGBA) color.NRGBA {
		c := from[h%uint64(len(from))]
		h /= uint64(len(from))
		return c
	}
	hair := pick(rgb(0x1f, 0x1a, 0x1d), rgb(0x4a, 0x2f, 0x22), rgb(0x8a, 0x5a, 0x2b), rgb(0xd9, 0xb3, 0x5f), rgb(0xb5, 0x4a, 0x2a), rgb(0x9a, 0x9a, 0xa0))
	skin := pick(rgb(0xf6, 0xd7, 0xbd), rgb(0xe9, 0xbc, 0x95), rgb(0xc9, 0x92, 0x66), rgb(0x9c, 0x66, 0x42), rgb(0x6b, 0x43, 0x2c))
	// Backgrounds are light and shirts are deep, so that all parts stand apart.
	background := rgb(0xb0+uint8(h&0x3f), 0xb0+uint8(h>>6&0x3f), 0xb0+uint8(h>>12&0x3f))
	shirt := rgb(0x20+uint8(h>>18&0x7f), 0x20+uint8(h>>25&0x7f), 0x20+uint8(h>>32&0x7f))
	return colors{background, hair, skin, shirt, rgb(0x22, 0x1a, 0x18)}
}
