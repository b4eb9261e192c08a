// Package picture proves that bytes from a stranger are one whole jpeg, png,
// gif or webp within limits, while they are copied on. It reads each byte
// once, holds none of them (but where it decodes), and looks at structure:
// markers, chunks, checksums and sizes up to the end that the format defines.
//
// It does not judge what a picture shows, does not change a byte, does not
// strip metadata, and does not make thumbnails. Decoders for other formats
// are not linked in.
package picture

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"

	"golang.org/x/sync/semaphore"

	"github.com/picharvest/picharvest/internal/failure"
)

// Kind is a picture format, told from the bytes alone. The word is stored
// with records.
type Kind string

// The kinds that are accepted.
const (
	JPEG Kind = "jpeg"
	PNG  Kind = "png"
	GIF  Kind = "gif"
	WebP Kind = "webp"
)

// Kinds lists the kinds that are accepted.
func Kinds() []Kind { return []Kind{JPEG, PNG, GIF, WebP} }

// Ext returns the file extension without a dot: jpg, png, gif or webp. It is
// empty for any other kind.
func (k Kind) Ext() string {
	switch k {
	case JPEG:
		return "jpg"
	case PNG, GIF, WebP:
		return string(k)
	}
	return ""
}

// MIME returns the media type: image/jpeg, image/png, image/gif or
// image/webp. It is empty for any other kind.
func (k Kind) MIME() string {
	switch k {
	case JPEG, PNG, GIF, WebP:
		return "image/" + string(k)
	}
	return ""
}

// Info is what is known of a picture that passed.
type Info struct {
	Kind Kind
	// Width and Height are those of the canvas, in pixels, as stored: an
	// orientation in the metadata is not applied.
	Width, Height int
	// Frames is 1 for a still picture.
	Frames int
	// Bytes counts everything that was copied, trailing bytes included.
	Bytes int64
	// SHA256 is the hash of those bytes.
	SHA256 [sha256.Size]byte
}

// Checker checks pictures against one Config. It is safe for concurrent use;
// a process needs one, since a Checker bounds the decodes that run at once.
type Checker struct {
	cfg     Config
	decodes chan struct{}
	memory  *semaphore.Weighted
}

// New returns a Checker, or all that is wrong with cfg.
func New(cfg Config) (*Checker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Checker{
		cfg:     cfg,
		decodes: make(chan struct{}, runtime.GOMAXPROCS(0)),
		memory:  semaphore.NewWeighted(maxDecodeMemory),
	}, nil
}

// Check copies r to dst, byte for byte, until r ends, and tells what picture
// it was. dst has then received exactly the bytes read from r, also where
// Check fails; on an error the caller discards them.
//
// Limits are checked as soon as the bytes that tell are there, so that r is
// read no further than needed, and never beyond MaxBytes by more than one
// byte. Bytes after the end of the picture belong to the file (cameras append
// previews, depth maps and clips); they are copied, hashed and counted, and
// not looked at.
//
// Errors are *failure.Error, but for those of r, dst and ctx, which come back
// unchanged:
//
//	not_a_picture    final      no supported kind; says what it looks like
//	broken_picture   final      right kind, wrong structure
//	broken_picture   temporary  r ended before the picture did: another
//	                            download may bring the rest
//	too_large, too_small, too_many_pixels, too_complex, refused_kind, refused_aspect
//	                 final      beyond a limit; names its key and value
func (c *Checker) Check(ctx context.Context, r io.Reader, dst io.Writer) (Info, error) {
	s := newSource(ctx, r, dst, c.cfg.MaxBytes, c.cfg.Verify == VerifyDecode)
	defer s.release()

	if err := c.prove(s); err != nil {
		return Info{}, err
	}
	if s.kept != nil {
		if err := c.decode(ctx, s.info, s); err != nil {
			return Info{}, err
		}
	}
	return s.info, nil
}

// Takes says, as [Checker.Check] does, whether a picture that passed once is
// within the limits that can be told from what is known of it.
func (c *Checker) Takes(k Kind, width, height int, bytes int64) error {
	switch {
	case bytes > c.cfg.MaxBytes:
		return over(failure.ReasonTooLarge, "file > picture.max_bytes %s", formatBytes(c.cfg.MaxBytes))
	case bytes < c.cfg.MinBytes:
		return c.cfg.tooFew(bytes)
	}
	if err := c.cfg.checkKind(k); err != nil {
		return err
	}
	return c.cfg.checkSides(width, height)
}

// prove walks s to its end and fills in what it is.
func (c *Checker) prove(s *source) error {
	info := &s.info
	if err := c.walk(s, info); err != nil {
		if errors.Is(err, errEnd) {
			return failure.Newf(failure.ReasonBrokenPicture, failure.Temporary,
				"%s breaks off after %d bytes", info.Kind, s.total)
		}
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	if s.total < c.cfg.MinBytes {
		return c.cfg.tooFew(s.total)
	}
	info.Bytes = s.total
	s.hash.Sum(info.SHA256[:0])
	return nil
}

// walk tells the kind and walks the structure from its first byte to its
// last.
func (c *Checker) walk(s *source, info *Info) error {
	kind, err := s.kind()
	if err != nil {
		return err
	}
	info.Kind = kind
	info.Frames = 1
	if err := c.cfg.checkKind(kind); err != nil {
		return err
	}
	switch kind {
	case JPEG:
		return c.walkJPEG(s, info)
	case PNG:
		return c.walkPNG(s, info)
	case GIF:
		return c.walkGIF(s, info)
	default:
		return c.walkWebP(s, info)
	}
}

// broken is a structure that no further byte could mend.
func broken(format string, args ...any) error {
	return failure.Newf(failure.ReasonBrokenPicture, failure.Final, format, args...)
}

// over is a limit that the picture misses.
func over(reason failure.Reason, format string, args ...any) error {
	return failure.Newf(reason, failure.Final, format, args...)
}
