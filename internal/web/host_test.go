package web

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

// FuzzHost: no name that could belong to somebody else is let through.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"", "localhost:8080", "[::1]:8080", "127.0.0.1", "evil.example", "localhost.evil.example:1", "0x7f.1", "[", "a:b:c", "localhost."} {
		f.Add(s)
	}
	s := &Server{cfg: DefaultConfig()}
	f.Fuzz(func(t *testing.T, hostport string) {
		if !s.hostAllowed(hostport) {
			return
		}
		host := hostport
		if h, _, err := net.SplitHostPort(hostport); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.ToLower(host), ".")
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
			t.Errorf("the name %q is let through", hostport)
		}
	})
}
