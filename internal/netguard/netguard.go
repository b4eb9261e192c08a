// Package netguard says where a request that a stranger chose may go: which
// addresses may be dialled, on which ports, and what a URL must look like. It
// opens no socket and resolves no name; package fetch asks it inside the
// dialer, after DNS, so that only the address about to be dialled counts and
// never a name alone.
package netguard

import (
	"fmt"
	"net/netip"
)

// Check returns nil if addr is global unicast: an address on the public
// Internet that belongs to somebody. The error of any other names the address
// and what it is, as in "10.1.2.3 is private (RFC 1918)".
//
// IPv4-mapped addresses are judged as the IPv4 address they carry, and so are
// addresses of the NAT64 well-known prefix (RFC 6052) and of ISATAP
// (RFC 5214). IPv4-compatible, 6to4 and Teredo addresses, whose relays are
// gone, are refused whatever they carry, and so is any address with a zone.
func Check(addr netip.Addr) error {
	what := refusal(addr)
	if what == "" {
		return nil
	}
	return fmt.Errorf("%s is %s", addr, what)
}

// refusal says what addr is in words that follow "is", or "" where it may be
// dialled.
func refusal(addr netip.Addr) string {
	if !addr.IsValid() {
		return "no address"
	}
	if addr.Zone() != "" {
		return "local to one interface (RFC 4007)"
	}
	if addr.Is4In6() {
		return carrying(addr.Unmap(), "IPv4-mapped", "RFC 4291")
	}
	for _, s := range specials {
		if s.prefix.Contains(addr) {
			return s.what + " (" + s.source + ")"
		}
	}
	if addr.Is4() {
		return ""
	}
	if nat64.Contains(addr) {
		return carrying(last4(addr), "NAT64", "RFC 6052")
	}
	if !globalUnicast.Contains(addr) {
		return "not global unicast (RFC 4291)"
	}
	if isISATAP(addr) {
		return carrying(last4(addr), "ISATAP", "RFC 5214")
	}
	return ""
}

// carrying judges an address by the IPv4 address inside it.
func carrying(inner netip.Addr, form, source string) string {
	what := refusal(inner)
	if what == "" {
		return ""
	}
	return fmt.Sprintf("%s (%s) for %s, which is %s", form, source, inner, what)
}

func last4(addr netip.Addr) netip.Addr {
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

// isISATAP looks for the interface identifier of RFC 5214, section 6.1, with
// the universal/local bit set or not.
func isISATAP(addr netip.Addr) bool {
	b := addr.As16()
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	// fakeAnswers is the range from which VPNs and local proxies answer every
	// question to DNS, to dial by name themselves.
	fakeAnswers = netip.MustParsePrefix("198.18.0.0/15")
)

// special is a range that is never dialled.
type special struct {
	prefix netip.Prefix
	what   string
	source string
}

// specials lists the ranges of the IANA special-purpose registries that are no
// place on the public Internet, and the metadata services of clouds. Where
// ranges overlap the narrower one stands first, since it names the address
// better.
var specials = []special{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network", "RFC 1122"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private", "RFC 1918"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a cloud's metadata service", "Alibaba Cloud"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by a carrier's customers", "RFC 6598"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback", "RFC 1122"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata service", "Azure"},
	{netip.MustParsePrefix("169.254.169.254/32"), "a cloud's metadata service", "RFC 3927"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local", "RFC 3927"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private", "RFC 1918"},
	{netip.MustParsePrefix("192.0.0.0/24"), "for IETF protocols", "RFC 6890"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation", "RFC 5737"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay", "RFC 7526"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private", "RFC 1918"},
	{fakeAnswers, "for benchmarks, or the answer of a VPN or proxy on this machine", "RFC 2544"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation", "RFC 5737"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation", "RFC 5737"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast", "RFC 5771"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast", "RFC 919"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved", "RFC 1112"},

	{netip.MustParsePrefix("::/128"), "unspecified", "RFC 4291"},
	{netip.MustParsePrefix("::1/128"), "loopback", "RFC 4291"},
	{netip.MustParsePrefix("::/96"), "IPv4-compatible", "RFC 4291"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local NAT64", "RFC 8215"},
	{netip.MustParsePrefix("100::/64"), "discarded", "RFC 6666"},
	{netip.MustParsePrefix("2001::/32"), "Teredo", "RFC 4380"},
	{netip.MustParsePrefix("2001:2::/48"), "for benchmarks", "RFC 5180"},
	{netip.MustParsePrefix("2001:10::/28"), "ORCHID", "RFC 4843"},
	{netip.MustParsePrefix("2001:20::/28"), "ORCHIDv2", "RFC 7343"},
	{netip.MustParsePrefix("2001::/23"), "for IETF protocols", "RFC 2928"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation", "RFC 3849"},
	{netip.MustParsePrefix("2002::/16"), "6to4", "RFC 3056"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation", "RFC 9637"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "a cloud's metadata service", "AWS"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "a cloud's metadata service", "Google Cloud"},
	{netip.MustParsePrefix("fc00::/7"), "private", "RFC 4193"},
	{netip.MustParsePrefix("fe80::/10"), "link-local", "RFC 4291"},
	{netip.MustParsePrefix("fec0::/10"), "site-local", "RFC 3879"},
	{netip.MustParsePrefix("ff00::/8"), "multicast", "RFC 4291"},
}
