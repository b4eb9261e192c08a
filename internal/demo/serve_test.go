package demo_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/picharvest/picharvest/internal/demo"
)

// serve starts s on a port of its own and returns its address, and a function
// that ends it and returns what Serve returned.
func serve(t *testing.T, s *demo.Server) (addr string, stop func() error) {
	t.Helper()
	ln, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return ln.Addr().String(), stop
}

func TestServeDrains(t *testing.T) {
	t.Parallel()
	s := newServer(t, demo.Config{Listen: "127.0.0.1:0", Latency: 300 * time.Millisecond, Count: true})
	addr, stop := serve(t, s)

	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/Brus%20Lee")
		if err == nil {
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("got %s", resp.Status)
			}
		}
		answered <- err
	}()
	for s.Counts().Lookups == 0 {
		runtime.Gosched()
	}
	if err := stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the answer under way: %v", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listens")
	}
}

// A connection that a client opened in advance holds nobody up.
func TestServeDoesNotWaitForUnusedConnections(t *testing.T) {
	t.Parallel()
	s := newServer(t, demo.Config{Listen: "127.0.0.1:0"})
	addr, stop := serve(t, s)
	unused, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer unused.Close()
	// Connections are accepted in order, so an answer on the second one means
	// that the first is known.
	resp, err := http.Get("http://" + addr + "/Brus%20Lee")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	begun := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the end took %s", took)
	}
}

func TestListenTaken(t *testing.T) {
	t.Parallel()
	first := newServer(t, demo.Config{Listen: "127.0.0.1:0"})
	ln, err := first.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = newServer(t, demo.Config{Listen: ln.Addr().String()}).Listen(t.Context())
	if err == nil || !strings.Contains(err.Error(), "demo.listen") {
		t.Errorf("got %v, want an error that names the setting", err)
	}
}

func TestHeaderFlood(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, newServer(t, demo.Config{Listen: "127.0.0.1:0"}))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	// The server may close before all is written.
	_, _ = io.WriteString(c, "GET /"+strings.Repeat("x", 1<<20)+" HTTP/1.1\r\nHost: x\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.Contains(line, " 431 ") {
		t.Errorf("got %q, want 431 or a closed connection", line)
	}
}

// The server's own timeouts must not cut an answer that the stage holds back.
func TestServeLongLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, demo.Config{Latency: time.Minute, Jitter: time.Minute})
		client, server := net.Pipe()
		ln := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		ln.conns <- server
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, ln) }()

		begun := time.Now()
		r := bufio.NewReader(client)
		for range 10 {
			if _, err := io.WriteString(client, "GET /Brus%20Lee HTTP/1.1\r\nHost: demo\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("after %s: %v", time.Since(begun), err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(body), `"success"`) {
				t.Fatalf("got %q: %v", body, err)
			}
		}
		if took := time.Since(begun); took < 10*time.Minute {
			t.Errorf("10 answers took %s", took)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve returned %v", err)
		}
		_ = client.Close()
	})
}

// pipeListener accepts the ends of pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// Requests that no well-behaved client sends.
func TestOddRequests(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, newServer(t, demo.Config{Listen: "127.0.0.1:0"}))
	for _, tt := range []struct{ name, request, status, body string }{
		{"a URL without a path", "GET http://demo HTTP/1.1\r\nHost: demo\r\n\r\n", "200", "<!doctype html>"},
		{"a URL with a query alone", "GET http://demo?name=Brus%20Lee HTTP/1.1\r\nHost: demo\r\n\r\n", "200", "http://demo/images/2.png"},
		{"a star", "GET * HTTP/1.1\r\nHost: demo\r\n\r\n", "200", fail},
		{"HTTP/1.0 without a host", "GET /Brus%20Lee HTTP/1.0\r\n\r\n", "200", "http://" + addr + "/images/2.png"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400", ""},
		{"a NUL", "GET /\x00 HTTP/1.1\r\nHost: demo\r\n\r\n", "400", ""},
		{"a body", "POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 3\r\n\r\nabc", "405", "Method Not Allowed"},
		{"CONNECT", "CONNECT demo:80 HTTP/1.1\r\nHost: demo\r\n\r\n", "405", "Method Not Allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || !strings.HasPrefix(resp.Status, tt.status) || !strings.Contains(string(body), tt.body) {
				t.Errorf("got %s %.200s, %v\nwant %s %s", resp.Status, body, err, tt.status, tt.body)
			}
		})
	}
}

// Two thousand clients that keep their connection and say nothing must not
// hold up the one that asks.
func TestManyConnections(t *testing.T) {
	const connections = 2000
	addr, stop := serve(t, newServer(t, demo.Config{Listen: "127.0.0.1:0"}))
	const request = "GET /Brus%20Lee HTTP/1.1\r\nHost: demo\r\n\r\n"
	exchange := func(c net.Conn, r *bufio.Reader) error {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && !strings.Contains(string(body), `"http://demo/images/2.png"`) {
			err = fmt.Errorf("got %s", body)
		}
		return err
	}

	before := memory()
	open := make([]net.Conn, connections)
	for i := range open {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		// Each has had an answer, as an idle client of a pool has.
		if err := exchange(c, bufio.NewReaderSize(c, 512)); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open[i] = c
	}
	perConnection := (memory() - before) / connections
	t.Logf("%d open connections, both ends: %d bytes each", connections, perConnection)
	if perConnection > 64<<10 {
		t.Errorf("a connection costs %d bytes, want at most 64 KB", perConnection)
	}

	begun := time.Now()
	for i := 0; i < connections; i += 20 {
		if err := exchange(open[i], bufio.NewReaderSize(open[i], 512)); err != nil {
			t.Fatalf("connection %d again: %v", i, err)
		}
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("100 answers took %s beside %d open connections", took, connections)
	}
	if err := stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// memory returns what the heap and the stacks take, garbage aside.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
