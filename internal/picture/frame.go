package picture

import (
	"context"
	"errors"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"golang.org/x/image/webp"

	"github.com/picharvest/picharvest/internal/failure"
)

// maxDecodeMemory bounds what all decodes of a Checker's Decode take
// together. It suffices for every usual picture of 50 MP, but not for one of
// 16 bits a channel, or a progressive jpeg of full chroma.
const maxDecodeMemory = 512 << 20

// Frame is the first frame of a picture that passed all checks.
type Frame struct {
	Info
	// Image is the frame as it is stored: an orientation in the metadata is
	// not applied, and the frame of an animation may be smaller than the
	// canvas.
	Image image.Image
	// At is where the top left corner of Image stands on the canvas.
	At image.Point
	// Data is the whole file.
	Data []byte
}

// Decode checks r as Check does and decodes its first frame, of an animated
// png the default picture. It waits, as long as ctx lets it, until fewer
// decodes run than there are CPUs and 512 MiB suffice for all of them.
//
// Errors are those of Check, and
//
//	too_complex     final  the decode takes more than DecodeTimeout, or more
//	                       than 512 MiB
//	broken_picture  final  a sound structure whose pixels do not decode
func (c *Checker) Decode(ctx context.Context, r io.Reader) (Frame, error) {
	s := newSource(ctx, r, io.Discard, c.cfg.MaxBytes, true)
	defer s.release()
	if err := c.prove(s); err != nil {
		return Frame{}, err
	}
	need := decodeMemory(s)
	if need > maxDecodeMemory {
		return Frame{}, over(failure.ReasonTooComplex, "decoding %s of %dx%d takes %d MB > %d MB",
			s.info.Kind, s.info.Width, s.info.Height, need/1e6, maxDecodeMemory/1_000_000)
	}
	if err := c.memory.Acquire(ctx, need); err != nil {
		return Frame{}, context.Cause(ctx)
	}
	defer c.memory.Release(need)
	select {
	case c.decodes <- struct{}{}:
		defer func() { <-c.decodes }()
	case <-ctx.Done():
		return Frame{}, context.Cause(ctx)
	}

	clock := &deadline{ctx: ctx, at: time.Now().Add(c.cfg.DecodeTimeout)}
	img, at, err := decodeFirst(s, clock)
	switch {
	case ctx.Err() != nil:
		return Frame{}, context.Cause(ctx)
	case errors.Is(err, errSlow) || clock.passed():
		return Frame{}, over(failure.ReasonTooComplex, "decoding takes longer than picture.decode_timeout %s", c.cfg.DecodeTimeout)
	case err != nil:
		return Frame{}, broken("%s does not decode: %w", s.info.Kind, err)
	}
	return Frame{Info: s.info, Image: img, At: at, Data: s.kept.Bytes()}, nil
}

// decodeFirst decodes the first frame of the kept bytes.
func decodeFirst(s *source, clock *deadline) (img image.Image, at image.Point, err error) {
	data := s.kept.Bytes()
	switch s.info.Kind {
	case JPEG:
		img, err = jpeg.Decode(clock.reader(data))
		return img, at, err
	case PNG:
		img, err = png.Decode(clock.reader(data))
		return img, at, err
	case GIF:
		f := s.frames[0]
		// What stands before the frame may make one of its colours transparent.
		img, err = gif.Decode(clock.reader(data[:f.to], []byte{0x3b}))
		if err == nil {
			at = img.Bounds().Min
		}
		return img, at, err
	}
	if len(s.frames) == 0 {
		img, err = webp.Decode(clock.reader(data))
		return img, at, err
	}
	f := s.frames[0]
	chunks := data[f.from:f.to]
	img, err = webp.Decode(clock.reader(webpHeader(chunks, f.width, f.height), chunks))
	return img, image.Pt(f.x, f.y), err
}

// decodeMemory returns about how many bytes Go's decoder of the kind takes
// for one frame, at the most.
func decodeMemory(s *source) int64 {
	pixels := int64(s.info.Width) * int64(s.info.Height)
	switch s.info.Kind {
	case JPEG:
		return s.memory
	case PNG:
		// IHDR is the first chunk: the bit depth is byte 24, interlacing 28.
		data := s.kept.Bytes()
		perPixel := int64(4)
		if data[24] == 16 {
			perPixel = 8
		}
		if data[28] != 0 {
			perPixel *= 2
		}
		return pixels * perPixel
	case GIF:
		return pixels * 2
	}
	return pixels * 10
}

// jpegMemory is decodeMemory for a jpeg whose components have so many samples
// in a unit of so many pixels.
func jpegMemory(info *Info, mark byte, components, samples, unit int) int64 {
	pixels := int64(info.Width) * int64(info.Height)
	perSample := int64(1)
	if mark == markSOF0+2 {
		perSample += 4 // a progressive picture is kept as coefficients first
	}
	memory := pixels * int64(samples) * perSample / int64(unit)
	if components > 1 {
		memory += 4 * pixels // where the colours are no YCbCr they are turned into RGBA or CMYK
	}
	return memory
}
