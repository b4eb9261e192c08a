package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	answerTimeout  = time.Minute // besides what the stage makes an answer wait
	drainTimeout   = 10 * time.Second
	maxHeaderBytes = 32 << 10 // holds a name of 10 kB, escaped
)

// Listen binds the address of the Config; port 0 picks a free one.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("demo server: %w; choose another address with demo.listen", err)
	}
	return ln, nil
}

// Serve answers on ln until ctx ends, then lets the answers under way finish,
// for at most 10 seconds and what the stage makes them wait. It closes ln. It
// returns nil after a clean end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	delay := s.cfg.Latency + s.cfg.Jitter
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout, // nothing that we answer has a body
		WriteTimeout:      answerTimeout + delay,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}

	unused := unusedConns{conns: make(map[net.Conn]struct{})}
	server.ConnState = unused.state
	server.RegisterOnShutdown(unused.close)

	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("demo server: %w", err)
	case <-ctx.Done():
	}

	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout+delay)
	defer cancel()
	err := server.Shutdown(drain)
	if err != nil {
		err = fmt.Errorf("demo server: answers under way were cut: %w", errors.Join(err, server.Close()))
	}
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("demo server: %w", serveErr))
	}
	return err
}

// unusedConns are the connections on which nothing has come yet. Clients open
// more than they use, and Shutdown would wait 5 s for each.
type unusedConns struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// state is [http.Server.ConnState].
func (u *unusedConns) state(c net.Conn, st http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if st != http.StateNew {
		delete(u.conns, c)
		return
	}
	u.conns[c] = struct{}{}
	if u.closed {
		_ = c.Close() // nothing was ever said on it
	}
}

// close closes them, and those that are still to come.
func (u *unusedConns) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for c := range u.conns {
		_ = c.Close()
	}
}
