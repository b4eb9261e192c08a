package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// socketMost is the longest path that every system takes for a socket.
	socketMost = 100
	// restartMost is how often a child that dies by itself is started again.
	restartMost = 10
)

// program is an installed server.
type program struct {
	path   string
	engine string
}

var versionOutput = regexp.MustCompile(`\bv=(\d+)\.(\d+)`)

// findProgram returns the first server of version 6.2 or later on PATH.
func findProgram(ctx context.Context) (program, error) {
	var errs []error
	for _, name := range serverPrograms {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		version := exec.CommandContext(ctx, path, "--version")
		version.SysProcAttr = childAttributes() // the interrupt key is for this process
		out, err := version.Output()
		if ctx.Err() != nil {
			return program{}, context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s --version: %w", path, err))
			continue
		}
		m := versionOutput.FindStringSubmatch(string(out))
		if m == nil {
			errs = append(errs, fmt.Errorf("%s does not tell its version", path))
			continue
		}
		major, minor := atoi(m[1]), atoi(m[2])
		if major < 6 || major == 6 && minor < 2 {
			errs = append(errs, fmt.Errorf("%s is version %d.%d", path, major, minor))
			continue
		}
		return program{path: path, engine: name}, nil
	}
	if len(errs) == 0 {
		return program{}, errors.New("no redis-server or valkey-server on PATH")
	}
	return program{}, errors.Join(errs...)
}

// atoi is for digits that a pattern has matched; more than fit are many.
func atoi(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// child is a private server on a unix socket. It ends with this process, on
// Linux even when that is killed, and is started again if it dies by itself.
type child struct {
	prog    program
	dir     string
	socket  string
	logger  *slog.Logger
	closing chan struct{}
	over    sync.WaitGroup // the supervisor

	mu  sync.Mutex
	cur *process
}

// startChild runs prog on the data in dir, at the socket of previous if it has
// one, and returns when it answers.
func startChild(ctx context.Context, prog program, dir string, previous ownerFile, logger *slog.Logger) (*child, error) {
	c := &child{prog: prog, dir: dir, logger: logger, closing: make(chan struct{})}
	var err error
	if c.socket, err = socketPath(dir, previous); err != nil {
		return nil, err
	}
	if c.cur, err = c.run(ctx); err != nil {
		return nil, errors.Join(err, removeSocket(c.dir, c.socket))
	}
	c.over.Go(c.supervise)
	return c, nil
}

func (c *child) info() ownerFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ownerFile{URL: socketURL(c.socket), Engine: c.prog.engine, PID: os.Getpid(), Server: c.cur.pid()}
}

func (c *child) close(ctx context.Context) error {
	close(c.closing)
	c.over.Wait()
	return errors.Join(c.cur.end(ctx), removeSocket(c.dir, c.socket))
}

// supervise starts the server again when it dies, which the system does to it
// when memory runs out.
func (c *child) supervise() {
	for range restartMost {
		select {
		case <-c.closing:
			return
		case <-c.cur.gone:
		}
		c.logger.Error("the embedded redis ended by itself, starting it again", "error", c.cur.failure())
		ctx, cancel := contextUntil(c.closing)
		next, err := c.run(ctx)
		cancel()
		if err != nil {
			c.logger.Error("the embedded redis cannot be started again", "error", oneLine(err))
			return
		}
		c.mu.Lock()
		c.cur = next
		c.mu.Unlock()
		if err := writeOwnerFile(c.dir, c.info()); err != nil {
			c.logger.Error("write the address of the embedded redis", "error", oneLine(err))
		}
	}
	c.logger.Error("the embedded redis ended too often, giving it up")
}

// run starts one process and waits until it answers.
func (c *child) run(ctx context.Context) (*process, error) {
	p, err := startProcess(c.prog.path,
		"--port", "0", "--unixsocket", c.socket, "--unixsocketperm", "700",
		"--dir", c.dir, "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
		"--maxmemory-policy", "noeviction", "--daemonize", "no")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.prog.path, err)
	}
	if err := p.ready(ctx, socketURL(c.socket)); err != nil {
		_ = p.kill()
		return nil, fmt.Errorf("%s on %s: %w", c.prog.engine, c.dir, err)
	}
	return p, nil
}

// process is one run of a server.
type process struct {
	cmd    *exec.Cmd
	output tail
	gone   chan struct{} // closed when it has ended
	err    error         // how; set before gone is closed
}

func startProcess(path string, args ...string) (*process, error) {
	//nolint:noctx // the child outlives the call that starts it
	p := &process{cmd: exec.Command(path, args...), gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	// It needs nothing of ours, and ours may hold secrets.
	p.cmd.Env = []string{"LC_ALL=C"}
	p.cmd.SysProcAttr = childAttributes()
	started := make(chan error, 1)
	go func() {
		// Linux ends the child with the thread that started it, so that
		// thread is held until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ready waits until the server at url answers: 13 to 22 ms without data, and
// as long as loading takes with them.
func (p *process) ready(ctx context.Context, url string) error {
	for {
		err := ping(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-p.gone:
			return errors.New(p.failure())
		case <-ctx.Done():
			return fmt.Errorf("does not answer: %w", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// failure says why a process that is gone has ended.
func (p *process) failure() string {
	text := "ended"
	if p.err != nil {
		text = "ended: " + p.err.Error()
	}
	if out := p.output.last(); out != "" {
		text += ": " + out
	}
	return text
}

// end asks the server to write its file and go, and kills it when ctx ends.
func (p *process) end(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it is gone
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("the embedded redis did not stop in time and was killed: %w", ctx.Err()), p.kill())
	}
}

func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.gone
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// endOrphan ends a server that an owner who was killed left behind, as systems
// other than Linux let it, and waits until it is gone: two servers on one file
// would spoil it.
func endOrphan(ctx context.Context, dir string) error {
	o, err := readOwnerFile(dir)
	if err != nil || o.Server == 0 {
		return nil // nobody left anything that could still be running
	}
	c, err := client(o.URL)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	for {
		if knock(ctx, c.Options()) != nil && ctx.Err() == nil {
			// Its file is complete, but it may be about to remove its socket,
			// which would be the next one's. The ID may be a stranger's by
			// now, so this is not waited for long.
			for end := time.Now().Add(200 * time.Millisecond); running(o.Server) && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			return errors.Join(removeSocket(dir, c.Options().Addr), removeOwnerFile(dir))
		}
		info, err := c.InfoMap(ctx, "server").Result()
		if id := info["Server"]["process_id"]; err == nil && id != strconv.Itoa(o.Server) {
			return fmt.Errorf("the redis at %s is not the one of this folder; end its process %s", c.Options().Addr, id)
		} else if err == nil {
			_ = c.ShutdownNoSave(ctx).Err() // a server that obeys cannot answer
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d, the redis of an earlier run on %s, does not end; kill it", o.Server, dir)
		case <-time.After(time.Millisecond):
		}
	}
}

// socketPath returns where the server listens: in dir, or in a short folder of
// its own where that is too long for a socket.
func socketPath(dir string, previous ownerFile) (string, error) {
	path := filepath.Join(dir, "redis.sock")
	if len(path) <= socketMost {
		return path, nil
	}
	if u, err := url.Parse(previous.URL); err == nil && u.Scheme == "unix" {
		return u.Path, privateDir(filepath.Dir(u.Path))
	}
	base := os.TempDir()
	if len(base) > socketMost/2 {
		base = "/tmp"
	}
	short := filepath.Join(base, "harvest-"+rand.Text()[:12])
	return filepath.Join(short, "redis.sock"), privateDir(short)
}

// removeSocket removes what socketPath made.
func removeSocket(dir, socket string) error {
	err := os.Remove(socket)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if short := filepath.Dir(socket); short != dir {
		err = errors.Join(err, os.RemoveAll(short))
	}
	return err
}

// privateDir makes a folder that nobody else can enter, or accepts one that
// is already so.
func privateDir(path string) error {
	if err := os.Mkdir(path, 0o700); err == nil || !errors.Is(err, os.ErrExist) {
		return err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.IsDir() || st.Mode().Perm() != 0o700 || !ownedByUs(st) {
		return fmt.Errorf("%s is not a private folder of ours; remove it", path)
	}
	return nil
}

func socketURL(path string) string { return (&url.URL{Scheme: "unix", Path: path}).String() }

// tail keeps the end of what a process printed.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailMost = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > tailMost {
		t.b = append(t.b[:0], t.b[len(t.b)-tailMost:]...)
	}
	return len(p), nil
}

// last returns the last lines as one, where a server says why it gave up.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	if len(lines) > 3 {
		lines = lines[len(lines)-3:]
	}
	return strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
}
