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
