package thumbnail_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/thumbnail"
)

// memory is a store: bytes by key.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
	opens atomic.Int64
	// hold, where set, is received from before a file is opened.
	hold chan struct{}
	now  atomic.Int64
	most atomic.Int64
}

func (m *memory) put(data []byte) (key, sum string) {
	hash := sha256.Sum256(data)
	sum = hex.EncodeToString(hash[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = make(map[string][]byte)
	}
	m.files[sum] = data
	return sum, sum
}

func (m *memory) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	m.opens.Add(1)
	if m.hold != nil {
		m.most.Store(max(m.most.Load(), m.now.Add(1)))
		defer m.now.Add(-1)
		select {
		case <-m.hold:
		case <-ctx.Done():
			return nil, storage.Info{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[key]
	if !ok {
		return nil, storage.Info{}, &fs.PathError{Op: "open", Path: key, Err: fs.ErrNotExist}
	}
	return io.NopCloser(bytes.NewReader(data)), storage.Info{Size: int64(len(data))}, nil
}

func newMaker(t testing.TB, dir string, store thumbnail.Opener) *thumbnail.Maker {
	t.Helper()
	m, err := thumbnail.New(thumbnail.DefaultConfig(), dir, store, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// flag returns a picture whose four quarters are red, green, blue and white.
func flag(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	colours := []color.RGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {255, 255, 255, 255}}
	for y := range h {
		for x := range w {
			m.SetRGBA(x, y, colours[2*(2*y/h)+2*x/w])
		}
	}
	return m
}

// corners reads the quarters of a picture, from left to right, downwards.
func corners(m image.Image) string {
	b := m.Bounds()
	var s strings.Builder
	for _, at := range []image.Point{{1, 1}, {3, 1}, {1, 3}, {3, 3}} {
		r, g, bl, a := m.At(b.Min.X+at.X*b.Dx()/4, b.Min.Y+at.Y*b.Dy()/4).RGBA()
		high := func(v uint32) bool { return v > 0x8000 }
		switch {
		case !high(a):
			s.WriteByte('-')
		case high(r) && high(g) && high(bl):
			s.WriteByte('W')
		case high(r):
			s.WriteByte('R')
		case high(g):
			s.WriteByte('G')
		case high(bl):
			s.WriteByte('B')
		default:
			s.WriteByte('k')
		}
	}
	return s.String()
}

func encodeJPEG(m image.Image) []byte {
	var b bytes.Buffer
	must(0, jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}))
	return b.Bytes()
}

func encodePNG(m image.Image) []byte {
	var b bytes.Buffer
	must(0, png.Encode(&b, m))
	return b.Bytes()
}

// exif is a TIFF block that asks for an orientation and says who took it.
func exif(orientation int) []byte {
	b := []byte("MM\x00*\x00\x00\x00\x08\x00\x02")
	b = append(b, 0x01, 0x0f, 0, 2, 0, 0, 0, 12, 0, 0, 0, 38) // Make
	b = append(b, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, byte(orientation), 0, 0)
	return append(append(b, 0, 0, 0, 0), "SecretCamera"...)
}

// withEXIF puts exif into a jpeg or png.
func withEXIF(data []byte, orientation int) []byte {
	block := exif(orientation)
	if data[0] == 0xff {
		block = append([]byte("Exif\x00\x00"), block...)
		head := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(block)+2))
		return slices.Concat(data[:2], head, block, data[2:])
	}
	return slices.Concat(data[:33], pngChunk("eXIf", block), data[33:])
}

func pngChunk(name string, data []byte) []byte {
	c := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	c = append(append(c, name...), data...)
	return binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
}

// lateGIF is an animation whose first frame fills the right half of its
// canvas.
func lateGIF(w, h int) []byte {
	palette := color.Palette{color.Transparent, color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}}
	g := &gif.GIF{Config: image.Config{Width: w, Height: h, ColorModel: palette}}
	for i, r := range []image.Rectangle{image.Rect(w/2, 0, w, h), image.Rect(0, 0, w, h)} {
		m := image.NewPaletted(r, palette)
		for j := range m.Pix {
			m.Pix[j] = byte(1 + i)
		}
		g.Image, g.Delay, g.Disposal = append(g.Image, m), append(g.Delay, 10), append(g.Disposal, gif.DisposalNone)
	}
	var b bytes.Buffer
	must(0, gif.EncodeAll(&b, g))
	return b.Bytes()
}

// Whole webp pictures of one pixel, the first transparent.
var (
	losslessWebP = must(base64.StdEncoding.DecodeString("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="))
	lossyWebP    = must(base64.StdEncoding.DecodeString("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"))
)

// lateWebP is an animation of 3x3 whose frame is one pixel at 2,2.
func lateWebP() []byte {
	chunk := func(name string, parts ...[]byte) []byte {
		data := slices.Concat(parts...)
		return append(binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data))), data...)
	}
	frame := chunk("ANMF", []byte{1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0}, lossyWebP[12:])
	return chunk("RIFF", []byte("WEBP"), chunk("VP8X", []byte{2, 0, 0, 0, 2, 0, 0, 2, 0, 0}), chunk("ANIM", make([]byte, 6)), frame)
}

func TestGet(t *testing.T) {
	t.Parallel()
	hole := flag(400, 200)
	for y := range 100 {
		for x := range 200 {
			hole.SetRGBA(x, y, color.RGBA{})
		}
	}
	for _, tc := range []struct {
		name    string
		data    []byte
		size    thumbnail.Size
		mime    string
		w, h    int
		corners string
	}{
		{"jpeg", encodeJPEG(flag(1200, 600)), thumbnail.Grid, "image/jpeg", 320, 160, "RGBW"},
		{"jpeg for a page", encodeJPEG(flag(1200, 600)), thumbnail.Page, "image/jpeg", 800, 400, "RGBW"},
		{"small jpeg", encodeJPEG(flag(40, 60)), thumbnail.Grid, "image/jpeg", 40, 60, "RGBW"},
		{"png", encodePNG(flag(400, 800)), thumbnail.Grid, "image/jpeg", 160, 320, "RGBW"},
		{"transparent png", encodePNG(hole), thumbnail.Grid, "image/png", 320, 160, "-GBW"},
		{"png of one column", encodePNG(flag(2, 9000)), thumbnail.Grid, "image/jpeg", 1, 320, ""},
		{"gif", lateGIF(600, 300), thumbnail.Grid, "image/png", 320, 160, "-R-R"},
		{"webp", lossyWebP, thumbnail.Grid, "image/jpeg", 1, 1, ""},
		{"transparent webp", losslessWebP, thumbnail.Grid, "image/png", 1, 1, ""},
		{"animated webp", lateWebP(), thumbnail.Grid, "image/png", 3, 3, "---W"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store := new(memory)
			m := newMaker(t, t.TempDir(), store)
			key, sum := store.put(tc.data)
			for i, how := range []string{"made", "kept"} {
				got, err := m.Get(t.Context(), key, sum, tc.size)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				img, _, err := image.Decode(bytes.NewReader(got.Data))
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if got.MIME != tc.mime || img.Bounds().Dx() != tc.w || img.Bounds().Dy() != tc.h {
					t.Errorf("%s: got %s of %v, want %s of %dx%d", how, got.MIME, img.Bounds().Size(), tc.mime, tc.w, tc.h)
				}
				if tc.corners != "" && corners(img) != tc.corners {
					t.Errorf("%s: got corners %s, want %s", how, corners(img), tc.corners)
				}
				if n := store.opens.Load(); n != 1 {
					t.Errorf("look %d opened the original %d times, want once", i+1, n)
				}
			}
		})
	}
}

// TestUpright: all eight orientations look the same, and nothing of the
// metadata is left.
func TestUpright(t *testing.T) {
	t.Parallel()
	upright := flag(400, 200)
	// How the pixels of upright are stored for an orientation.
	stored := map[int]func(x, y int) (int, int){
		1: func(x, y int) (int, int) { return x, y },
		2: func(x, y int) (int, int) { return 399 - x, y },
		3: func(x, y int) (int, int) { return 399 - x, 199 - y },
		4: func(x, y int) (int, int) { return x, 199 - y },
		5: func(x, y int) (int, int) { return y, x },
		6: func(x, y int) (int, int) { return y, 399 - x },
		7: func(x, y int) (int, int) { return 199 - y, 399 - x },
		8: func(x, y int) (int, int) { return 199 - y, x },
	}
	store := new(memory)
	m := newMaker(t, t.TempDir(), store)
	for orientation, place := range stored {
		raw := image.NewRGBA(image.Rect(0, 0, 400, 200))
		if orientation > 4 {
			raw = image.NewRGBA(image.Rect(0, 0, 200, 400))
		}
		for y := range 200 {
			for x := range 400 {
				rx, ry := place(x, y)
				raw.SetRGBA(rx, ry, upright.RGBAAt(x, y))
			}
		}
		for kind, data := range map[string][]byte{"jpeg": encodeJPEG(raw), "png": encodePNG(raw)} {
			key, sum := store.put(withEXIF(data, orientation))
			got, err := m.Get(t.Context(), key, sum, thumbnail.Grid)
			if err != nil {
				t.Fatalf("%s of orientation %d: %v", kind, orientation, err)
			}
			img := must(jpeg.Decode(bytes.NewReader(got.Data)))
			if img.Bounds().Size() != image.Pt(320, 160) || corners(img) != "RGBW" {
				t.Errorf("%s of orientation %d: got %v with corners %s, want 320x160 with RGBW", kind, orientation, img.Bounds().Size(), corners(img))
			}
			if bytes.Contains(got.Data, []byte("Exif")) || bytes.Contains(got.Data, []byte("Secret")) {
				t.Errorf("%s of orientation %d: metadata is left", kind, orientation)
			}
		}
	}
}

// TestHostile: no thumbnail, and the reason why.
func TestHostile(t *testing.T) {
	t.Parallel()
	header := func(w, h uint32, depth, interlaced byte) []byte {
		p := binary.BigEndian.AppendUint32(nil, w)
		p = binary.BigEndian.AppendUint32(p, h)
		return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", append(p, depth, 2, 0, 0, interlaced)))
	}
	good := encodePNG(flag(64, 64))
	noise := slices.Clone(encodeJPEG(flag(640, 640)))
	for i := len(noise) / 2; i < len(noise)-2; i++ {
		noise[i] = 0xfe
	}
	store := new(memory)
	m := newMaker(t, t.TempDir(), store)
	for _, tc := range []struct {
		name   string
		data   []byte
		reason failure.Reason
	}{
		{"page", []byte("<html><script>alert(1)</script>"), failure.ReasonNotAPicture},
		{"svg", []byte("<svg onload=alert(1)>"), failure.ReasonNotAPicture},
		{"empty", nil, failure.ReasonNotAPicture},
		{"half", good[:len(good)/2], failure.ReasonBrokenPicture},
		{"garbled", noise, failure.ReasonBrokenPicture},
		{"2,500 MP", header(50_000, 50_000, 8, 0), failure.ReasonTooManyPixels},
		{"49 MP of 16 bits, interlaced", slices.Concat(header(7000, 7000, 16, 1),
			pngChunk("IDAT", make([]byte, 400_000)), pngChunk("IEND", nil)), failure.ReasonTooComplex},
	} {
		key, sum := store.put(tc.data)
		_, err := m.Get(t.Context(), key, sum, thumbnail.Grid)
		if e, ok := errors.AsType[*failure.Error](err); !ok || e.Reason != tc.reason {
			t.Errorf("%s: got %v, want reason %s", tc.name, err, tc.reason)
		}
	}
	opened := store.opens.Load()
	key, sum := store.put([]byte("<svg onload=alert(1)>"))
	if _, err := m.Get(t.Context(), key, sum, thumbnail.Page); err == nil || store.opens.Load() != opened {
		t.Errorf("a picture that failed for good: got %v and was opened again %d times, want none", err, store.opens.Load()-opened)
	}
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	store := new(memory)
	m := newMaker(t, t.TempDir(), store)
	key, sum := store.put(encodePNG(flag(10, 10)))
	store.files[key] = encodePNG(flag(20, 20))
	if _, err := m.Get(t.Context(), key, sum, thumbnail.Grid); !errors.Is(err, thumbnail.ErrChanged) {
		t.Errorf("another file: got %v, want ErrChanged", err)
	}
	delete(store.files, key)
	if _, err := m.Get(t.Context(), key, sum, thumbnail.Grid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want fs.ErrNotExist", err)
	}
	store.put(encodePNG(flag(10, 10)))
	if _, err := m.Get(t.Context(), key, sum, thumbnail.Grid); err != nil {
		t.Errorf("the file is back: %v", err)
	}
	for _, bad := range []string{"", "..", strings.Repeat("A", 64), strings.Repeat("a", 63)} {
		if _, err := m.Get(t.Context(), key, bad, thumbnail.Grid); err == nil {
			t.Errorf("hash %q is taken", bad)
		}
		if err := thumbnail.Folder(t.TempDir()).Remove(t.Context(), bad); err == nil {
			t.Errorf("hash %q is removed", bad)
		}
	}
	if _, err := m.Get(t.Context(), key, sum, 4000); err == nil {
		t.Error("a size of 4000 is taken")
	}
}

// TestShared: who asks for the same thumbnail at once shares one decode, of
// different ones as many are made as there are CPUs, and who leaves is let go.
func TestShared(t *testing.T) {
	t.Parallel()
	store := &memory{hold: make(chan struct{})}
	m := newMaker(t, t.TempDir(), store)
	const pictures, askers = 40, 5
	var asked sync.WaitGroup
	for i := range pictures {
		key, sum := store.put(encodePNG(flag(10+i, 10)))
		for range askers {
			asked.Go(func() {
				if _, err := m.Get(t.Context(), key, sum, thumbnail.Grid); err != nil {
					t.Error(err)
				}
			})
		}
	}
	leaving, leave := context.WithCancel(t.Context())
	key, sum := store.put(encodePNG(flag(5, 5)))
	left := make(chan error, 1)
	go func() {
		_, err := m.Get(leaving, key, sum, thumbnail.Grid)
		left <- err
	}()
	leave()
	select {
	case err := <-left:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("who leaves is held")
	}
	close(store.hold)
	asked.Wait()
	// The one that was left may or may not have been begun.
	if n := store.opens.Load(); n < pictures || n > pictures+1 {
		t.Errorf("%d pictures, each asked for by %d at once, were opened %d times", pictures, askers, n)
	}
	if most := int(store.most.Load()); most > runtime.GOMAXPROCS(0) {
		t.Errorf("%d were made at once, want at most %d", most, runtime.GOMAXPROCS(0))
	}
}

// files returns the files below dir, and their bytes together.
func files(t *testing.T, dir string) (paths []string, total int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		paths, total = append(paths, p), total+info.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths, total
}

// TestFolder: two processes share it, what is spoiled in it is made again, and
// one picture's thumbnails can be removed.
func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := new(memory)
	a, b := newMaker(t, dir, store), newMaker(t, dir, store)
	key, sum := store.put(encodeJPEG(flag(900, 900)))
	other, otherSum := store.put(encodeJPEG(flag(901, 900)))
	var both sync.WaitGroup
	for _, m := range []*thumbnail.Maker{a, b} {
		for _, size := range []thumbnail.Size{thumbnail.Grid, thumbnail.Page} {
			both.Go(func() {
				if _, err := m.Get(t.Context(), key, sum, size); err != nil {
					t.Error(err)
				}
			})
		}
	}
	both.Wait()
	want := must(a.Get(t.Context(), other, otherSum, thumbnail.Grid))
	paths, _ := files(t, dir)
	if len(paths) != 3 {
		t.Fatalf("got files %q, want 3", paths)
	}
	for _, path := range paths {
		data := must(os.ReadFile(path))
		must(0, os.WriteFile(path, data[:len(data)-1], 0o644))
	}
	opened := store.opens.Load()
	got, err := b.Get(t.Context(), other, otherSum, thumbnail.Grid)
	if err != nil || !bytes.Equal(got.Data, want.Data) || store.opens.Load() != opened+1 {
		t.Errorf("a spoiled file: got %d bytes, %v, want the thumbnail made again", len(got.Data), err)
	}
	if err := thumbnail.Folder(dir).Remove(t.Context(), sum); err != nil {
		t.Fatal(err)
	}
	if paths, _ = files(t, dir); len(paths) != 1 || !strings.Contains(paths[0], otherSum) {
		t.Errorf("after Remove: got %q, want that of %s alone", paths, otherSum)
	}
	for _, dir := range []string{dir, filepath.Join(dir, "missing")} {
		if err := thumbnail.Folder(dir).Remove(t.Context(), sum); err != nil {
			t.Errorf("nothing to remove: %v", err)
		}
	}
}

// TestEviction: the folder stays within its size, and what dead processes left
// behind goes.
func TestEviction(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left := filepath.Join(dir, "v1", "00", ".tmp-dead")
	must(0, os.MkdirAll(filepath.Dir(left), 0o755))
	must(0, os.WriteFile(left, []byte("half"), 0o644))
	must(0, os.Chtimes(left, time.Time{}, time.Now().Add(-2*time.Hour)))

	store := new(memory)
	cfg := thumbnail.Config{MaxBytes: 1 << 20}
	m := must(thumbnail.New(cfg, dir, store, slog.New(slog.DiscardHandler)))
	x := uint32(7)
	var last string
	for range 40 {
		noise := image.NewRGBA(image.Rect(0, 0, 320, 320))
		for i := range noise.Pix {
			x = x*1664525 + 1013904223
			noise.Pix[i] = byte(x>>24) | byte(i%4/3*255)
		}
		key, sum := store.put(encodePNG(noise))
		if _, err := m.Get(t.Context(), key, sum, thumbnail.Grid); err != nil {
			t.Fatal(err)
		}
		last = sum
	}
	if err := m.Close(); err != nil { // waits for what goes on
		t.Fatal(err)
	}
	paths, total := files(t, dir)
	// Between two sweeps a tenth may be added.
	if total > cfg.MaxBytes*12/10 || len(paths) < 5 {
		t.Errorf("got %d files of %d bytes, want some within %d", len(paths), total, cfg.MaxBytes)
	}
	if !slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p, last) }) {
		t.Error("the newest thumbnail is gone")
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
}

// TestNoFolder: thumbnails are made though they cannot be kept, and it is
// said once.
func TestNoFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	must(0, os.WriteFile(file, nil, 0o644))
	var said bytes.Buffer
	store := new(memory)
	m := must(thumbnail.New(thumbnail.DefaultConfig(), filepath.Join(file, "thumbnails"), store, slog.New(slog.NewTextHandler(&said, nil))))
	defer m.Close()
	key, sum := store.put(encodePNG(flag(10, 10)))
	for range 3 {
		if _, err := m.Get(t.Context(), key, sum, thumbnail.Grid); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "\n"); n != 1 || !strings.Contains(said.String(), file) {
		t.Errorf("it said %q, want one line with the folder", said.String())
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := thumbnail.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := thumbnail.Config{MaxBytes: 5}.Validate()
	if err == nil || !strings.Contains(err.Error(), "web.thumbnails.max_bytes") {
		t.Errorf("got %v, want the key", err)
	}
}

// FuzzGet: whatever the store holds, there is an error or a small picture.
func FuzzGet(f *testing.F) {
	for _, data := range [][]byte{
		encodeJPEG(flag(40, 30)), withEXIF(encodeJPEG(flag(40, 30)), 6), encodePNG(flag(30, 40)), withEXIF(encodePNG(flag(30, 40)), 8),
		lateGIF(40, 20), losslessWebP, lateWebP(), []byte("<svg>"),
	} {
		f.Add(data)
	}
	store := new(memory)
	m := newMaker(f, f.TempDir(), store)
	f.Fuzz(func(t *testing.T, data []byte) {
		key, sum := store.put(data)
		got, err := m.Get(t.Context(), key, sum, thumbnail.Grid)
		if err != nil {
			return
		}
		img, kind, err := image.Decode(bytes.NewReader(got.Data))
		if err != nil {
			t.Fatal(err)
		}
		if max(img.Bounds().Dx(), img.Bounds().Dy()) > 320 || got.MIME != fmt.Sprintf("image/%s", kind) {
			t.Errorf("got %s of %v", got.MIME, img.Bounds())
		}
	})
}
