// Package web is the server that people and programs look at a harvest with:
// the pages of package ui, the HTTP API, the progress stream, the pictures,
// and asynqmon. Everything stands behind the same checks (guard.go): which
// host was asked for, who asks, and from which page. It reads and acts through
// package control alone.
package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/web/ui"
)

// Pictures opens stored pictures by their key; a key without a file is an
// error that is fs.ErrNotExist.
type Pictures interface {
	Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)
}

// Deps are the parts that the server shows.
type Deps struct {
	Control  *control.Control
	Pictures Pictures
	// Redis is the plain client, for asynqmon. The server does not close it.
	Redis redis.UniversalClient
	// Cache is a folder for thumbnails. It need not exist.
	Cache string
	// Version of the program.
	Version string
	Logger  *slog.Logger
}

const (
	// maxHeaderBytes holds a name of 256 bytes and a cursor, escaped, and the
	// cookies of whatever else runs on the host.
	maxHeaderBytes = 32 << 10
	headerTimeout  = 10 * time.Second
	// readTimeout and writeTimeout bound what is not a stream; a stream moves
	// its deadline on as long as it moves itself.
	readTimeout  = 30 * time.Second
	writeTimeout = time.Minute
	idleTimeout  = 2 * time.Minute
	drainTimeout = 5 * time.Second
	// answerWithin bounds what an answer asks of Redis.
	answerWithin = 10 * time.Second
	// maxBody bounds every body but a names file.
	maxBody = 1 << 20
)

// Server is the web server. It is made by [New] and used once.
type Server struct {
	cfg   Config
	deps  Deps
	token string
	made  bool
	http  *http.Server
	tls   *certificate
	pages *ui.Pages
	// streams counts the event streams that are open, uploads holds a place
	// for each list that is being added.
	streams atomic.Int64
	uploads chan struct{}
	// left are answers that nobody waits for any more, among those that are.
	left sync.WaitGroup
	// closing ends when the server does, and with it the streams.
	closing context.Context
	close   context.CancelFunc
}

// New returns a server for a Config that passes Validate. Its error is about
// the certificate or names what asynqmon lacks.
func New(cfg Config, d Deps) (*Server, error) {
	s := &Server{cfg: cfg, deps: d, token: cfg.Token, uploads: make(chan struct{}, maxUploads)}
	if cfg.protected() && s.token == "" {
		s.token, s.made = newToken(), true
	}
	if cfg.TLS.CertFile != "" {
		var err error
		if s.tls, err = loadCertificate(cfg.TLS); err != nil {
			return nil, err
		}
	}
	s.closing, s.close = context.WithCancel(context.Background())
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           s.guard(routes),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(d.Logger.Handler(), slog.LevelDebug),
	}
	s.http.RegisterOnShutdown(s.close)
	return s, nil
}

// Handler returns what the server answers with, its checks included.
func (s *Server) Handler() http.Handler { return s.http.Handler }

func (s *Server) routes() (http.Handler, error) {
	queues, err := s.queues()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	s.pages, err = ui.New(ui.Deps{
		Control: s.deps.Control, Pictures: s.deps.Pictures, Cache: s.deps.Cache, Thumbnails: s.cfg.Thumbnails, Logger: s.deps.Logger,
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("/", s.bounded(s.pages, s.pages.Fail))
	mux.Handle("POST /batches/", s.unhurried(s.pages, s.pages.Fail))
	mux.Handle("/api/", s.api())
	mux.Handle("/queues/", s.bounded(queues, s.fail))
	mux.Handle("/pictures/{batch}", s.bounded(http.HandlerFunc(s.picture), s.fail))
	mux.Handle("/people/{$}", s.bounded(http.HandlerFunc(s.people), s.fail))
	mux.Handle("/people/{name}", s.bounded(http.HandlerFunc(s.people), s.fail))
	return mux, nil
}

// reporter answers a request with why it has no other answer.
type reporter func(w http.ResponseWriter, r *http.Request, err error)

// bounded gives h a bounded body and a bounded time, which ends early where
// Redis stops answering; fail says so then.
func (s *Server) bounded(h http.Handler, fail reporter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := s.whileAlive(served(h))(w, r); err != nil {
			fail(w, r, err)
		}
	})
}

// served is h as an answer.
func served(h http.Handler) answer {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// unhurried gives h a bounded body and as long as a change of a batch takes,
// while Redis answers; fail says that it does not.
func (s *Server) unhurried(h http.Handler, fail reporter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// The form first, within the time that reading may take. What is cut
		// off all the same is made again from where it stopped.
		_ = errors.Join(r.ParseForm(), keepReading(w), extendWrite(w, changeWithin))
		if err := s.whileAlive(served(h))(w, r); err != nil {
			fail(w, r, err)
		}
	})
}
