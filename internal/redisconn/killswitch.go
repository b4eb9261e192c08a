package redisconn

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ErrKilled is what every command returns after Conn.Kill.
var ErrKilled = errors.New("redis connection was given up during shutdown")

// killSwitch ends all traffic of a client for good. As its Limiter it denies
// new commands and further tries; as its dialer it refuses new connections
// and remembers the open ones, to cut those that wait for an answer. A client
// has one Limiter, so the pace of attempts goes by it too.
type killSwitch struct {
	killed  chan struct{} // closed by kill
	pace    pace
	trouble *troubleLog

	mu    sync.Mutex
	conns map[*killableConn]struct{} // nil once killed
}

var _ redis.Limiter = (*killSwitch)(nil)

func newKillSwitch(trouble *troubleLog) *killSwitch {
	return &killSwitch{killed: make(chan struct{}), trouble: trouble, conns: make(map[*killableConn]struct{})}
}

// Allow denies every command once the switch is thrown.
func (k *killSwitch) Allow() error {
	k.pace.wait(k.killed)
	return k.err()
}

// ReportResult learns from a result whether the next attempts shall be spaced.
func (k *killSwitch) ReportResult(err error) {
	if err != nil && triedAgain(err.Error()) {
		k.pace.begin()
		k.trouble.warn(err)
	}
}

func (k *killSwitch) err() error {
	select {
	case <-k.killed:
		return ErrKilled
	default:
		return nil
	}
}

func (k *killSwitch) kill() {
	k.mu.Lock()
	open := k.conns
	if open == nil {
		k.mu.Unlock()
		return
	}
	k.conns = nil
	close(k.killed)
	k.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // nobody is left who could use its error
	}
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func (k *killSwitch) dialer(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := k.err(); err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				k.trouble.warn(err)
			}
			return nil, err
		}
		c := &killableConn{Conn: conn, k: k}
		k.mu.Lock()
		if k.conns != nil {
			k.conns[c] = struct{}{}
		}
		k.mu.Unlock()
		if err := k.err(); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return c, nil
	}
}

// killableConn is a connection that its killSwitch knows while it is open.
type killableConn struct {
	net.Conn
	k *killSwitch
}

// NetConn lets the client look for the socket beneath, as with tls.Conn.
func (c *killableConn) NetConn() net.Conn { return c.Conn }

func (c *killableConn) Close() error {
	c.k.mu.Lock()
	delete(c.k.conns, c)
	killed := c.k.conns == nil
	c.k.mu.Unlock()
	if err := c.Conn.Close(); !killed {
		return err
	}
	return nil // closed before, by kill
}
