package picture_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/image/webp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/picture"
)

func newChecker(t testing.TB, change func(*picture.Config)) *picture.Checker {
	t.Helper()
	cfg := picture.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	c, err := picture.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type sample struct {
	name   string
	data   []byte
	kind   picture.Kind
	width  int
	height int
	frames int
}

// samples are whole pictures of every shape; nobody changes their bytes.
var samples = sync.OnceValue(makeSamples)

func makeSamples() []sample {
	rgb := scene(61, 47)
	gray := image.NewGray(rgb.Bounds())
	for i := range gray.Pix {
		gray.Pix[i] = byte(i)
	}
	base := encodeJPEG(rgb, 90)
	return []sample{
		{"jpeg", base, picture.JPEG, 61, 47, 1},
		{"jpeg of one pixel", encodeJPEG(scene(1, 1), 50), picture.JPEG, 1, 1, 1},
		{"gray jpeg", encodeJPEG(gray, 75), picture.JPEG, 61, 47, 1},
		{"large white jpeg", encodeJPEG(image.NewGray(image.Rect(0, 0, 900, 700)), 1), picture.JPEG, 900, 700, 1},
		{"jpeg with fill bytes", cut(base, "\xff\xc0", "\xff\xff\xff\xc0"), picture.JPEG, 61, 47, 1},
		{"jpeg with stray bytes", cut(base, "\xff\xc0", "\x00\x01\x02\xff\xc0"), picture.JPEG, 61, 47, 1},
		{"jpeg with a last restart marker", cut(base, "\xff\xd9", "\xff\xd0\xff\xd9"), picture.JPEG, 61, 47, 1},
		{"jpeg with metadata", cut(base, "\xff\xc0", string(segment(0xe1, bytes.Repeat([]byte("\xff\xd9\xff\xda"), 9000)...))+"\xff\xc0"), picture.JPEG, 61, 47, 1},
		{"png", encodePNG(rgb), picture.PNG, 61, 47, 1},
		{"gray png", encodePNG(gray), picture.PNG, 61, 47, 1},
		{"large black png", encodePNG(image.NewGray(image.Rect(0, 0, 2000, 1000))), picture.PNG, 2000, 1000, 1},
		{"png with text", cut(encodePNG(rgb), "\x00\x00\x00\x00IEND", string(pngChunk("tEXt", make([]byte, 70_000)))+"\x00\x00\x00\x00IEND"), picture.PNG, 61, 47, 1},
		{"animated png", animatedPNG(9, 8, 5, 5, true), picture.PNG, 9, 8, 5},
		{"animated png with another default", animatedPNG(9, 8, 5, 5, false), picture.PNG, 9, 8, 6},
		{"gif", encodeGIF(30, 20, 1), picture.GIF, 30, 20, 1},
		{"animated gif", encodeGIF(30, 20, 7), picture.GIF, 30, 20, 7},
		{"gif of many small frames", encodeGIF(30, 20, 500), picture.GIF, 30, 20, 500},
		{"lossless webp", losslessWebP, picture.WebP, 1, 1, 1},
		{"lossy webp", lossyWebP, picture.WebP, 1, 1, 1},
		{"extended webp", riff(vp8x(0x0c, 1, 1), lossyWebP[12:], webpChunk("EXIF", []byte("odd")), webpChunk("XMP ", []byte("even"))), picture.WebP, 1, 1, 1},
		{"webp with an unknown chunk", riff(losslessWebP[12:], webpChunk("what", []byte("x"))), picture.WebP, 1, 1, 1},
		{"animated webp", animatedWebP(6), picture.WebP, 4, 4, 6},
	}
}

// decodes reports whether the decoders of Go take the whole of data.
func decodes(kind picture.Kind, data []byte) error {
	var err error
	switch r := bytes.NewReader(data); kind {
	case picture.JPEG:
		_, err = jpeg.Decode(r)
	case picture.PNG:
		_, err = png.Decode(r)
	case picture.GIF:
		_, err = gif.DecodeAll(r)
	case picture.WebP:
		_, err = webp.Decode(r)
	}
	return err
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for _, verify := range []string{picture.VerifyStructure, picture.VerifyDecode} {
		c := newChecker(t, func(cfg *picture.Config) { cfg.Verify = verify; cfg.DecodeTimeout = time.Minute })
		for _, s := range samples() {
			t.Run(verify+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				if s.name != "animated webp" {
					if err := decodes(s.kind, s.data); err != nil {
						t.Fatalf("a sample that does not decode: %v", err)
					}
				}
				for how, r := range map[string]io.Reader{
					"at once":        bytes.NewReader(s.data),
					"in odd parts":   iotest.HalfReader(bytes.NewReader(s.data)),
					"EOF with bytes": iotest.DataErrReader(bytes.NewReader(s.data)),
				} {
					var dst bytes.Buffer
					got, err := c.Check(t.Context(), r, &dst)
					want := picture.Info{
						Kind: s.kind, Width: s.width, Height: s.height, Frames: s.frames,
						Bytes: int64(len(s.data)), SHA256: sha256.Sum256(s.data),
					}
					if err != nil || got != want {
						t.Errorf("%s: got %+v, %v, want %+v", how, got, err, want)
					}
					if !bytes.Equal(dst.Bytes(), s.data) {
						t.Errorf("%s: got %d bytes that differ, want %d", how, dst.Len(), len(s.data))
					}
				}
			})
		}
	}
}

// TestCheckByteByByte: no border of the buffer matters.
func TestCheckByteByByte(t *testing.T) {
	t.Parallel()
	c := newChecker(t, nil)
	for _, s := range samples() {
		if len(s.data) > 10_000 {
			continue
		}
		got, err := c.Check(t.Context(), iotest.OneByteReader(bytes.NewReader(s.data)), io.Discard)
		if err != nil || got.Frames != s.frames || got.Width != s.width || got.Height != s.height {
			t.Errorf("%s: got %+v, %v", s.name, got, err)
		}
	}
}

// TestCutAnywhere: a picture that breaks off may come whole the next time.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	c := newChecker(t, nil)
	for _, s := range samples() {
		// Every border within the first and last bytes, and some between.
		step := max(1, len(s.data)/100)
		for n := 1; n < len(s.data); n++ {
			if n > 100 && n < len(s.data)-100 && n%step != 0 {
				continue
			}
			var dst bytes.Buffer
			_, err := c.Check(t.Context(), bytes.NewReader(s.data[:n]), &dst)
			f, ok := errors.AsType[*failure.Error](err)
			if !ok || f.Reason != failure.ReasonBrokenPicture || f.Kind != failure.Temporary {
				t.Fatalf("%s cut to %d of %d bytes: got %v, want broken_picture, temporary", s.name, n, len(s.data), err)
			}
			if dst.Len() != n {
				t.Fatalf("%s cut to %d bytes: %d were copied", s.name, n, dst.Len())
			}
		}
	}
}

// TestTrailingBytes: they are kept, hashed and counted.
func TestTrailingBytes(t *testing.T) {
	t.Parallel()
	tails := map[string][]byte{
		"one byte":       {0},
		"another JPEG":   encodeJPEG(scene(5, 5), 50),
		"a script":       []byte("<script>alert(1)</script>"),
		"a long preview": bytes.Repeat([]byte("preview "), 20_000),
	}
	c := newChecker(t, nil)
	for _, s := range samples() {
		for name, tail := range tails {
			data := slices.Concat(s.data, tail)
			var dst bytes.Buffer
			got, err := c.Check(t.Context(), bytes.NewReader(data), &dst)
			if err != nil || got.Bytes != int64(len(data)) || got.SHA256 != sha256.Sum256(data) || got.Frames != s.frames {
				t.Errorf("%s and %s: got %+v, %v", s.name, name, got, err)
			}
			if !bytes.Equal(dst.Bytes(), data) {
				t.Errorf("%s and %s: not copied whole", s.name, name)
			}
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	base := encodeJPEG(scene(61, 47), 90)
	still := encodePNG(scene(61, 47))
	badCRC := slices.Clone(still)
	badCRC[len(badCRC)-20] ^= 1
	loneGIF := encodeGIF(30, 20, 1)
	lying := slices.Clone(loneGIF)
	copy(lying[6:], []byte{2, 0, 2, 0})
	for _, test := range []struct {
		name   string
		data   string
		reason failure.Reason
		words  string
	}{
		{"empty", "", failure.ReasonNotAPicture, "an empty file"},
		{"HTML", "\n\n<!DOCTYPE html><p>x", failure.ReasonNotAPicture, "an HTML page"},
		{"HTML with a mark", "\ufeff<HTML>", failure.ReasonNotAPicture, "an HTML page"},
		{"SVG", `<?xml version="1.0"?><!-- x --><svg xmlns="…"/>`, failure.ReasonNotAPicture, "SVG"},
		{"bare SVG", "<svg onload=alert(1)>", failure.ReasonNotAPicture, "SVG"},
		{"PDF", "%PDF-1.7", failure.ReasonNotAPicture, "a PDF"},
		{"TIFF", "II*\x00\x08\x00\x00\x00", failure.ReasonNotAPicture, "a TIFF"},
		{"big-endian TIFF", "MM\x00*\x00\x00\x00\x08", failure.ReasonNotAPicture, "a TIFF"},
		{"BMP", "BM\x00\x00\x00\x00", failure.ReasonNotAPicture, "a BMP"},
		{"ICO", "\x00\x00\x01\x00\x01\x00", failure.ReasonNotAPicture, "an ICO"},
		{"AVIF", "\x00\x00\x00\x1cftypavif\x00\x00", failure.ReasonNotAPicture, "an AVIF"},
		{"HEIC", "\x00\x00\x00\x1cftypheic\x00\x00", failure.ReasonNotAPicture, "a HEIC"},
		{"JSON", `{"error":"no"}`, failure.ReasonNotAPicture, "JSON"},
		{"text", "404 not found, föö\n", failure.ReasonNotAPicture, "text"},
		{"WAV", "RIFF\x24\x00\x00\x00WAVEfmt ", failure.ReasonNotAPicture, "a RIFF file"},
		{"noise", "\x01\x02\x03\x04\xfe\xff", failure.ReasonNotAPicture, "unknown bytes"},
		{"HTML with a picture after it", "<html>" + string(base), failure.ReasonNotAPicture, "an HTML page"},

		{"jpeg without frame or scan", "\xff\xd8\xff\xd9", failure.ReasonBrokenPicture, "without a scan"},
		{"jpeg without a scan", "\xff\xd8" + string(sof(0xc0, 8, 8)) + "\xff\xd9", failure.ReasonBrokenPicture, "without a scan"},
		{"jpeg with a scan first", "\xff\xd8" + string(segment(0xda, 1, 1, 0, 0, 63, 0)) + "\xff\xd9", failure.ReasonBrokenPicture, "before its frame header"},
		{"jpeg with two frame headers", "\xff\xd8" + strings.Repeat(string(sof(0xc0, 8, 8)), 2), failure.ReasonBrokenPicture, "two frame headers"},
		{"jpeg without a height", "\xff\xd8" + string(sof(0xc0, 8, 0)), failure.ReasonBrokenPicture, "8x0"},
		{"jpeg segment of length 1", "\xff\xd8\xff\xe0\x00\x01", failure.ReasonBrokenPicture, "length 1"},
		{"jpeg within a jpeg", "\xff\xd8\xff\xd8", failure.ReasonBrokenPicture, "begins anew"},
		{"jpeg with a reserved marker", "\xff\xd8\xff\x02", failure.ReasonBrokenPicture, "unknown marker"},
		{"hierarchical jpeg", "\xff\xd8" + string(sof(0xc5, 8, 8)), failure.ReasonBrokenPicture, "hierarchical"},
		{"jpeg with too little data for its size", "\xff\xd8" + string(sof(0xc0, 7000, 7000)) + string(segment(0xda, 1, 1, 0, 0, 63, 0)) + "abc\xff\xd9", failure.ReasonBrokenPicture, "3 bytes of picture data"},

		{"png with a wrong checksum", string(badCRC), failure.ReasonBrokenPicture, "wrong checksum"},
		{"png without a header", "\x89PNG\r\n\x1a\n" + string(pngChunk("IDAT", []byte("x"))), failure.ReasonBrokenPicture, "not the first chunk"},
		{"png with two headers", string(pngHeader(1, 1)) + string(pngHeader(1, 1)[8:]), failure.ReasonBrokenPicture, "not the first chunk"},
		{"png without data", string(pngHeader(1, 1)) + string(pngChunk("IEND", nil)), failure.ReasonBrokenPicture, "without picture data"},
		{"png with too little data for its size", string(pngHeader(7000, 7000)) + string(pngChunk("IDAT", make([]byte, 100))) + string(pngChunk("IEND", nil)), failure.ReasonBrokenPicture, "100 bytes of picture data"},
		{"png with scattered data", string(pngHeader(1, 1)) + string(pngChunk("IDAT", []byte("x"))) + string(pngChunk("tEXt", nil)) + string(pngChunk("IDAT", []byte("x"))), failure.ReasonBrokenPicture, "stand together"},
		{"png with a bad chunk name", string(pngHeader(1, 1)) + string(pngChunk("I\x00AT", []byte("x"))), failure.ReasonBrokenPicture, "bad chunk header"},
		{"png with a frame outside", string(cut(animatedPNG(9, 8, 2, 2, true), "\x00\x00\x00\x09\x00\x00\x00\x08\x00\x00\x00\x00", "\x00\x00\x00\x09\x00\x00\x00\x08\x00\x00\x00\x01")), failure.ReasonBrokenPicture, "outside its canvas"},

		{"gif without a frame", "GIF89a\x01\x00\x01\x00\x00\x00\x00\x3b", failure.ReasonBrokenPicture, "without a frame"},
		{"gif with an unknown block", "GIF89a\x01\x00\x01\x00\x00\x00\x00\x99", failure.ReasonBrokenPicture, "unknown block 0x99"},
		{"gif whose frame is larger than its canvas", string(lying), failure.ReasonBrokenPicture, "outside its canvas"},
		{"gif of no size", "GIF89a\x00\x00\x01\x00\x00\x00\x00\x3b", failure.ReasonBrokenPicture, "0x1"},
		{"gif without data", "GIF89a\x10\x00\x10\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x10\x00\x10\x00\x00\x02\x00\x3b", failure.ReasonBrokenPicture, "0 bytes of picture data"},

		{"webp whose canvas lies", string(riff(vp8x(0, 2, 2), losslessWebP[12:])), failure.ReasonBrokenPicture, "on a canvas of 2x2"},
		{"webp whose chunk is longer than the file", string(cut(losslessWebP, "VP8L\x0d", "VP8L\x7d")), failure.ReasonBrokenPicture, "longer than what holds it"},
		{"webp without a picture", string(riff(vp8x(0, 2, 2))), failure.ReasonBrokenPicture, "without a picture"},
		{"webp animation without a frame", string(riff(vp8x(2, 2, 2))), failure.ReasonBrokenPicture, "without a frame"},
		{"webp that begins otherwise", string(riff(webpChunk("EXIF", []byte("xx")))), failure.ReasonBrokenPicture, "begins with"},
		{"webp of no size", "RIFF\x04\x00\x00\x00WEBP", failure.ReasonBrokenPicture, "12 bytes"},
		{"webp with a frame outside", string(riff(vp8x(2, 2, 2), anmf(2, 2, 1, 1, losslessWebP[12:]))), failure.ReasonBrokenPicture, "outside its canvas"},
		{"webp whose frame lies", string(riff(vp8x(2, 4, 4), anmf(0, 0, 2, 2, losslessWebP[12:]))), failure.ReasonBrokenPicture, "in a frame of 2x2"},
		{"webp without a key frame", string(cut(lossyWebP, "\x30\x01\x00\x9d", "\x31\x01\x00\x9d")), failure.ReasonBrokenPicture, "bad VP8 header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newChecker(t, nil)
			_, err := c.Check(t.Context(), strings.NewReader(test.data), io.Discard)
			wantFinal(t, err, test.reason, test.words)
		})
	}
}

func wantFinal(t *testing.T, err error, reason failure.Reason, words string) {
	t.Helper()
	f, ok := errors.AsType[*failure.Error](err)
	if !ok || f.Reason != reason || f.Kind != failure.Final {
		t.Fatalf("got %v (%+v), want reason %s, final", err, f, reason)
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("got %q, want it to contain %q", err, words)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	rgb := scene(60, 40)
	for _, test := range []struct {
		name   string
		set    func(*picture.Config)
		data   []byte
		reason failure.Reason
		words  string
	}{
		{"bytes", func(c *picture.Config) { c.MaxBytes = 2 << 20 }, slices.Concat(encodePNG(rgb), make([]byte, 2<<20)), failure.ReasonTooLarge, "picture.max_bytes 2 MiB"},
		{"few bytes", func(c *picture.Config) { c.MinBytes = 1 << 20 }, encodePNG(rgb), failure.ReasonTooSmall, "picture.min_bytes 1048576"},
		{"short side", func(c *picture.Config) { c.MinSide = 41 }, encodePNG(rgb), failure.ReasonTooSmall, "60x40: side of 40 < picture.min_side 41"},
		{"long side", func(c *picture.Config) { c.MaxSide = 59 }, encodeJPEG(rgb, 9), failure.ReasonTooManyPixels, "60x40: side of 60 > picture.max_side 59"},
		{"few pixels", func(c *picture.Config) { c.MinPixels = 2401 }, encodePNG(rgb), failure.ReasonTooSmall, "60x40: 2400 pixels < picture.min_pixels 2401"},
		{"few megapixels", func(c *picture.Config) { c.MinPixels = 2e6 }, encodePNG(rgb), failure.ReasonTooSmall, "60x40: 2400 pixels < picture.min_pixels 2 MP"},
		{"too wide", func(c *picture.Config) { c.MaxAspect = 1.4 }, encodePNG(rgb), failure.ReasonRefusedAspect, "60x40: aspect 1.5 > picture.max_aspect 1.4"},
		{"too narrow", func(c *picture.Config) { c.MinAspect = 2 }, encodeJPEG(rgb, 9), failure.ReasonRefusedAspect, "60x40: aspect 1.5 < picture.min_aspect 2"},
		{"a banner", func(c *picture.Config) { c.MaxAspect = 3 }, pngHeader(2000, 60), failure.ReasonRefusedAspect, "2000x60: aspect 33.3 > picture.max_aspect 3"},
		{"a gif where jpeg is due", func(c *picture.Config) { c.Kinds = []string{"jpeg", "png"} }, encodeGIF(60, 40, 1), failure.ReasonRefusedKind, "gif is none of picture.kinds: jpeg, png"},
		{"a webp where png is due", func(c *picture.Config) { c.Kinds = []string{"png"} }, animatedWebP(1), failure.ReasonRefusedKind, "webp is none of picture.kinds: png"},
		{"pixels", func(c *picture.Config) { c.MaxPixels = 2399 }, encodeGIF(60, 40, 1), failure.ReasonTooManyPixels, "2400 pixels > picture.max_pixels 2399"},
		{"pixels that round alike", nil, pngHeader(5001, 10_000), failure.ReasonTooManyPixels, "50.0 MP > picture.max_pixels 50 MP"},
		{"a picture of 212 MP", nil, pngHeader(20_000, 10_600), failure.ReasonTooManyPixels, "212 MP > picture.max_pixels 50 MP"},
		{"webp of 30 bytes", nil, riff(vp8x(0, 1<<24, 1<<24))[:30], failure.ReasonTooManyPixels, "picture.max_pixels 50 MP"},
		{"lossless webp of 16383x16383", nil, riff(vp8l(1<<14, 1<<14)), failure.ReasonTooManyPixels, "268 MP"},
		{"png of 50,000x50,000", nil, pngHeader(50_000, 50_000), failure.ReasonTooManyPixels, "2500 MP"},
		{"png of 2^31-1 squared", nil, pngHeader(1<<31-1, 1<<31-1), failure.ReasonTooManyPixels, "picture.max_pixels"},
		{"jpeg of 65535x65535", nil, slices.Concat([]byte{0xff, 0xd8}, sof(0xc0, 65535, 65535)), failure.ReasonTooManyPixels, "4294 MP"},
		{"gif of 4,000 frames", nil, manyFrames(4000), failure.ReasonTooComplex, "101 frames > picture.max_frames 100, and 101 MP in all > picture.max_pixels 50 MP"},
		{"webp of 101 frames", func(c *picture.Config) { c.MaxPixels = 1000 }, animatedWebP(101), failure.ReasonTooComplex, "101 frames > picture.max_frames 100"},
		{"png that says 5,000 frames", func(c *picture.Config) { c.MaxPixels = 1000 }, animatedPNG(9, 8, 2, 5000, true), failure.ReasonTooComplex, "5000 frames"},
		{"png of 101 frames that says 2", func(c *picture.Config) { c.MaxPixels = 1000 }, animatedPNG(9, 8, 120, 2, true), failure.ReasonTooComplex, "101 frames"},
		{"jpeg of 3,000 scans", nil, scansJPEG(3000), failure.ReasonTooComplex, "101 scans > picture.max_scans 100"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := newChecker(t, test.set).Check(t.Context(), bytes.NewReader(test.data), io.Discard)
			wantFinal(t, err, test.reason, test.words)
		})
	}
	t.Run("at the limits", func(t *testing.T) {
		t.Parallel()
		data := encodeGIF(60, 40, 3)
		c := newChecker(t, func(c *picture.Config) {
			c.MinBytes, c.MaxBytes = int64(len(data)), int64(len(data))
			c.MinSide, c.MaxSide, c.MinPixels, c.MaxPixels, c.MaxFrames = 40, 60, 2400, 2400, 3
			c.MinAspect, c.MaxAspect, c.Kinds = 1.5, 1.5, []string{"gif"}
		})
		if _, err := c.Check(t.Context(), bytes.NewReader(data), io.Discard); err != nil {
			t.Error(err)
		}
		if _, err := newChecker(t, nil).Check(t.Context(), bytes.NewReader(scansJPEG(100)), io.Discard); err != nil {
			t.Error(err)
		}
	})
}

// manyFrames is a gif of large frames that cost few bytes.
func manyFrames(n int) []byte {
	head := []byte("GIF89a\xe8\x03\xe8\x03\x80\x00\x00\x00\x00\x00\xff\xff\xff")
	frame := slices.Concat([]byte("\x2c\x00\x00\x00\x00\xe8\x03\xe8\x03\x00\x02"), []byte{255}, make([]byte, 255), []byte{0})
	return slices.Concat(head, bytes.Repeat(frame, n), []byte{0x3b})
}

// TestReadsNoFurther: what is refused is refused by its first bytes.
func TestReadsNoFurther(t *testing.T) {
	t.Parallel()
	for name, head := range map[string][]byte{
		"a bomb":         pngHeader(50_000, 50_000),
		"an HTML page":   []byte("<html>"),
		"endless":        encodeJPEG(scene(9, 9), 50),
		"endless header": []byte("\xff\xd8\xff\xe0\xff\xff"),
	} {
		limit := int64(1 << 20)
		c := newChecker(t, func(cfg *picture.Config) { cfg.MaxBytes = limit })
		r := &counter{r: io.MultiReader(bytes.NewReader(head), zeros{})}
		var dst counter
		_, err := c.Check(t.Context(), r, &dst)
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
		want := limit + 1
		if strings.HasPrefix(name, "a") {
			want = 64 << 10
		}
		if r.n > want || dst.n != r.n {
			t.Errorf("%s: read %d bytes and wrote %d, want at most %d", name, r.n, dst.n, want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// TestErrorsPass: those of the reader, the writer and the context come back
// as they are, wherever they strike.
func TestErrorsPass(t *testing.T) {
	t.Parallel()
	slow := failure.Newf(failure.ReasonTimeout, failure.Temporary, "stalled")
	full := failure.Newf(failure.ReasonStore, failure.Hold, "disk full")
	for _, s := range samples() {
		c := newChecker(t, nil)
		for _, n := range []int{0, 1, 5, 11, 30, len(s.data) / 2, len(s.data) - 1, len(s.data)} {
			n = min(n, len(s.data))
			for _, want := range []error{slow, io.ErrUnexpectedEOF} {
				r := io.MultiReader(bytes.NewReader(s.data[:n]), iotest.ErrReader(want))
				if _, err := c.Check(t.Context(), r, io.Discard); err != want {
					t.Errorf("%s, reader fails after %d bytes: got %v, want %v", s.name, n, err, want)
				}
			}
		}
		if _, err := c.Check(t.Context(), bytes.NewReader(s.data), failingWriter{full}); err != error(full) {
			t.Errorf("%s, writer fails: got %v", s.name, err)
		}
		if _, err := c.Check(t.Context(), bytes.NewReader(s.data), failingWriter{}); err != io.ErrShortWrite {
			t.Errorf("%s, writer is short: got %v", s.name, err)
		}
		why := errors.New("told to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if _, err := c.Check(ctx, bytes.NewReader(s.data), io.Discard); err != why {
			t.Errorf("%s, context ended: got %v", s.name, err)
		}
	}
	stuck := readerFunc(func([]byte) (int, error) { return 0, nil })
	if _, err := newChecker(t, nil).Check(t.Context(), stuck, io.Discard); err != io.ErrNoProgress {
		t.Errorf("a reader without progress: got %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write(p []byte) (int, error) { return len(p) - 1, w.err }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestDecode(t *testing.T) {
	t.Parallel()
	decode := func(cfg *picture.Config) { cfg.Verify = picture.VerifyDecode }
	still := encodePNG(scene(61, 47))
	at := bytes.Index(still, []byte("IDAT"))
	n := len(still) - 12 - 4 - (at + 4)
	rubbish := slices.Concat(still[:at-4], pngChunk("IDAT", bytes.Repeat([]byte("rubbish"), n/7)), pngChunk("IEND", nil))

	if _, err := newChecker(t, nil).Check(t.Context(), bytes.NewReader(rubbish), io.Discard); err != nil {
		t.Errorf("structure alone: %v", err)
	}
	_, err := newChecker(t, decode).Check(t.Context(), bytes.NewReader(rubbish), io.Discard)
	wantFinal(t, err, failure.ReasonBrokenPicture, "does not decode")

	_, err = newChecker(t, decode).Check(t.Context(), bytes.NewReader(scansJPEG(2)), io.Discard)
	wantFinal(t, err, failure.ReasonBrokenPicture, "does not decode")

	_, err = newChecker(t, decode).Check(t.Context(), bytes.NewReader(manyFrames(3)), io.Discard)
	wantFinal(t, err, failure.ReasonBrokenPicture, "frame 1")

	hasty := newChecker(t, func(cfg *picture.Config) { decode(cfg); cfg.DecodeTimeout = time.Nanosecond })
	_, err = hasty.Check(t.Context(), bytes.NewReader(still), io.Discard)
	wantFinal(t, err, failure.ReasonTooComplex, "picture.decode_timeout 1ns")
}

// TestMemory: what a check holds does not grow with the picture.
func TestMemory(t *testing.T) {
	data := slices.Concat(encodePNG(scene(9, 9)), make([]byte, 30<<20))
	bombs := [][]byte{manyFrames(4000), pngHeader(50_000, 50_000), scansJPEG(3000), riff(vp8x(0, 1<<24, 1<<24))[:30]}
	c := newChecker(t, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.Check(t.Context(), bytes.NewReader(data), io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, bomb := range bombs {
		if _, err := c.Check(t.Context(), bytes.NewReader(bomb), io.Discard); err == nil {
			t.Error("a bomb passed")
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("got %d bytes allocated, want less than 1 MiB", grown)
	}
}

func TestKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind      picture.Kind
		ext, mime string
	}{
		{picture.JPEG, "jpg", "image/jpeg"},
		{picture.PNG, "png", "image/png"},
		{picture.GIF, "gif", "image/gif"},
		{picture.WebP, "webp", "image/webp"},
		{"tiff", "", ""},
	} {
		if test.kind.Ext() != test.ext || test.kind.MIME() != test.mime {
			t.Errorf("%s: got %q and %q", test.kind, test.kind.Ext(), test.kind.MIME())
		}
	}
}

// What is known of a picture is judged as its bytes were.
func TestTakes(t *testing.T) {
	t.Parallel()
	data := encodePNG(scene(60, 40))
	for name, set := range map[string]func(*picture.Config){
		"all is well":  nil,
		"bytes":        func(c *picture.Config) { c.MaxBytes = int64(len(data)) - 1 },
		"few bytes":    func(c *picture.Config) { c.MinBytes = int64(len(data)) + 1 },
		"short side":   func(c *picture.Config) { c.MinSide = 41 },
		"few pixels":   func(c *picture.Config) { c.MinPixels = 2401 },
		"too wide":     func(c *picture.Config) { c.MaxAspect = 1.4 },
		"another kind": func(c *picture.Config) { c.Kinds = []string{"gif"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChecker(t, set)
			_, want := c.Check(t.Context(), bytes.NewReader(data), io.Discard)
			got := c.Takes(picture.PNG, 60, 40, int64(len(data)))
			if (want == nil) != (set == nil) || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestValidateReportsAll(t *testing.T) {
	t.Parallel()
	if err := picture.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	_, err := picture.New(picture.Config{MinBytes: -1, MinSide: -1, MaxSide: -1, MinPixels: -1, MinAspect: -1, MaxAspect: math.NaN(), Verify: "maybe"})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, key := range []string{"min_bytes", "max_bytes", "min_side", "max_side", "min_pixels", "max_pixels", "min_aspect", "max_aspect", "kinds", "max_frames", "max_scans", "verify", "decode_timeout"} {
		if !strings.Contains(err.Error(), "picture."+key) {
			t.Errorf("no word of picture.%s in:\n%v", key, err)
		}
	}
	cfg := picture.DefaultConfig()
	cfg.MinBytes, cfg.MinSide, cfg.MaxSide = cfg.MaxBytes+1, 2, 1
	cfg.MinPixels, cfg.MinAspect, cfg.MaxAspect = cfg.MaxPixels+1, 2, 1
	if err := cfg.Validate(); err == nil || strings.Count(err.Error(), "no picture could pass") != 4 {
		t.Errorf("limits that cross: got %v", err)
	}
	cfg = picture.DefaultConfig()
	cfg.Kinds = []string{"jpeg", "svg"}
	if err := cfg.Validate(); err == nil || err.Error() != `picture.kinds has "svg"; there are jpeg, png, gif and webp` {
		t.Errorf("an unknown kind: got %v", err)
	}
}

func fuzz(f *testing.F, kind picture.Kind) {
	for _, s := range samples() {
		if s.kind == kind && len(s.data) < 4000 {
			f.Add(s.data)
		}
	}
	c := newChecker(f, func(cfg *picture.Config) { cfg.MaxBytes, cfg.MaxPixels = 8000, 100_000 })
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &counter{r: bytes.NewReader(data)}
		var dst bytes.Buffer
		info, err := c.Check(t.Context(), r, &dst)
		if r.n > 8001 || !bytes.Equal(dst.Bytes(), data[:r.n]) {
			t.Fatalf("read %d bytes, copied %d", r.n, dst.Len())
		}
		if err != nil {
			// What is refused as broken, a decoder refuses too. That of webp
			// stops before the end.
			fail, ok := errors.AsType[*failure.Error](err)
			if !ok {
				t.Fatalf("got an error without a reason: %v", err)
			}
			if fail.Reason == failure.ReasonBrokenPicture && kind != picture.WebP && small(data) && decodes(kind, data) == nil {
				t.Fatalf("refused what decodes: %v", err)
			}
			return
		}
		if info.Bytes != int64(len(data)) || info.SHA256 != sha256.Sum256(data) || info.Width < 1 || info.Height < 1 || info.Frames < 1 {
			t.Fatalf("got %+v of %d bytes", info, len(data))
		}
	})
}

// small reports whether data announces few enough pixels to be decoded in a
// fuzz test.
func small(data []byte) bool {
	cfg, _, err := image.DecodeConfig(bytes.NewReader(data))
	return err == nil && cfg.Width*cfg.Height <= 100_000
}

func FuzzJPEG(f *testing.F) { fuzz(f, picture.JPEG) }
func FuzzPNG(f *testing.F)  { fuzz(f, picture.PNG) }
func FuzzGIF(f *testing.F)  { fuzz(f, picture.GIF) }
func FuzzWebP(f *testing.F) { fuzz(f, picture.WebP) }

func BenchmarkCheck(b *testing.B) {
	small := scene(120, 80)
	for _, bench := range []struct {
		name   string
		verify string
		data   []byte
	}{
		{"jpeg30kB", picture.VerifyStructure, encodeJPEG(scene(330, 240), 90)},
		{"png30kB", picture.VerifyStructure, encodePNG(scene(120, 80))},
		{"gif", picture.VerifyStructure, encodeGIF(100, 100, 12)},
		{"webp", picture.VerifyStructure, lossyWebP},
		{"decode png", picture.VerifyDecode, encodePNG(small)},
	} {
		b.Run(fmt.Sprintf("%s/%d", bench.name, len(bench.data)), func(b *testing.B) {
			c := newChecker(b, func(cfg *picture.Config) { cfg.Verify = bench.verify })
			r := bytes.NewReader(nil)
			b.SetBytes(int64(len(bench.data)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(bench.data)
				if _, err := c.Check(b.Context(), r, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
