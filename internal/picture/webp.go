package picture

import "encoding/binary"

// walkWebP walks the chunks of RFC 9649 to the end that the RIFF header
// announces. The sizes told by the canvas, the frames and their bitstreams
// must agree.
func (c *Checker) walkWebP(s *source, info *Info) error {
	p, err := s.take(12)
	if err != nil {
		return err
	}
	w := webpWalk{cfg: &c.cfg, s: s, info: info}
	// The size counts what follows it, WEBP included.
	end := int64(binary.LittleEndian.Uint32(p[4:])) + 8
	if end < 12+8 {
		return broken("webp of %d bytes", end)
	}
	for first := true; s.offset() < end; first = false {
		if left := end - s.offset(); left < 8 {
			return broken("webp with %d stray bytes at its end", left)
		}
		name, size, err := w.chunkHeader(end)
		if err != nil {
			return err
		}
		if first && name != chunkVP8 && name != chunkVP8L && name != chunkVP8X {
			return broken("webp that begins with chunk %s", name)
		}
		if err := w.chunk(name, size, first); err != nil {
			return err
		}
		if err := w.pad(size, end); err != nil {
			return err
		}
	}
	switch {
	case w.animated && w.frames > 0:
		info.Frames = w.frames
	case w.animated:
		return broken("webp animation without a frame")
	case !w.still:
		return broken("webp without a picture")
	}
	return nil
}

var (
	chunkVP8  = fourCC{'V', 'P', '8', ' '}
	chunkVP8L = fourCC{'V', 'P', '8', 'L'}
	chunkVP8X = fourCC{'V', 'P', '8', 'X'}
	chunkANMF = fourCC{'A', 'N', 'M', 'F'}
)

// webpWalk is what has been seen of a webp.
type webpWalk struct {
	cfg      *Config
	s        *source
	info     *Info
	extended bool // VP8X was there
	animated bool // and announced an animation
	still    bool // the picture of a still was there
	frames   int
}

// chunkHeader reads the header of a chunk that ends at end or before.
func (w *webpWalk) chunkHeader(end int64) (name fourCC, size int64, err error) {
	p, err := w.s.take(8)
	if err != nil {
		return name, 0, err
	}
	name = fourCC(p[:4])
	size = int64(binary.LittleEndian.Uint32(p[4:]))
	if w.s.offset()+size > end {
		return name, 0, broken("webp chunk %s of %d bytes is longer than what holds it", name, size)
	}
	return name, size, nil
}

// pad skips the byte that follows a chunk of odd size. Some writers leave it
// out at the very end.
func (w *webpWalk) pad(size, end int64) error {
	if size%2 == 0 || w.s.offset() == end {
		return nil
	}
	return w.s.skip(1)
}

// chunk walks one top-level chunk of size bytes. Chunks that play no part in
// this kind of file are skipped, as section 2.7 asks.
func (w *webpWalk) chunk(name fourCC, size int64, first bool) error {
	switch {
	case name == chunkVP8X && first:
		return w.header(size)
	case (name == chunkVP8 || name == chunkVP8L) && !w.animated && !w.still:
		w.still = true
		width, height, err := w.bitstream(name, size)
		if err != nil {
			return err
		}
		if !w.extended {
			w.info.Width, w.info.Height = width, height
			return w.cfg.checkSides(width, height)
		}
		if width != w.info.Width || height != w.info.Height {
			return broken("webp picture of %dx%d on a canvas of %dx%d", width, height, w.info.Width, w.info.Height)
		}
		return nil
	case name == chunkANMF && w.animated:
		return w.frame(size)
	}
	return w.s.skip(size)
}

// header reads VP8X (section 2.7.1).
func (w *webpWalk) header(size int64) error {
	if size < 10 {
		return broken("webp chunk VP8X of %d bytes", size)
	}
	p, err := w.s.take(10)
	if err != nil {
		return err
	}
	w.extended = true
	w.animated = p[0]&0x02 != 0
	w.info.Width, w.info.Height = uint24(p[4:])+1, uint24(p[7:])+1
	if err := w.cfg.checkSides(w.info.Width, w.info.Height); err != nil {
		return err
	}
	return w.s.skip(size - 10)
}

// frame walks ANMF (section 2.7.1.1): 16 bytes of header, then the chunks of
// one frame.
func (w *webpWalk) frame(size int64) error {
	w.frames++
	if err := w.cfg.checkFrames(int64(w.frames), w.info); err != nil {
		return err
	}
	if size < 16 {
		return broken("webp chunk ANMF of %d bytes", size)
	}
	end := w.s.offset() + size
	p, err := w.s.take(16)
	if err != nil {
		return err
	}
	x, y := 2*uint24(p), 2*uint24(p[3:])
	width, height := uint24(p[6:])+1, uint24(p[9:])+1
	if x+width > w.info.Width || y+height > w.info.Height {
		return broken("webp frame of %dx%d at %d,%d outside its canvas of %dx%d", width, height, x, y, w.info.Width, w.info.Height)
	}
	from := w.s.offset()
	seen := false
	for end-w.s.offset() >= 8 {
		name, size, err := w.chunkHeader(end)
		if err != nil {
			return err
		}
		if (name == chunkVP8 || name == chunkVP8L) && !seen {
			seen = true
			gotWidth, gotHeight, err := w.bitstream(name, size)
			if err != nil {
				return err
			}
			if gotWidth != width || gotHeight != height {
				return broken("webp picture of %dx%d in a frame of %dx%d", gotWidth, gotHeight, width, height)
			}
		} else if err := w.s.skip(size); err != nil {
			return err
		}
		if err := w.pad(size, end); err != nil {
			return err
		}
	}
	if !seen {
		return broken("webp frame without a picture")
	}
	if err := w.s.skip(end - w.s.offset()); err != nil {
		return err
	}
	w.s.addFrame(span{from: from, x: x, y: y, width: width, height: height})
	return nil
}

// bitstream reads the size of the picture in a VP8 (RFC 6386, section 9.1) or
// VP8L (RFC 9649, section 3.4) chunk and skips the rest.
func (w *webpWalk) bitstream(name fourCC, size int64) (width, height int, err error) {
	head := int64(10)
	if name == chunkVP8L {
		head = 5
	}
	if size < head {
		return 0, 0, broken("webp chunk %s of %d bytes", name, size)
	}
	p, err := w.s.take(int(head))
	if err != nil {
		return 0, 0, err
	}
	if name == chunkVP8L {
		bits := binary.LittleEndian.Uint32(p[1:])
		if p[0] != 0x2f || bits>>29 != 0 {
			return 0, 0, broken("webp with a bad VP8L header")
		}
		width, height = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
	} else {
		tag := uint24(p)
		keyFrame, version, partition := tag&1 == 0, tag>>1&7, tag>>5
		if !keyFrame || version > 3 || p[3] != 0x9d || p[4] != 0x01 || p[5] != 0x2a {
			return 0, 0, broken("webp with a bad VP8 header")
		}
		if int64(partition) > size-head {
			return 0, 0, broken("webp whose first partition of %d bytes is longer than its chunk", partition)
		}
		width = int(binary.LittleEndian.Uint16(p[6:]) & 0x3fff)
		height = int(binary.LittleEndian.Uint16(p[8:]) & 0x3fff)
	}
	return width, height, w.s.skip(size - head)
}

// uint24 reads three bytes, the lowest first.
func uint24(p []byte) int {
	return int(p[0]) | int(p[1])<<8 | int(p[2])<<16
}
