package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"

	"github.com/picharvest/picharvest/internal/httpd"
)

// Listen binds the configured address; port 0 picks a free one. Its error
// says what to do.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		host, port, _ := net.SplitHostPort(s.cfg.Listen)
		return nil, fmt.Errorf("%s is in use, perhaps by another harvest serve: stop that, or set web.listen (serve --listen, run --web-listen), for example to %s",
			s.cfg.Listen, net.JoinHostPort(host, nextPort(port)))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is no address of this machine: set web.listen to 127.0.0.1:8080, or to 0.0.0.0:8080 for all of them", s.cfg.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s needs rights that this user lacks: set web.listen to a port above 1023", s.cfg.Listen)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w; set web.listen to another address", s.cfg.Listen, err)
	}
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls.config())
	}
	return ln, nil
}

func nextPort(port string) string {
	n, err := strconv.Atoi(port)
	if err != nil || n == 0 || n == 65535 {
		return "0"
	}
	return strconv.Itoa(n + 1)
}

// Serve answers on ln until ctx ends, then lets the answers under way finish
// for at most 5 s; streams end at once. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.deps.Control.Wait()
	defer s.close()
	err := httpd.Serve(ctx, s.http, ln, drainTimeout)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	s.left.Wait()
	if err = errors.Join(err, s.pages.Close()); err != nil {
		return fmt.Errorf("web server: %w", err)
	}
	return nil
}

// Address is one at which the server is reached.
type Address struct {
	// URL ends in a slash.
	URL string
	// SignIn is URL with the token, "" where none is asked for, or where the
	// configured one is known to who may know it.
	SignIn string
}

// Address returns where users find the server that listens on ln. Where it
// listens on all interfaces that is an address of this machine in its network.
func (s *Server) Address(ln net.Listener) Address {
	hostport := ln.Addr().String()
	if ap, err := netip.ParseAddrPort(hostport); err == nil && ap.Addr().IsUnspecified() {
		hostport = netip.AddrPortFrom(outside(ap.Addr()), ap.Port()).String()
	}
	u := url.URL{Scheme: "http", Host: hostport, Path: "/"}
	if s.tls != nil {
		u.Scheme = "https"
		if name := s.tls.name(); name != "" {
			_, port, _ := net.SplitHostPort(hostport)
			u.Host = net.JoinHostPort(name, port)
		}
	}
	if public, err := url.Parse(s.cfg.PublicURL); err == nil && public.Host != "" {
		u.Scheme, u.Host = public.Scheme, public.Host
	}
	a := Address{URL: u.String()}
	if s.made {
		u.RawQuery = url.Values{tokenParam: {s.token}}.Encode()
		a.SignIn = u.String()
	}
	return a
}

// outside returns an address of this machine that others may reach, or
// loopback where it has none.
func outside(unspecified netip.Addr) netip.Addr {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return loopback
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is4() && prefix.Addr().IsGlobalUnicast() {
			return prefix.Addr()
		}
	}
	if unspecified.Is6() {
		return netip.IPv6Loopback()
	}
	return loopback
}
