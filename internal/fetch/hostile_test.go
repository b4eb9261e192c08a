package fetch_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

const head = "HTTP/1.1 200 OK\r\n"

// counted counts what a server got rid of.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func TestHostileServers(t *testing.T) {
	t.Parallel()
	const maxBytes = 1 << 20

	bomb := gzipOf(make([]byte, 64<<20))
	tests := []struct {
		name   string
		answer func(net.Conn)
		reason failure.Reason
		kind   failure.Kind
	}{
		{"endless body", func(c net.Conn) {
			io.WriteString(c, head+"\r\n")
			repeat(c, strings.Repeat("x", 64<<10))
		}, failure.ReasonTooLarge, failure.Final},
		{"endless chunks", func(c net.Conn) {
			io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n")
			repeat(c, "1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n")
		}, failure.ReasonTooLarge, failure.Final},
		{"too large by declaration", func(c net.Conn) {
			fmt.Fprintf(c, head+"Content-Length: %d\r\n\r\n", maxBytes+1)
			waitForClose(c)
		}, failure.ReasonTooLarge, failure.Final},
		{"gzip bomb", func(c net.Conn) {
			fmt.Fprintf(c, head+"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", len(bomb))
			c.Write(bomb)
			waitForClose(c)
		}, failure.ReasonTooLarge, failure.Final},
		{"gzip that never yields a byte", func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
			repeat(c, strings.Repeat("\x00\x00\x00\xff\xff", 10_000))
		}, failure.ReasonTooLarge, failure.Final},
		{"gzip of endless empty members", func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			repeat(c, strings.Repeat(string(gzipOf(nil)), 1000))
		}, failure.ReasonTooLarge, failure.Final},
		{"gzip cut", func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			c.Write(gzipOf([]byte("some text"))[:15])
		}, failure.ReasonTruncated, failure.Temporary},
		{"gzip with a wrong checksum", func(c net.Conn) {
			z := gzipOf([]byte("some text"))
			z[len(z)-5]++
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			c.Write(z)
		}, failure.ReasonTruncated, failure.Temporary},
		{"gzip that is none", func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\nplain text, longer than a gzip header")
		}, failure.ReasonTruncated, failure.Temporary},
		{"gzip with garbage after the header", func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"+strings.Repeat("\xff", 100))
		}, failure.ReasonTruncated, failure.Temporary},
		{"unknown encoding", func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx")
		}, failure.ReasonTruncated, failure.Final},
		{"two encodings", func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx")
		}, failure.ReasonTruncated, failure.Final},
		{"drip", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 100000\r\n\r\n")
			drip(c, "x")
		}, failure.ReasonTimeout, failure.Temporary},
		{"silence", waitForClose, failure.ReasonTimeout, failure.Temporary},
		{"silence in the body", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 100000\r\n\r\nabc")
			waitForClose(c)
		}, failure.ReasonTimeout, failure.Temporary},
		{"slow headers", func(c net.Conn) {
			io.WriteString(c, head)
			drip(c, "X-Slow: 1\r\n")
		}, failure.ReasonTimeout, failure.Temporary},
		{"one endless header line", func(c net.Conn) {
			io.WriteString(c, head+"X-Long: ")
			repeat(c, strings.Repeat("x", 64<<10))
		}, failure.ReasonTooLarge, failure.Final},
		{"endless headers", func(c net.Conn) {
			io.WriteString(c, head)
			repeat(c, "X-More: secret\r\n")
		}, failure.ReasonTooLarge, failure.Final},
		{"endless status line", func(c net.Conn) {
			repeat(c, "HTTP/1.1 200 OK")
		}, failure.ReasonTooLarge, failure.Final},
		{"endless 1xx", func(c net.Conn) {
			repeat(c, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
		}, failure.ReasonTooLarge, failure.Final},
		{"slow 1xx", func(c net.Conn) {
			drip(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}, failure.ReasonTimeout, failure.Temporary},
		{"endless trailer", func(c net.Conn) {
			io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
			repeat(c, "X-More: secret\r\n")
		}, failure.ReasonTruncated, failure.Temporary},
		{"body shorter than declared", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 10\r\n\r\nabc")
		}, failure.ReasonTruncated, failure.Temporary},
		{"chunks cut", func(c net.Conn) {
			io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n10\r\nabc")
		}, failure.ReasonTruncated, failure.Temporary},
		{"chunks garbled", func(c net.Conn) {
			io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc")
		}, failure.ReasonTruncated, failure.Temporary},
		{"reset in the body", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 10\r\n\r\nabc")
			reset(c)
		}, failure.ReasonNetwork, failure.Temporary},
		{"reset before the header", reset, failure.ReasonNetwork, failure.Temporary},
		{"closed before the header", func(net.Conn) {}, failure.ReasonNetwork, failure.Temporary},
		{"closed in the header", func(c net.Conn) {
			io.WriteString(c, head+"X-A: 1\r\n")
		}, failure.ReasonNetwork, failure.Temporary},
		{"no HTTP", func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-OpenSSH_9.9\x1b[31m\r\n")
		}, failure.ReasonNetwork, failure.Temporary},
		{"bad header", func(c net.Conn) {
			io.WriteString(c, head+"no colon here\r\n\r\n")
		}, failure.ReasonNetwork, failure.Temporary},
		{"two lengths", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")
		}, failure.ReasonNetwork, failure.Temporary},
		{"negative length", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: -1\r\n\r\nab")
		}, failure.ReasonNetwork, failure.Temporary},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if tt.reason == failure.ReasonTimeout {
				timeout = 300 * time.Millisecond
			}
			var sent atomic.Int64
			addr := serveRaw(t, func(c net.Conn) { tt.answer(counted{c, &sent}) })
			client := newClient(t, fetch.Config{Timeout: timeout, MaxBytes: maxBytes, Guard: newGuard(t, []string{addr})})
			begun := time.Now()
			body, err := get(t.Context(), client, fetch.Request{URL: "http://" + addr + "/1.png?key=secret"})
			if held := time.Since(begun); held > timeout+2*time.Second {
				t.Errorf("held for %v", held)
			}
			wantFailure(t, err, tt.reason, tt.kind)
			if len(body) > maxBytes {
				t.Errorf("got %d bytes, want at most %d", len(body), maxBytes)
			}
			if n := sent.Load(); n > maxBytes+8<<20 {
				t.Errorf("the server got rid of %d bytes", n)
			}
			if strings.Contains(err.Error(), "\x1b") {
				t.Errorf("the error has an escape in it: %q", err)
			}
		})
	}
}

func TestBodiesThatAreFine(t *testing.T) {
	t.Parallel()
	full := strings.Repeat("x", 1<<20)
	tests := []struct {
		name   string
		answer string
		want   string
	}{
		{"exactly the limit", head + "Content-Length: 1048576\r\n\r\n" + full, full},
		{"exactly the limit, no length", head + "\r\n" + full, full},
		{"exactly the limit, gzip", head + "Content-Encoding: gzip\r\n\r\n" + string(gzipOf([]byte(full))), full},
		{"gzip in capitals", head + "Content-Encoding: X-GZIP\r\n\r\n" + string(gzipOf([]byte("text"))), "text"},
		{"gzip of two members", head + "Content-Encoding: gzip\r\n\r\n" + string(gzipOf([]byte("te"))) + string(gzipOf([]byte("xt"))), "text"},
		{"gzip of nothing", head + "Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", ""},
		{"identity", head + "Content-Encoding: identity\r\nContent-Length: 4\r\n\r\ntext", "text"},
		{"more than declared", head + "Content-Length: 4\r\nConnection: close\r\n\r\ntext and more", "text"},
		{"1xx first", "HTTP/1.1 103 Early Hints\r\n\r\n" + head + "Content-Length: 4\r\n\r\ntext", "text"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\ntext", "text"},
		{"redirect without a place", "HTTP/1.1 302 Found\r\nContent-Length: 4\r\n\r\ntext", "text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := serveRaw(t, func(c net.Conn) { io.WriteString(c, tt.answer) })
			client := newClient(t, fetch.Config{MaxBytes: 1 << 20})
			got, err := get(t.Context(), client, fetch.Request{URL: "http://" + addr})
			if err != nil || string(got) != tt.want {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, len(tt.want))
			}
		})
	}
}

// An answer's status counts more than a body that nobody wants to read.
func TestStatusOutlivesABadBody(t *testing.T) {
	t.Parallel()
	addr := serveRaw(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Encoding: br\r\nContent-Length: 99999999\r\n\r\n")
		waitForClose(c)
	})
	resp, err := newClient(t, fetch.Config{}).Do(t.Context(), fetch.Request{URL: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if e := fetch.StatusError(resp, time.Now()); e.Kind != failure.Hold || e.RetryAfter != 7*time.Second {
		t.Errorf("got %s %v", e.Kind, e.RetryAfter)
	}
}

// A host that closes every connection that was kept gets a few requests for
// one, not as many as there were connections.
func TestClosedConnectionsAreGivenUp(t *testing.T) {
	t.Parallel()
	const kept = 20
	var asked atomic.Int64
	together := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := asked.Add(1); n < kept {
			<-together
		} else if n == kept {
			close(together)
		} else {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}
	}))
	t.Cleanup(server.Close)
	client := newClient(t, fetch.Config{MaxIdleConns: kept})
	var all sync.WaitGroup
	for range kept {
		all.Go(func() {
			if _, err := get(t.Context(), client, fetch.Request{URL: server.URL}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	_, err := get(t.Context(), client, fetch.Request{URL: server.URL})
	wantFailure(t, err, failure.ReasonNetwork, failure.Temporary)
	// The last one may be on its way when it is given up.
	if n := asked.Load() - kept; n < 2 || n > 4 {
		t.Errorf("asked %d times, want 3", n)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	_, err = get(t.Context(), newClient(t, fetch.Config{}), fetch.Request{URL: "http://" + addr + "/?key=secret"})
	wantFailure(t, err, failure.ReasonNetwork, failure.Temporary)
	if !failure.From(err).Unreached {
		t.Error("want it to say that nobody was reached")
	}

	// Who sends us there was reached, and so was who hangs up.
	elsewhere := httptest.NewServer(http.RedirectHandler("http://"+addr+"/", http.StatusFound))
	t.Cleanup(elsewhere.Close)
	silent := serveRaw(t, func(c net.Conn) { c.Close() })
	for _, url := range []string{elsewhere.URL, "http://" + silent} {
		_, err = get(t.Context(), newClient(t, fetch.Config{MaxRedirects: 1}), fetch.Request{URL: url})
		wantFailure(t, err, failure.ReasonNetwork, failure.Temporary)
		if failure.From(err).Unreached {
			t.Errorf("%v: want it to count as reached", err)
		}
	}
}

func repeat(w io.Writer, s string) {
	for {
		if _, err := io.WriteString(w, s); err != nil {
			return
		}
	}
}

func drip(w io.Writer, s string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := io.WriteString(w, s); err != nil {
			return
		}
	}
}

func reset(c net.Conn) {
	c.(counted).Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func gzipOf(p []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(p)
	z.Close()
	return b.Bytes()
}

func writeGzip(w http.ResponseWriter, p []byte) {
	w.Header().Set("Content-Encoding", "gzip")
	w.Write(gzipOf(p))
}
