// Package httpd runs an HTTP server until its context ends. What it answers is
// the caller's.
package httpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Serve answers on ln until ctx ends, then lets the answers under way finish
// for at most drain, and closes ln. It takes over s.ConnState. It returns nil
// after a clean end.
func Serve(ctx context.Context, s *http.Server, ln net.Listener, drain time.Duration) error {
	unused := unusedConns{conns: make(map[net.Conn]struct{})}
	s.ConnState = unused.state
	s.RegisterOnShutdown(unused.close)

	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}

	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := s.Shutdown(draining)
	if err != nil {
		err = fmt.Errorf("answers under way were cut: %w", errors.Join(err, s.Close()))
	}
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
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
