package fetch_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

// newStairs serves /N, which redirects to /N-1 by each of the statuses in
// turn, down to /0.
func newStairs(t *testing.T) *httptest.Server {
	t.Helper()
	statuses := []int{301, 302, 303, 307, 308}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
		if n == 0 {
			fmt.Fprint(w, "ground floor, referer ", r.Referer(), ", cookie ", r.Header.Get("Cookie"))
			return
		}
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Location", strconv.Itoa(n-1))
		w.WriteHeader(statuses[n%len(statuses)])
	}))
	t.Cleanup(server.Close)
	return server
}

func TestRedirectsAreCounted(t *testing.T) {
	t.Parallel()
	stairs := newStairs(t)
	client := newClient(t, fetch.Config{MaxRedirects: 5})
	for steps, reason := range map[int]failure.Reason{0: "", 1: "", 5: "", 6: failure.ReasonTooManyRedirects, 100: failure.ReasonTooManyRedirects} {
		body, err := get(t.Context(), client, fetch.Request{URL: stairs.URL + "/" + strconv.Itoa(steps)})
		if reason != "" {
			wantFailure(t, err, reason, failure.Final)
			continue
		}
		if err != nil || string(body) != "ground floor, referer , cookie " {
			t.Errorf("%d steps: got %q, %v", steps, body, err)
		}
	}
	_, err := get(t.Context(), newClient(t, fetch.Config{}), fetch.Request{URL: stairs.URL + "/1"})
	wantFailure(t, err, failure.ReasonTooManyRedirects, failure.Final)
}

func TestRedirectLoop(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.RedirectHandler("/", http.StatusFound))
	t.Cleanup(server.Close)
	_, err := get(t.Context(), newClient(t, fetch.Config{MaxRedirects: 5}), fetch.Request{URL: server.URL + "/?key=secret"})
	wantFailure(t, err, failure.ReasonTooManyRedirects, failure.Final)
}

func TestURLIsWhereTheAnswerCameFrom(t *testing.T) {
	t.Parallel()
	stairs := newStairs(t)
	resp, err := newClient(t, fetch.Config{MaxRedirects: 5}).Do(t.Context(), fetch.Request{URL: stairs.URL + "/3"})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := stairs.URL + "/0"; resp.URL != want {
		t.Errorf("got %s, want %s", resp.URL, want)
	}
}

// The bodies of redirects count for the deadline, but a stalled one ends its
// own connection only.
func TestRedirectWithAStalledBody(t *testing.T) {
	t.Parallel()
	stairs := newStairs(t)
	addr := serveRaw(t, func(c net.Conn) {
		fmt.Fprintf(c, "HTTP/1.1 302 Found\r\nLocation: %s/0\r\nContent-Length: 10\r\n\r\n", stairs.URL)
		waitForClose(c)
	})
	client := newClient(t, fetch.Config{MaxRedirects: 1})
	if _, err := get(t.Context(), client, fetch.Request{URL: "http://" + addr}); err != nil {
		t.Error(err)
	}
}

func TestSameOrigin(t *testing.T) {
	t.Parallel()
	stairs := newStairs(t)
	other := newCanary(t)
	port := strconv.Itoa(stairs.Listener.Addr().(*net.TCPAddr).Port)
	tests := map[string]failure.Reason{
		"/0":                              "",
		"//127.0.0.1:" + port + "/0":      "",
		"HTTP://127.0.0.1:" + port:        "",
		"http://" + other.Addr().String(): failure.ReasonRefusedRedirect,
		"http://localhost:" + port:        failure.ReasonRefusedRedirect,
		"https://127.0.0.1:" + port:       failure.ReasonRefusedRedirect,
		"http://127.0.0.1/?key=secret":    failure.ReasonRefusedRedirect,
	}
	client := newClient(t, fetch.Config{MaxRedirects: 5, SameOrigin: true})
	for location, reason := range tests {
		server := httptest.NewUnstartedServer(nil)
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/from" {
				w.Header().Set("Location", strings.ReplaceAll(location, port, strconv.Itoa(server.Listener.Addr().(*net.TCPAddr).Port)))
				w.WriteHeader(http.StatusFound)
			}
		})
		server.Start()
		_, err := get(t.Context(), client, fetch.Request{URL: server.URL + "/from"})
		if reason != "" {
			wantFailure(t, err, reason, failure.Final)
		} else if err != nil {
			t.Errorf("%s: %v", location, err)
		}
		server.Close()
	}
	other.wantSilence(t)
}

func TestCredentialsStayAtTheirOrigin(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 10)
	show := func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization") + "|" + r.Header.Get("X-Api-Key") + "|" + r.Header.Get("X-Plain")
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	}
	home := httptest.NewServer(http.HandlerFunc(show))
	t.Cleanup(home.Close)
	away := httptest.NewServer(http.HandlerFunc(show)) // the same host, another port
	t.Cleanup(away.Close)
	port := strconv.Itoa(home.Listener.Addr().(*net.TCPAddr).Port)
	const with, without = "Bearer secret|k|p", "||p"

	tests := []struct {
		name   string
		origin string
		url    string
		want   []string
	}{
		{"home", home.URL, home.URL, []string{with}},
		{"origin as a URL in other words", "HTTP://127。0。0。1:" + port + "/path", home.URL, []string{with}},
		{"away", home.URL, away.URL, []string{without}},
		{"from home to away", home.URL, home.URL + "/?to=" + away.URL, []string{with, without}},
		{"from away to home", home.URL, away.URL + "/?to=" + home.URL, []string{without, with}},
		{"another name for home", home.URL, "http://localhost:" + port, []string{without}},
		{"another scheme in the origin", "https://127.0.0.1:" + port, home.URL, []string{without}},
		{"no origin", "", home.URL, []string{without}},
	}
	for _, tt := range tests {
		client := newClient(t, fetch.Config{MaxRedirects: 5})
		_, err := get(t.Context(), client, fetch.Request{
			URL:              tt.url,
			Header:           http.Header{"X-Plain": {"p"}},
			Credentials:      http.Header{"Authorization": {"Bearer secret"}, "x-api-key": {"k"}},
			CredentialOrigin: tt.origin,
		})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for hop, want := range tt.want {
			if got := <-seen; got != want {
				t.Errorf("%s, hop %d: got %q, want %q", tt.name, hop, got, want)
			}
		}
	}
}

func TestSecretsOutsideCredentialsAreADefect(t *testing.T) {
	t.Parallel()
	c := newCanary(t)
	client := newClient(t, fetch.Config{})
	at := "http://" + c.Addr().String()
	for _, r := range []fetch.Request{
		{URL: at, Header: http.Header{"Authorization": {"secret"}}},
		{URL: at, Header: http.Header{"cookie": {"secret"}}},
		{URL: at, CredentialOrigin: "a.org"},
		{URL: at, CredentialOrigin: "http://u:secret@a.org:99999"},
	} {
		_, err := client.Do(t.Context(), r)
		wantFailure(t, err, failure.ReasonInternal, failure.Final)
	}
	_, err := client.Do(t.Context(), fetch.Request{URL: at, Header: http.Header{"X-Bad": {"secret\r\n"}}})
	wantFailure(t, err, failure.ReasonNetwork, failure.Temporary)
	c.wantSilence(t)
}

func TestErrorsTellNoSecrets(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "x")
	}))
	t.Cleanup(server.Close)
	_, err := get(t.Context(), newClient(t, fetch.Config{}), fetch.Request{
		URL:              server.URL + "/1.png?key=secret#secret",
		Credentials:      http.Header{"X-Api-Key": {"secret"}},
		CredentialOrigin: server.URL,
	})
	wantFailure(t, err, failure.ReasonTruncated, failure.Temporary)
	if want := "get " + server.URL + "/1.png: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want it to begin %q", err, want)
	}
}
