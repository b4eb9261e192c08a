//go:build integration

package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

const (
	// commandWithin bounds every command that is waited for: far above what
	// it takes, so that only a hang meets it.
	commandWithin = 4 * time.Minute
	// soon is for what takes moments on a machine that is not busy.
	soon = 60 * time.Second
)

// bin is the folder with the programs under test.
var bin string

// heavy bounds how many tests load the machine at once; the others wait for
// leases and timeouts.
var heavy = make(chan struct{}, 2)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	// Most of a test's time is spent waiting for a program, so the number of
	// processors is no measure.
	explicit := false
	flag.Visit(func(f *flag.Flag) { explicit = explicit || f.Name == "test.parallel" })
	if !explicit {
		if err := flag.Set("test.parallel", "6"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "harvest-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, "../cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	bin = dir
	return m.Run()
}

// takeHeavy waits for one of the places for tests that load the machine. The
// returned function gives it back; the end of the test does too.
func takeHeavy(t *testing.T) (release func()) {
	t.Helper()
	heavy <- struct{}{}
	release = sync.OnceFunc(func() { <-heavy })
	t.Cleanup(release)
	return release
}

// machine is where programs run: a working folder of its own, a home without
// settings, and an environment that nobody else has.
type machine struct {
	t   *testing.T
	dir string
	env []string
	// launch, if set, starts programs another way.
	launch func(*exec.Cmd) error
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	home := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	return &machine{t: t, dir: dir, env: []string{
		"HOME=" + home, "XDG_CONFIG_HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "TZ=UTC",
		"HARVEST_WORKER_LISTEN=127.0.0.1:0",
	}}
}

// set adds variables for the programs started from here on.
func (m *machine) set(vars ...string) *machine {
	m.env = append(m.env, vars...)
	return m
}

// onRedis starts a redis-server and points the programs there.
func (m *machine) onRedis() *redistest.Server {
	m.t.Helper()
	s := redistest.Start(m.t)
	m.set("HARVEST_REDIS_URL=" + s.URL())
	return s
}

// asking points the provider of the demo at d.
func (m *machine) asking(d *demoServer) *machine {
	return m.set("HARVEST_PROVIDERS_BASE_URLS=people=" + d.url)
}

func (m *machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.dir}, elem...)...)
}

// write writes a file into the working folder and returns its name.
func (m *machine) write(name, text string) string {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return name
}

// writeNames writes a names file of n people of the demo.
func (m *machine) writeNames(file string, n int) []string {
	m.t.Helper()
	names := people(m.t, n)
	m.write(file, strings.Join(names, "\n")+"\n")
	return names
}

// process is a started program.
type process struct {
	t      *testing.T
	what   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout output
	stderr output
	began  time.Time
	done   chan struct{}
	took   time.Duration // once done
}

// ended is how a program came to its end.
type ended struct {
	what           string
	code           int
	stdout, stderr string
	took           time.Duration
}

func (e ended) String() string {
	return fmt.Sprintf("%s: exit code %d after %v\nstdout:\n%s\nstderr:\n%s", e.what, e.code, e.took.Round(time.Millisecond), e.stdout, e.stderr)
}

// start starts a program; at the end of the test it is killed if it runs. Its
// standard input is a pipe.
func (m *machine) start(program string, args ...string) *process {
	m.t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Dir, cmd.Env = m.dir, m.env
	p := &process{t: m.t, what: program + " " + strings.Join(args, " "), cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	p.stdin, p.began = stdin, time.Now()
	launch := (*exec.Cmd).Start
	if m.launch != nil {
		launch = m.launch
	}
	if err := launch(cmd); err != nil {
		m.t.Fatalf("start %s: %v", p.what, err)
	}
	go func() {
		_ = cmd.Wait() // the state says how it ended
		p.took = time.Since(p.began)
		close(p.done)
	}()
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		if m.t.Failed() {
			m.t.Logf("%s\nstdout:\n%.2000s\nstderr:\n%.6000s", p.what, p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// run runs a program to its end, without standard input.
func (m *machine) run(program string, args ...string) ended {
	m.t.Helper()
	p := m.start(program, args...)
	p.stdin.Close()
	return p.wait(commandWithin)
}

// ok runs a program that must end with exit code 0.
func (m *machine) ok(program string, args ...string) ended {
	m.t.Helper()
	e := m.run(program, args...)
	if e.code != 0 {
		m.t.Fatal(e)
	}
	return e
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %v to %s: %v", s, p.what, err)
	}
}

// kill ends the process with SIGKILL and returns when it is gone.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) wait(within time.Duration) ended {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("%s still runs after %v", p.what, within)
	}
	return ended{p.what, p.cmd.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String(), p.took}
}

// says waits until the process has written text to standard error.
func (p *process) says(text string) {
	p.t.Helper()
	eventually(p.t, soon, fmt.Sprintf("%s says %q", p.what, text), func() bool {
		if !p.running() && !strings.Contains(p.stderr.String(), text) {
			p.t.Fatal(p.wait(0))
		}
		return strings.Contains(p.stderr.String(), text)
	})
}

// output keeps what a process wrote.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// eventually polls until ok, and fails the test after within.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// demoServer is a running `harvest demo-server --count`.
type demoServer struct {
	*process
	url string
}

var demoURL = regexp.MustCompile(`http://[0-9.:]+`)

func startDemo(m *machine, args ...string) *demoServer {
	m.t.Helper()
	args = append([]string{"demo-server", "--count"}, args...)
	if !slices.Contains(args, "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	d := &demoServer{process: m.start("harvest", args...)}
	d.says("the demo server answers at")
	d.url = demoURL.FindString(d.stderr.String())
	return d
}

// address is host:port, for another server in its place.
func (d *demoServer) address() string { return strings.TrimPrefix(d.url, "http://") }

func (d *demoServer) counts() demo.Counts {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), soon)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/-/counts", http.NoBody)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var c demo.Counts
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		d.t.Fatal(err)
	}
	return c
}

// people returns the first n names that the demo knows.
func people(t *testing.T, n int) []string {
	t.Helper()
	d := knowing(t, demo.Config{People: n})
	var names []string
	for name := range d.Names() {
		if names = append(names, name); len(names) == n {
			break
		}
	}
	return names
}

func knowing(t *testing.T, c demo.Config) *demo.Server {
	t.Helper()
	d, err := demo.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// expected returns the SHA-256 of the picture of each name that the demo of
// config c knows, in hex, computed apart from the programs.
func expected(t *testing.T, c demo.Config, names []string) map[string]string {
	t.Helper()
	d := knowing(t, c)
	get := func(target string) []byte {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, http.NoBody))
		return w.Body.Bytes()
	}
	sums := make(map[string]string, len(names))
	for _, name := range names {
		var answer struct {
			Status string
			Result struct{ Picture string }
		}
		if err := json.Unmarshal(get("/"+strings.ReplaceAll(name, " ", "%20")), &answer); err != nil {
			t.Fatalf("the demo's answer about %q: %v", name, err)
		}
		if answer.Status == "success" {
			sum := sha256.Sum256(get(answer.Result.Picture))
			sums[name] = hex.EncodeToString(sum[:])
		}
	}
	return sums
}

// batchStatus is what `status --json` says of a batch.
type batchStatus struct {
	Batch       string
	Provider    string
	Status      string
	State       string
	Enqueuing   int
	Interrupted []string
	Sealed      bool
	Finished    bool
	Names       int
	States      map[string]int
	Reasons     map[string]int
}

func (s batchStatus) settled() int { return s.Names - s.open() }

func (s batchStatus) open() int { return s.States["queued"] + s.States["found"] }

func (m *machine) status(batch string) batchStatus {
	m.t.Helper()
	all := decodeLines[batchStatus](m.t, m.ok("harvest", "status", batch, "--json").stdout)
	if len(all) != 1 {
		m.t.Fatalf("status %s --json has %d lines, want 1", batch, len(all))
	}
	return all[0]
}

// untilStatus asks for the status until ok likes it.
func (m *machine) untilStatus(within time.Duration, batch, what string, ok func(batchStatus) bool) batchStatus {
	m.t.Helper()
	var s batchStatus
	eventually(m.t, within, what, func() bool { s = m.status(batch); return ok(s) })
	return s
}

// record is what `results --json` says of a name.
type record struct {
	Batch       string
	Name        string
	Line        int
	State       string
	Tries       int
	Reason      string
	Kind        string
	Host        string
	Message     string
	Error       string
	Attributes  map[string]string
	Licence     string
	Attribution string
	Pictures    []struct {
		Rank   int
		URL    string
		File   string
		Bytes  int64
		SHA256 string
	}
}

func (m *machine) results(batch string, args ...string) []record {
	m.t.Helper()
	return decodeLines[record](m.t, m.ok("harvest", append([]string{"results", batch, "--json"}, args...)...).stdout)
}

// decodeLines reads one JSON object a line.
func decodeLines[T any](t *testing.T, text string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// checkDone checks that a batch holds each name once, in order, that those in
// sums are done with the very bytes of their picture on disk, the others are
// not_found, and that no other file lies in the batch's folder.
func (m *machine) checkDone(batch string, names []string, sums map[string]string) {
	m.t.Helper()
	records := m.results(batch)
	if len(records) != len(names) {
		m.t.Fatalf("batch %s has %d records, want %d", batch, len(records), len(names))
	}
	files := make(map[string]bool)
	for i, r := range records {
		if r.Name != names[i] || r.Line != i+1 {
			m.t.Fatalf("record %d is %q of line %d, want %q of line %d", i, r.Name, r.Line, names[i], i+1)
		}
		sum, known := sums[r.Name]
		if !known {
			if r.State != "not_found" {
				m.t.Errorf("%q is %s, want not_found", r.Name, r.State)
			}
			continue
		}
		if r.State != "done" || len(r.Pictures) != 1 {
			m.t.Errorf("%q is %s with %d pictures, want done with 1 (%s)", r.Name, r.State, len(r.Pictures), r.Message)
			continue
		}
		file := r.Pictures[0].File
		if !filepath.IsAbs(file) {
			file = m.path(file)
		}
		if files[file] {
			m.t.Errorf("%q has the file of another name: %s", r.Name, file)
		}
		files[file] = true
		got := fileSum(m.t, file)
		if got != sum || r.Pictures[0].SHA256 != sum {
			m.t.Errorf("%q: file has sha256 %s, record %s, the server sent %s", r.Name, got, r.Pictures[0].SHA256, sum)
		}
	}
	for _, file := range filesBelow(m.t, m.path("harvest-data", "pictures", batch)) {
		if !files[file] {
			m.t.Errorf("%s belongs to no record", file)
		}
	}
}

func fileSum(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// checkOnce checks that each name was asked once, and its picture once.
func checkOnce(t *testing.T, c demo.Counts, names []string) {
	t.Helper()
	for _, name := range names {
		if got := c.Names[name]; got != (demo.NameCount{Lookups: 1, Pictures: 1}) {
			t.Errorf("%q was asked %+v, want one lookup and one picture", name, got)
		}
	}
	if c.Lookups != len(names) || c.Pictures != len(names) {
		t.Errorf("%d lookups and %d pictures for %d names", c.Lookups, c.Pictures, len(names))
	}
}

// repeats is how many questions were asked again after a good answer.
func repeats(c demo.Counts) int {
	n := 0
	for _, name := range c.Names {
		n += name.Repeats
	}
	return n
}
