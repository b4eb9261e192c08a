package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// A scrape of many hosts takes less than a second; a slow reader must not
	// hold a connection for ever.
	writeWithin = 30 * time.Second
	readWithin  = 5 * time.Second
	idleWithin  = 2 * time.Minute
	closeWithin = time.Second
)

// Server answers /healthz, /readyz and /metrics. It is not ready until it is
// told by what to judge.
type Server struct {
	ln      net.Listener
	http    http.Server
	metrics http.Handler
	local   bool
	done    chan struct{}

	mu     sync.Mutex
	alive  func() error
	checks []Check
}

// notYet is what /readyz says until [Server.Watch] was called.
var notYet = []Check{{Name: "start", Do: func(context.Context) (string, error) {
	return "", errors.New("still starting: waiting for Redis")
}}}

// Listen serves on addr, host:port, until [Server.Close]. An empty host is
// every address of this machine; port 0 is any that is free. What is served
// holds no secrets, but names of batches and hosts: on an address of this
// machine alone, requests that name another host are refused, so that no web
// page reads it by a name of its own.
func Listen(ctx context.Context, addr string, metrics http.Handler, log *slog.Logger) (*Server, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{ln: ln, metrics: metrics, done: make(chan struct{}), checks: notYet}
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		s.local = a.IP.IsLoopback()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "/healthz\n/readyz\n/metrics\n")
	})
	s.http = http.Server{
		Handler: s.guard(mux), ReadTimeout: readWithin, WriteTimeout: writeWithin, IdleTimeout: idleWithin,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health and metrics are not served any more", "address", s.Addr(), "error", err)
		}
	}()
	return s, nil
}

// Addr is where the server listens, host:port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Watch says by what to judge from now on: alive returns what only a restart
// mends, checks are what the process needs for its work.
func (s *Server) Watch(alive func() error, checks ...Check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive, s.checks = alive, checks
}

// Close ends the server, and cuts off who is slow.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	alive := s.alive
	s.mu.Unlock()
	if alive != nil {
		if err := alive(); err != nil {
			answer(w, http.StatusServiceUnavailable, fmt.Sprintf("unhealthy: %s\n", err))
			return
		}
	}
	answer(w, http.StatusOK, "ok\n")
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	checks := s.checks
	s.mu.Unlock()
	text, ok := ask(r.Context(), checks)
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, text)
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client may have left
}

// guard refuses what a web page could send by a host name of its own.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if s.local && !localHost(r.Host) {
			answer(w, http.StatusMisdirectedRequest, "this address is for this machine alone: ask for 127.0.0.1 or localhost\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localHost reports whether a Host header names this machine.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
