package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/picharvest/picharvest/internal/httpd"
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

	if err := httpd.Serve(ctx, server, ln, drainTimeout+delay); err != nil {
		return fmt.Errorf("demo server: %w", err)
	}
	return nil
}
