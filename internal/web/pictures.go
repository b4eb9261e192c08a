package web

import (
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/recordjson"
)

// picturePolicy keeps a picture that is opened by itself from doing anything.
const picturePolicy = "default-src 'none'; sandbox"

// pictureWithin is how long a client may take for one picture.
const pictureWithin = 10 * time.Minute

// pictureTypes are the media types of what the store may hold. The type of a
// response comes from here and from nowhere else.
var pictureTypes = map[string]string{
	"jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp",
}

// picturePath returns where the original of a picture is served. The name
// stands in the query, since browsers take "." and ".." out of paths.
func picturePath(batch, name string, rank int) string {
	return "/pictures/" + url.PathEscape(batch) + "?" + url.Values{"name": {name}, "rank": {strconv.Itoa(rank)}}.Encode()
}

// picture serves GET /pictures/BATCH?name=N&rank=R (by default 1): the bytes
// that were stored, found by the record alone.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeProblem(w, problem{Status: http.StatusMethodNotAllowed})
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", picturePolicy)
	p, err := s.pictureOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	kind, ok := pictureTypes[p.Kind]
	if !p.Stored() || !ok {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "this picture is not stored"})
		return
	}
	etag := `"` + p.SHA256 + `"`
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private, no-cache")
	if notModified(r, etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	f, info, err := s.deps.Pictures.Open(r.Context(), p.Key)
	if errors.Is(err, fs.ErrNotExist) {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "the record has this picture, the store has no file " + p.Key})
		return
	}
	if err != nil {
		s.deps.Logger.Warn("a stored picture cannot be read", "key", p.Key, "error", err)
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "the picture store cannot be read; the server's log says more"})
		return
	}
	defer f.Close()
	if err := errors.Join(keepReading(w), extendWrite(w, pictureWithin)); err != nil {
		s.fail(w, r, err)
		return
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": fileName(p.Key)}))
	if seeker, ok := f.(io.ReadSeeker); ok {
		http.ServeContent(w, r, "", info.ModTime, seeker)
		return
	}
	h.Set("Content-Length", strconv.FormatInt(info.Size, 10))
	if r.Method == http.MethodGet {
		_, _ = io.Copy(w, f) // a client that left is no concern of ours
	}
}

// pictureOf finds the record that the query names.
func (s *Server) pictureOf(r *http.Request) (recordjson.Picture, error) {
	query := r.URL.Query()
	rank := 1
	if text := query.Get("rank"); text != "" {
		var err error
		if rank, err = strconv.Atoi(text); err != nil || rank < 1 {
			return recordjson.Picture{}, &control.InvalidError{Text: "rank: give a number from 1"}
		}
	}
	n, err := s.deps.Control.Name(r.Context(), r.PathValue("batch"), query.Get("name"))
	if err != nil || rank > len(n.Pictures) {
		return recordjson.Picture{}, err
	}
	return n.Pictures[rank-1], nil
}

// fileName returns the last part of a key.
func fileName(key string) string {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '/' {
			return key[i+1:]
		}
	}
	return key
}
