package hostiletest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/netguard"
	"github.com/picharvest/picharvest/internal/redistest"
)

// insideNamespace is set for the test binary that runs within the namespace.
const insideNamespace = "HARVEST_TEST_NAMESPACE"

const publicAddr = "93.184.216.34"

// innerAddrs are where the namespace's canaries listen.
var innerAddrs = []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "198.18.0.1"}

// TestNamespace runs the guard with its defaults, no exception at all, in a
// network namespace of its own: there a public-looking address has a server,
// inner ones have canaries, and the DNS server lies. It needs root.
func TestNamespace(t *testing.T) {
	if os.Getenv(insideNamespace) != "" {
		namespace(t)
		return
	}
	if os.Geteuid() != 0 {
		redistest.Missing(t, "netns", "a network namespace needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		redistest.Missing(t, "netns", "no ip (iproute2) on PATH")
	}
	for _, resolver := range []string{"go", "cgo"} {
		t.Run(resolver, func(t *testing.T) {
			if resolver == "cgo" && !hasCgo {
				redistest.Missing(t, "netns", "this test was built without cgo")
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNamespace$", "-test.v", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), insideNamespace+"="+resolver, "GODEBUG=netdns="+resolver)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
			out, err := cmd.CombinedOutput()
			if errors.Is(err, syscall.EPERM) {
				redistest.Missing(t, "netns", "this machine allows no network namespaces")
			}
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if !strings.Contains(string(out), "--- PASS: TestNamespace") {
				t.Errorf("the test within did not run:\n%s", out)
			}
		})
	}
}

// namespace is the test within. All that it changes ends with its process.
func namespace(t *testing.T) {
	run(t, "ip", "link", "set", "lo", "up")
	for _, addr := range append([]string{publicAddr}, innerAddrs[1:]...) {
		run(t, "ip", "addr", "add", addr+"/32", "dev", "lo")
	}
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(resolvConf, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("mount resolv.conf: %v", err)
	}
	serveLies(t)
	canaries := listenInside(t)
	servePublic(t)

	guard, err := netguard.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string) error {
		client, err := fetch.New(fetch.Config{UserAgent: "test", Timeout: 5 * time.Second, MaxBytes: 1 << 20, MaxRedirects: 5, Guard: guard})
		if err != nil {
			t.Fatal(err)
		}
		defer client.CloseIdle()
		resp, err := client.Do(t.Context(), fetch.Request{URL: url})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	for _, url := range []string{"http://public.example/1.png", "http://" + publicAddr + "/1.png", "http://public.example/to?http://public.example/1.png"} {
		if err := get(url); err != nil {
			t.Errorf("%s: %v, want it to pass", url, err)
		}
	}
	// The name was good a moment ago.
	if err := get("http://rebind.example/1.png"); err != nil {
		t.Errorf("rebind.example: %v, want it to pass the first time", err)
	}
	loose := failure.ReasonRefusedAddress
	if os.Getenv(insideNamespace) == "go" {
		loose = failure.ReasonDNS
	}
	for url, want := range map[string]failure.Reason{
		"http://rebind.example/1.png":                                        failure.ReasonRefusedAddress,
		"http://rebind-within.example/to?http://rebind-within.example/":      failure.ReasonRefusedAddress,
		"http://inner.example/1.png":                                         failure.ReasonRefusedAddress,
		"http://metadata.example/latest/meta-data/":                          failure.ReasonRefusedAddress,
		"http://vpn.example/1.png":                                           failure.ReasonRefusedAddress,
		"http://mapped.example/1.png":                                        failure.ReasonRefusedAddress,
		"http://six.example/1.png":                                           failure.ReasonRefusedAddress,
		"http://public.example/to?http://inner.example/1.png":                failure.ReasonRefusedAddress,
		"http://public.example/to?http://169.254.169.254/latest/":            failure.ReasonRefusedAddress,
		"http://public.example/to?http://127.0.0.1/1.png":                    failure.ReasonRefusedAddress,
		"http://public.example/to?http://%E2%91%A0%E2%91%A1%E2%91%A6.0.0.1/": failure.ReasonRefusedAddress,
		"http://public.example:22/1.png":                                     failure.ReasonBadURL,
		"http://nobody.example/1.png":                                        failure.ReasonDNS,
		"http://2130706433/1.png":                                            loose,
		"http://0x7f000001/1.png":                                            loose,
		"http://017700000001/1.png":                                          loose,
		"http://127.1/1.png":                                                 loose,
	} {
		if e := failure.From(get(url)); e == nil || e.Reason != want {
			t.Errorf("%s: got %v, want %s", url, e, want)
		}
	}
	// Whichever of the two answers is dialled, only one is ever reached.
	for range 20 {
		err := get("http://mixed.example/1.png")
		if e := failure.From(err); e != nil && e.Reason != failure.ReasonRefusedAddress {
			t.Errorf("mixed.example: %v", err)
		}
	}
	if seen := canaries(); len(seen) > 0 {
		t.Errorf("canaries were reached: %v", seen)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// listenInside starts the canaries at port 80 and returns who came to them.
func listenInside(t *testing.T) func() []string {
	var mu sync.Mutex
	var seen []string
	for _, addr := range append(slices.Clone(innerAddrs), "::1") {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, "80"))
		if err != nil && addr == "::1" {
			continue // no IPv6 here
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				seen = append(seen, c.LocalAddr().String())
				mu.Unlock()
				c.Close()
			}
		}()
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

// servePublic answers at the public-looking address: /to?URL redirects.
func servePublic(t *testing.T) {
	l, err := net.Listen("tcp", publicAddr+":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // each hop asks DNS anew
		if r.URL.Path == "/to" {
			w.Header().Set("Location", r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
			return
		}
		fmt.Fprintln(w, "hello")
	})}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(l) }() // ends by Close
}

// serveLies starts the DNS server. Names that rebind have the public address
// for the first question alone.
func serveLies(t *testing.T) {
	answers := map[string][]string{
		"public.example.": {publicAddr}, "mixed.example.": {"127.0.0.1", publicAddr}, "inner.example.": {"127.0.0.1"},
		"metadata.example.": {"169.254.169.254"}, "vpn.example.": {"198.18.0.1"},
		"mapped.example.": {"::ffff:127.0.0.1"}, "six.example.": {"::1"},
		"rebind.example.": {publicAddr}, "rebind-within.example.": {publicAddr},
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		p := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(p)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(p[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			name := strings.ToLower(q.Name.String())
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
			if answers[name] == nil {
				reply.RCode = dnsmessage.RCodeNameError
			}
			for _, a := range answers[name] {
				reply.Answers = append(reply.Answers, resource(q, netip.MustParseAddr(a))...)
			}
			if q.Type == dnsmessage.TypeA && strings.HasPrefix(name, "rebind") {
				answers[name] = []string{"127.0.0.1"}
			}
			if packed, err := reply.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from) // who asked tries again
			}
		}
	}()
}

// resource returns the record for q if addr is of the family asked for.
func resource(q dnsmessage.Question, addr netip.Addr) []dnsmessage.Resource {
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 0}
	switch {
	case q.Type == dnsmessage.TypeA && addr.Is4():
		return []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}}}
	case q.Type == dnsmessage.TypeAAAA && addr.Is6():
		return []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}}}
	}
	return nil
}
