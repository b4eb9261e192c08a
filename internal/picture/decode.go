package picture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"golang.org/x/image/webp"

	"github.com/picharvest/picharvest/internal/failure"
)

var errSlow = errors.New("decode deadline passed")

// decode decodes the kept bytes of a picture whose structure is sound, the
// frames of a gif or webp animation one after the other, so that memory is
// bounded by the canvas. Of an animated png only the default picture is
// decoded. It waits for its turn as long as ctx lets it.
func (c *Checker) decode(ctx context.Context, info Info, s *source) error {
	select {
	case c.decodes <- struct{}{}:
		defer func() { <-c.decodes }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}

	clock := &deadline{ctx: ctx, at: time.Now().Add(c.cfg.DecodeTimeout)}
	err := decodeAll(info, s, clock)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errSlow) || clock.passed():
		return over(failure.ReasonTooComplex, "decoding takes longer than picture.decode_timeout %s", c.cfg.DecodeTimeout)
	case err != nil:
		return broken("%s does not decode: %w", info.Kind, err)
	}
	return nil
}

func decodeAll(info Info, s *source, clock *deadline) error {
	data := s.kept.Bytes()
	switch info.Kind {
	case JPEG:
		_, err := jpeg.Decode(clock.reader(data))
		return err
	case PNG:
		_, err := png.Decode(clock.reader(data))
		return err
	case GIF:
		for i, f := range s.frames {
			_, err := gif.Decode(clock.reader(data[:s.header], data[f.from:f.to], []byte{0x3b}))
			if err != nil {
				return fmt.Errorf("frame %d: %w", i+1, err)
			}
		}
		return nil
	}
	if len(s.frames) == 0 {
		_, err := webp.Decode(clock.reader(data))
		return err
	}
	for i, f := range s.frames {
		chunks := data[f.from:f.to]
		_, err := webp.Decode(clock.reader(webpHeader(chunks, f.width, f.height), chunks))
		if err != nil {
			return fmt.Errorf("frame %d: %w", i+1, err)
		}
	}
	return nil
}

// webpHeader returns what turns the chunks of one frame into a still.
func webpHeader(chunks []byte, width, height int) []byte {
	h := make([]byte, 0, 30)
	h = append(h, "RIFF"...)
	h = binary.LittleEndian.AppendUint32(h, uint32(4+18+len(chunks)))
	h = append(h, "WEBPVP8X\x0a\x00\x00\x00"...)
	flags := byte(0)
	if bytes.HasPrefix(chunks, []byte("ALPH")) {
		flags = 0x10
	}
	h = append(h, flags, 0, 0, 0)
	for _, n := range []int{width - 1, height - 1} {
		h = append(h, byte(n), byte(n>>8), byte(n>>16))
	}
	return h
}

// deadline ends a decode from within, by the reader that it pulls on: no
// goroutine is left behind with a bomb.
type deadline struct {
	ctx context.Context
	at  time.Time
}

func (d *deadline) passed() bool { return time.Now().After(d.at) }

// reader reads the parts one after the other until the deadline.
func (d *deadline) reader(parts ...[]byte) io.Reader {
	readers := make([]io.Reader, len(parts))
	for i, p := range parts {
		readers[i] = bytes.NewReader(p)
	}
	return &timedReader{deadline: d, r: io.MultiReader(readers...)}
}

type timedReader struct {
	*deadline
	r io.Reader
}

func (t *timedReader) Read(p []byte) (int, error) {
	if t.ctx.Err() != nil || t.passed() {
		return 0, errSlow
	}
	return t.r.Read(p)
}
