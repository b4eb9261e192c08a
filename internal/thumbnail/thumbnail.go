// Package thumbnail makes small pictures of stored ones, on demand, and keeps
// them in a folder of bounded size. A thumbnail has no metadata, is turned the
// way its original asks for, and is a jpeg, or a png where the original is
// transparent.
//
// What is in the store is hostile input: it passes the checks of package
// picture, again, before a pixel is decoded, and must be the bytes that were
// recorded. The package knows no names and no batches: a thumbnail belongs to
// the hash of its original, so that equal pictures have one, and a picture
// that changes gets another.
package thumbnail

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"

	"golang.org/x/image/draw"
	"golang.org/x/sync/singleflight"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/storage"
)

// Size is the longest side of a thumbnail in pixels. It is part of file
// names.
type Size int

// The sizes. A picture that is smaller stays as it is.
const (
	// Grid is for many beside each other, on a screen with two pixels a point.
	Grid Size = 320
	// Page is for one picture that fills a page.
	Page Size = 800
)

const (
	// waitAtMost is how long a thumbnail waits for those before it.
	waitAtMost = 20 * time.Second
	// failureLasts is how long a picture that failed for good is not tried
	// again, and maxFailures how many of those are remembered.
	failureLasts = time.Minute
	maxFailures  = 1024
	// oversample is how many times finer than the thumbnail the picture is
	// looked at: it bounds the memory of the scaler whatever the picture.
	oversample = 3
	quality    = 82
)

var (
	// ErrChanged: the file in the store is not the one that was recorded.
	ErrChanged = errors.New("the file in the store is not the one that was recorded")
	// ErrBusy: too many thumbnails are being made; ask again.
	ErrBusy = errors.New("too many thumbnails are being made just now")
)

// Opener opens a stored picture; a storage.Store does.
type Opener interface {
	Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)
}

// Thumbnail is a small picture.
type Thumbnail struct {
	Data []byte
	// MIME is image/jpeg or image/png.
	MIME string
}

// Maker makes thumbnails and remembers them. It is safe for concurrent use,
// and for use of its folder by other processes.
type Maker struct {
	store   Opener
	cache   *cache
	checker *picture.Checker
	slots   chan struct{}
	flights singleflight.Group

	mu     sync.Mutex
	failed map[string]failed
}

// failed is a picture of which there can be no thumbnail.
type failed struct {
	err   error
	until time.Time
}

// New returns a Maker of thumbnails of what is in store, kept in dir, which
// is made when it is missing. A folder that cannot be used is said to log
// once; thumbnails are made anew each time then. The error is about cfg.
func New(cfg Config, dir string, store Opener, log *slog.Logger) (*Maker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	checker, err := picture.New(picture.DefaultConfig())
	if err != nil {
		return nil, err
	}
	return &Maker{
		store:   store,
		cache:   openCache(dir, cfg.MaxBytes, log),
		checker: checker,
		slots:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		failed:  make(map[string]failed),
	}, nil
}

// Close waits for what goes on in the folder and lets go of it.
func (m *Maker) Close() error { return m.cache.close() }

// Get returns the thumbnail of the picture at key whose bytes have that
// SHA-256, in hex, with its longer side at most size. At most as many are made
// at once as there are CPUs; callers that ask for the same one share it.
//
// Errors: fs.ErrNotExist where the store has no file at key, [ErrChanged],
// [ErrBusy], those of the store, and a final *failure.Error of package picture
// for a file that is no picture or beyond its limits, whatever limits it was
// downloaded under.
func (m *Maker) Get(ctx context.Context, key, sha256 string, size Size) (Thumbnail, error) {
	if size != Grid && size != Page {
		return Thumbnail{}, fmt.Errorf("no thumbnails of size %d are made", size)
	}
	if !isHash(sha256) {
		return Thumbnail{}, fmt.Errorf("%q is no SHA-256", sha256)
	}
	file := fileName(sha256, size)
	if data, ok := m.cache.get(file); ok {
		return thumbnailOf(data), nil
	}
	if err := m.recall(sha256); err != nil {
		return Thumbnail{}, err
	}
	// Who asked first may leave; those who asked after him still wait.
	shared := context.WithoutCancel(ctx)
	result := m.flights.DoChan(file, func() (any, error) {
		ctx, cancel := context.WithTimeoutCause(shared, waitAtMost, ErrBusy)
		defer cancel()
		return m.create(ctx, key, sha256, size)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return Thumbnail{}, r.Err
		}
		return thumbnailOf(r.Val.([]byte)), nil
	case <-ctx.Done():
		return Thumbnail{}, context.Cause(ctx)
	}
}

// create makes a thumbnail and keeps it.
func (m *Maker) create(ctx context.Context, key, sha256 string, size Size) ([]byte, error) {
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f, _, err := m.store.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	frame, err := m.checker.Decode(ctx, f)
	if err != nil {
		if e, ok := errors.AsType[*failure.Error](err); ok && e.Kind == failure.Final {
			m.remember(sha256, err)
		}
		return nil, err
	}
	if hex.EncodeToString(frame.SHA256[:]) != sha256 {
		return nil, fmt.Errorf("%s: %w", key, ErrChanged)
	}
	data, err := encode(shrink(frame, size))
	if err != nil {
		return nil, fmt.Errorf("thumbnail of %s: %w", key, err)
	}
	m.cache.put(fileName(sha256, size), data)
	return data, nil
}

// recall returns why there is no thumbnail of a picture that failed lately.
func (m *Maker) recall(sha256 string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.failed[sha256]
	if !ok || time.Now().After(f.until) {
		delete(m.failed, sha256)
		return nil
	}
	return f.err
}

func (m *Maker) remember(sha256 string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.failed) >= maxFailures {
		clear(m.failed)
	}
	m.failed[sha256] = failed{err, time.Now().Add(failureLasts)}
}

// shrink returns the frame on its canvas, with its longer side at most size,
// upright.
func shrink(f picture.Frame, size Size) *image.RGBA {
	w, h := fit(f.Width, f.Height, int(size))
	scale := func(p image.Point) image.Point {
		return image.Pt(int(math.Round(float64(p.X)*float64(w)/float64(f.Width))), int(math.Round(float64(p.Y)*float64(h)/float64(f.Height))))
	}
	src, from := f.Image, f.Image.Bounds()
	place := image.Rectangle{scale(f.At), scale(f.At.Add(from.Size()))}
	if place.Empty() {
		place.Max = place.Min.Add(image.Pt(max(1, place.Dx()), max(1, place.Dy())))
	}
	if fine := place.Size().Mul(oversample); from.Dx() > fine.X || from.Dy() > fine.Y {
		coarse := image.NewRGBA(image.Rect(0, 0, min(from.Dx(), fine.X), min(from.Dy(), fine.Y)))
		draw.NearestNeighbor.Scale(coarse, coarse.Bounds(), src, from, draw.Src, nil)
		src, from = coarse, coarse.Bounds()
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(out, place, src, from, draw.Src, nil)
	return turn(out, orientation(f.Kind, bytes.NewReader(f.Data)))
}

// fit returns the sides of a picture whose longer side is at most size.
func fit(w, h, size int) (int, int) {
	long := max(w, h)
	if long <= size {
		return w, h
	}
	return max(1, w*size/long), max(1, h*size/long)
}

func encode(img *image.RGBA) ([]byte, error) {
	var b bytes.Buffer
	var err error
	if img.Opaque() {
		err = jpeg.Encode(&b, img, &jpeg.Options{Quality: quality})
	} else {
		err = (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, img)
	}
	return b.Bytes(), err
}

func thumbnailOf(data []byte) Thumbnail {
	mime := picture.JPEG.MIME()
	if bytes.HasPrefix(data, []byte(pngBegin)) {
		mime = picture.PNG.MIME()
	}
	return Thumbnail{Data: data, MIME: mime}
}

// isHash reports whether s is a SHA-256 in lower-case hex.
func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
