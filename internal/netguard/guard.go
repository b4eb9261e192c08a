package netguard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/picharvest/picharvest/internal/failure"
)

// Guard decides about URLs and dials by Check, a list of ports, and a list of
// exceptions. It is immutable and safe for concurrent use. A nil *Guard lets
// every address and every port pass: for URLs that the operator chose.
type Guard struct {
	ports    map[uint16]bool
	hosts    map[hostPort]bool
	networks []netip.Prefix
}

// hostPort is one place as a URL names it: the host in ASCII and lower case,
// an address in its shortest form.
type hostPort struct {
	host string
	port uint16
}

// String returns p as it is written in a URL and in pictures.allow.
func (p hostPort) String() string {
	return net.JoinHostPort(p.host, strconv.Itoa(int(p.port)))
}

// New returns a Guard that lets global unicast addresses pass on ports 80, 443
// and the given extra ports, and besides them the exceptions in allow. An
// exception is one of
//
//   - host:port, a name or an address ([v6]:port): requests for exactly this
//     host on exactly this port may reach any address. Another name for the
//     same address stays refused, and so does another port.
//   - a CIDR such as 10.20.0.0/16: any host may reach these addresses, on any
//     port.
//
// The error of a bad list names every problem in it.
func New(allow []string, ports ...int) (*Guard, error) {
	g := &Guard{
		ports: map[uint16]bool{80: true, 443: true},
		hosts: map[hostPort]bool{},
	}
	var problems []error
	for _, entry := range allow {
		if err := g.allow(entry); err != nil {
			problems = append(problems, fmt.Errorf("allow: %q: %w", entry, err))
		}
	}
	for _, port := range ports {
		if port < 1 || port > 65535 {
			problems = append(problems, fmt.Errorf("ports: %d: a port is a number from 1 to 65535", port))
			continue
		}
		g.ports[uint16(port)] = true
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return g, nil
}

// Control returns a function for net.Dialer.Control that refuses the addresses
// requested may not reach. requested is the host:port that was asked to be
// dialled, before DNS; the function is called with each address that it
// resolved to. The errors are *failure.Error, Final, ReasonRefusedAddress.
func (g *Guard) Control(requested string) func(network, address string, c syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		return g.checkDial(requested, network, address)
	}
}

func (g *Guard) checkDial(requested, network, address string) error {
	if g == nil {
		return nil
	}
	if network != "tcp4" && network != "tcp6" {
		return refused("%s is not TCP", network)
	}
	dialled, err := netip.ParseAddrPort(address)
	if err != nil {
		return refused("%q is no address", address)
	}
	place, err := parseHostPort(requested)
	if err != nil {
		return refused("%q: %w", requested, err)
	}
	if g.hosts[place] || g.inNetworks(dialled.Addr()) {
		return nil
	}
	if fakeAnswers.Contains(dialled.Addr().Unmap()) {
		return refused("%s is %s; if one is in use add picture.allow: [%s]; it is then what keeps requests out of your network",
			dialled, refusal(dialled.Addr()), fakeAnswers)
	}
	if what := refusal(dialled.Addr()); what != "" {
		return refused("%s is %s; if it is yours add pictures.allow: [%s]", dialled, what, place)
	}
	if !g.ports[dialled.Port()] {
		return refused("port %d of %s is not open to pictures; if it should be add pictures.allow: [%s]",
			dialled.Port(), place.host, place)
	}
	return nil
}

func refused(format string, args ...any) error {
	return failure.Newf(failure.ReasonRefusedAddress, failure.Final, format, args...)
}

// mayReachPort reports whether a dial for place could pass as far as its port
// goes. A name may yet resolve into an allowed network, so its port is judged
// at the dial where there are such networks.
func (g *Guard) mayReachPort(place hostPort) bool {
	if g == nil || g.ports[place.port] || g.hosts[place] {
		return true
	}
	addr, err := netip.ParseAddr(place.host)
	if err != nil {
		return len(g.networks) > 0
	}
	return g.inNetworks(addr)
}

func (g *Guard) inNetworks(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, n := range g.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

func (g *Guard) allow(entry string) error {
	if strings.Contains(entry, "/") {
		prefix, err := parseNetwork(entry)
		if err != nil {
			return err
		}
		g.networks = append(g.networks, prefix)
		return nil
	}
	place, err := parseHostPort(entry)
	if err != nil {
		return err
	}
	g.hosts[place] = true
	return nil
}

var (
	errNoEntry = errors.New("want host:port or a network such as 10.20.0.0/16")
	errNoHost  = errors.New("the host is neither a name nor an address")
)

func parseNetwork(entry string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(entry)
	switch {
	case err != nil:
		return netip.Prefix{}, errNoEntry
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, errors.New("write an IPv4 network as such")
	case prefix.Bits() == 0:
		return netip.Prefix{}, errors.New("this switches the guard off; name the networks that are yours")
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("has bits beyond its mask; the network is %s", prefix.Masked())
	}
	return prefix, nil
}

func parseHostPort(s string) (hostPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return hostPort{}, errNoEntry
	}
	return newHostPort(host, port)
}

// newHostPort brings host and port to the form in which they are compared.
func newHostPort(host, port string) (hostPort, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return hostPort{}, errors.New("a port is a number from 1 to 65535")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return hostPort{}, errors.New("an address with a zone belongs to one interface only")
		}
		return hostPort{addr.Unmap().String(), uint16(n)}, nil
	}
	name, err := asciiName(host)
	if err != nil {
		return hostPort{}, err
	}
	// IDNA turns exotic digits and dots into an address.
	if addr, err := netip.ParseAddr(name); err == nil {
		name = addr.Unmap().String()
	}
	return hostPort{name, uint16(n)}, nil
}

// asciiName returns the name as net/http dials it, in lower case.
func asciiName(name string) (string, error) {
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", errNoHost
		}
		name = ascii
	}
	// DNS knows "_", which IDNA forbids.
	if strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r))
	}) {
		return "", errNoHost
	}
	return strings.ToLower(name), nil
}
