package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	picturesPath = "/images/"
	ownPath      = "/-/" // of the page's parts and the counts; a slash in a name is escaped
	countsPath   = ownPath + "counts"

	methods = "GET, HEAD, OPTIONS"

	cspNothing = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	cspPicture = "default-src 'none'; sandbox"
	cspPage    = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

	maxLoggedPath = 256
)

// asset is bytes of fixed type that are served as they are.
type asset struct {
	data []byte
	mime string
	etag string
}

func newAsset(data []byte, mime string) asset {
	return asset{data: data, mime: mime, etag: etagOf(data)}
}

// answer is the JSON of a lookup, as the exercise has it.
type answer struct {
	Status string       `json:"status"`
	Result answerPerson `json:"result"`
}

type answerPerson struct {
	Name    string `json:"name"`
	Age     string `json:"age"`
	Career  string `json:"career"`
	Picture string `json:"picture"`
}

const (
	jsonType = "application/json; charset=utf-8"
	unknown  = `{"status":"fail","result":{}}`
)

// ServeHTTP answers
//
//	GET /?name=N          the record of N, or of nobody, as JSON
//	GET /N                the same; N is one escaped path segment
//	GET /images/FILE      a picture
//	GET /                 a page for people
//	GET /-/counts         Counts as JSON, where Config.Count is set
//
// HEAD and OPTIONS work for all of them; other methods are answered 405.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Log.Enabled(r.Context(), slog.LevelDebug) {
		begun := time.Now()
		sw := &statusWriter{ResponseWriter: w}
		w = sw
		defer func() {
			path := r.URL.EscapedPath()
			s.cfg.Log.Debug("request", "method", r.Method[:min(len(r.Method), 16)], "path", path[:min(len(path), maxLoggedPath)],
				"status", sw.status, "elapsed", time.Since(begun))
		}()
	}

	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", cspNothing)
	h.Set("Referrer-Policy", "no-referrer")
	s.allowOrigin(h, r)

	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.route(w, r)
	case http.MethodOptions:
		h.Set("Allow", methods)
		w.WriteHeader(http.StatusNoContent)
	default:
		h.Set("Allow", methods)
		writeError(w, http.StatusMethodNotAllowed)
	}
}

// route finds what a GET or HEAD asks for. It works on the path as it was
// sent: a name may hold an escaped slash or dots.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if path == "/" || path == "" { // "" is that of GET http://host
		if query := r.URL.Query(); query.Has("name") {
			s.lookup(w, r, query.Get("name"))
			return
		}
		w.Header().Set("Content-Security-Policy", cspPage)
		s.serveAsset(w, r, s.home)
		return
	}
	if file, ok := strings.CutPrefix(path, picturesPath); ok {
		s.picture(w, r, file)
		return
	}
	if path == countsPath && s.counts != nil {
		s.serveCounts(w)
		return
	}
	if file, ok := strings.CutPrefix(path, ownPath); ok {
		if a, ok := s.assets[file]; ok {
			s.serveAsset(w, r, a)
			return
		}
		writeError(w, http.StatusNotFound)
		return
	}

	name, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	if err != nil || strings.Contains(path[1:], "/") {
		writeError(w, http.StatusNotFound)
		return
	}
	s.lookup(w, r, name)
}

func (s *Server) lookup(w http.ResponseWriter, r *http.Request, name string) {
	if !s.admit(w, r, name, askLookup) {
		return
	}
	body := []byte(unknown)
	if p, ok := s.find(name); ok {
		a := answer{Status: "success", Result: answerPerson{Name: p.Name, Age: p.Age, Career: p.Career}}
		if p.Picture != "" {
			a.Result.Picture = s.base(r) + p.Picture
		}
		var err error
		if body, err = json.Marshal(a); err != nil {
			writeError(w, http.StatusInternalServerError)
			return
		}
	}
	s.counts.answered(name, askLookup)

	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that left is no concern of ours
}

func (s *Server) picture(w http.ResponseWriter, r *http.Request, file string) {
	pic, listed := s.listed.pictures[file]
	owner := pic.owner
	n, made := s.madeUp.number(file)
	if made {
		owner = madeUpName(n)
	} else if !listed {
		writeError(w, http.StatusNotFound)
		return
	}
	if !s.admit(w, r, owner, askPicture) {
		return
	}
	s.counts.answered(owner, askPicture)

	h := w.Header()
	h.Set("Content-Security-Policy", cspPicture)
	h.Set("Cache-Control", "public, max-age=3600")
	switch {
	case made:
		h.Set("Content-Type", kindPNG.mime)
		h.Set("ETag", s.madeUp.etag(n))
		s.madeUp.withPicture(n, func(data []byte) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		})
	case pic.data != nil:
		h.Set("Content-Type", pic.kind.mime)
		h.Set("ETag", pic.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(pic.data))
	default:
		s.serveFile(w, r, pic)
	}
}

// serveFile answers with a picture of the catalog.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, pic picture) {
	f, size, modified, err := openRegular(s.listed.root, pic.file)
	if err != nil {
		s.cfg.Log.Debug("picture of the catalog cannot be read", "name", pic.owner, "error", err)
		writeError(w, http.StatusNotFound)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", pic.kind.mime)
	w.Header().Set("ETag", `"`+strconv.FormatInt(size, 36)+"-"+strconv.FormatInt(modified.UnixNano(), 36)+`"`)
	http.ServeContent(w, r, "", modified, f)
}

// admit counts a question and lets the stage have its way. It returns false
// where the question is answered, or nobody waits for an answer.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, name string, q question) bool {
	counts := s.counts
	if r.Method != http.MethodGet {
		counts = nil
	}
	counts.asked(name, q)
	f, err := s.stage.wait(r.Context())
	if err != nil {
		return false
	}
	if f == fateGood {
		return true
	}
	counts.spoiled(f, s.stage.retryAfter)
	s.stage.spoil(w, f)
	return false
}

func (s *Server) serveCounts(w http.ResponseWriter) {
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(s.Counts()) // fails only where the client left
}

func (s *Server) serveAsset(w http.ResponseWriter, r *http.Request, a asset) {
	h := w.Header()
	h.Set("Content-Type", a.mime)
	h.Set("ETag", a.etag)
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}

// allowOrigin sets the CORS headers of the Fetch standard, sections 3.3.2 and
// 3.3.3, where r comes from the origin that may read the answers.
func (s *Server) allowOrigin(h http.Header, r *http.Request) {
	allowed := s.cfg.CORSOrigin
	if allowed == "" {
		return
	}
	if allowed != "*" {
		h.Set("Vary", "Origin")
		if r.Header.Get("Origin") != allowed {
			return
		}
	}
	h.Set("Access-Control-Allow-Origin", allowed)
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Max-Age", "600")
	}
}

// base returns the scheme and host that picture URLs begin with.
func (s *Server) base(r *http.Request) string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	if validHost(r.Host) {
		return scheme + r.Host
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return scheme + local.String()
	}
	return scheme + s.cfg.Listen
}

// writeError answers with a status and its words as JSON.
func writeError(w http.ResponseWriter, status int) {
	body := `{"status":"error","error":` + strconv.Quote(http.StatusText(status)) + "}"
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func etagOf(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// statusWriter remembers the status for the log.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
