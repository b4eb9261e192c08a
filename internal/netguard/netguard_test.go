package netguard_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/netguard"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	const ok = ""
	tests := []struct {
		addr string
		want string // a part of the error
	}{
		{"0.0.0.0", "this network"},
		{"0.255.255.255", "this network"},
		{"1.0.0.0", ok},
		{"9.255.255.255", ok},
		{"10.0.0.0", "private (RFC 1918)"},
		{"10.255.255.255", "private"},
		{"11.0.0.0", ok},
		{"100.63.255.255", ok},
		{"100.64.0.0", "RFC 6598"},
		{"100.100.100.199", "RFC 6598"},
		{"100.100.100.200", "metadata"},
		{"100.100.100.201", "RFC 6598"},
		{"100.127.255.255", "RFC 6598"},
		{"100.128.0.0", ok},
		{"126.255.255.255", ok},
		{"127.0.0.0", "loopback"},
		{"127.255.255.255", "loopback"},
		{"128.0.0.0", ok},
		{"168.63.129.15", ok},
		{"168.63.129.16", "metadata"},
		{"168.63.129.17", ok},
		{"169.253.255.255", ok},
		{"169.254.0.0", "link-local"},
		{"169.254.169.253", "link-local"},
		{"169.254.169.254", "metadata"},
		{"169.254.169.255", "link-local"},
		{"169.254.255.255", "link-local"},
		{"169.255.0.0", ok},
		{"172.15.255.255", ok},
		{"172.16.0.0", "private"},
		{"172.31.255.255", "private"},
		{"172.32.0.0", ok},
		{"191.255.255.255", ok},
		{"192.0.0.0", "IETF"},
		{"192.0.0.255", "IETF"},
		{"192.0.1.0", ok},
		{"192.0.1.255", ok},
		{"192.0.2.0", "documentation"},
		{"192.0.2.255", "documentation"},
		{"192.0.3.0", ok},
		{"192.88.98.255", ok},
		{"192.88.99.0", "6to4"},
		{"192.88.99.255", "6to4"},
		{"192.88.100.0", ok},
		{"192.167.255.255", ok},
		{"192.168.0.0", "private"},
		{"192.168.255.255", "private"},
		{"192.169.0.0", ok},
		{"198.17.255.255", ok},
		{"198.18.0.0", "VPN or proxy"},
		{"198.19.255.255", "benchmarks"},
		{"198.20.0.0", ok},
		{"198.51.99.255", ok},
		{"198.51.100.0", "documentation"},
		{"198.51.100.255", "documentation"},
		{"198.51.101.0", ok},
		{"203.0.112.255", ok},
		{"203.0.113.0", "documentation"},
		{"203.0.113.255", "documentation"},
		{"203.0.114.0", ok},
		{"223.255.255.255", ok},
		{"224.0.0.0", "multicast"},
		{"239.255.255.255", "multicast"},
		{"240.0.0.0", "reserved"},
		{"255.255.255.254", "reserved"},
		{"255.255.255.255", "broadcast"},

		{"::", "unspecified"},
		{"::1", "loopback"},
		{"::2", "IPv4-compatible"},
		{"::127.0.0.1", "IPv4-compatible"},
		{"::8.8.8.8", "IPv4-compatible"},
		{"::1:0:0", "not global unicast"},
		{"::fffe:ffff:ffff", "not global unicast"},
		{"::ffff:0.0.0.0", "this network"},
		{"::ffff:10.1.2.3", "IPv4-mapped (RFC 4291) for 10.1.2.3, which is private (RFC 1918)"},
		{"::ffff:169.254.169.254", "metadata"},
		{"::ffff:8.8.8.8", ok},
		{"::ffff:0:8.8.8.8", "not global unicast"},
		{"64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"},
		{"64:ff9b::8.8.8.8", ok},
		{"64:ff9b::10.0.0.1", "NAT64 (RFC 6052) for 10.0.0.1, which is private"},
		{"64:ff9b::127.0.0.1", "loopback"},
		{"64:ff9b::169.254.169.254", "metadata"},
		{"64:ff9b::1:0:0", "not global unicast"},
		{"64:ff9b:1::", "local NAT64"},
		{"64:ff9b:1::8.8.8.8", "local NAT64"},
		{"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "local NAT64"},
		{"64:ff9b:2::", "not global unicast"},
		{"100::", "discarded"},
		{"100::ffff:ffff:ffff:ffff", "discarded"},
		{"100:0:0:1::", "not global unicast"},
		{"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not global unicast"},
		{"2000::", ok},
		{"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ok},
		{"2001::", "Teredo"},
		{"2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"},
		{"2001:1::", "IETF"},
		{"2001:2::", "benchmarks"},
		{"2001:2:0:ffff:ffff:ffff:ffff:ffff", "benchmarks"},
		{"2001:2:1::", "IETF"},
		{"2001:f:ffff::", "IETF"},
		{"2001:10::", "ORCHID (RFC 4843)"},
		{"2001:1f:ffff::", "ORCHID (RFC 4843)"},
		{"2001:20::", "ORCHIDv2"},
		{"2001:2f:ffff::", "ORCHIDv2"},
		{"2001:30::", "IETF"},
		{"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "IETF"},
		{"2001:200::", ok},
		{"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", ok},
		{"2001:db8::", "documentation"},
		{"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"},
		{"2001:db9::", ok},
		{"2001:ffff:ffff::", ok},
		{"2002::", "6to4"},
		{"2002:7f00:1::", "6to4"},
		{"2002:808:808::1", "6to4"},
		{"2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"},
		{"2003::", ok},
		{"2606:4700::1111", ok},
		{"2606:4700::5efe:10.0.0.1", "ISATAP (RFC 5214) for 10.0.0.1, which is private"},
		{"2606:4700::200:5efe:127.0.0.1", "loopback"},
		{"2606:4700::5efe:8.8.8.8", ok},
		{"2606:4700::100:5efe:127.0.0.1", ok},
		{"3ffe:ffff:ffff::", ok},
		{"3fff::", "documentation"},
		{"3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"},
		{"3fff:1000::", ok},
		{"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ok},
		{"4000::", "not global unicast"},
		{"5f00::", "not global unicast"},
		{"fbff:ffff::", "not global unicast"},
		{"fc00::", "private (RFC 4193)"},
		{"fd00:ec2::253", "private"},
		{"fd00:ec2::254", "metadata"},
		{"fd20:ce::254", "metadata"},
		{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"},
		{"fe00::", "not global unicast"},
		{"fe7f:ffff::", "not global unicast"},
		{"fe80::", "link-local"},
		{"fe80::1%eth0", "one interface"},
		{"2606:4700::1111%eth0", "one interface"},
		{"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"},
		{"fec0::", "site-local"},
		{"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local"},
		{"ff00::", "multicast"},
		{"ff02::1", "multicast"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"},
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			t.Parallel()
			addr := netip.MustParseAddr(tt.addr)
			err := netguard.Check(addr)
			if tt.want == ok {
				if err != nil {
					t.Fatalf("got %v, want it to pass", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("passed, want %q", tt.want)
			}
			if !strings.HasPrefix(err.Error(), addr.String()+" is ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want the address and %q", err, tt.want)
			}
		})
	}
}

func TestCheckZeroAddr(t *testing.T) {
	t.Parallel()
	if err := netguard.Check(netip.Addr{}); err == nil {
		t.Error("the zero Addr passed")
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::1.2.3.4", "fe80::1%a", "2606::5efe:1.2.3.4", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		got := netguard.Check(addr)
		if got == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || !addr.IsGlobalUnicast()) {
			t.Errorf("%s passed", addr)
		}
		if !addr.Is4() {
			return
		}
		mapped := netip.AddrFrom16(addr.As16())
		if m := netguard.Check(mapped); (m == nil) != (got == nil) {
			t.Errorf("%s: %v, but %s: %v", addr, got, mapped, m)
		}
	})
}
