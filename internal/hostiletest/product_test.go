//go:build integration

package hostiletest_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/hostiletest"
	"github.com/picharvest/picharvest/internal/redistest"
)

// bin is the folder of the program, which binary builds once for all tests.
var bin string

var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(bin, "harvest")
	out, err := exec.Command("go", "build", "-o", path, "github.com/picharvest/picharvest/cmd/harvest").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "hostile"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(bin)
	os.Exit(code)
}

// product is an installation of its own: a Redis, a store and settings.
type product struct {
	t      *testing.T
	path   string
	dir    string // everything of it
	store  string
	config string
	env    []string
}

// newProduct writes the settings and starts nothing.
func newProduct(t *testing.T, config string, env ...string) *product {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &product{t: t, path: path, dir: t.TempDir(), env: append([]string{"PATH=" + os.Getenv("PATH")}, env...)}
	p.store = filepath.Join(p.dir, "store", "pictures")
	p.config = filepath.Join(p.dir, "harvest.yaml")
	p.env = append(p.env, "HOME="+p.dir, "TMPDIR="+p.dir)
	if err := os.MkdirAll(p.store, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *product) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), p.path, append(args, "--config", p.config)...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// run runs a command to its end and returns what it wrote.
func (p *product) run(wantCode int, args ...string) (stdout, stderr []byte) {
	p.t.Helper()
	var out, errs bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != wantCode {
		p.t.Fatalf("harvest %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, wantCode, errs.Bytes())
	}
	return out.Bytes(), errs.Bytes()
}

// process is a running worker.
type process struct {
	cmd *exec.Cmd
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

func (p *product) worker() *process {
	p.t.Helper()
	w := &process{cmd: p.command("worker", "--log-level", "debug"), log: new(lockedBuffer)}
	w.cmd.Stderr, w.cmd.Stdout = w.log, w.log
	if err := w.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // it has ended already where all went well
		_ = w.cmd.Wait()
	})
	return w
}

// stop ends the worker as an operator would; it must end well.
func (w *process) stop(t *testing.T) {
	t.Helper()
	_ = w.cmd.Process.Signal(syscall.SIGTERM) // a worker that is gone fails below
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("a worker ended with %v\n%s", err, tail(w.log.Bytes()))
	}
}

// peak is the most memory that the process ever had resident, in bytes.
func (w *process) peak(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc: resident memory cannot be read")
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("a worker has died:\n%s", tail(w.log.Bytes()))
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func tail(p []byte) []byte { return p[max(0, len(p)-4000):] }

// settings are those of the tests: defaults, but for short deadlines and what
// lets the one server be reached.
func settings(rdb *redistest.Server, s *hostiletest.Server) string {
	return fmt.Sprintf(`
redis: {url: %q}
storage: {url: store/pictures}
provider: hostile
worker: {concurrency: 100, max_attempts: %d, retry_delay: 50ms, max_retry_delay: 200ms}
picture: {timeout: %s, max_bytes: %d, ports: [%d], allow: [%q]}
providers:
  definitions:
    - name: hostile
      description: The server of the tests
      base_url: %s
      request: {url: "{base}/?name={name}"}
      answer:
        not_found: {status: [404], when: [{path: status, equals: fail}]}
        expect: [{path: status, equals: success}, {path: result, is: present}]
      attributes: {age: result.age, career: result.career}
      pictures: {from: [result.picture]}
      timeout: %s
`, rdb.URL(), hostiletest.Attempts, hostiletest.Timeout, hostiletest.MaxPictureBytes, s.Canary.Port, s.Addr(), s.URL, hostiletest.Timeout)
}

// name is a line of `results --json`.
type name struct {
	Name     string
	State    string
	Reason   string
	Kind     string
	Message  string
	Tries    int
	Pictures []struct{ File, SHA256 string }
}

func (p *product) results(batch string) map[string]name {
	p.t.Helper()
	out, _ := p.run(0, "results", batch, "--json")
	all := map[string]name{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var n name
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			p.t.Fatalf("results: %v in %s", err, lines.Bytes())
		}
		all[n.Name] = n
	}
	return all
}

// enqueue writes a names file, enqueues it, waits for the batch's end and
// returns how many lines were refused.
func (p *product) enqueue(batch string, file []byte, wantCode int) (bad int) {
	p.t.Helper()
	path := filepath.Join(p.dir, batch+".txt")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		p.t.Fatal(err)
	}
	out, _ := p.run(wantCode, "enqueue", "--file", path, "--wait", "--json", "--progress", "none")
	var report struct{ Bad int }
	if err := json.Unmarshal(out, &report); err != nil {
		p.t.Fatalf("enqueue: %v in %s", err, out)
	}
	return report.Bad
}

// round runs one batch with two fresh workers.
type round struct {
	times []time.Duration // of the good names
	peak  int64           // resident bytes of the larger worker
	logs  []byte
	bad   int
}

func (p *product) round(s *hostiletest.Server, batch string, withCases bool) round {
	p.t.Helper()
	code := 0
	if withCases {
		code = 1 // names failed
	}
	workers := []*process{p.worker(), p.worker()}
	s.Reset()
	r := round{bad: p.enqueue(batch, s.NamesFile(withCases), code), times: s.Times()}
	for _, w := range workers {
		r.peak = max(r.peak, w.peak(p.t))
		w.stop(p.t)
		r.logs = append(r.logs, w.log.Bytes()...)
	}
	slices.Sort(r.times)
	return r
}

// TestDecoders keeps decoders out of the program that no picture needs.
func TestDecoders(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "github.com/picharvest/picharvest/cmd/harvest").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(out)) {
		switch strings.TrimSpace(pkg) {
		case "golang.org/x/image/tiff", "golang.org/x/image/bmp":
			t.Errorf("the program links %s", pkg)
		}
	}
}

// TestProduct runs every case in one batch beside 500 good names through
// enqueuer, two worker processes and Redis.
func TestProduct(t *testing.T) {
	const good = 500
	rdb := redistest.Start(t)
	s := hostiletest.Start(t, good)
	p := newProduct(t, settings(rdb, s))

	alone := p.round(s, "alone", false)
	beside := p.round(s, "beside", true)
	t.Logf("%d good names alone: half %v, 95 %% %v, all %v; beside %d bad ones: half %v, 95 %% %v, all %v; resident %d MiB, %d MiB",
		good, at(alone.times, 50), at(alone.times, 95), at(alone.times, 100), len(s.Cases()),
		at(beside.times, 50), at(beside.times, 95), at(beside.times, 100), alone.peak>>20, beside.peak>>20)

	if grown := beside.peak - alone.peak; grown > 64<<20 {
		t.Errorf("a worker's memory grew by %d MiB, want less than 64", grown>>20)
	}
	if want := len(hostiletest.BadLines()); beside.bad != want {
		t.Errorf("%d lines were refused, want %d", beside.bad, want)
	}
	if seen := s.Canary.Seen(); len(seen) > 0 {
		t.Errorf("the canary was reached: %v", seen)
	}
	got := p.results("beside")
	if want := good + len(s.Cases()); len(got) != want {
		t.Errorf("%d records, want %d", len(got), want)
	}
	for _, g := range s.Good() {
		p.wantStored(got[g.Name], g.SHA256)
	}
	for _, c := range s.Cases() {
		p.wantOutcome(s, c, got[c.Name])
	}
	p.wantOnlyPictures(got, p.results("alone"))
	p.wantOwnKeys(rdb.Client())
	table, _ := p.run(0, "results", "beside", "--limit", "0")
	if bytes.ContainsAny(table, "\x00\x07\x1b\r\u202e") {
		t.Error("the table of results has characters that a terminal obeys")
	}
	wantCleanLogs(t, beside.logs)
}

// TestDuplicates has three enqueuers put the same names, each twice, into one
// batch at once, with three workers: every name is asked once.
func TestDuplicates(t *testing.T) {
	const names = 1000
	s := hostiletest.Start(t, names)
	p := newProduct(t, settings(redistest.Start(t), s))
	path := filepath.Join(p.dir, "twice.txt")
	if err := os.WriteFile(path, slices.Concat(s.NamesFile(false), s.NamesFile(false)), 0o644); err != nil {
		t.Fatal(err)
	}
	var workers []*process
	for range 3 {
		workers = append(workers, p.worker())
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var fresh, doubled, known int
	for range 3 {
		all.Go(func() {
			out, err := p.command("enqueue", "--file", path, "--wait", "--json", "--progress", "none").Output()
			var report struct {
				New, Duplicates int
				Known           map[string]int
			}
			if err := errors.Join(err, json.Unmarshal(out, &report)); err != nil {
				t.Errorf("enqueue: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			fresh, doubled = fresh+report.New, doubled+report.Duplicates
			for _, n := range report.Known {
				known += n
			}
		})
	}
	all.Wait()
	if fresh != names || fresh+doubled+known != 6*names {
		t.Errorf("the enqueuers tell of %d new names, %d doubled and %d known, want %d and %d in all", fresh, doubled, known, names, 6*names)
	}
	if lookups, pictures := s.GoodAsked(); lookups != names || pictures != names {
		t.Errorf("asked %d lookups and %d pictures, want %d each", lookups, pictures, names)
	}
	got := p.results("twice")
	for _, g := range s.Good() {
		p.wantStored(got[g.Name], g.SHA256)
	}
	for _, w := range workers {
		w.stop(t)
	}
}

func at(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Round(time.Millisecond)
}

func (p *product) wantOutcome(s *hostiletest.Server, c hostiletest.Case, n name) {
	p.t.Helper()
	got := hostiletest.Outcome{State: n.State, Reason: n.Reason, Kind: n.Kind}
	if !slices.Contains(c.Wants, got) {
		p.t.Errorf("%.60q: got %v (%s), want %v", c.Name, got, n.Message, c.Wants)
		return
	}
	lookups, pictures := s.Asked(c.Name)
	mostLookups, mostPictures := c.Lookups, c.Pictures
	if got.Kind == "exhausted" {
		mostLookups, mostPictures = hostiletest.Attempts, hostiletest.Attempts
		// Enough bad answers in a row open the provider's breaker, which is
		// that of the pictures at its host too, and what is asked to see
		// whether the service is back counts no try.
		mostLookups += hostiletest.Attempts
		mostPictures += hostiletest.Attempts
	}
	if got.Reason == string(failure.ReasonNetwork) {
		// A GET is sent again over a few kept connections that turn out closed.
		mostLookups, mostPictures = 4*mostLookups, 4*mostPictures
	}
	if lookups < c.Lookups || pictures < c.Pictures || lookups > mostLookups || pictures > mostPictures {
		p.t.Errorf("%.60q: asked %d times for the answer and %d for the picture in %d tries, want %d and %d",
			c.Name, lookups, pictures, n.Tries, c.Lookups, c.Pictures)
	}
	limit := int64(hostiletest.MaxAnswerBytes)
	if c.Pictures > 0 {
		limit = hostiletest.MaxPictureBytes
	}
	if sent := s.Sent(c.Name); got.Kind == "final" && sent > limit+8<<20 {
		p.t.Errorf("%.60q: took %d bytes, want less than %d", c.Name, sent, limit+8<<20)
	}
	if n.State == "done" && len(n.Pictures) == 1 {
		p.wantStored(n, c.SHA256)
	}
}

// wantStored wants one picture with that hash, in the record and in the store.
func (p *product) wantStored(n name, sum [32]byte) {
	p.t.Helper()
	if n.State != "done" || len(n.Pictures) != 1 {
		p.t.Errorf("%.60q: %s with %d pictures, want done with one (%s)", n.Name, n.State, len(n.Pictures), n.Message)
		return
	}
	if want := hex.EncodeToString(sum[:]); n.Pictures[0].SHA256 != want {
		p.t.Errorf("%.60q: hash %s, want %s", n.Name, n.Pictures[0].SHA256, want)
	}
	file := n.Pictures[0].File
	if !filepath.IsAbs(file) {
		file = filepath.Join(p.dir, file)
	}
	content, err := os.ReadFile(file)
	if err != nil || hostiletest.Sum(content) != sum {
		p.t.Errorf("%.60q: the stored file differs from what was sent (%v)", n.Name, err)
	}
}

// wantOnlyPictures wants every file of the installation to be a picture of a
// record, in its batch's folder, under a name of ours; or one of the few that
// are not pictures.
func (p *product) wantOnlyPictures(batches ...map[string]name) {
	p.t.Helper()
	known := map[string]bool{}
	folded := map[string]string{}
	for _, b := range batches {
		for _, n := range b {
			for _, pic := range n.Pictures {
				if pic.File == "" {
					continue
				}
				file := pic.File
				if !filepath.IsAbs(file) {
					file = filepath.Join(p.dir, file)
				}
				known[file] = true
				if other, ok := folded[strings.ToLower(file)]; ok && other != n.Name {
					p.t.Errorf("%q and %q share %s where case is folded", n.Name, other, file)
				}
				folded[strings.ToLower(file)] = n.Name
			}
		}
	}
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if len(filepath.Base(path)) > 100 {
			p.t.Errorf("a file's name has more than 100 bytes: %s", path)
		}
		own := filepath.Dir(path) == p.dir || path == filepath.Join(p.store, ".harvest-store")
		if !own && !known[path] {
			p.t.Errorf("a file that no record has: %s", path)
		}
		return nil
	})
	if err != nil {
		p.t.Error(err)
	}
	for _, place := range []string{"/tmp/planted", "/etc/planted", "/tmp/planted.png", "/etc/cron.d/planted"} {
		if _, err := os.Lstat(place); err == nil {
			p.t.Errorf("%s was written", place)
		}
	}
}

// wantOwnKeys wants no key outside our prefix and asynq's.
func (p *product) wantOwnKeys(rdb *redis.Client) {
	p.t.Helper()
	keys := rdb.Scan(p.t.Context(), 0, "", 1000).Iterator()
	for keys.Next(p.t.Context()) {
		if k := keys.Val(); !strings.HasPrefix(k, "harvest:") && !strings.HasPrefix(k, "asynq:") {
			p.t.Errorf("a key outside our prefixes: %q", k)
		}
	}
	if err := keys.Err(); err != nil {
		p.t.Error(err)
	}
}

// wantCleanLogs wants every line to be JSON without control characters, and
// nothing of what the server planted.
func wantCleanLogs(t *testing.T, logs []byte) {
	t.Helper()
	for line := range bytes.Lines(logs) {
		if !json.Valid(line) {
			t.Errorf("a line of the log is no JSON: %.200q", line)
		}
	}
	if bytes.ContainsAny(bytes.ReplaceAll(logs, []byte("\n"), nil), "\x00\x07\x1b\r") {
		t.Error("the log has control characters")
	}
	for _, word := range []string{"planted-query", "planted-userinfo", "planted-header", "planted-cookie", "panic"} {
		if i := bytes.Index(logs, []byte(word)); i >= 0 {
			t.Errorf("the log tells %s: …%s…", word, logs[max(0, i-200):min(len(logs), i+100)])
		}
	}
}
