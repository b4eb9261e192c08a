package web

import (
	"bufio"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/export"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// streamPause is how long a reader of a stream may take for what was sent.
const streamPause = 30 * time.Second

// warningHeader says that names are missing from an export, and why.
const warningHeader = "Harvest-Warning"

// export streams the names of a batch as JSON lines or CSV. An error in the
// middle ends the connection without the last chunk, so that no client takes a
// part for the whole.
func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	q, err := control.Selection(r.URL.Query())
	if err != nil {
		return err
	}
	batch, format := r.PathValue("batch"), r.URL.Query().Get("format")
	var out rows
	moving := &movingWriter{w: w}
	buf := bufio.NewWriterSize(moving, 64<<10)
	kind := "application/jsonl"
	switch format {
	case "", "jsonl":
		format, out = "jsonl", export.NewLines(buf)
	case "csv":
		kind, out = "text/csv; charset=utf-8; header=present", export.NewTable(buf, export.TableOptions{})
	default:
		return &control.InvalidError{Text: fmt.Sprintf("format is %.20q: give jsonl or csv", format)}
	}
	// What is wrong with the question is told before the first byte. An export
	// that has begun waits for Redis; one to begin does not.
	if err := s.deps.Control.AliveNow(r.Context()); err != nil {
		return err
	}
	b, err := s.deps.Control.Batch(r.Context(), batch)
	if err != nil {
		return err
	}
	if err := keepReading(w); err != nil {
		return err
	}
	h := w.Header()
	if b.Error != "" {
		h.Set(warningHeader, strings.ReplaceAll(b.Error, "\n", "; "))
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": batch + "." + format}))
	err = s.deps.Control.Each(r.Context(), batch, q, out.Write)
	if _, told := errors.AsType[*results.KeyError](err); told && b.Error != "" {
		err = nil
	}
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		return nil
	}
	if !moving.began {
		h.Del("Content-Disposition")
		return err
	}
	s.deps.Logger.Warn("an export was cut off", "batch", batch, "error", err)
	panic(http.ErrAbortHandler)
}

// keepReading lifts the deadline for reading the request, which would end a
// long answer as well.
func keepReading(w http.ResponseWriter) error {
	return deadline(http.NewResponseController(w).SetReadDeadline(time.Time{}))
}

// movingWriter moves the deadline on with every write: a stream may last as
// long as its reader reads.
type movingWriter struct {
	w     http.ResponseWriter
	began bool
}

func (m *movingWriter) Write(p []byte) (int, error) {
	m.began = true
	if err := extendWrite(m.w, streamPause); err != nil {
		return 0, err
	}
	return m.w.Write(p)
}

// rows writes names in a format.
type rows interface {
	Write(recordjson.Name) error
	Close() error
}
