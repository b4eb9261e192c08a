//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

// faultsFull is for `make faults`: every fault, as often and as long as was
// promised. Without it the tests run some of them, shortened.
var faultsFull = flag.Bool("faults.full", false, "every fault, at full length")

// faultWorkers is how many workers there are, and faultsAtOnce how many faults
// are tried side by side: most of the time they wait.
const (
	faultWorkers = 3
	faultsAtOnce = 4
)

// fault is something that goes wrong while three workers are at a batch, all
// names of which must be done in the end as if it had not.
type fault struct {
	name string
	// manual is the fault's name in the table of docs/operations.md.
	manual string
	// short: it is part of the short form too.
	short bool
	// names is how many there are. Default: 1000.
	names int
	// latency of each answer, and workers' concurrency. Defaults: 40ms, 5.
	latency     time.Duration
	concurrency int
	bytes       int // of a picture, at least
	tcp         bool
	// clocks are how far those of the workers are off.
	clocks [faultWorkers]time.Duration
	// before prepares the ground; nothing runs yet but Redis.
	before func(f *trouble)
	// strike does it while requests are in flight, and says how it is known
	// that it struck.
	strike func(f *trouble) string
	// after looks at what it left when all is over, and may add to what is
	// known of it.
	after func(f *trouble) string
}

// trouble is one fault being tried.
type trouble struct {
	*machine
	fault
	full    bool
	redis   *redistest.Server
	rdb     *redis.Client
	site    *site
	names   []string
	workers []*process
	// ran are all workers that ever ran.
	ran     []*process
	waiting *process
	began   time.Time
	pids    [faultWorkers]atomic.Int64
	proxy   *proxy
	// bucket has the pictures, nil where a folder has them.
	bucket *bucket
	// deaths are workers that died of a name.
	deaths atomic.Int64
	// dumps are what stood under keys before.
	dumps map[string]string
	// others is how many lookups were asked for other batches.
	others int
	// ends are the states of names that do not end as done.
	ends map[string]string
	// apart says that the enqueuer is not the usual one.
	apart func() *process
}

// of returns a number of the full or of the short form.
func (f *trouble) of(full, short int) int {
	if f.full {
		return full
	}
	return short
}

func (f *trouble) lasting(full, short time.Duration) time.Duration {
	if f.full {
		return full
	}
	return short
}

// row is what came of one fault.
type row struct {
	place                        int
	fault                        string
	names, records, right, extra int
	took                         time.Duration
	// lines are what the worker said that said the most.
	lines  int
	struck string
	exact  bool
}

// site is the lookup service, within the test so that it can be told to fail.
type site struct {
	*httptest.Server
	demo *demo.Server
	// down: everything is answered by 500. refused counts those.
	down    atomic.Bool
	refused atomic.Int64
	// asked, if set, sees each request first.
	asked func(r *http.Request)
}

func newSite(t *testing.T, c demo.Config) *site {
	t.Helper()
	c.Count = true
	s := &site{demo: knowing(t, c)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.asked != nil {
		s.asked(r)
	}
	if s.down.Load() {
		s.refused.Add(1)
		http.Error(w, "down", http.StatusInternalServerError)
		return
	}
	s.demo.ServeHTTP(w, r)
}

func (s *site) counts(t *testing.T) demo.Counts {
	t.Helper()
	w := httptest.NewRecorder()
	s.demo.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/-/counts", http.NoBody))
	var c demo.Counts
	if err := json.NewDecoder(w.Body).Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFaults lets everything go wrong that may, while three workers are at
// work. Nothing is lost, nothing is there twice, and the counts are exact.
func TestFaults(t *testing.T) {
	t.Parallel()
	var (
		mu   sync.Mutex
		rows []row
	)
	turn := make(chan struct{}, faultsAtOnce)
	all := faults()
	t.Run("each", func(t *testing.T) {
		for i, f := range all {
			if !f.short && !*faultsFull {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				turn <- struct{}{}
				defer func() { <-turn }()
				r := row{place: i + 1, fault: f.name, names: max(f.names, 1000)}
				defer func() { // also where the test ends early
					mu.Lock()
					defer mu.Unlock()
					r.exact = !t.Failed()
					rows = append(rows, r)
				}()
				f.try(t, &r)
			})
		}
	})
	slices.SortFunc(rows, func(a, b row) int { return a.place - b.place })
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tnames\trecords\tfiles right\textra lookups\ttime to finish\tlog lines\texact\tstruck")
	for _, r := range rows {
		exact := map[bool]string{true: "yes", false: "NO"}[r.exact]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%v\t%d\t%s\t%s\n",
			r.fault, r.names, r.records, r.right, r.extra, r.took.Round(100*time.Millisecond), r.lines, exact, r.struck)
	}
	w.Flush()
	if *faultsFull {
		fmt.Print(text.String())
	} else {
		t.Log("\n" + text.String())
	}
}

// try lets the fault strike and notes what came of it.
func (f fault) try(t *testing.T, r *row) {
	t.Helper()
	if f.names == 0 {
		f.names = 1000
	}
	if f.latency == 0 {
		f.latency = 40 * time.Millisecond
	}
	if f.concurrency == 0 {
		f.concurrency = 5
	}
	x := &trouble{machine: newMachine(t), fault: f, full: *faultsFull, ends: make(map[string]string), dumps: make(map[string]string)}
	if f.tcp {
		x.redis = redistest.StartTCP(t)
	} else {
		x.redis = redistest.Start(t)
	}
	x.set("HARVEST_REDIS_URL=" + x.redis.URL())
	x.rdb = x.redis.Client()
	config := demo.Config{People: f.names, Latency: f.latency, PictureBytes: f.bytes}
	x.site = newSite(t, config)
	x.set("HARVEST_PROVIDERS_BASE_URLS=people=" + x.site.URL)
	x.names = x.writeNames("names.txt", f.names)
	if f.before != nil {
		f.before(x)
	}
	for i := range faultWorkers {
		x.workers = append(x.workers, x.worker(i))
	}
	for _, w := range x.workers {
		w.says("worker started")
	}
	x.began = time.Now()
	if x.apart != nil {
		x.waiting = x.apart()
	} else {
		x.waiting = x.start("enqueue", "--file", "names.txt", "--wait")
	}
	x.reach(f.names / 10)
	struck := f.strike(x)
	x.untilDone()
	took := time.Since(x.began)
	if f.after != nil {
		if more := f.after(x); more != "" {
			struck = strings.TrimPrefix(struck+"; "+more, "; ")
		}
	}
	r.took, r.struck = took, struck
	x.verify(r, expected(t, demo.Config{People: f.names, PictureBytes: f.bytes}, x.names))
}

// worker starts one; its number is in its User-Agent.
func (f *trouble) worker(i int) *process {
	env := f.env
	defer func() { f.env, f.launch = env, nil }()
	if off := f.clocks[i]; off != 0 {
		f.launch = func(cmd *exec.Cmd) error { return startSkewed(cmd, off) }
	}
	f.env = append(slices.Clone(env), fmt.Sprintf("HARVEST_CONTACT=worker-%d@example.org", i))
	w := f.start("worker", "--concurrency", strconv.Itoa(f.concurrency))
	f.pids[i].Store(int64(w.cmd.Process.Pid))
	f.ran = append(f.ran, w)
	return w
}

// number is that of the worker that sent a request, or -1.
func number(r *http.Request) int {
	_, after, ok := strings.Cut(r.UserAgent(), "worker-")
	if !ok || after == "" {
		return -1
	}
	return int(after[0] - '0')
}

// renew replaces workers that have ended, as a supervisor does.
func (f *trouble) renew() {
	f.t.Helper()
	for i, w := range f.workers {
		if !w.running() {
			f.workers[i] = f.worker(i)
		}
	}
}

// reach waits until so many pictures have been asked for, and the batch is not
// over.
func (f *trouble) reach(pictures int) {
	f.t.Helper()
	f.until(fmt.Sprint(pictures, " pictures are asked for"), func() bool { return f.site.counts(f.t).Pictures >= pictures })
	if !f.waiting.running() {
		f.t.Fatal(f.waiting.wait(soon))
	}
}

// until waits for something, and keeps workers alive meanwhile.
func (f *trouble) until(what string, ok func() bool) {
	f.t.Helper()
	f.untilWithin(commandWithin, what, ok)
}

func (f *trouble) untilWithin(within time.Duration, what string, ok func() bool) {
	f.t.Helper()
	eventually(f.t, within, what, func() bool {
		f.renew()
		return ok()
	})
}

// pass lets time pass while the fault lasts.
func (f *trouble) pass(d time.Duration) {
	f.t.Helper()
	end := time.Now().Add(d)
	f.untilWithin(d+soon, "the time is over", func() bool { return time.Now().After(end) })
}

// untilDone waits for the end of the batch.
func (f *trouble) untilDone() {
	f.t.Helper()
	f.until("the batch is done", func() bool { return !f.waiting.running() })
	want := min(len(f.ends), 1)
	if e := f.waiting.wait(soon); e.code != want {
		f.t.Fatal(e)
	}
}

// verify looks at every name: its record, the file that it points to, and what
// was asked about it.
func (f *trouble) verify(r *row, sums map[string]string) {
	f.t.Helper()
	files := make(map[string]bool)
	seen := make(map[string]bool)
	stored := f.stored()
	for i, rec := range f.results("names") {
		want := f.ends[rec.Name]
		if want == "" {
			want = "done"
		}
		if i >= len(f.names) || rec.Name != f.names[i] || seen[rec.Name] || rec.State != want {
			f.t.Errorf("record %d is %q, %s %s %s, want %s", i, rec.Name, rec.State, rec.Reason, rec.Message, want)
			continue
		}
		seen[rec.Name] = true
		r.records++
		if want != "done" {
			continue
		}
		if len(rec.Pictures) != 1 {
			f.t.Errorf("%q has %d pictures", rec.Name, len(rec.Pictures))
			continue
		}
		file := rec.Pictures[0].File
		if f.bucket == nil && !filepath.IsAbs(file) {
			file = f.path(file)
		}
		if got := stored[file]; got != sums[rec.Name] || rec.Pictures[0].SHA256 != got || files[file] {
			f.t.Errorf("%q: %s has sha256 %s, record %s, the server sent %s", rec.Name, file, got, rec.Pictures[0].SHA256, sums[rec.Name])
			continue
		}
		files[file] = true
		r.right++
	}
	if r.records != len(f.names) || r.right != len(f.names)-len(f.ends) {
		f.t.Errorf("%d records and %d files are right, want %d and %d", r.records, r.right, len(f.names), len(f.names)-len(f.ends))
	}
	for file := range stored {
		if !files[file] {
			f.t.Errorf("%s belongs to no record", file)
		}
	}
	s := f.status("names")
	counted := 0
	for _, n := range s.States {
		counted += n
	}
	if !s.Finished || s.Names != len(f.names) || counted != s.Names || s.States["done"] != r.right {
		f.t.Errorf("status %+v, want %d names, finished, %d done", s, len(f.names), r.right)
	}
	c := f.site.counts(f.t)
	if asked := len(c.Names); asked < r.right {
		f.t.Errorf("%d names were asked about, want %d", asked, len(f.names))
	}
	r.extra = c.Lookups - len(f.names) - f.others
	f.stop()
	f.verifyTemps()
	r.lines = f.verifyLogs()
}

// stored returns the SHA-256 of every file of the batch, in hex, by its place.
func (f *trouble) stored() map[string]string {
	f.t.Helper()
	if f.bucket != nil {
		return f.bucket.sums(f.t)
	}
	sums := make(map[string]string)
	for _, file := range filesBelow(f.t, filepath.Join(f.store(), "names")) {
		sums[file] = fileSum(f.t, file)
	}
	return sums
}

// stop ends the workers.
func (f *trouble) stop() {
	f.t.Helper()
	for i, w := range f.workers {
		w.signal(syscall.SIGTERM)
		if e := w.wait(soon); e.code != 0 {
			f.t.Errorf("worker %d: %v", i, e)
		}
	}
}

// verifyTemps looks at what is in the store besides pictures and its ID.
// Workers that end by themselves leave nothing. What killed ones left is made
// as old as it has to be, and goes.
func (f *trouble) verifyTemps() {
	f.t.Helper()
	if f.bucket != nil {
		return // it has no such files, and all objects were looked at
	}
	for pid := range f.temps() {
		for _, w := range f.workers {
			if w.cmd.Process.Pid == pid {
				f.t.Errorf("worker %d left a temporary file, though it ended in peace", pid)
			}
		}
	}
	long := time.Now().Add(-time.Hour)
	for _, file := range f.besides() {
		if err := os.Chtimes(file, long, long); err != nil {
			f.t.Error(err)
		}
	}
	// A worker counts as alive for some seconds after it was killed.
	eventually(f.t, soon, "nothing is left in the store besides pictures and its ID", func() bool {
		if len(f.besides()) == 0 {
			return true
		}
		f.run("harvest", "doctor", "--repair")
		return false
	})
}

// besides returns the files in the store that are neither pictures nor its ID.
func (f *trouble) besides() []string {
	f.t.Helper()
	return slices.DeleteFunc(filesBelow(f.t, f.store()), func(file string) bool {
		return filepath.Base(file) == ".harvest-store" || strings.HasPrefix(file, filepath.Join(f.store(), "names")+"/")
	})
}

// verifyLogs looks at what the workers said: each line can be read by a
// program, and there are few. It returns how many the one wrote that wrote
// the most.
func (f *trouble) verifyLogs() int {
	f.t.Helper()
	most := 0
	for _, w := range f.ran {
		lines := strings.Split(strings.TrimSpace(w.stderr.String()), "\n")
		if limit := 20 + 2*w.took.Seconds(); float64(len(lines)) > limit {
			f.t.Errorf("a worker wrote %d lines in %v, want at most %.0f", len(lines), w.took, limit)
		}
		for _, line := range lines {
			var parsed struct{ Level, Msg string }
			if err := json.Unmarshal([]byte(line), &parsed); line != "" && (err != nil || parsed.Level == "" || parsed.Msg == "") {
				f.t.Errorf("this line does not parse (%v): %q", err, line)
			}
		}
		most = max(most, len(lines))
	}
	return most
}

// Every fault that is tried stands in the manual, with what one sees of it.
func TestFaultsStandInTheManual(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults() {
		if f.manual == "" || !strings.Contains(string(manual), "\n| "+f.manual+" | ") {
			t.Errorf("%s: docs/operations.md has no row %q", f.name, f.manual)
		}
	}
}

// proxy stands before a server and cuts connections in mid-reply.
type proxy struct {
	target string
	ln     net.Listener
	// cut says of how many replies the next ones are to be cut off.
	cut  atomic.Int64
	cuts atomic.Int64
	wg   sync.WaitGroup
	ctx  context.Context
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxy{target: target, ln: ln, ctx: ctx}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		cancel()
		ln.Close()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		both := func() { client.Close(); server.Close() }
		context.AfterFunc(p.ctx, both)
		p.wg.Go(func() { defer both(); p.copy(server, client, false) })
		p.wg.Go(func() { defer both(); p.copy(client, server, true) })
	}
}

// copy passes on what from sends; a reply may be cut in its middle.
func (p *proxy) copy(to, from net.Conn, replies bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		// Half of what says that all is well is a lost reply; a connection
		// that is being made is left alone.
		if replies && n > 40 && p.cut.Load() > 0 && p.cut.Add(-1) >= 0 {
			_, _ = to.Write(buf[:n/2])
			p.cuts.Add(1)
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// do sends a command to Redis that must succeed.
func (f *trouble) do(args ...any) any {
	f.t.Helper()
	v, err := f.rdb.Do(f.t.Context(), args...).Result()
	if err != nil {
		f.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// temps returns the processes that are writing a file just now.
func (f *trouble) temps() map[int]bool {
	entries, err := os.ReadDir(filepath.Join(f.store(), ".tmp"))
	if err != nil {
		return nil
	}
	pids := make(map[int]bool)
	for _, e := range entries {
		owner, _, _ := strings.Cut(e.Name(), "~")
		if pid, err := strconv.Atoi(owner[strings.LastIndexByte(owner, '-')+1:]); err == nil {
			pids[pid] = true
		}
	}
	return pids
}

// killed ends a worker with SIGKILL.
func (f *trouble) killed(i int) {
	f.t.Helper()
	if f.workers[i].running() {
		_ = f.workers[i].cmd.Process.Signal(syscall.SIGKILL)
		<-f.workers[i].done
	}
}
