// Package redistest starts Redis servers for tests: a real redis-server
// (or valkey-server) of the test's own, or miniredis. It is imported by tests
// only. Nothing it starts outlives its test, and no test needs to flush or
// share a Redis.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// readyWithin is how long a server may take to answer PING.
const readyWithin = 10 * time.Second

// Server is one redis-server process with a folder of its own. Its methods
// may be called from one goroutine at a time.
type Server struct {
	tb     testing.TB
	binary string
	args   []string
	dir    string
	socket string // set where it listens on a unix socket
	addr   string

	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a redis-server on a unix socket, with an append-only file, no
// snapshots and no eviction, and stops it when the test ends. args are
// redis-server options that are added after those and so win, for example
// "--maxmemory", "2mb". Where no redis-server is installed the test is
// skipped, or fails if HARVEST_TEST_REQUIRE lists "redis".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := newServer(tb)
	s.socket = filepath.Join(s.dir, "s")
	if i := slices.Index(args, "--unixsocket"); i >= 0 && i+1 < len(args) {
		s.socket = args[i+1]
	}
	s.addr = s.socket
	s.args = append([]string{"--port", "0", "--unixsocket", s.socket, "--unixsocketperm", "700"}, args...)
	s.start()
	return s
}

// StartTCP is Start with a server that listens on a free port of 127.0.0.1
// instead of a unix socket, as clusters and sentinels need it.
func StartTCP(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := newServer(tb)
	port := FreePort(tb)
	s.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.args = append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port)}, args...)
	s.start()
	return s
}

// Mini starts a miniredis that is closed when the test ends.
func Mini(tb testing.TB) *miniredis.Miniredis {
	tb.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		tb.Fatalf("start miniredis: %v", err)
	}
	tb.Cleanup(m.Close)
	return m
}

// Binary returns the path of redis-server or valkey-server. Where there is
// neither it skips the test, or fails it as Start does.
func Binary(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(tb, "redis", "no redis-server or valkey-server on PATH")
	return ""
}

// Missing ends a test that lacks something of the machine: it skips it, or
// fails it where the comma-separated HARVEST_TEST_REQUIRE lists what.
func Missing(tb testing.TB, what, why string) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("HARVEST_TEST_REQUIRE"), ","), what) {
		tb.Fatalf("%s, and HARVEST_TEST_REQUIRE lists %q", why, what)
	}
	tb.Skip(why)
}

// FreePort returns a TCP port of 127.0.0.1 on which nobody listens just now.
func FreePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Addr returns the socket's path, or host:port for a server by StartTCP.
func (s *Server) Addr() string { return s.addr }

// URL returns the address in the form that redis.ParseURL reads.
func (s *Server) URL() string {
	if s.socket != "" {
		return "unix://" + s.socket
	}
	return "redis://" + s.addr
}

// Dir returns the folder with the server's data.
func (s *Server) Dir() string { return s.dir }

// Pid returns the process ID of the running server, or 0 while it is down.
func (s *Server) Pid() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Client returns a plain client that is closed when the test ends.
func (s *Server) Client() *redis.Client {
	s.tb.Helper()
	c := redis.NewClient(s.options())
	s.tb.Cleanup(func() { c.Close() })
	return c
}

// Kill ends the server with SIGKILL and returns when it is gone. Up to 2 s of
// what it answered may be lost where the disk is slow; with the arguments
// "--appendfsync", "always" nothing is.
func (s *Server) Kill() { s.stop(syscall.SIGKILL) }

// Stop ends the server as an operator would and returns when it is gone.
func (s *Server) Stop() { s.stop(syscall.SIGTERM) }

// Pause stops the process without ending it, so that it accepts connections
// and answers nothing, until Resume.
func (s *Server) Pause() { s.signal(sigStop) }

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(sigCont) }

// Restart stops the server if it runs, starts it again with its data at the
// same address, and returns when it answers.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.start()
}

func newServer(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{tb: tb, binary: Binary(tb)}
	// A socket's path is limited to about 100 bytes, which t.TempDir exceeds.
	dir, err := os.MkdirTemp("", "hr")
	if err != nil {
		tb.Fatalf("make the server's folder: %v", err)
	}
	s.dir = dir
	tb.Cleanup(func() {
		s.Kill()
		os.RemoveAll(dir)
	})
	return s
}

func (s *Server) start() {
	s.tb.Helper()
	args := append([]string{
		"--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
		"--maxmemory-policy", "noeviction", "--daemonize", "no",
	}, s.args...)
	var output outputBuffer
	cmd := exec.Command(s.binary, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		s.tb.Fatalf("start %s: %v", s.binary, err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its exit is seen by the closed channel, its cause in the output
		close(done)
	}()
	s.cmd, s.done = cmd, done
	if err := s.ready(); err != nil {
		s.Kill()
		s.tb.Fatalf("redis-server %s: %v\n%s", strings.Join(s.args, " "), err, output.String())
	}
}

// ready waits until the server answers; a server that wants a password has
// answered too.
func (s *Server) ready() error {
	opt := s.options()
	opt.MaxRetries = -1
	c := redis.NewClient(opt)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	for {
		err := c.Ping(ctx).Err()
		if err == nil || strings.HasPrefix(err.Error(), "NOAUTH") || strings.HasPrefix(err.Error(), "WRONGPASS") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready within %v: %w", readyWithin, err)
		case <-s.done:
			return errors.New("ended at once")
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *Server) options() *redis.Options {
	opt := &redis.Options{Network: "tcp", Addr: s.addr}
	if s.socket != "" {
		opt.Network = "unix"
	}
	return opt
}

func (s *Server) stop(sig os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig) // fails only if it is gone already
	select {
	case <-s.done:
	case <-time.After(readyWithin):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	s.cmd = nil
}

func (s *Server) signal(sig os.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("send %v to redis-server: %v", sig, err)
	}
}

// outputBuffer keeps what a server printed; exec writes to it from a
// goroutine of its own.
type outputBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *outputBuffer) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *outputBuffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
