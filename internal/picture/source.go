package picture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"

	"github.com/picharvest/picharvest/internal/failure"
)

const (
	bufferSize = 32 << 10
	// maxEmptyReads is how often in a row a reader may bring nothing.
	maxEmptyReads = 100
)

// errEnd is the clean end of the reader. It is not io.EOF, so that a reader's
// own io.ErrUnexpectedEOF or a wrapped io.EOF is never mistaken for it.
var errEnd = errors.New("end of input")

// source is what the walkers read from: a window on the bytes of r, each of
// which was hashed and written to dst when it came in.
type source struct {
	ctx  context.Context
	r    io.Reader
	dst  io.Writer
	max  int64
	hash hash.Hash

	total int64 // bytes read
	err   error // why there are no more
	pos   int   // the window is buf[pos:end]
	end   int
	buf   [bufferSize]byte

	// For decode; kept is nil where nothing will be decoded.
	kept   *bytes.Buffer
	header int64 // where the blocks of a gif begin
	frames []span
	memory int64 // what decoding one frame takes, see decodeMemory

	// info stands here so that a check allocates nothing.
	info Info
}

// span is the place of one frame of an animation in the file, and on the
// canvas where its bytes do not tell.
type span struct {
	from, to      int64
	x, y          int
	width, height int
}

var sources = sync.Pool{New: func() any { return &source{hash: sha256.New()} }}

func newSource(ctx context.Context, r io.Reader, dst io.Writer, limit int64, keep bool) *source {
	s := sources.Get().(*source)
	s.ctx, s.r, s.dst, s.max = ctx, r, dst, limit
	if keep {
		s.kept = new(bytes.Buffer)
	}
	return s
}

// release gives s back; nothing of it may be used after.
func (s *source) release() {
	s.ctx, s.r, s.dst, s.err, s.kept = nil, nil, nil, nil, nil
	s.total, s.pos, s.end, s.header, s.frames, s.memory = 0, 0, 0, 0, nil, 0
	s.info = Info{}
	s.hash.Reset()
	sources.Put(s)
}

// fill brings at least one more byte into the window. What was in it stays,
// moved to the front.
func (s *source) fill() error {
	if s.err != nil {
		return s.err
	}
	if s.pos > 0 {
		s.end = copy(s.buf[:], s.buf[s.pos:s.end])
		s.pos = 0
	}
	for range maxEmptyReads {
		if s.ctx.Err() != nil {
			s.err = context.Cause(s.ctx)
			return s.err
		}
		room := s.buf[s.end:]
		// One byte beyond the limit is enough to know that there are more.
		if left := s.max + 1 - s.total; int64(len(room)) > left {
			room = room[:left]
		}
		n, err := s.r.Read(room)
		if err == io.EOF {
			s.err = errEnd
		} else if err != nil {
			s.err = err
		}
		if n > 0 {
			if err := s.pass(room[:n]); err != nil {
				s.err = err
				return err
			}
			s.end += n
			return nil
		}
		if s.err != nil {
			return s.err
		}
	}
	s.err = io.ErrNoProgress
	return s.err
}

// pass hashes and copies bytes that were just read.
func (s *source) pass(p []byte) error {
	s.total += int64(len(p))
	s.hash.Write(p)
	if s.kept != nil {
		s.kept.Write(p)
	}
	n, err := s.dst.Write(p)
	if err != nil {
		return err
	}
	if n < len(p) {
		return io.ErrShortWrite
	}
	if s.total > s.max {
		return over(failure.ReasonTooLarge, "file > picture.max_bytes %s", formatBytes(s.max))
	}
	return nil
}

// offset is the place in the file of the next byte.
func (s *source) offset() int64 { return s.total - int64(s.end-s.pos) }

// peek returns the next n bytes, at most bufferSize, without moving on. They
// are good until the next call. At an error it returns those that there are.
func (s *source) peek(n int) ([]byte, error) {
	for s.end-s.pos < n {
		if err := s.fill(); err != nil {
			return s.buf[s.pos:s.end], err
		}
	}
	return s.buf[s.pos : s.pos+n], nil
}

// take is peek that moves on.
func (s *source) take(n int) ([]byte, error) {
	p, err := s.peek(n)
	if err != nil {
		return nil, err
	}
	s.pos += n
	return p, nil
}

// next returns the next byte.
func (s *source) next() (byte, error) {
	if s.pos == s.end {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	b := s.buf[s.pos]
	s.pos++
	return b, nil
}

// some returns up to n of the next bytes, at least one, and moves on.
func (s *source) some(n int64) ([]byte, error) {
	if s.pos == s.end {
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	p := s.buf[s.pos:s.end]
	if int64(len(p)) > n {
		p = p[:n]
	}
	s.pos += len(p)
	return p, nil
}

// skip moves on by n bytes.
func (s *source) skip(n int64) error {
	for n > 0 {
		p, err := s.some(n)
		if err != nil {
			return err
		}
		n -= int64(len(p))
	}
	return nil
}

// drain reads to the end of the input.
func (s *source) drain() error {
	for {
		s.pos, s.end = 0, 0
		if err := s.fill(); err != nil {
			if errors.Is(err, errEnd) {
				return nil
			}
			return err
		}
	}
}

// addFrame remembers a frame that began at f.from and ends here.
func (s *source) addFrame(f span) {
	if s.kept != nil {
		f.to = s.offset()
		s.frames = append(s.frames, f)
	}
}
