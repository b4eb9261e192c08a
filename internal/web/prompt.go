package web

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"sync"
)

// answer writes a response, or returns why it did not.
type answer func(w http.ResponseWriter, r *http.Request) error

// whileAlive gives next a context that ends when Redis stops answering, and
// returns Redis's error then, whatever next is at: a client of Redis that waits
// for a reply does not look at its context, and from a Redis that is frozen
// none comes for seconds. What next still does then is for nobody. One that has
// begun to write is waited for.
func (s *Server) whileAlive(next answer) answer {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, stop := s.deps.Control.WhileAlive(r.Context())
		defer stop()
		own := &ownResponse{w: w, header: w.Header().Clone()}
		ended := make(chan ending, 1)
		s.left.Go(func() {
			var e ending
			defer func() {
				if e.panicked = recover(); e.panicked != nil && e.panicked != http.ErrAbortHandler { //nolint:errorlint // net/http compares likewise
					e.panicked = fmt.Sprintf("%v\n%s", e.panicked, debug.Stack())
				}
				ended <- e
			}()
			e.err = next(own, r.WithContext(ctx))
		})
		select {
		case e := <-ended:
			return e.result(own)
		case <-ctx.Done():
		}
		if own.leave() {
			return context.Cause(ctx)
		}
		e := <-ended
		return e.result(own)
	}
}

// ending is how an answer came out.
type ending struct {
	err      error
	panicked any
}

// result passes on what was returned, or the panic; the headers that were set
// stay for who reports the error.
func (e ending) result(own *ownResponse) error {
	own.begin()
	if e.panicked != nil {
		panic(e.panicked)
	}
	return e.err
}

// ownResponse is a response of which somebody else may make another until its
// first byte.
type ownResponse struct {
	w      http.ResponseWriter
	header http.Header

	mu          sync.Mutex
	begun, gone bool
}

// Header implements http.ResponseWriter.
func (o *ownResponse) Header() http.Header { return o.header }

// WriteHeader implements http.ResponseWriter.
func (o *ownResponse) WriteHeader(status int) {
	if o.begin() {
		o.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (o *ownResponse) Write(p []byte) (int, error) {
	if !o.begin() {
		return 0, http.ErrHandlerTimeout
	}
	return o.w.Write(p)
}

// FlushError is for http.ResponseController.
func (o *ownResponse) FlushError() error {
	if !o.begin() {
		return http.ErrHandlerTimeout
	}
	return http.NewResponseController(o.w).Flush()
}

// Unwrap is for http.ResponseController, which sets deadlines by it.
func (o *ownResponse) Unwrap() http.ResponseWriter { return o.w }

// begin makes the response this one's, if it still can be.
func (o *ownResponse) begin() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun && !o.gone {
		o.begun = true
		clear(o.w.Header())
		maps.Copy(o.w.Header(), o.header)
	}
	return !o.gone
}

// leave takes the response away, unless it has begun.
func (o *ownResponse) leave() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = !o.begun
	return o.gone
}
