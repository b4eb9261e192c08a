package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/web"
)

func TestHostIsChecked(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *web.Config) {
		c.AllowedHosts = []string{"harvest.corp"}
		c.PublicURL = "https://harvest.example.org"
	})
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "localhost": 200, "LOCALHOST:1": 200, "app.localhost:8080": 200, "[::1]:8080": 200, "10.1.2.3": 200,
		"harvest.corp": 200, "Harvest.Corp.:8080": 200, "harvest.example.org": 200,
		"evil.example": 421, "evil.example:8080": 421, "harvest.corp.evil.example": 421, "localhost.evil.example": 421,
		"127.0.0.1.evil.example": 421, "notlocalhost": 421,
	} {
		for _, path := range []string{"/", "/api/v1/batches", "/queues/api/queues", "/people/?name=x", "/pictures/b?name=n"} {
			res, body := f.do(f.client, http.MethodGet, path, nil, http.Header{"Host": {host}})
			if got := res.StatusCode; (got == 421) != (want == 421) {
				t.Errorf("GET %s for %s: got %s, want %d: %s", path, host, res.Status, want, body)
			}
			wantHeaders(t, path, res)
		}
	}
}

// wantHeaders holds a response to what every one must have.
func wantHeaders(t *testing.T, path string, res *http.Response) {
	t.Helper()
	if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("%s: X-Content-Type-Options: got %q, want nosniff", path, got)
	}
	csp := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("%s: Content-Security-Policy: got %q, want %s in it", path, csp, want)
		}
	}
	if script := directive(csp, "script-src"); strings.Contains(script, "unsafe") {
		t.Errorf("%s: scripts: got %q, want nothing unsafe", path, script)
	}
	if !strings.Contains(csp, "sandbox") && (!strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "base-uri 'none'")) {
		t.Errorf("%s: Content-Security-Policy: got %q, want frame-ancestors and base-uri 'none'", path, csp)
	}
	if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("%s: Access-Control-Allow-Origin: got %q, want none", path, got)
	}
}

func directive(csp, name string) string {
	for d := range strings.SplitSeq(csp, ";") {
		if d = strings.TrimSpace(d); strings.HasPrefix(d, name+" ") {
			return d
		}
	}
	return ""
}

// changes are requests that would change something.
var changes = []struct{ method, path string }{
	{"POST", "/api/v1/batches/b/cancel"},
	{"POST", "/api/v1/batches/b/retry"},
	{"DELETE", "/api/v1/batches/b"},
	{"POST", "/api/v1/batches/b/names"},
	{"POST", "/queues/api/queues/lookup-people-express/pending_tasks:archive_all"},
	{"DELETE", "/queues/api/queues/lookup-people-express"},
}

func TestOtherOriginsChangeNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *web.Config) { c.QueuesWritable = true })
	f.add("b", "Brus Lee")
	for _, header := range []http.Header{
		{"Origin": {"https://evil.example"}},
		{"Origin": {"null"}},
		{"Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Site": {"same-site"}},
		{"Origin": {"http://127.0.0.1:1"}},
	} {
		for _, c := range changes {
			res, body := f.do(f.client, c.method, c.path, strings.NewReader("x"), header)
			if res.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s with %v: got %s, want 403: %s", c.method, c.path, header, res.Status, body)
			}
			wantHeaders(t, c.path, res)
		}
	}
	var b struct{ States map[string]int }
	f.api("GET", "/batches/b", "", 200, &b)
	if b.States["queued"] != 1 || len(b.States) == 0 {
		t.Errorf("states: got %v, want 1 queued", b.States)
	}
	// The same from our own page.
	res, body := f.do(f.client, "POST", "/api/v1/batches/b/cancel", nil, http.Header{"Origin": {f.url}, "Sec-Fetch-Site": {"same-origin"}})
	if res.StatusCode != http.StatusOK {
		t.Errorf("cancel from our own page: got %s: %s", res.Status, body)
	}
}

func TestCORSOnlyForConfiguredOrigins(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *web.Config) { c.CORSOrigins = []string{"https://app.example"} })
	f.add("b", "Brus Lee")
	for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": "", "https://app.example.evil": ""} {
		res, _ := f.do(f.client, "GET", "/api/v1/batches", nil, http.Header{"Origin": {origin}})
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: Access-Control-Allow-Origin: got %q, want %q", origin, got, want)
		}
		res, _ = f.do(f.client, "OPTIONS", "/api/v1/batches/b/pause", nil, http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"POST"},
		})
		if got := res.Header.Get("Access-Control-Allow-Methods"); (got != "") != (want != "") {
			t.Errorf("%s: Access-Control-Allow-Methods: got %q", origin, got)
		}
		res, _ = f.do(f.client, "GET", "/", nil, http.Header{"Origin": {origin}})
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: a page has Access-Control-Allow-Origin %q", origin, got)
		}
	}
	res, body := f.do(f.client, "POST", "/api/v1/batches/b/pause", nil, http.Header{"Origin": {"https://app.example"}, "Sec-Fetch-Site": {"cross-site"}})
	if res.StatusCode != http.StatusOK {
		t.Errorf("pause from the configured origin: got %s: %s", res.Status, body)
	}
}

const secret = "a-token-of-enough-length"

func TestTokenIsAskedFor(t *testing.T) {
	t.Parallel()
	f := setupWithToken(t)
	f.add("b", "Brus Lee")
	paths := []string{"/", "/api/v1/batches", "/api/v1/openapi.json", "/api/v1/events", "/queues/", "/queues/api/queues", "/people/?name=x", "/pictures/b?name=Brus+Lee", "/static/x", "/nothing"}
	for _, path := range paths {
		for _, header := range []http.Header{nil, {"Authorization": {"Bearer wrong"}}, {"Cookie": {"harvest=x"}}} {
			res, body := f.do(newClient(t, f.client.Transport), "GET", path, nil, header)
			if res.StatusCode != http.StatusUnauthorized || strings.Contains(string(body), secret) {
				t.Errorf("GET %s with %v: got %s: %s", path, header, res.Status, body)
			}
			wantHeaders(t, path, res)
		}
	}
	res, _ := f.do(f.client, "GET", "/api/v1/batches", nil, http.Header{"Authorization": {"Bearer " + secret}})
	if res.StatusCode != http.StatusOK {
		t.Errorf("with the token in a header: got %s", res.Status)
	}
	res, _ = f.do(newClient(t, f.client.Transport), "GET", "/?token=wrong", nil, nil)
	if res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) > 0 {
		t.Errorf("with a wrong token in the address: got %s, cookies %v", res.Status, res.Cookies())
	}
	// No page and no log has it, with Redis away either.
	f.redis.Stop()
	for _, path := range append(paths, "/api/v1/batches/b/names", "/queues/api/redis_info") {
		if path == "/api/v1/events" {
			continue // it does not end
		}
		if _, body := f.do(f.client, "GET", path, nil, nil); strings.Contains(string(body), secret) {
			t.Errorf("GET %s tells the token: %s", path, body)
		}
	}
	if logs := f.logs.String(); strings.Contains(logs, secret) {
		t.Errorf("the log tells the token:\n%s", logs)
	}
}

func TestTokenBecomesACookie(t *testing.T) {
	t.Parallel()
	f := setupWithToken(t)
	for _, way := range []struct {
		name, method, path, body, to string
	}{
		{"address", "GET", "/?state=done&token=" + secret, "", "/?state=done"},
		{"address that could lead elsewhere", "GET", "//evil.example/x?token=" + secret, "", "/evil.example/x"},
		{"form", "POST", "/login", url.Values{"token": {secret}}.Encode(), "/"},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, f.client.Transport)
			res, _ := f.do(client, way.method, way.path, strings.NewReader(way.body), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
			if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != way.to {
				t.Fatalf("got %s to %q, want 303 to %q", res.Status, res.Header.Get("Location"), way.to)
			}
			for _, c := range res.Cookies() {
				if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || strings.Contains(c.Value, secret) {
					t.Errorf("cookie: got %v", c)
				}
			}
			if res, _ := f.do(client, "GET", "/api/v1/batches", nil, nil); res.StatusCode != http.StatusOK {
				t.Errorf("with the cookie: got %s, want 200", res.Status)
			}
		})
	}
}

// setupWithToken returns a server that asks for a token; its fixture knows it.
func setupWithToken(t *testing.T) *fixture {
	t.Helper()
	return setup(t, func(c *web.Config) { c.Token = secret })
}

func TestMadeTokenIsTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*web.Config)
		made   bool
	}{
		"loopback":                  {func(*web.Config) {}, false},
		"everywhere":                {func(c *web.Config) { c.Listen = "0.0.0.0:0" }, true},
		"everywhere, all protocols": {func(c *web.Config) { c.Listen = ":0" }, true},
		"everywhere, configured":    {func(c *web.Config) { c.Listen, c.Token = "0.0.0.0:0", secret }, false},
		"everywhere, not asked":     {func(c *web.Config) { c.Listen, c.Auth = "0.0.0.0:0", web.AuthNone }, false},
		"loopback, always":          {func(c *web.Config) { c.Auth = web.AuthAlways }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig()
			c.change(&cfg)
			srv, ln := listen(t, cfg)
			at := srv.Address(ln)
			if (at.SignIn != "") != c.made {
				t.Errorf("address to sign in: got %q, want one: %t", at.SignIn, c.made)
			}
			if strings.Contains(at.URL, "0.0.0.0") || strings.Contains(at.URL, "[::]") || strings.Contains(at.URL, "token") {
				t.Errorf("address: got %q", at.URL)
			}
		})
	}
}
