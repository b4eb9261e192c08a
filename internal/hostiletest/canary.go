package hostiletest

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

// Canary stands for an internal service: it listens on loopback, in both
// families where there are two, and remembers who came.
type Canary struct {
	// Port is the same on every address.
	Port int

	mu   sync.Mutex
	seen []string
}

func newCanary(tb testing.TB) *Canary {
	tb.Helper()
	first, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start the canary: %v", err)
	}
	c := &Canary{Port: first.Addr().(*net.TCPAddr).Port}
	c.watch(tb, first)
	for _, host := range []string{"::1", "127.1.2.3"} {
		// Not every machine has IPv6 or all of 127.0.0.0/8.
		if l, err := net.Listen("tcp", c.At(host)); err == nil {
			c.watch(tb, l)
		}
	}
	return c
}

// At returns host with the canary's port.
func (c *Canary) At(host string) string { return net.JoinHostPort(host, strconv.Itoa(c.Port)) }

// Seen returns the addresses that connections came to; none should have.
func (c *Canary) Seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

func (c *Canary) watch(tb testing.TB, l net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.seen = append(c.seen, conn.LocalAddr().String()+" from "+conn.RemoteAddr().String())
			c.mu.Unlock()
			conn.Close()
		}
	}()
	tb.Cleanup(func() {
		l.Close()
		<-done
	})
}
