package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/nearest"
)

const (
	apiPath = "/api/v1"
	// defaultPage is the names on a page unless limit says otherwise.
	defaultPage = 100
)

// endpoint is one operation of the API. openapi.yaml describes all of them,
// and a test holds both together.
type endpoint struct {
	method, path string
	// params are the query parameters that it takes; any other is refused, so
	// that a slip of the keyboard does not select everything.
	params []string
	// stream: it bounds its time itself, and its body.
	stream bool
	handle func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) endpoints() []endpoint {
	selection := control.SelectionKeys()
	with := func(more ...string) []string { return append(slices.Clone(selection), more...) }
	return []endpoint{
		{method: "GET", path: "/openapi.json", handle: s.openAPI},
		{method: "GET", path: "/batches", params: []string{"limit", "cursor"}, handle: s.listBatches},
		{method: "GET", path: "/batches/{batch}", handle: s.getBatch},
		{method: "DELETE", path: "/batches/{batch}", params: []string{"pictures", "dry_run"}, stream: true, handle: s.change(control.Delete)},
		{method: "POST", path: "/batches/{batch}/retry", params: with("dry_run"), stream: true, handle: s.change(control.Retry)},
		{method: "POST", path: "/batches/{batch}/pause", params: []string{"dry_run"}, stream: true, handle: s.change(control.Pause)},
		{method: "POST", path: "/batches/{batch}/resume", params: []string{"dry_run"}, stream: true, handle: s.change(control.Resume)},
		{method: "POST", path: "/batches/{batch}/cancel", params: []string{"dry_run"}, stream: true, handle: s.change(control.Cancel)},
		{method: "GET", path: "/batches/{batch}/names", params: with("limit", "cursor"), handle: s.listNames},
		{method: "POST", path: "/batches/{batch}/names", params: []string{"provider", "source", "dry_run"}, stream: true, handle: s.addNames},
		{method: "GET", path: "/batches/{batch}/names/{name}", handle: s.getName},
		{method: "DELETE", path: "/batches/{batch}/names/{name}", params: []string{"dry_run"}, stream: true, handle: s.change(control.Forget)},
		{method: "GET", path: "/batches/{batch}/pictures", params: with("limit", "cursor"), handle: s.listPictures},
		{method: "GET", path: "/batches/{batch}/export", params: with("format"), stream: true, handle: s.export},
		{method: "GET", path: "/batches/{batch}/events", stream: true, handle: s.events},
		{method: "GET", path: "/events", stream: true, handle: s.events},
	}
}

// api returns the handler of /api/.
func (s *Server) api() http.Handler {
	mux := http.NewServeMux()
	methods := make(map[string][]string)
	for _, e := range s.endpoints() {
		mux.Handle(e.method+" "+apiPath+e.path, s.endpoint(e))
		methods[e.path] = append(methods[e.path], e.method)
		if e.method == http.MethodGet {
			methods[e.path] = append(methods[e.path], http.MethodHead)
		}
	}
	for path, allowed := range methods {
		mux.HandleFunc(apiPath+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeProblem(w, problem{
				Status: http.StatusMethodNotAllowed, Detail: fmt.Sprintf("%s is not for %.10s, but for %s", r.URL.Path, r.Method, strings.Join(allowed, " and ")),
			})
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "the API has no such address; " + apiPath + "/openapi.json lists all"})
	})
	return mux
}

// endpoint puts what all operations have in common before one.
func (s *Server) endpoint(e endpoint) http.Handler {
	h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := knownParams(r.URL.Query(), e.params)
		if err == nil {
			err = e.handle(w, r)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}))
	if e.stream {
		return h
	}
	return s.bounded(h, s.fail)
}

// knownParams refuses query parameters that are not in params, or doubled
// where one alone can hold.
func knownParams(query url.Values, params []string) error {
	for key, values := range query {
		if !slices.Contains(params, key) {
			hint := "; it takes none"
			if len(params) > 0 {
				hint = "; there are " + strings.Join(params, ", ")
			}
			if near := nearest.Word(key, params); near != "" {
				hint = "; did you mean " + near + "?"
			}
			return &control.InvalidError{Text: fmt.Sprintf("unknown parameter %.60q%s", key, hint)}
		}
		if len(values) > 1 && key != control.WhereKey {
			return &control.InvalidError{Text: fmt.Sprintf("the parameter %s is given %d times", key, len(values))}
		}
	}
	return nil
}

// limit reads the parameter of that name.
func limit(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > control.MaxPage {
		return 0, &control.InvalidError{Text: fmt.Sprintf("limit is %.20q: give 1 to %d", text, control.MaxPage)}
	}
	return n, nil
}

// yes reads a parameter that is true or false, which it is by default.
func yes(r *http.Request, key string) (bool, error) {
	switch text := r.URL.Query().Get(key); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, &control.InvalidError{Text: fmt.Sprintf("%s is %.20q: give true or false", key, text)}
	}
}

// dryRun reads the parameter of that name.
func dryRun(r *http.Request) (bool, error) { return yes(r, "dry_run") }

// writeJSON answers with v, or with 304 where the client has it already.
func writeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the type is fixed, and nothing sniffs it
	if err := enc.Encode(v); err != nil {
		return err
	}
	writeTagged(w, r, "application/json", b.Bytes())
	return nil
}

// writeTagged answers with data and its ETag.
func writeTagged(w http.ResponseWriter, r *http.Request, kind string, data []byte) {
	h := w.Header()
	etag := etagOf(data)
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private, no-cache")
	if notModified(r, etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // a client that left is no concern of ours
}

// linkNext tells where the next page is (RFC 8288).
func linkNext(w http.ResponseWriter, r *http.Request, cursor string) {
	if cursor == "" {
		return
	}
	query := r.URL.Query()
	query.Set("cursor", cursor)
	w.Header().Set("Link", "<"+r.URL.EscapedPath()+"?"+query.Encode()+`>; rel="next"`)
}
