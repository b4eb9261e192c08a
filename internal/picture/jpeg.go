package picture

import (
	"bytes"
	"encoding/binary"

	"github.com/picharvest/picharvest/internal/failure"
)

// The markers of ITU-T T.81, table B.1, that matter here.
const (
	markSOF0  = 0xc0
	markDHT   = 0xc4
	markJPG   = 0xc8
	markSOF9  = 0xc9
	markDAC   = 0xcc
	markSOF15 = 0xcf
	markRST0  = 0xd0
	markRST7  = 0xd7
	markSOI   = 0xd8
	markEOI   = 0xd9
	markSOS   = 0xda
	markDHP   = 0xde
	markEXP   = 0xdf
)

// walkJPEG walks the markers of ITU-T T.81 from SOI to EOI. As every decoder
// in use it forgives stray bytes between segments; it refuses hierarchical
// pictures, which none of them shows, and one with too little data for its
// size.
func (c *Checker) walkJPEG(s *source, info *Info) error {
	if err := s.skip(2); err != nil {
		return err
	}
	var (
		scans     int
		scanBytes int64 // at least what the scans hold
		leastBits int64 // at most what they must hold
		inScan    bool
	)
	for {
		mark, skipped, err := nextMarker(s)
		if err != nil {
			return err
		}
		if inScan {
			scanBytes += skipped
		}
		inScan = mark == markSOS
		switch {
		case mark == markEOI:
			if scans == 0 {
				return broken("jpeg without a scan")
			}
			if scanBytes*8 < leastBits {
				return broken("jpeg of %dx%d with %d bytes of picture data", info.Width, info.Height, scanBytes)
			}
			return nil
		case mark == markSOI:
			return broken("jpeg begins anew at byte %d", s.offset()-2)
		case mark < markSOF0:
			return broken("jpeg with unknown marker %#x at byte %d", mark, s.offset()-2)
		case mark == markDHP || mark == markEXP:
			return broken("jpeg in hierarchical mode")
		}

		p, err := s.take(2)
		if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(p)) - 2
		if n < 0 {
			return broken("jpeg segment %#x of length %d", mark, n+2)
		}
		switch {
		case mark <= markSOF15 && mark != markDHT && mark != markJPG && mark != markDAC:
			if info.Width != 0 {
				return broken("jpeg with two frame headers")
			}
			if leastBits, err = c.frameHeader(s, info, mark, n); err != nil {
				return err
			}
		case mark == markSOS:
			if info.Width == 0 {
				return broken("jpeg scan before its frame header")
			}
			if scans++; scans > c.cfg.MaxScans {
				return over(failure.ReasonTooComplex, "%d scans > picture.max_scans %d", scans, c.cfg.MaxScans)
			}
			if err := scanHeader(s, n); err != nil {
				return err
			}
		default:
			if err := s.skip(int64(n)); err != nil {
				return err
			}
		}
	}
}

// frameHeader reads a SOF segment of n bytes (T.81 B.2.2). It returns how many
// bits of scan data a picture of its size has at the very least.
func (c *Checker) frameHeader(s *source, info *Info, mark byte, n int) (leastBits int64, err error) {
	if mark > markSOF0+3 && mark < markSOF9 || mark > markSOF9+2 {
		return 0, broken("jpeg in hierarchical mode")
	}
	if n < 6+3 || n > 6+3*4 {
		return 0, broken("jpeg frame header of %d bytes", n+2)
	}
	p, err := s.take(n)
	if err != nil {
		return 0, err
	}
	components := int(p[5])
	if n != 6+3*components {
		return 0, broken("jpeg frame header of %d bytes for %d components", n+2, components)
	}
	info.Height = int(binary.BigEndian.Uint16(p[1:]))
	info.Width = int(binary.BigEndian.Uint16(p[3:]))
	if err := c.cfg.checkSides(info.Width, info.Height); err != nil {
		return 0, err
	}
	maxH, maxV, samples := 1, 1, 0
	for i := range components {
		h, v := int(p[7+3*i]>>4), int(p[7+3*i]&15)
		if h < 1 || h > 4 || v < 1 || v > 4 {
			return 0, broken("jpeg with sampling factors %dx%d", h, v)
		}
		maxH, maxV, samples = max(maxH, h), max(maxV, v), samples+h*v
	}
	s.memory = jpegMemory(info, mark, components, samples, maxH*maxV)
	if mark >= markSOF9 {
		// Arithmetic coding may spend far less than a bit on a block.
		return 0, nil
	}
	// A Huffman code has one bit or more, and a component one code or more
	// for each minimum coded unit.
	across := (info.Width + 8*maxH - 1) / (8 * maxH)
	down := (info.Height + 8*maxV - 1) / (8 * maxV)
	return int64(across) * int64(down), nil
}

// scanHeader reads a SOS segment of n bytes (T.81 B.2.3).
func scanHeader(s *source, n int) error {
	if n < 4+2 || n > 4+2*4 {
		return broken("jpeg scan header of %d bytes", n+2)
	}
	p, err := s.take(n)
	if err != nil {
		return err
	}
	if components := int(p[0]); n != 4+2*components {
		return broken("jpeg scan header of %d bytes for %d components", n+2, components)
	}
	return nil
}

// nextMarker moves behind the next marker that is neither a stuffed byte nor
// a restart, and returns it and the number of bytes before it. Fill bytes
// (T.81 B.1.1.2) are skipped.
func nextMarker(s *source) (mark byte, skipped int64, err error) {
	for {
		if s.pos == s.end {
			if err := s.fill(); err != nil {
				return 0, 0, err
			}
		}
		i := bytes.IndexByte(s.buf[s.pos:s.end], 0xff)
		if i < 0 {
			skipped += int64(s.end - s.pos)
			s.pos = s.end
			continue
		}
		skipped += int64(i)
		s.pos += i + 1
		mark = 0xff
		for mark == 0xff {
			if mark, err = s.next(); err != nil {
				return 0, 0, err
			}
		}
		if mark == 0 {
			skipped++
		} else if mark < markRST0 || mark > markRST7 {
			return mark, skipped, nil
		}
	}
}
