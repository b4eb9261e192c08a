package fetch_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/netguard"
)

func TestDo(t *testing.T) {
	t.Parallel()
	type seen struct{ path, query, agent, encoding, accept, referer string }
	requests := make(chan seen, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- seen{r.URL.Path, r.URL.RawQuery, r.UserAgent(), r.Header.Get("Accept-Encoding"), r.Header.Get("Accept"), r.Referer()}
		w.Header().Set("X-Robots-Tag", "noai")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
	}))
	t.Cleanup(server.Close)
	client := newClient(t, fetch.Config{})

	resp, err := client.Do(t.Context(), fetch.Request{
		URL:    server.URL + "/a%2Fb?q=1#part",
		Header: http.Header{"Accept": {"image/*"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "short and stout" {
		t.Errorf("body: got %q, %v", body, err)
	}
	if resp.Status != http.StatusTeapot || resp.Header.Get("X-Robots-Tag") != "noai" {
		t.Errorf("got %d %v", resp.Status, resp.Header)
	}
	if got, want := <-requests, (seen{"/a/b", "q=1", "harvest/test", "identity", "image/*", ""}); got != want {
		t.Errorf("request: got %+v, want %+v", got, want)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	answers := map[string]func(w http.ResponseWriter){
		"body read":       func(w http.ResponseWriter) { io.WriteString(w, "all of it") },
		"body not read":   func(w http.ResponseWriter) { io.WriteString(w, "none of it") },
		"chunked":         func(w http.ResponseWriter) { io.WriteString(w, "a"); w.(http.Flusher).Flush(); io.WriteString(w, "b") },
		"gzip":            func(w http.ResponseWriter) { writeGzip(w, []byte("all of it")) },
		"error, not read": func(w http.ResponseWriter) { http.Error(w, "nothing here", http.StatusNotFound) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			remotes := make(chan string, 20)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				remotes <- r.RemoteAddr
				answer(w)
			}))
			t.Cleanup(server.Close)
			client := newClient(t, fetch.Config{})
			for range 10 {
				resp, err := client.Do(t.Context(), fetch.Request{URL: server.URL})
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(name, "not read") {
					if _, err := io.ReadAll(resp.Body); err != nil {
						t.Fatal(err)
					}
				}
				resp.Body.Close()
			}
			distinct := map[string]bool{}
			for range 10 {
				distinct[<-remotes] = true
			}
			// A busy machine may miss the moment that the rest of a body gets.
			if len(distinct) > 3 {
				t.Errorf("10 requests took %d connections", len(distinct))
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeGzip(w, []byte(strings.Repeat(r.URL.Path, 1000)))
	}))
	t.Cleanup(server.Close)
	client := newClient(t, fetch.Config{MaxIdleConns: 8})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			path := "/" + strconv.Itoa(i)
			for range 20 {
				body, err := get(t.Context(), client, fetch.Request{URL: server.URL + path})
				if err != nil || string(body) != strings.Repeat(path, 1000) {
					t.Errorf("%s: got %d bytes, %v", path, len(body), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCancelIsNoFailure(t *testing.T) {
	t.Parallel()
	t.Run("before the header", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		addr := serveRaw(t, func(c net.Conn) { cancel(); waitForClose(c) })
		_, err := newClient(t, fetch.Config{Timeout: time.Minute}).Do(ctx, fetch.Request{URL: "http://" + addr + "/?key=secret"})
		wantCanceled(t, err)
	})
	t.Run("in the body", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		addr := serveRaw(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
			waitForClose(c)
		})
		resp, err := newClient(t, fetch.Config{Timeout: time.Minute}).Do(ctx, fetch.Request{URL: "http://" + addr + "/?key=secret"})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadFull(resp.Body, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		cancel()
		_, err = io.ReadAll(resp.Body)
		wantCanceled(t, err)
	})
	t.Run("before all", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newClient(t, fetch.Config{}).Do(ctx, fetch.Request{URL: "http://127.0.0.1:9/"})
		wantCanceled(t, err)
	})
	t.Run("the caller's deadline is a timeout", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		addr := serveRaw(t, waitForClose)
		_, err := newClient(t, fetch.Config{Timeout: time.Minute}).Do(ctx, fetch.Request{URL: "http://" + addr})
		wantFailure(t, err, failure.ReasonTimeout, failure.Temporary)
	})
}

func wantCanceled(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if e, ok := errors.AsType[*failure.Error](err); ok {
		t.Errorf("got the failure %s, want none", e.Reason)
	}
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells the query: %v", err)
	}
}

// newClient returns a Client for cfg, with limits that no good answer meets
// where it has none.
func newClient(t *testing.T, cfg fetch.Config) *fetch.Client {
	t.Helper()
	if cfg.UserAgent == "" {
		cfg.UserAgent = "harvest/test"
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 20
	}
	client, err := fetch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	return client
}

func newGuard(t *testing.T, allow []string, ports ...int) *netguard.Guard {
	t.Helper()
	guard, err := netguard.New(allow, ports...)
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

// get does the whole exchange and returns its first error.
func get(ctx context.Context, client *fetch.Client, r fetch.Request) ([]byte, error) {
	resp, err := client.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// serveRaw listens on loopback and has each connection answered by answer,
// after the request's header was read. The test does not end before every
// connection did.
func serveRaw(t *testing.T, answer func(net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		begun := time.Now()
		wg.Wait()
		if waited := time.Since(begun); waited > 5*time.Second {
			t.Errorf("a connection was left open for %v", waited)
		}
	})
	return listener.Addr().String()
}

func waitForClose(c net.Conn) { io.Copy(io.Discard, c) }

func wantFailure(t *testing.T, err error, reason failure.Reason, kind failure.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s", reason)
	}
	e, ok := errors.AsType[*failure.Error](err)
	if !ok {
		t.Fatalf("got %T %v, want a failure", err, err)
	}
	if e.Reason != reason || e.Kind != kind {
		t.Errorf("got %s %s (%v), want %s %s", e.Reason, e.Kind, e, reason, kind)
	}
	if strings.Contains(e.Error(), "secret") {
		t.Errorf("the error tells a secret: %v", e)
	}
}
