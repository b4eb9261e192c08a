package netguard_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/netguard"
)

func TestCheckURL(t *testing.T) {
	t.Parallel()
	guard, err := netguard.New([]string{"photos.corp:8443"}, 8080)
	if err != nil {
		t.Fatal(err)
	}
	const ok = ""
	tests := []struct {
		name string
		raw  string
		want string // a part of the error
	}{
		{"http", "http://a.org/1.png", ok},
		{"https", "HTTPS://A.org/1.png?size=2#x", ok},
		{"default port written", "https://a.org:443/", ok},
		{"empty port", "https://a.org:/", ok},
		{"http on 443", "http://a.org:443/", ok},
		{"extra port", "http://a.org:8080/", ok},
		{"exception's port", "http://photos.corp:8443/", ok},
		{"IPv6", "http://[2606:4700::1111]/", ok},
		{"underscore", "http://my_host.a.org/", ok},
		{"IDN", "http://bücher.example/ü.png", ok},
		{"escaped space", "http://a.org/a%20b.png", ok},
		{"at in the path", "http://a.org/@user/1.png", ok},
		{"longest", "http://a.org/" + strings.Repeat("a", netguard.MaxURLBytes-13), ok},

		{"too long", "http://a.org/" + strings.Repeat("a", netguard.MaxURLBytes-12), "longer than 8 KB"},
		{"64 KB", "http://a.org/" + strings.Repeat("a", 64<<10), "longer than 8 KB"},
		{"empty", "", "not absolute"},
		{"relative", "1.png", "not absolute"},
		{"absolute path", "/1.png", "not absolute"},
		{"scheme-relative", "//a.org/1.png", "not absolute"},
		{"file", "file:///etc/passwd", "neither http nor https"},
		{"ftp", "ftp://a.org/1.png", "neither http nor https"},
		{"gopher", "gopher://a.org:70/1", "neither http nor https"},
		{"data", "data:image/png;base64,AAAA", "neither http nor https"},
		{"javascript", "javascript:alert(1)", "neither http nor https"},
		{"opaque", "http:a.org/1.png", "no host"},
		{"no host", "http:///1.png", "no host"},
		{"port alone", "http://:80/1.png", "no host"},
		{"user", "http://user@a.org/", "user name or password"},
		{"password", "http://user:secret@a.org/", "user name or password"},
		{"empty user", "http://@a.org/", "user name or password"},
		{"backslash before at", `http://a.org\@b.org/`, "not a URL"},
		{"backslash", `http://a.org\b.org/`, "not a URL"},
		{"SSH", "http://a.org:22/", "port that is not open"},
		{"Redis", "http://a.org:6379/", "pictures.allow: [a.org:6379]"},
		{"exception's port elsewhere", "http://a.org:8443/", "port that is not open"},
		{"port 0", "http://a.org:0/", "1 to 65535"},
		{"port too large", "http://a.org:65616/", "1 to 65535"},
		{"port no number", "http://a.org:http/", "not a URL"},
		{"negative port", "http://a.org:-80/", "not a URL"},
		{"NUL", "http://a.org/\x00", "control character"},
		{"CRLF", "http://a.org/\r\nHost: b.org", "control character"},
		{"tab in the host", "http://a\t.org/", "control character"},
		{"space", "http://a.org/a b.png", "space"},
		{"leading space", " http://a.org/", "space"},
		{"DEL", "http://a.org/\x7f", "control character"},
		{"angle in the host", "http://a<b>.org/", "neither a name nor an address"},
		{"invisible character in the host", "http://a\u202eb.org/", "neither a name nor an address"},
		{"zone", "http://[fe80::1%25eth0]/", "zone"},
		{"bad escape in the host", "http://a%00.org/", "not a URL"},
		{"open bracket", "http://[::1/", "not a URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, err := guard.CheckURL(tt.raw)
			if tt.want == ok {
				if err != nil || u == nil {
					t.Errorf("got %v, %v, want it to pass", u, err)
				}
				return
			}
			wantFailure(t, err, failure.ReasonBadURL, tt.want)
			if len(err.Error()) > 500 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestCheckURLWithNetworks(t *testing.T) {
	t.Parallel()
	guard, err := netguard.New([]string{"10.20.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guard.CheckURL("http://10.20.1.1:9000/"); err != nil {
		t.Errorf("address of the network: %v", err)
	}
	if _, err := guard.CheckURL("http://name.corp:9000/"); err != nil {
		t.Errorf("a name that may be of the network, which the dial will tell: %v", err)
	}
	_, err = guard.CheckURL("http://10.21.1.1:9000/")
	wantFailure(t, err, failure.ReasonBadURL, "port that is not open")
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"http://A.org":                   "http://a.org:80",
		"HTTPS://a.org/x?y":              "https://a.org:443",
		"https://a.org:0443/":            "https://a.org:443",
		"http://[0::1]:81":               "http://[::1]:81",
		"http://①②⑦.⓪.⓪.①/":              "http://127.0.0.1:80",
		"http://xn--bcher-kva.example":   "http://xn--bcher-kva.example:80",
		"http://bücher.example":          "http://xn--bcher-kva.example:80",
		"http://a.org:99999":             "",
		"ftp://a.org":                    "",
		"a.org":                          "",
		"http://user:secret@a.org:8080/": "http://a.org:8080",
	}
	for raw, want := range tests {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := netguard.Origin(u); got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, want string }{
		{"https://a.org/1.png", "https://a.org/1.png"},
		{"https://user:secret@a.org/1.png?key=secret#secret", "https://a.org/1.png"},
		{"https://a.org/@user/1.png?mail=a@b", "https://a.org/@user/1.png"},
		{"https://a.org?mail=a@secret", "https://…"},
		{"https://u:se@cret@a.org/", "https://a.org/"},
		{"https://u:12/secret@a.org:bad/%zz", "https://…"},
		{"https://a.org/%zz?key=secret", "https://a.org/%zz"},
		{"redis://:secret@127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"},
		{"rediss://user:secret@redis.corp:6380/1?x=secret", "rediss://redis.corp:6380/1"},
		{"redis://:se?cret@h:6379", "redis://…"},
		{"redis://:12?secret@h:6379", "redis://…"},
		{"redis://:12/secret@h:6379", "redis://…"},
		{"redis://:12#secret@h:6379", "redis://…"},
		{"redis://:%zzsecret@h:6379", "redis://…"},
		{"redis://h:6379/0?password=a@secret", "redis://…"},
		{"redis://u:secret@h1:1,h2:2/0", "redis://h1:1,h2:2/0"},
		{"redis://h:6379", "redis://h:6379"},
		{"127.0.0.1:6379", "127.0.0.1:6379"},
		{"user:secret@h:6379", "…"},
		{":secret@h:6379", "…"},
		{"//user:secret@h/x", "…"},
		{"data:image/png;base64,AAAA", "data:image/png;base64,AAAA"},
		{"", ""},
		{"http://a.org/\x1b[31m\u202e\xff", `http://a.org/\x1b[31m\u202e\xff`},
		{"http://a.org/" + strings.Repeat("é", 200), "http://a.org/" + strings.Repeat("é", 93) + "…"},
	}
	for _, tt := range tests {
		if got := netguard.RedactURL(tt.raw); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.raw, got, tt.want)
		}
	}
}

func TestHideUserinfo(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, want string }{
		{"https://a.org/1.png?key=a@b#c", "https://a.org/1.png?key=a@b#c"},
		{"https://a.org/@user/1.png", "https://a.org/@user/1.png"},
		{"https://user:secret@a.org/1.png?w=9", "https://redacted@a.org/1.png?w=9"},
		{"https://secret@a.org", "https://redacted@a.org"},
		{"https://u:se@cret@a.org/", "https://redacted@a.org/"},
		{"https://u:se cret@a.org/", "https://…"},
		{"http:/u:secret@a.org/", "…"},
		{"ftp://u:secret@a.org/", "ftp://a.org/"},
		{"u:secret@a.org/1.png", "…"},
		{"1.png", "1.png"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := netguard.HideUserinfo(tt.raw); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{
		"http://a.org/1.png", "https://u:p@[::1%25a]:80/?q#f", "redis://:p@h", "http://①②⑦.⓪.⓪.①/",
		"http://2130706433/", "//x", "http://a\\@b", "http://%41/", "x://a@b@c?d@e",
	} {
		f.Add(s)
	}
	guard, err := netguard.New(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		shown := netguard.RedactURL(raw)
		if strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.Contains(shown, "?") {
			t.Errorf("%q shows as %q", raw, shown)
		}
		u, err := guard.CheckURL(raw)
		kept := netguard.HideUserinfo(raw)
		if _, keptErr := guard.CheckURL(kept); (err == nil) != (keptErr == nil) || err == nil && kept != raw {
			t.Errorf("%q is kept as %q", raw, kept)
		}
		if err != nil {
			wantFailure(t, err, failure.ReasonBadURL, "")
			return
		}
		if u.User != nil || u.Hostname() == "" || netguard.Origin(u) == "" || len(raw) > netguard.MaxURLBytes {
			t.Errorf("%q passed", raw)
		}
		if again, err := guard.CheckURL(u.String()); err == nil && netguard.Origin(again) != netguard.Origin(u) {
			t.Errorf("%q is %s, but %q is %s", raw, netguard.Origin(u), u, netguard.Origin(again))
		}
	})
}
