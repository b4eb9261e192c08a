package netguard_test

import (
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/netguard"
)

func TestGuardControl(t *testing.T) {
	t.Parallel()
	guard, err := netguard.New([]string{
		"photos.corp:8443", "127.0.0.1:9000", "[fd00::7]:81", "Bücher.corp:82",
		"10.20.0.0/16", "fd12::/16",
	}, 8080)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		requested string
		dialled   string
		want      string // a part of the error; "" passes
	}{
		{"public http", "a.org:80", "8.8.8.8:80", ""},
		{"public https", "a.org:443", "[2606:4700::1111]:443", ""},
		{"extra port", "a.org:8080", "8.8.8.8:8080", ""},
		{"odd port", "a.org:22", "8.8.8.8:22", "port 22 of a.org is not open to pictures; if it should be add pictures.allow: [a.org:22]"},
		{"private", "photos.corp:443", "10.1.2.3:443", "10.1.2.3:443 is private (RFC 1918); if it is yours add pictures.allow: [photos.corp:443]"},
		{"answer of a VPN", "a.org:443", "198.18.0.7:443", "198.18.0.7:443 is for benchmarks, or the answer of a VPN or proxy on this machine (RFC 2544); if one is in use add picture.allow: [198.18.0.0/15]"},
		{"answer of a VPN, mapped", "a.org:443", "[::ffff:198.19.0.7]:443", "picture.allow: [198.18.0.0/15]"},
		{"exception by name", "photos.corp:8443", "10.1.2.3:8443", ""},
		{"exception by name in capitals", "PHOTOS.corp:8443", "10.1.2.3:8443", ""},
		{"exception's public address", "photos.corp:8443", "8.8.8.8:8443", ""},
		{"another name for it", "evil.org:8443", "10.1.2.3:8443", "pictures.allow: [evil.org:8443]"},
		{"name below it", "a.photos.corp:8443", "10.1.2.3:8443", "private"},
		{"address literal", "127.0.0.1:9000", "127.0.0.1:9000", ""},
		{"address literal, other port", "127.0.0.1:9001", "127.0.0.1:9001", "loopback"},
		{"address literal, port 80", "127.0.0.1:80", "127.0.0.1:80", "loopback"},
		{"address literal under a name", "evil.org:9000", "127.0.0.1:9000", "loopback"},
		{"address literal, mapped", "[::ffff:127.0.0.1]:9000", "127.0.0.1:9000", ""},
		{"v6 literal", "[fd00::7]:81", "[fd00::7]:81", ""},
		{"v6 literal written long", "[fd00:0:0::0007]:81", "[fd00::7]:81", ""},
		{"v6 neighbour", "[fd00::8]:81", "[fd00::8]:81", "private"},
		{"IDNA name", "xn--bcher-kva.corp:82", "10.1.2.3:82", ""},
		{"network", "any.org:1", "10.20.255.255:1", ""},
		{"network, mapped", "any.org:1", "[::ffff:10.20.0.1]:1", ""},
		{"beside the network", "any.org:80", "10.21.0.0:80", "private"},
		{"v6 network", "any.org:1", "[fd12::1]:1", ""},
		{"zone in a network", "any.org:1", "[fd12::1%lo]:1", "one interface"},
		{"network inside NAT64", "any.org:80", "[64:ff9b::10.20.0.1]:80", "private"},
		{"no address", "a.org:80", "a.org:80", "no address"},
		{"no port", "a.org", "8.8.8.8:80", "host:port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := guard.Control(tt.requested)("tcp4", tt.dialled, nil)
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v, want it to pass", err)
				}
				return
			}
			wantFailure(t, err, failure.ReasonRefusedAddress, tt.want)
		})
	}

	wantFailure(t, guard.Control("a.org:80")("unix", "/run/docker.sock", nil), failure.ReasonRefusedAddress, "not TCP")
}

func TestNilGuard(t *testing.T) {
	t.Parallel()
	var guard *netguard.Guard
	if err := guard.Control("localhost:1")("tcp4", "127.0.0.1:1", nil); err != nil {
		t.Errorf("dial: got %v", err)
	}
	if _, err := guard.CheckURL("http://localhost:1/"); err != nil {
		t.Errorf("URL: got %v", err)
	}
	_, err := guard.CheckURL("ftp://localhost/")
	wantFailure(t, err, failure.ReasonBadURL, "neither http nor https")
}

func TestNewReportsEveryProblem(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"photos.corp":          "want host:port",
		":80":                  "want host:port",
		"":                     "want host:port",
		"a.org:0":              "1 to 65535",
		"a.org:65536":          "1 to 65535",
		"a.org:http":           "1 to 65535",
		"*.corp:80":            "neither a name nor an address",
		"a b:80":               "neither a name nor an address",
		"[fe80::1%eth0]:80":    "zone",
		"10.0.0.1/8":           "the network is 10.0.0.0/8",
		"10.0.0.0/33":          "want host:port",
		"http://a.org:80":      "want host:port",
		"0.0.0.0/0":            "switches the guard off",
		"::/0":                 "switches the guard off",
		"::ffff:10.0.0.0/104":  "IPv4 network as such",
		"\u202eevil.example:1": "neither a name nor an address",
	}
	var allow []string
	for entry := range bad {
		allow = append(allow, entry)
	}
	_, err := netguard.New(allow, 0, 70000)
	if err == nil {
		t.Fatal("got no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if got, want := len(lines), len(bad)+2; got != want {
		t.Errorf("got %d problems, want %d:\n%v", got, want, err)
	}
	for i, entry := range allow {
		if !strings.Contains(lines[i], bad[entry]) {
			t.Errorf("%q: got %q, want %q", entry, lines[i], bad[entry])
		}
	}
	if !strings.Contains(err.Error(), "ports: 70000") {
		t.Errorf("the bad port is missing:\n%v", err)
	}
}

func wantFailure(t *testing.T, err error, reason failure.Reason, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s: %q", reason, text)
	}
	e := failure.From(err)
	if e.Reason != reason || e.Kind != failure.Final || !strings.Contains(e.Error(), text) {
		t.Errorf("got %s %s %q, want %s final %q", e.Reason, e.Kind, e, reason, text)
	}
}
