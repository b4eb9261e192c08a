//go:build integration

package integration

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

// Status and results answer from another process while a run is going on.
func TestAskWhileRunning(t *testing.T) {
	t.Parallel()
	const n = 600
	m := newMachine(t)
	d := startDemo(m, "--people", "600", "--latency", "100ms")
	m.asking(d)
	names := m.writeNames("names.txt", n)
	run := m.start("harvest", "run", "--file", "names.txt", "--provider", "people")
	eventually(t, soon, "pictures are asked", func() bool { return d.counts().Pictures > 0 })

	settled, looks := 0, 0
	for run.running() {
		s := m.status("names")
		records := m.results("names")
		if !run.running() {
			break // asked of a Redis of the question's own
		}
		looks++
		if s.settled() < settled || s.Names > n || s.Provider != "people" {
			t.Errorf("status %+v after %d were settled", s, settled)
		}
		settled = s.settled()
		done := 0
		for _, r := range records {
			if r.State == "done" {
				done++
			}
		}
		if len(records) > n || done < settled {
			t.Errorf("%d records, %d done, after the status said %d", len(records), done, settled)
		}
	}
	if e := run.wait(soon); e.code != 0 {
		t.Fatal(e)
	}
	if looks == 0 {
		t.Error("the run was over before it was asked about")
	}
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	for _, s := range decodeLines[batchStatus](t, m.ok("harvest", "status", "--json").stdout) {
		if s.Batch != "names" || !s.Finished || s.States["done"] != n {
			t.Errorf("status %+v, want names finished with %d done", s, n)
		}
	}
}

// slowProvider is the definition of a lookup service of the user's own.
const slowProvider = `name: slow
description: A service that takes its time
base_url: URL
request:
  url: "{base}/?name={name}"
answer:
  not_found:
    when:
      - {path: status, equals: fail}
  expect:
    - {path: status, equals: success}
pictures:
  from:
    - result.picture
  allow: [lookup-origin]
`

// A service that does not answer holds up its own batch alone.
func TestSlowProvider(t *testing.T) {
	t.Parallel()
	const n = 500
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", "500")
	m.asking(d)
	m.write("providers/slow.yaml", strings.ReplaceAll(slowProvider, "URL", "http://"+silent(t)))
	m.set("HARVEST_PROVIDERS_FOLDER=" + m.path("providers"))
	names := m.writeNames("names.txt", n)

	m.ok("enqueue", "--file", "names.txt", "--batch", "slow", "--provider", "slow")
	m.start("worker", "--concurrency", "5").says("worker started")
	e := m.ok("enqueue", "--file", "names.txt", "--wait")
	checkOnce(t, d.counts(), names)
	if s := m.status("slow"); s.settled() != 0 || s.States["queued"] != n {
		t.Errorf("status %+v, want all %d of the silent service queued", s, n)
	}
	t.Logf("%d names beside a silent service: %v", n, e.took)
}

// Names of a small batch wait while nobody listens where their service should
// be, and no try of any is used.
func TestServiceOutOfReach(t *testing.T) {
	t.Parallel()
	const n = 9
	m := newMachine(t)
	m.onRedis()
	address := "127.0.0.1:" + strconv.Itoa(redistest.FreePort(t))
	m.set("HARVEST_PROVIDERS_BASE_URLS=people=http://"+address, "HARVEST_WORKER_MAX_ATTEMPTS=1")
	names := m.writeNames("names.txt", n)
	w := m.start("worker")
	waiting := m.start("enqueue", "--file", "names.txt", "--wait")
	w.says("tasks wait and try again by themselves; no name is lost")
	w.says("connection refused")
	w.says("lookups are held back")
	if s := m.status("names"); s.States["queued"] != n {
		t.Errorf("status %+v, want all %d queued", s, n)
	}
	startDemo(m, "--people", strconv.Itoa(n), "--listen", address)
	if e := waiting.wait(commandWithin); e.code != 0 {
		t.Fatal(e)
	}
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	if lines := strings.Count(w.stderr.String(), "\n"); lines > 40 {
		t.Errorf("the worker wrote %d lines", lines)
	}
}

// A worker leaves the queue of a provider alone that it does not know, and
// says so; one that knows it does the names.
func TestUnknownProviderOfQueue(t *testing.T) {
	t.Parallel()
	const n = 50
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", "50")
	m.asking(d)
	names := m.writeNames("names.txt", n)
	m.write("providers/own.yaml", strings.NewReplacer("URL", d.url, "name: slow", "name: own").Replace(slowProvider))
	knowing := "HARVEST_PROVIDERS_FOLDER=" + m.path("providers")

	m.env = append(m.env, knowing)
	m.ok("enqueue", "--file", "names.txt", "--batch", "own", "--provider", "own")
	m.env = slices.DeleteFunc(m.env, func(v string) bool { return v == knowing })
	ignorant := m.start("worker")
	ignorant.says("leaves a queue alone")
	m.ok("enqueue", "--file", "names.txt", "--wait")
	checkOnce(t, d.counts(), names)
	for _, r := range m.results("own") {
		if r.State != "queued" || r.Tries != 0 {
			t.Errorf("%q is %s after %d tries, want queued after none", r.Name, r.State, r.Tries)
		}
	}
	if said := strings.Count(ignorant.stderr.String(), "leaves a queue alone"); said != 1 {
		t.Errorf("said %d times that a queue is left alone, want once", said)
	}

	m.env = append(m.env, knowing)
	m.start("worker")
	m.ok("enqueue", "--file", "names.txt", "--batch", "own", "--provider", "own", "--wait")
	m.checkDone("own", names, expected(t, demo.Config{People: n}, names))
}

// silent returns the address of a server that takes connections and says
// nothing.
func silent(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open = append(open, c)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
		for _, c := range open {
			c.Close()
		}
	})
	return ln.Addr().String()
}

// Errors that pass are tried again and leave no trace; names that are unknown
// are an answer.
func TestPassingErrors(t *testing.T) {
	t.Parallel()
	const n = 1000
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", "1000", "--error-rate", "0.05", "--unknown-rate", "0.1")
	m.asking(d).set("HARVEST_WORKER_MAX_ATTEMPTS=8")
	takeHeavy(t)
	names := m.writeNames("names.txt", n)
	sums := expected(t, demo.Config{People: n, UnknownRate: 0.1}, names)
	m.start("worker")
	m.ok("enqueue", "--file", "names.txt", "--wait")

	m.checkDone("names", names, sums)
	want := map[string]int{"done": len(sums), "not_found": n - len(sums)}
	if s := m.status("names"); !s.Finished || !maps.Equal(nonZero(s.States), want) {
		t.Errorf("status %+v, want %v", s, want)
	}
	c := d.counts()
	if c.Errors == 0 || c.Lookups+c.Pictures != n+len(sums)+c.Errors {
		t.Errorf("%d lookups and %d pictures for %d names, %d known, and %d errors: each error is to be asked again once",
			c.Lookups, c.Pictures, n, len(sums), c.Errors)
	}
	if got := repeats(c); got != 0 {
		t.Errorf("%d questions were asked again after a good answer", got)
	}
}

// Errors that stay end names as exhausted, with their reason; when the
// service is well again retry makes them done.
func TestLastingErrors(t *testing.T) {
	t.Parallel()
	const n = 300
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", "300", "--error-rate", "0.4")
	m.asking(d).set("HARVEST_WORKER_MAX_ATTEMPTS=1")
	names := m.writeNames("names.txt", n)
	m.start("worker")
	e := m.run("enqueue", "--file", "names.txt", "--wait")
	if e.code != 1 || !strings.Contains(e.stderr, "harvest retry names") {
		t.Fatalf("want exit code 1 and what to do next: %s", e)
	}
	s := m.status("names")
	failed := s.States["failed"]
	if failed < n/4 || s.Reasons["unavailable"] != failed || s.States["done"] != n-failed {
		t.Errorf("status %+v, want many failed, all unavailable, and the rest done", s)
	}
	records := m.results("names", "--state", "failed")
	if len(records) != failed {
		t.Errorf("%d failed are listed, want %d", len(records), failed)
	}
	for _, r := range records {
		if r.Reason != "unavailable" || r.Kind != "exhausted" || r.Tries != 1 && len(r.Pictures) == 0 || r.Host != d.address() || r.Message == "" {
			t.Fatalf("record %+v, want unavailable, exhausted, 1 try, host %s", r, d.address())
		}
	}

	d.kill()
	well := startDemo(m, "--people", "300", "--listen", d.address())
	said := m.ok("harvest", "retry", "names", "--yes").stderr
	if want := strconv.Itoa(failed) + " names to be tried again"; !strings.Contains(said, want) {
		t.Errorf("retry says %q, want %q", said, want)
	}
	m.ok("enqueue", "--file", "names.txt", "--wait")
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	if c := well.counts(); len(c.Names) != failed {
		t.Errorf("%d names were asked again, want the %d that failed", len(c.Names), failed)
	}
}

func nonZero(counts map[string]int) map[string]int {
	counts = maps.Clone(counts)
	maps.DeleteFunc(counts, func(_ string, n int) bool { return n == 0 })
	return counts
}

// A batch can be held back, let go, given up and taken back, and at every
// stand all its names are accounted for.
func TestPauseResumeCancelRetry(t *testing.T) {
	t.Parallel()
	const n = 3000
	m := newMachine(t)
	server := m.onRedis()
	d := startDemo(m, "--people", "3000", "--latency", "40ms")
	m.asking(d)
	takeHeavy(t)
	names := m.writeNames("names.txt", n)
	m.start("worker", "--concurrency", "20").says("worker started")
	m.ok("enqueue", "--file", "names.txt")

	reaches := func(pictures int) {
		t.Helper()
		eventually(t, soon, strconv.Itoa(pictures)+" pictures are asked", func() bool { return d.counts().Pictures >= pictures })
	}
	// still waits until no task is left and returns the status.
	still := func() batchStatus {
		t.Helper()
		eventually(t, soon, "no task is left", func() bool { return tasksLeft(t, server) == 0 })
		s := m.status("names")
		if s.Names != n {
			t.Errorf("status %+v has %d names, want %d", s, s.Names, n)
		}
		return s
	}

	reaches(500)
	m.ok("harvest", "pause", "names", "--yes")
	s := still()
	if s.State != "paused" || s.open() == 0 || s.open()+s.States["done"] != n {
		t.Errorf("status %+v, want paused, with all names open or done", s)
	}
	before := d.counts()
	if before.Lookups != s.States["found"]+s.States["done"] {
		t.Errorf("%d lookups, want %d found and %d done", before.Lookups, s.States["found"], s.States["done"])
	}
	// What is enqueued now waits too.
	m.ok("enqueue", "--file", "names.txt")
	if still().open() != s.open() || d.counts().Lookups != before.Lookups {
		t.Errorf("a paused batch goes on after its names were enqueued again")
	}

	said := m.ok("harvest", "resume", "names", "--yes").stderr
	if want := count(s.open()) + " names enqueued"; !strings.Contains(said, want) {
		t.Errorf("resume says %q, want %q", said, want)
	}
	reaches(before.Pictures + 500)
	said = m.ok("harvest", "cancel", "names", "--yes").stderr
	s = still()
	if s.Status != "cancelled" || s.open() != 0 || s.States["cancelled"]+s.States["done"] != n || s.States["cancelled"] == 0 {
		t.Errorf("status %+v, want cancelled, with all names cancelled or done", s)
	}
	cancelled := count(s.States["cancelled"])
	if want := cancelled + " names cancelled"; !strings.Contains(said, want) {
		t.Errorf("cancel says %q, want %q", said, want)
	}

	said = m.ok("harvest", "retry", "names", "--state", "cancelled", "--yes").stderr
	if want := cancelled + " names to be tried again"; !strings.Contains(said, want) {
		t.Errorf("retry says %q, want %q", said, want)
	}
	s = m.untilStatus(commandWithin, "names", "the batch is finished", func(s batchStatus) bool { return s.Finished })
	if s.States["done"] != n {
		t.Errorf("status %+v, want %d done", s, n)
	}
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	// Cancelling forgets what the worker had in hand, 50 names in each of the
	// two lanes.
	c := d.counts()
	if c.Pictures > n+100 {
		t.Errorf("%d pictures were asked for %d names, want at most 100 more", c.Pictures, n)
	}
	t.Logf("asked again after a good answer: %d", repeats(c))
}

// tasksLeft counts the tasks that asynq has not finished.
func tasksLeft(t *testing.T, server *redistest.Server) int {
	t.Helper()
	ctx := t.Context()
	c := server.Client()
	defer c.Close()
	queues, err := c.SMembers(ctx, "asynq:queues").Result()
	if err != nil {
		t.Fatal(err)
	}
	var left int64
	for _, q := range queues {
		for _, list := range []string{"pending", "active"} {
			left += c.LLen(ctx, "asynq:{"+q+"}:"+list).Val()
		}
		for _, set := range []string{"scheduled", "retry"} {
			left += c.ZCard(ctx, "asynq:{"+q+"}:"+set).Val()
		}
	}
	return int(left)
}

// count writes a number as the programs do, with separators.
func count(n int) string {
	s := strconv.Itoa(n)
	if len(s) > 3 {
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}
