package ui

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/thumbnail"
)

// thumbnailPath is where the thumbnail of a picture is served: "grid" or
// "page". A picture that changes gets another address.
func thumbnailPath(batch, name string, pic recordjson.Picture, size string) string {
	return "/thumbnails/" + url.PathEscape(batch) + query([]string{
		"name", name, "rank", strconv.Itoa(pic.Rank), "size", size, "v", hashStart(pic.SHA256),
	})
}

// hashStart is enough of a hash to tell pictures of one name apart.
func hashStart(sha256 string) string { return sha256[:min(12, len(sha256))] }

// A picture that is opened by itself can do nothing.
const picturePolicy = "default-src 'none'; sandbox"

// noPicture stands for a thumbnail that there is none of. app.js knows it by
// its size of 2x2 and looks again later.
//
//go:embed static/nopicture.svg
var noPicture []byte

func (p *pages) thumbnail(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", picturePolicy)
	pic, err := p.pictureOf(r)
	if err != nil {
		p.noThumbnail(w, r, err)
		return
	}
	size := thumbnail.Grid
	if r.FormValue("size") == "page" {
		size = thumbnail.Page
	}
	t, err := p.thumbnails.Get(r.Context(), pic.Key, pic.SHA256, size)
	if err != nil {
		p.noThumbnail(w, r, err)
		return
	}
	h.Set("Content-Type", t.MIME)
	h.Set("Content-Length", strconv.Itoa(len(t.Data)))
	if r.FormValue("v") == hashStart(pic.SHA256) {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	_, _ = w.Write(t.Data) // a client that left is no concern of ours
}

var errNotStored = errors.New("this picture is not stored")

// pictureOf finds the record that the query names.
func (p *pages) pictureOf(r *http.Request) (recordjson.Picture, error) {
	n, err := p.Control.Name(r.Context(), r.PathValue("batch"), r.FormValue("name"))
	if err != nil {
		return recordjson.Picture{}, err
	}
	rank, err := strconv.Atoi(r.FormValue("rank"))
	if err != nil || rank < 1 || rank > len(n.Pictures) || !n.Pictures[rank-1].Stored() {
		return recordjson.Picture{}, errNotStored
	}
	return n.Pictures[rank-1], nil
}

// noThumbnail answers with a picture that says so: browsers show it whatever
// the status.
func (p *pages) noThumbnail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(context.Cause(r.Context()), context.Canceled) {
		return
	}
	status := http.StatusServiceUnavailable
	var unknown *control.UnknownError
	var bad *failure.Error
	switch {
	case errors.As(err, &unknown), errors.Is(err, errNotStored), errors.Is(err, fs.ErrNotExist), errors.Is(err, thumbnail.ErrChanged):
		status = http.StatusNotFound
	case errors.As(err, &bad) && bad.Kind == failure.Final:
		status = http.StatusUnprocessableEntity
	default:
		p.Logger.Debug("no thumbnail", "path", r.URL.Path, "error", err)
	}
	h := w.Header()
	h.Set("Content-Type", "image/svg+xml")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(noPicture)
}
