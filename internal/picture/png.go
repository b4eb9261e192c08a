package picture

import (
	"encoding/binary"
	"hash/crc32"
	"strconv"
)

// deflateRatio is above the most that deflate inflates a byte to: two bits
// stand for 258 bytes.
const deflateRatio = 1032

// walkPNG walks the chunks of the PNG specification (third edition, sections
// 5, 11 and 12) from IHDR to IEND, with all checksums. Frames of an animation
// are counted by their fcTL chunks.
func (c *Checker) walkPNG(s *source, info *Info) error {
	if err := s.skip(int64(len(pngMagic))); err != nil {
		return err
	}
	var (
		w        pngWalk
		first    = true
		previous fourCC
	)
	for {
		p, err := s.take(8)
		if err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(p)
		name := fourCC(p[4:8])
		if !name.valid() || length > 1<<31-1 {
			return broken("png with a bad chunk header at byte %d", s.offset()-8)
		}
		if first != (name == ihdr) {
			return broken("png whose IHDR is not the first chunk")
		}
		first = false
		if name == idat && w.dataBytes > 0 && previous != idat {
			return broken("png whose IDAT chunks do not stand together")
		}

		crc := crc32.ChecksumIEEE(p[4:8])
		left := int64(length)
		if size, fixed := w.fixedSize(name); fixed {
			if left != int64(size) {
				return broken("png chunk %s of %d bytes", name, length)
			}
			p, err := s.take(size)
			if err != nil {
				return err
			}
			crc = crc32.Update(crc, crc32.IEEETable, p)
			left = 0
			if err := c.pngChunk(&w, info, name, p); err != nil {
				return err
			}
		}
		for left > 0 {
			p, err := s.some(left)
			if err != nil {
				return err
			}
			crc = crc32.Update(crc, crc32.IEEETable, p)
			left -= int64(len(p))
		}
		p, err = s.take(4)
		if err != nil {
			return err
		}
		if binary.BigEndian.Uint32(p) != crc {
			return broken("png chunk %s with a wrong checksum", name)
		}

		switch name {
		case idat:
			w.dataBytes += int64(length)
		case iend:
			return w.end(info)
		}
		previous = name
	}
}

// fourCC is the name of a chunk, here and in webp.
type fourCC [4]byte

// String returns the name for messages, quoted.
func (t fourCC) String() string { return strconv.Quote(string(t[:])) }

var (
	ihdr = fourCC{'I', 'H', 'D', 'R'}
	idat = fourCC{'I', 'D', 'A', 'T'}
	iend = fourCC{'I', 'E', 'N', 'D'}
	actl = fourCC{'a', 'c', 'T', 'L'}
	fctl = fourCC{'f', 'c', 'T', 'L'}
)

// valid reports whether t has letters only (section 5.3).
func (t fourCC) valid() bool {
	for _, b := range t {
		if (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') {
			return false
		}
	}
	return true
}

// pngWalk is what has been seen of a png.
type pngWalk struct {
	bitsPerPixel int
	dataBytes    int64
	animated     bool
	controls     int // fcTL chunks
	outside      int // 1 if the IDAT picture is no frame of the animation
}

// fixedSize returns the size of a chunk whose content is looked at.
func (w *pngWalk) fixedSize(name fourCC) (size int, fixed bool) {
	switch name {
	case ihdr:
		return 13, true
	case iend:
		return 0, true
	case actl:
		return 8, w.dataBytes == 0
	case fctl:
		return 26, w.animated
	}
	return 0, false
}

// pngChunk looks at the content p of a chunk of fixed size.
func (c *Checker) pngChunk(w *pngWalk, info *Info, name fourCC, p []byte) error {
	switch name {
	case ihdr:
		width, height := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
		if width > 1<<31-1 || height > 1<<31-1 {
			return broken("a picture of %dx%d pixels", width, height)
		}
		info.Width, info.Height = int(width), int(height)
		if err := c.cfg.checkSides(info.Width, info.Height); err != nil {
			return err
		}
		if w.bitsPerPixel = pngBits(p[8], p[9]); w.bitsPerPixel == 0 {
			return broken("png with bit depth %d for colour type %d", p[8], p[9])
		}
		if p[10] != 0 || p[11] != 0 || p[12] > 1 {
			return broken("png with unknown compression, filter or interlace method")
		}
	case actl:
		w.animated = true
		return c.cfg.checkFrames(int64(binary.BigEndian.Uint32(p)), info)
	case fctl:
		width, height := int64(binary.BigEndian.Uint32(p[4:])), int64(binary.BigEndian.Uint32(p[8:]))
		x, y := int64(binary.BigEndian.Uint32(p[12:])), int64(binary.BigEndian.Uint32(p[16:]))
		if width < 1 || height < 1 || x+width > int64(info.Width) || y+height > int64(info.Height) {
			return broken("png frame of %dx%d at %d,%d outside its canvas of %dx%d", width, height, x, y, info.Width, info.Height)
		}
		if w.controls == 0 && w.dataBytes > 0 {
			w.outside = 1
		}
		w.controls++
		info.Frames = w.controls + w.outside
		return c.cfg.checkFrames(int64(info.Frames), info)
	}
	return nil
}

// end checks what only the whole file tells.
func (w *pngWalk) end(info *Info) error {
	if w.dataBytes == 0 {
		return broken("png without picture data")
	}
	if int64(info.Width)*int64(info.Height)*int64(w.bitsPerPixel)/8 > w.dataBytes*deflateRatio {
		return broken("png of %dx%d with %d bytes of picture data", info.Width, info.Height, w.dataBytes)
	}
	return nil
}

// pngBits returns the bits per pixel, or 0 for what section 11.2.1 does not
// allow.
func pngBits(depth, colour byte) int {
	d := int(depth)
	small := d == 1 || d == 2 || d == 4
	wide := d == 8 || d == 16
	switch {
	case colour == 0 && (small || wide), colour == 3 && (small || d == 8):
		return d
	case colour == 2 && wide:
		return 3 * d
	case colour == 4 && wide:
		return 2 * d
	case colour == 6 && wide:
		return 4 * d
	}
	return 0
}
