package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/names"
)

const (
	// maxUploads bounds the lists that are added at once.
	maxUploads = 8
	// uploadPause is how long a client may take for the next part of a list.
	uploadPause = 30 * time.Second
	// maxBadLines is how many bad lines an answer shows.
	maxBadLines = 20
	// maxSource bounds the words that say where a list comes from.
	maxSource = 256
)

// addedJSON says what became of a list.
type addedJSON struct {
	control.Enqueued
	DryRun   bool          `json:"dry_run"`
	BadLines []badLineJSON `json:"bad_lines,omitempty"`
}

// previewJSON says what a list holds.
type previewJSON struct {
	control.Preview
	DryRun   bool          `json:"dry_run"`
	BadLines []badLineJSON `json:"bad_lines,omitempty"`
}

// badLineJSON is one of the first lines that are no names.
type badLineJSON struct {
	Line    int64        `json:"line"`
	Reason  names.Reason `json:"reason"`
	Excerpt string       `json:"excerpt"`
}

// addNames takes a list as a names file (text, gzip too), as a file in a form,
// or as a JSON array of strings, and adds it while it comes in. A list that
// breaks off leaves its batch interrupted; the same one again completes it.
func (s *Server) addNames(w http.ResponseWriter, r *http.Request) error {
	dry, err := dryRun(r)
	if err != nil {
		return err
	}
	source := cmp.Or(r.URL.Query().Get("source"), "api")
	if len(source) > maxSource {
		return &control.InvalidError{Text: fmt.Sprintf("source has %d bytes: give at most %d", len(source), maxSource)}
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "as many lists as can be are being added; try again in a moment"})
		return nil
	}
	body := &upload{w: w, body: http.MaxBytesReader(w, r.Body, s.cfg.MaxUploadBytes)}
	text, err := listOf(r, body)
	if err != nil {
		return body.explain(err)
	}
	defer text.Close()
	list, err := names.NewReader("the list", text)
	if err != nil {
		return body.explain(err)
	}
	var bad badLines
	l := control.List{
		Batch: r.PathValue("batch"), Provider: r.URL.Query().Get("provider"), Label: source, Names: list, Bad: bad.add,
	}
	if dry {
		p, err := s.deps.Control.Preview(r.Context(), l)
		if err != nil {
			return body.explain(err)
		}
		return writeJSON(w, r, previewJSON{p, true, bad.first()})
	}
	e, err := s.deps.Control.Enqueue(r.Context(), l)
	if err != nil {
		return body.explain(err)
	}
	return writeJSON(w, r, addedJSON{e, false, bad.first()})
}

// listOf returns the text of the list within the body. It must be closed.
func listOf(r *http.Request, body io.Reader) (io.ReadCloser, error) {
	kind, _, err := mime.ParseMediaType(cmp.Or(r.Header.Get("Content-Type"), "text/plain"))
	if err != nil {
		return nil, &control.InvalidError{Text: "Content-Type is unreadable: give text/plain, application/json or multipart/form-data"}
	}
	switch kind {
	case "application/json":
		return jsonLines(body), nil
	case "multipart/form-data":
		r.Body = io.NopCloser(body)
		form, err := r.MultipartReader()
		if err != nil {
			return nil, &control.InvalidError{Text: "the form cannot be read: " + err.Error()}
		}
		for {
			part, err := form.NextPart()
			if errors.Is(err, io.EOF) {
				return nil, &control.InvalidError{Text: "the form has no file"}
			}
			if err != nil {
				return nil, err
			}
			if part.FileName() != "" {
				return part, nil
			}
		}
	}
	return io.NopCloser(body), nil
}

// jsonLines turns an array of strings into lines. A string that is more than
// one line gets a NUL in the place of the break, which makes a bad line of it.
func jsonLines(body io.Reader) io.ReadCloser {
	lines, w := io.Pipe()
	oneLine := strings.NewReplacer("\n", "\x00", "\r", "\x00")
	go func() {
		dec := json.NewDecoder(body)
		err := expect(dec, json.Delim('['))
		for err == nil && dec.More() {
			var name string
			if err = dec.Decode(&name); err == nil {
				_, err = io.WriteString(w, oneLine.Replace(name)+"\n")
			}
		}
		if err == nil {
			err = expect(dec, json.Delim(']'))
		}
		w.CloseWithError(err)
	}()
	return lines
}

func expect(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err == nil && got != want {
		err = fmt.Errorf("want an array of strings, not %v", got)
	}
	return err
}

// upload is a body that may take as long as it keeps coming.
type upload struct {
	w    http.ResponseWriter
	body io.Reader

	mu  sync.Mutex
	err error
}

func (u *upload) Read(p []byte) (int, error) {
	// The answer comes when the list was read and enqueued to its end.
	if err := errors.Join(extendRead(u.w, uploadPause), extendWrite(u.w, changeWithin)); err != nil {
		return 0, err
	}
	n, err := u.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.mu.Lock()
		u.err = err
		u.mu.Unlock()
	}
	return n, err
}

// explain tells trouble with the body from that with Redis.
func (u *upload) explain(err error) error {
	u.mu.Lock()
	broken := u.err
	u.mu.Unlock()
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
		size   *http.MaxBytesError
	)
	switch {
	case errors.As(broken, &size):
		return broken
	case broken != nil:
		return &control.InvalidError{Text: "the list broke off: " + broken.Error() + "; send the same list again to complete its batch"}
	case errors.Is(err, names.ErrNotText), errors.Is(err, names.ErrEmpty):
		return &control.InvalidError{Text: err.Error()}
	case errors.As(err, &syntax), errors.As(err, &kind), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "array of strings"):
		return &control.InvalidError{Text: "the list is no JSON array of strings: " + err.Error()}
	}
	return err
}

// badLines keeps the first lines that are no names. The reader of a list that
// was given up may still add to it.
type badLines struct {
	mu    sync.Mutex
	lines []badLineJSON
}

func (b *badLines) add(bad *names.BadLine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) < maxBadLines {
		b.lines = append(b.lines, badLineJSON{bad.Number, bad.Reason, bad.Excerpt})
	}
}

func (b *badLines) first() []badLineJSON {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines
}
