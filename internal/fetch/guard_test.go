package fetch_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

// canary is a listener that nobody should reach.
type canary struct {
	net.Listener
	port int
}

func newCanary(t *testing.T) canary {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return canary{listener, listener.Addr().(*net.TCPAddr).Port}
}

// wantSilence fails the test if anybody has connected. Connections are
// accepted in their order, so the first one must be our own.
func (c canary) wantSilence(t *testing.T) {
	t.Helper()
	own, err := net.Dial("tcp", c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	first, err := c.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if first.RemoteAddr().String() != own.LocalAddr().String() {
		t.Errorf("the canary was reached from %s", first.RemoteAddr())
	}
}

func TestGuardedClientNeverConnects(t *testing.T) {
	t.Parallel()
	hosts := []string{
		"127.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "localhost", "LOCALHOST", "localhost.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"[::1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "0.0.0.0", "[::]", "127.1.2.3",
		"2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "169.254.169.254",
	}
	for _, host := range hosts {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			c := newCanary(t)
			at := host + ":" + strconv.Itoa(c.port)
			// Its port is open, so that the address alone decides.
			client := newClient(t, fetch.Config{Guard: newGuard(t, nil, c.port), Timeout: patience(host)})
			for _, scheme := range []string{"http", "https"} {
				_, err := get(t.Context(), client, fetch.Request{URL: scheme + "://" + at + "/1.png?key=secret"})
				wantUnreached(t, host, err)
			}
			c.wantSilence(t)
		})
	}
}

func TestRedirectsAreGuarded(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "127。0。0。1", "localhost", "[::1]", "2130706433"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			c := newCanary(t)
			target := "http://" + host + ":" + strconv.Itoa(c.port) + "/1.png?key=secret"
			server := httptest.NewServer(http.RedirectHandler(target, http.StatusFound))
			t.Cleanup(server.Close)
			client := newClient(t, fetch.Config{
				Guard:        newGuard(t, []string{server.Listener.Addr().String()}, c.port),
				MaxRedirects: 5,
				Timeout:      patience(host),
			})
			_, err := get(t.Context(), client, fetch.Request{URL: server.URL})
			wantUnreached(t, host, err)
			c.wantSilence(t)
		})
	}
}

// isQuestion reports whether some resolvers ask DNS for host, which others
// take for an address.
func isQuestion(host string) bool {
	return strings.Trim(host, "0123456789abcdefx.") == "" && net.ParseIP(host) == nil || strings.HasSuffix(host, ".")
}

// patience is short for names that DNS is asked for, since a test has none.
func patience(host string) time.Duration {
	if isQuestion(host) {
		return 300 * time.Millisecond
	}
	return 10 * time.Second
}

// wantUnreached wants the guard's refusal, or that a name was not resolved.
func wantUnreached(t *testing.T, host string, err error) {
	t.Helper()
	e, ok := errors.AsType[*failure.Error](err)
	if !ok {
		t.Fatalf("got %v, want a failure", err)
	}
	switch {
	case e.Reason == failure.ReasonRefusedAddress && e.Kind == failure.Final:
	case isQuestion(host) && (e.Reason == failure.ReasonDNS || e.Reason == failure.ReasonTimeout):
	default:
		t.Errorf("got %s %s %v, want %s", e.Reason, e.Kind, e, failure.ReasonRefusedAddress)
	}
	if strings.Contains(e.Error(), "secret") {
		t.Errorf("the error tells the query: %v", e)
	}
}

func TestBadURLsAreNeverDialled(t *testing.T) {
	t.Parallel()
	c := newCanary(t)
	at := c.Addr().String()
	client := newClient(t, fetch.Config{Guard: newGuard(t, []string{"127.0.0.0/8"})})
	for _, raw := range []string{
		"file:///etc/passwd", "ftp://" + at, "gopher://" + at, "data:,x", "javascript:1", "//" + at, "/1.png", "",
		"http://u:secret@" + at, "http://" + at + "/\r\nX: y", "http://" + at + "/\x00", "http://" + at + "/" + strings.Repeat("a", 64<<10),
	} {
		_, err := get(t.Context(), client, fetch.Request{URL: raw})
		wantFailure(t, err, failure.ReasonBadURL, failure.Final)
	}
	c.wantSilence(t)
}

func TestBadRedirectTargets(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"file:///etc/passwd", "ftp://a.org/", "http://u:secret@a.org/", "http://a.org:22/", "http://a.org:bad/?secret", "http:///1.png",
		"http://127.0.0.1:80/" + strings.Repeat("a", 9<<10), "data:,x",
	} {
		t.Run(target[:min(len(target), 30)], func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", target)
				w.WriteHeader(http.StatusMovedPermanently)
			}))
			t.Cleanup(server.Close)
			client := newClient(t, fetch.Config{Guard: newGuard(t, []string{server.Listener.Addr().String()}), MaxRedirects: 5})
			_, err := get(t.Context(), client, fetch.Request{URL: server.URL})
			wantFailure(t, err, failure.ReasonBadURL, failure.Final)
		})
	}
}

func TestExceptions(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	c := newCanary(t)
	serverPort := strconv.Itoa(server.Listener.Addr().(*net.TCPAddr).Port)
	canaryPort := strconv.Itoa(c.port)

	tests := []struct {
		name  string
		allow string
		host  string
		want  failure.Reason // "" passes
	}{
		{"by address", "127.0.0.1:" + serverPort, "127.0.0.1:" + serverPort, ""},
		{"by address, exotic digits", "127.0.0.1:" + serverPort, "127。0。0。1:" + serverPort, ""},
		{"by address, reached by name", "127.0.0.1:" + serverPort, "localhost:" + serverPort, failure.ReasonBadURL},
		{"by address, other port", "127.0.0.1:" + serverPort, "127.0.0.1:" + canaryPort, failure.ReasonBadURL},
		{"by address, port 80", "127.0.0.1:" + serverPort, "127.0.0.1", failure.ReasonRefusedAddress},
		{"by name", "localhost:" + serverPort, "localhost:" + serverPort, ""},
		{"by name, reached by address", "localhost:" + serverPort, "127.0.0.1:" + serverPort, failure.ReasonBadURL},
		{"by name, other port", "localhost:" + serverPort, "localhost:" + canaryPort, failure.ReasonBadURL},
		{"by network", "127.0.0.0/8", "localhost:" + serverPort, ""},
		{"by another network", "10.0.0.0/8", "localhost:" + canaryPort, failure.ReasonRefusedAddress},
	}
	t.Run("group", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				client := newClient(t, fetch.Config{Guard: newGuard(t, []string{tt.allow})})
				_, err := get(t.Context(), client, fetch.Request{URL: "http://" + tt.host + "/"})
				if tt.want == "" {
					if err != nil {
						t.Errorf("got %v, want it to pass", err)
					}
					return
				}
				wantFailure(t, err, tt.want, failure.Final)
			})
		}
	})
	c.wantSilence(t)
}

func TestProxyVariablesAreIgnored(t *testing.T) {
	c := newCanary(t)
	t.Setenv("HTTP_PROXY", "http://"+c.Addr().String())
	t.Setenv("http_proxy", "http://"+c.Addr().String())
	client := newClient(t, fetch.Config{Guard: newGuard(t, nil)})
	_, err := get(t.Context(), client, fetch.Request{URL: "http://10.0.0.1/"})
	wantFailure(t, err, failure.ReasonRefusedAddress, failure.Final)
	c.wantSilence(t)
}

// A proxy that is not used is named where nothing else can be reached, without
// its password, and nowhere else.
func TestUnusedProxyIsNamed(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://user:secret@proxy.corp:3128")
	const hint = "picture.proxy: environment"
	unreachable := fetch.Request{URL: "http://127.0.0.1:1/"}
	for name, tt := range map[string]struct {
		cfg    fetch.Config
		reason failure.Reason
		want   bool
	}{
		"a picture's host": {fetch.Config{Guard: newGuard(t, []string{"127.0.0.1:1"})}, failure.ReasonNetwork, true},
		"a refused host":   {fetch.Config{Guard: newGuard(t, nil, 1)}, failure.ReasonRefusedAddress, false},
		"the proxy itself": {fetch.Config{Guard: newGuard(t, nil), Proxy: "http://127.0.0.1:1"}, failure.ReasonNetwork, false},
		"a lookup":         {fetch.Config{}, failure.ReasonNetwork, false},
	} {
		r := unreachable
		if tt.cfg.Proxy != "" {
			r.URL = "http://a.example/"
		}
		_, err := get(t.Context(), newClient(t, tt.cfg), r)
		e := failure.From(err)
		if e == nil || e.Reason != tt.reason || strings.Contains(e.Error(), hint) != tt.want || strings.Contains(e.Error(), "secret") {
			t.Errorf("%s: got %v, want %s, hint %v", name, err, tt.reason, tt.want)
		}
	}
}

func TestProxy(t *testing.T) {
	proxied := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := strings.Cut(r.Header.Get("Proxy-Authorization"), " ")
		proxied <- user + " " + r.RequestURI
	}))
	t.Cleanup(proxy.Close)
	withUser := strings.Replace(proxy.URL, "http://", "http://user:secret@", 1)

	t.Run("by URL", func(t *testing.T) {
		client := newClient(t, fetch.Config{Guard: newGuard(t, nil), Proxy: withUser})
		if _, err := get(t.Context(), client, fetch.Request{URL: "http://a.example/1.png"}); err != nil {
			t.Fatal(err)
		}
		if got, want := <-proxied, "Basic http://a.example/1.png"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("by environment", func(t *testing.T) {
		t.Setenv("HTTP_PROXY", proxy.URL)
		t.Setenv("NO_PROXY", "10.0.0.0/8")
		client := newClient(t, fetch.Config{Guard: newGuard(t, nil), Proxy: fetch.ProxyEnvironment})
		if _, err := get(t.Context(), client, fetch.Request{URL: "http://a.example/1.png"}); err != nil {
			t.Fatal(err)
		}
		if got, want := <-proxied, " http://a.example/1.png"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		_, err := get(t.Context(), client, fetch.Request{URL: "http://10.0.0.1/"})
		wantFailure(t, err, failure.ReasonRefusedAddress, failure.Final)
	})
	t.Run("unreachable", func(t *testing.T) {
		client := newClient(t, fetch.Config{Guard: newGuard(t, nil), Proxy: "http://user:secret@127.0.0.1:1"})
		_, err := get(t.Context(), client, fetch.Request{URL: "http://a.example/1.png"})
		wantFailure(t, err, failure.ReasonNetwork, failure.Temporary)
	})
}
