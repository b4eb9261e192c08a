package hostiletest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/picharvest/picharvest/internal/failure"
)

// innerHosts are ways to write an address that no picture comes from: this
// machine, its networks, and the metadata services of clouds.
var innerHosts = []string{
	"127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
	"127。0。0。1", "①②⑦.⓪.⓪.①", "0.0.0.0", "[::]",
	"[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2001:db8::5efe:7f00:1]",
	"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "198.18.0.1", "224.0.0.1", "240.0.0.1",
	"[fd00:ec2::254]", "[fc00::1]", "[fe80::1]", "[ff02::1]",
}

// looseHosts are addresses to some resolvers and names to others.
var looseHosts = []string{"2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "localhost."}

// badURLs are refused as they stand.
var badURLs = map[string]string{
	"a file":                  "file:///etc/passwd",
	"ftp":                     "ftp://127.0.0.1/1.png",
	"gopher":                  "gopher://127.0.0.1:70/_x",
	"data":                    "data:image/png;base64,iVBORw0KGgo=",
	"javascript":              "javascript:alert(1)",
	"a relative path":         "pictures/1.png",
	"an absolute path":        "/1.png",
	"no scheme":               "//127.0.0.1/1.png",
	"no host":                 "http:///1.png",
	"no URL":                  "http://[::1/1.png",
	"an odd port":             "http://127.0.0.1:22/1.png",
	"port 0":                  "http://127.0.0.1:0/1.png",
	"a port of letters":       "http://127.0.0.1:http/1.png",
	"a port beyond the range": "http://127.0.0.1:65616/1.png",
	"NUL":                     "http://127.0.0.1/\x00.png",
	"CRLF":                    "http://127.0.0.1/1.png\r\nX-Injected: 1",
	"a space":                 "http://127.0.0.1/a b.png",
	"ESC":                     "http://127.0.0.1/\x1b[2J.png",
	"64 KB":                   "http://127.0.0.1/" + strings.Repeat("a", 64<<10),
	"a zone":                  "http://[fe80::1%25lo]/1.png",
}

// places adds what a picture's URL may say (demands 1, 2, 3 and 5).
func (b *builder) places() {
	for _, host := range innerHosts {
		b.pointer("URL to "+host, b.canary(host), final(failure.ReasonRefusedAddress))
		b.pointer("URL to "+host+" at port 80", "http://"+host+"/1.png", final(failure.ReasonRefusedAddress))
	}
	for _, host := range looseHosts {
		b.pointer("URL to "+host, b.canary(host),
			final(failure.ReasonRefusedAddress), exhausted(failure.ReasonDNS), exhausted(failure.ReasonTimeout))
	}
	for what, u := range badURLs {
		b.pointer("URL of "+what, u, final(failure.ReasonBadURL))
	}
	own, _ := url.Parse(b.s.URL)
	own.User, own.Path = url.UserPassword("user", "planted-userinfo"), "/1.png"
	b.pointer("URL of userinfo", own.String(), final(failure.ReasonBadURL))
}

// canary returns a URL that would reach the canary, were host loopback.
func (b *builder) canary(host string) string {
	return fmt.Sprintf("http://%s:%d/1.png?token=planted-query", host, b.s.Canary.Port)
}

// redirects adds where a picture host may send us (demand 4).
func (b *builder) redirects() {
	to := func(location string) func(*call) { return status(http.StatusFound, "Location", location) }
	for _, host := range innerHosts {
		b.picture("redirect to "+host, final(failure.ReasonRefusedAddress), to(b.canary(host)))
	}
	for _, host := range looseHosts {
		b.picture("redirect to "+host, final(failure.ReasonRefusedAddress), to(b.canary(host)))
		c := &b.cases[len(b.cases)-1]
		c.Wants = append(c.Wants, exhausted(failure.ReasonDNS), exhausted(failure.ReasonTimeout))
	}
	for what, u := range badURLs {
		switch what {
		case "a relative path", "an absolute path", "no scheme", "NUL", "CRLF", "ESC", "a space":
			// A redirect may be relative, a space in it is escaped, and net/http
			// keeps a server from sending the others.
			continue
		}
		b.picture("redirect to "+what, final(failure.ReasonBadURL), to(u))
	}
	b.picture("redirect to userinfo", final(failure.ReasonBadURL), to("http://user:planted-userinfo@127.0.0.1/1.png"))
	b.picture("redirect to NUL", final(failure.ReasonNetwork), says("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\x00\r\n\r\n"))
	b.cases[len(b.cases)-1].Wants = []Outcome{final(failure.ReasonBadURL), exhausted(failure.ReasonNetwork)}
	b.picture("redirect without a place", final(failure.ReasonRefused), status(http.StatusFound))
	for _, code := range []int{301, 303, 307, 308} {
		b.picture(fmt.Sprintf("redirect by %d", code), final(failure.ReasonRefusedAddress), status(code, "Location", b.canary("127.0.0.1")))
	}

	b.hops("redirect for ever", 1<<20)
	b.hops("redirect of 6 hops", 6)
	b.hops("redirect of 5 hops", 5)
}

// hops adds a picture that lies behind that many redirects.
func (b *builder) hops(name string, n int) {
	p := whole["jpeg"]
	c := Case{Name: name, Lookups: 1, Wants: []Outcome{final(failure.ReasonTooManyRedirects)}, Pictures: 6}
	if n <= 5 {
		c.Wants, c.SHA256 = []Outcome{done()}, Sum(p)
	}
	c.picture = func(c *call) {
		if c.try > n {
			sends(p)(c)
			return
		}
		status(http.StatusFound, "Location", fmt.Sprintf("/p/%d/%d", c.id, c.try))(c)
	}
	b.cases = append(b.cases, c)
}
