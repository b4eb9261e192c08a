package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/results"
)

// problem is an error of the API (RFC 9457).
type problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what happened and what to do.
	Detail string `json:"detail,omitempty"`
	// Nearest are the names most like one that is unknown.
	Nearest []string `json:"nearest,omitempty"`
}

const problemType = "application/problem+json"

// retryAfter is how many seconds a client should wait while Redis is away.
const retryAfter = "2"

func writeProblem(w http.ResponseWriter, p problem) {
	p.Title = http.StatusText(p.Status)
	h := w.Header()
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // fails only where the client left
}

// asProblem finds the status and the words for an error of package control.
// What is no error of the asker's means that Redis does not answer.
func asProblem(err error, place string) problem {
	var (
		unknown  *control.UnknownError
		invalid  *control.InvalidError
		refused  *control.RefusedError
		keys     *results.KeyError
		provider *results.ProviderError
		tooLarge *http.MaxBytesError
	)
	switch {
	case errors.As(err, &unknown):
		return problem{Status: http.StatusNotFound, Detail: err.Error(), Nearest: unknown.Near}
	case errors.As(err, &invalid):
		return problem{Status: http.StatusBadRequest, Detail: err.Error()}
	case errors.As(err, &tooLarge):
		return problem{Status: http.StatusRequestEntityTooLarge, Detail: "the body is longer than is allowed here"}
	case errors.As(err, &provider), errors.As(err, &refused), errors.As(err, &keys), errors.Is(err, results.ErrCancelled), errors.Is(err, results.ErrDeleting):
		return problem{Status: http.StatusConflict, Detail: err.Error()}
	case errors.Is(err, results.ErrNoBatch), errors.Is(err, results.ErrNoName):
		return problem{Status: http.StatusNotFound, Detail: err.Error()}
	}
	return problem{
		Status: http.StatusServiceUnavailable,
		Detail: place + " does not answer. It is asked again with every request; `harvest status` on the server says more.",
	}
}

// fail answers with what went wrong. A client that left needs no answer.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(context.Cause(r.Context()), context.Canceled) {
		return
	}
	if cause := context.Cause(r.Context()); cause != nil {
		err = cause // what Redis said when it was looked at
	}
	p := asProblem(err, s.deps.Control.Place())
	if p.Status == http.StatusServiceUnavailable {
		s.deps.Logger.LogAttrs(r.Context(), slog.LevelWarn, "a request was not answered", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	writeProblem(w, p)
}
