package picture

import "encoding/binary"

// lzwRatio is the most pixels that one code of a gif can stand for.
const lzwRatio = 4096

// walkGIF walks the blocks of GIF89a from the header to the trailer.
func (c *Checker) walkGIF(s *source, info *Info) error {
	p, err := s.take(13)
	if err != nil {
		return err
	}
	info.Width = int(binary.LittleEndian.Uint16(p[6:]))
	info.Height = int(binary.LittleEndian.Uint16(p[8:]))
	global := colourTable(p[10])
	if err := c.cfg.checkSides(info.Width, info.Height); err != nil {
		return err
	}
	if err := s.skip(global); err != nil {
		return err
	}
	s.header = s.offset()
	for frames := 0; ; {
		at := s.offset()
		block, err := s.next()
		if err != nil {
			return err
		}
		switch block {
		case 0x21: // extension: a label, then its data
			if err := s.skip(1); err != nil {
				return err
			}
			if _, err := skipSubBlocks(s); err != nil {
				return err
			}
		case 0x2c: // image descriptor
			frames++
			if err := c.cfg.checkFrames(int64(frames), info); err != nil {
				return err
			}
			if err := gifFrame(s, info); err != nil {
				return err
			}
			s.addFrame(span{from: at, width: info.Width, height: info.Height})
		case 0x3b: // trailer
			if frames == 0 {
				return broken("gif without a frame")
			}
			info.Frames = frames
			return nil
		default:
			return broken("gif with unknown block %#x at byte %d", block, at)
		}
	}
}

// gifFrame walks an image descriptor and its data.
func gifFrame(s *source, info *Info) error {
	p, err := s.take(9)
	if err != nil {
		return err
	}
	x, y := int(binary.LittleEndian.Uint16(p)), int(binary.LittleEndian.Uint16(p[2:]))
	width, height := int(binary.LittleEndian.Uint16(p[4:])), int(binary.LittleEndian.Uint16(p[6:]))
	if x+width > info.Width || y+height > info.Height {
		return broken("gif frame of %dx%d at %d,%d outside its canvas of %dx%d", width, height, x, y, info.Width, info.Height)
	}
	if err := s.skip(colourTable(p[8])); err != nil {
		return err
	}
	bits, err := s.next()
	if err != nil {
		return err
	}
	if bits < 2 || bits > 8 {
		return broken("gif frame with a code size of %d", bits)
	}
	n, err := skipSubBlocks(s)
	if err != nil {
		return err
	}
	if int64(width)*int64(height) > n*8/int64(bits+1)*lzwRatio {
		return broken("gif frame of %dx%d with %d bytes of picture data", width, height, n)
	}
	return nil
}

// colourTable returns the bytes of the table that flags announce.
func colourTable(flags byte) int64 {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (1 + flags&7)
}

// skipSubBlocks moves behind a chain of data sub-blocks and returns how many
// bytes they hold.
func skipSubBlocks(s *source) (int64, error) {
	for n := int64(0); ; {
		size, err := s.next()
		if err != nil {
			return 0, err
		}
		if size == 0 {
			return n, nil
		}
		if err := s.skip(int64(size)); err != nil {
			return 0, err
		}
		n += int64(size)
	}
}
