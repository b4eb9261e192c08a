package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
)

//go:embed static
var staticFiles embed.FS

// asset is a file that pages load.
type asset struct {
	data []byte
	mime string
	// url has the hash of data in it, so that it may be kept for ever.
	url string
}

const (
	staticPath = "/static/"
	forEver    = "public, max-age=31536000, immutable"
)

// readAssets returns the embedded files by name.
func readAssets() (map[string]asset, error) {
	assets := make(map[string]asset)
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := fs.ReadFile(staticFiles, "static/"+e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		assets[e.Name()] = asset{
			data: data,
			mime: staticType(e.Name()),
			url:  staticPath + e.Name() + "?v=" + hex.EncodeToString(sum[:6]),
		}
	}
	return assets, nil
}

// staticType does not ask the machine, whose tables differ.
func staticType(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

func (p *pages) static(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.mime)
	if a.url == r.URL.RequestURI() {
		h.Set("Cache-Control", forEver)
	}
	_, _ = w.Write(a.data) // a client that left is no concern of ours
}
