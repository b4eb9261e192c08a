package demo_test

import (
	"bytes"
	"fmt"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"net/http"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/demo"
)

func TestPictures(t *testing.T) {
	t.Parallel()
	_, small := setup(t, demo.Config{People: 10_000})
	_, large := setup(t, demo.Config{People: 10, PictureBytes: 30_000})
	for _, tt := range []struct {
		url, mime, format  string
		minBytes, maxBytes int
	}{
		{small + "/images/1.jpg", "image/jpeg", "jpeg", 1000, 20_000},
		{small + "/images/2.png", "image/png", "png", 1000, 20_000},
		{small + "/images/3.gif", "image/gif", "gif", 500, 20_000},
		{small + "/images/m1.png", "image/png", "png", 200, 2000},
		{small + "/images/m10000.png", "image/png", "png", 200, 2000},
		{large + "/images/m10.png", "image/png", "png", 30_000, 30_000},
	} {
		t.Run(tt.url[strings.LastIndex(tt.url, "/"):], func(t *testing.T) {
			t.Parallel()
			resp, body := do(t, http.MethodGet, tt.url)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != tt.mime {
				t.Fatalf("got %s, %s", resp.Status, resp.Header.Get("Content-Type"))
			}
			if resp.ContentLength != int64(len(body)) || len(body) < tt.minBytes || len(body) > tt.maxBytes {
				t.Errorf("%d bytes, Content-Length %d, want %d to %d", len(body), resp.ContentLength, tt.minBytes, tt.maxBytes)
			}
			// The decoders check every checksum on the way.
			img, format, err := image.Decode(strings.NewReader(body))
			if err != nil || format != tt.format {
				t.Fatalf("decoded as %q: %v", format, err)
			}
			if o, ok := img.(interface{ Opaque() bool }); !ok || !o.Opaque() {
				t.Error("one sees through it")
			}
			if side := img.Bounds().Dx(); side < 90 || img.Bounds().Dy() != side {
				t.Errorf("bounds are %v", img.Bounds())
			}
			if got := resp.Header.Get("Content-Security-Policy"); got != "default-src 'none'; sandbox" {
				t.Errorf("policy is %q", got)
			}

			etag := resp.Header.Get("ETag")
			if etag == "" || resp.Header.Get("Cache-Control") != "public, max-age=3600" {
				t.Errorf("ETag %q, Cache-Control %q", etag, resp.Header.Get("Cache-Control"))
			}
			again, none := do(t, http.MethodGet, tt.url, "If-None-Match", etag)
			if again.StatusCode != http.StatusNotModified || none != "" {
				t.Errorf("with its ETag got %s and %d bytes", again.Status, len(none))
			}
			if _, same := do(t, http.MethodGet, tt.url); same != body {
				t.Error("the same picture has other bytes the second time")
			}
			part, rest := do(t, http.MethodGet, tt.url, "Range", "bytes=100-")
			if part.StatusCode != http.StatusPartialContent || rest != body[100:] {
				t.Errorf("range got %s and %d bytes", part.Status, len(rest))
			}
		})
	}
}

func TestPicturesDiffer(t *testing.T) {
	t.Parallel()
	_, url := setup(t, demo.Config{People: 300})
	seen := make(map[string]string)
	pixels := make(map[string]bool)
	for n := range 300 {
		path := fmt.Sprintf("/images/m%d.png", n+1)
		resp, body := do(t, http.MethodGet, url+path)
		if other, twice := seen[body]; twice {
			t.Fatalf("%s has the bytes of %s", path, other)
		}
		if other, twice := seen[resp.Header.Get("ETag")]; twice {
			t.Fatalf("%s has the ETag of %s", path, other)
		}
		seen[body], seen[resp.Header.Get("ETag")] = path, path
		img, _, err := image.Decode(strings.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var b bytes.Buffer
		for y := 0; y < 96; y += 4 {
			for x := 0; x < 96; x += 4 {
				fmt.Fprint(&b, img.At(x, y))
			}
		}
		pixels[b.String()] = true
	}
	if len(pixels) < 290 {
		t.Errorf("300 people look like %d", len(pixels))
	}
}
