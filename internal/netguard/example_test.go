package netguard_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/picharvest/picharvest/internal/netguard"
)

func ExampleCheck() {
	for _, addr := range []string{"93.184.215.14", "10.1.2.3", "::ffff:127.0.0.1"} {
		fmt.Println(netguard.Check(netip.MustParseAddr(addr)))
	}
	// Output:
	// <nil>
	// 10.1.2.3 is private (RFC 1918)
	// ::ffff:127.0.0.1 is IPv4-mapped (RFC 4291) for 127.0.0.1, which is loopback (RFC 1122)
}

func ExampleGuard_Control() {
	guard, err := netguard.New([]string{"photos.corp:8443"})
	if err != nil {
		panic(err)
	}
	requested := "localhost:80"
	dialer := net.Dialer{Control: guard.Control(requested)}
	_, err = dialer.Dial("tcp4", requested)
	fmt.Println(err)
	// Output:
	// dial tcp4 127.0.0.1:80: 127.0.0.1:80 is loopback (RFC 1122); if it is yours add pictures.allow: [localhost:80]
}

func ExampleRedactURL() {
	fmt.Println(netguard.RedactURL("rediss://worker:hunter2@redis.corp:6380/1?client_name=w"))
	// Output:
	// rediss://redis.corp:6380/1
}
