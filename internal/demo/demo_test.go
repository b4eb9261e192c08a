package demo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/demo"
)

// setup returns a server for c behind a real socket, and its URL.
func setup(t *testing.T, c demo.Config) (*demo.Server, string) {
	t.Helper()
	s, err := demo.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s)
	t.Cleanup(func() {
		ts.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, ts.URL
}

// do sends one request; headers are pairs of key and value.
func do(t *testing.T, method, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

const fail = `{"status":"fail","result":{}}`

func TestLookup(t *testing.T) {
	t.Parallel()
	_, url := setup(t, demo.Config{PublicURL: "http://people.test:8000", People: 5})
	const (
		brus = `{"status":"success","result":{"name":"Brus Lee","age":"30","career":"engineer","picture":"http://people.test:8000/images/2.png"}}`
		han  = `{"status":"success","result":{"name":"Han Meimei","age":"28","career":"teacher","picture":"http://people.test:8000/images/1.jpg"}}`
		jack = `{"status":"success","result":{"name":"Jack Chen","age":"35","career":"actor","picture":"http://people.test:8000/images/3.gif"}}`
		made = `{"status":"success","result":{"name":"Pia Rawori","age":"33","career":"engineer","picture":"http://people.test:8000/images/m2.png"}}`
	)
	for _, tt := range []struct{ name, path, want string }{
		{"query", "/?name=Brus%20Lee", brus},
		{"query with plus", "/?name=Brus+Lee", brus},
		{"query and more", "/?x=1&name=Brus%20Lee&name=Jack+Chen", brus},
		{"path", "/Brus%20Lee", brus},
		{"path escaped throughout", "/%42%72%75%73%20%4C%65%65", brus},
		{"first", "/?name=Han%20Meimei", han},
		{"last", "/Jack%20Chen", jack},
		{"made up", "/Pia%20Rawori", made},
		{"made up beyond the count", "/?name=Ada%20Wowowo", fail},
		{"unknown", "/?name=Nobody", fail},
		{"other case", "/brus%20lee", fail},
		{"blanks around", "/?name=%20Brus%20Lee", fail},
		{"empty", "/?name=", fail},
		{"slash in a name", "/Brus%2FLee", fail},
		{"a name like a folder", "/images", fail},
		{"dots", "/%2e%2e", fail},
		{"traversal", "/..%2f..%2fetc%2fpasswd", fail},
		{"traversal in the query", "/?name=../../etc/passwd", fail},
		{"markup", "/?name=%3Cscript%3Ealert(1)%3C/script%3E", fail},
		{"markup in the path", "/%3Cscript%3E", fail},
		{"NUL", "/a%00b", fail},
		{"no UTF-8", "/%ff%fe", fail},
		{"newline", "/?name=a%0d%0aX-Evil:%201", fail},
		{"10 kB", "/" + strings.Repeat("n", 10<<10), fail},
		{"10 kB escaped", "/?name=" + strings.Repeat("%C3%A9", 5<<10), fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, body := do(t, http.MethodGet, url+tt.path)
			if resp.StatusCode != http.StatusOK || body != tt.want {
				t.Errorf("got %s %s\nwant 200 OK %s", resp.Status, body, tt.want)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("Content-Type is %q", got)
			}
			if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("X-Content-Type-Options is %q", got)
			}
			if resp.Header.Get("X-Evil") != "" {
				t.Error("a name made a header")
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	_, url := setup(t, demo.Config{People: 5})
	for _, path := range []string{
		"/a/b", "/images/", "/images/9.png", "/images/2.jpg", "/images/../images/2.png", "/images/%2e%2e%2fdemo.go",
		"/images/m0.png", "/images/m6.png", "/images/m01.png", "/images/m+1.png", "/images/m1", "/images/m-1.png",
		"/-/", "/-/home.html", "/-/counts", "/-/../home.css", "//", "//Brus%20Lee",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			resp, body := do(t, http.MethodGet, url+path)
			if want := `{"status":"error","error":"Not Found"}`; resp.StatusCode != http.StatusNotFound || body != want {
				t.Errorf("got %s %s\nwant 404 %s", resp.Status, body, want)
			}
		})
	}
}

func TestHost(t *testing.T) {
	t.Parallel()
	_, url := setup(t, demo.Config{})
	own := strings.TrimPrefix(url, "http://")
	for _, tt := range []struct{ host, want string }{
		{"example.org", "example.org"},
		{"example.org:8000", "example.org:8000"},
		{"demo_server:80", "demo_server:80"},
		{"[::1]:8000", "[::1]:8000"},
		{"127.0.0.1:1", "127.0.0.1:1"},
		{"a\"b", own},
		{"a<b>", own},
		{"user@evil", own},
		{"evil/path", own},
		{"evil?x", own},
		{"evil:0", own},
		{"evil:99999", own},
		{"evil:http", own},
		{"a:1:2", own},
		{"[::1", own},
		{"[x]:1", own},
		{strings.Repeat("h", 300), own},
	} {
		t.Run(tt.host, func(t *testing.T) {
			t.Parallel()
			s, err := demo.New(demo.Config{})
			if err != nil {
				t.Fatal(err)
			}
			// Not through a client, which would refuse to send some of these.
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/Brus%20Lee", nil)
			r.Host = tt.host
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			want := strings.ReplaceAll(tt.want, own, demo.DefaultListen)
			if got := w.Body.String(); !strings.Contains(got, `"http://`+want+`/images/2.png"`) {
				t.Errorf("got %s\nwant host %s", got, want)
			}
		})
	}
	_, body := do(t, http.MethodGet, url+"/Brus%20Lee", "Host", "user@evil")
	if !strings.Contains(body, `"`+url+`/images/2.png"`) {
		t.Errorf("got %s\nwant the connection's address %s", body, url)
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	_, url := setup(t, demo.Config{})
	for _, path := range []string{"/", "/?name=Brus%20Lee", "/Nobody", "/images/2.png", "/-/home.js"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			get, body := do(t, http.MethodGet, url+path)
			head, none := do(t, http.MethodHead, url+path)
			if none != "" || head.StatusCode != get.StatusCode || head.ContentLength != int64(len(body)) ||
				head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
				t.Errorf("HEAD got %s, length %d, %v\nGET got %s, length %d, %v",
					head.Status, head.ContentLength, head.Header, get.Status, len(body), get.Header)
			}
			options, _ := do(t, http.MethodOptions, url+path)
			if options.StatusCode != http.StatusNoContent || options.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("OPTIONS got %s, Allow %q", options.Status, options.Header.Get("Allow"))
			}
			for _, m := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, "BREW"} {
				resp, _ := do(t, m, url+path)
				if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
					t.Errorf("%s got %s, Allow %q", m, resp.Status, resp.Header.Get("Allow"))
				}
			}
		})
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const page = "https://app.example.org"
	for _, tt := range []struct{ name, allowed, origin, want string }{
		{"off", "", page, ""},
		{"any", "*", page, "*"},
		{"the one", page, page, page},
		{"another", page, "https://evil.example.org", ""},
		{"the same host, plain", page, "http://app.example.org", ""},
		{"none", page, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, url := setup(t, demo.Config{CORSOrigin: tt.allowed})
			for _, path := range []string{"/Brus%20Lee", "/images/2.png", "/a/b"} {
				for _, m := range []string{http.MethodGet, http.MethodOptions} {
					resp, _ := do(t, m, url+path, "Origin", tt.origin, "Access-Control-Request-Method", "GET")
					if got := resp.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
						t.Errorf("%s %s: allowed %q, want %q", m, path, got, tt.want)
					}
					preflight := m == http.MethodOptions && tt.want != ""
					if got := resp.Header.Get("Access-Control-Allow-Methods") != ""; got != preflight {
						t.Errorf("%s %s: methods told is %t, want %t", m, path, got, preflight)
					}
				}
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, demo.Config{People: 3})
	got := slices.Collect(s.Names())
	want := []string{"Han Meimei", "Brus Lee", "Jack Chen", "Ada Bababa", "Pia Rawori", "Mia Kevoke"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	for _, name := range got {
		if !s.Knows(name) {
			t.Errorf("does not know %q of its own names", name)
		}
	}
	for _, name := range []string{"", "Nobody", "han meimei", "Ada bababa", "Ada BABABA", "Ada Babab", "Ada Bababaa", "ada Bababa"} {
		if s.Knows(name) {
			t.Errorf("knows %q", name)
		}
	}
}

// The names file that ships as an example is for this server.
func TestExampleFile(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../examples/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := setup(t, demo.Config{})
	var got []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			got = append(got, line)
		}
	}
	if d := cmp.Diff(slices.Collect(s.Names()), got); d != "" {
		t.Errorf("names (-server +file):\n%s", d)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	bad := demo.Config{
		Listen: "8000", PublicURL: "http://x/y", CORSOrigin: "app.example.org", People: -1, PictureBytes: -1,
		Latency: -1, Jitter: time.Hour, UnknownRate: 2, ErrorRate: 0.7, BusyRate: 0.7, BusyStatus: 404,
		RetryAfter: 1500 * time.Millisecond,
	}
	err := bad.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v, want all problems joined", err)
	}
	var got []string
	for _, e := range joined.Unwrap() {
		key, _, _ := strings.Cut(e.Error(), ":")
		got = append(got, strings.TrimPrefix(key, "demo."))
	}
	want := []string{"listen", "public_url", "cors_origin", "people", "picture_bytes", "latency", "jitter",
		"unknown_rate", "busy_rate", "busy_status", "retry_after"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	if _, err := demo.New(bad); err == nil {
		t.Error("New took it")
	}

	for _, good := range []demo.Config{
		{},
		{Listen: ":0", PublicURL: "https://people.example.org", CORSOrigin: "*", People: demo.MaxPeople},
		{Listen: "[::1]:8000", PublicURL: "http://[::1]:8000", CORSOrigin: "http://localhost:3000", ErrorRate: 0.5, BusyRate: 0.5},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

func TestCatalogMissing(t *testing.T) {
	t.Parallel()
	_, err := demo.New(demo.Config{Catalog: t.TempDir() + "/none"})
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "demo.catalog: ") {
		t.Errorf("got %v", err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		level slog.Level
		lines int
	}{{slog.LevelInfo, 0}, {slog.LevelDebug, 2}} {
		t.Run(tt.level.String(), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: tt.level}))
			s := newServer(t, demo.Config{Log: log})
			ask(t, s, "/images/2.png")
			ask(t, s, "/a%0ab%1b"+strings.Repeat("x", 10_000))

			lines := slices.Collect(strings.Lines(out.String()))
			if len(lines) != tt.lines {
				t.Fatalf("got %d lines, want %d:\n%s", len(lines), tt.lines, out.String())
			}
			for _, line := range lines {
				var got struct {
					Msg, Method, Path string
					Status            int
				}
				if err := json.Unmarshal([]byte(line), &got); err != nil || len(line) > 500 {
					t.Fatalf("%s: %v", line, err)
				}
				if got.Msg != "request" || got.Method != "GET" || got.Status != 200 || !strings.HasPrefix(got.Path, "/") {
					t.Errorf("got %s", line)
				}
			}
		})
	}
}
