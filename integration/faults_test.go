//go:build integration

package integration

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/demo"
)

// The first signal lets running tasks end, the second ends the process.
func TestStopWorker(t *testing.T) {
	t.Parallel()
	const n = 100
	setup := func(t *testing.T, latency string) (*machine, *demoServer, []string) {
		t.Helper()
		m := newMachine(t)
		m.onRedis()
		d := startDemo(m, "--people", "100", "--latency", latency)
		m.asking(d)
		names := m.writeNames("names.txt", n)
		m.ok("enqueue", "--file", "names.txt")
		return m, d, names
	}
	// inFlight starts a worker and waits until ten lookups are under way.
	inFlight := func(t *testing.T, m *machine, d *demoServer, args ...string) *process {
		t.Helper()
		w := m.start("worker", append([]string{"--concurrency", "10"}, args...)...)
		eventually(t, soon, "10 lookups are under way", func() bool { return d.counts().Lookups == 10 })
		return w
	}

	t.Run("drains", func(t *testing.T) {
		t.Parallel()
		m, d, names := setup(t, "3s")
		w := inFlight(t, m, d)
		w.signal(syscall.SIGTERM)
		if e := w.wait(soon); e.code != 0 {
			t.Error(e)
		}
		if c := d.counts(); c.Lookups != 10 {
			t.Errorf("%d lookups were asked, want the 10 that were under way", c.Lookups)
		}
		if s := m.status("names"); s.States["found"] != 10 {
			t.Errorf("status %+v, want 10 found", s)
		}
		m.start("worker", "--concurrency", "100")
		if e := m.run("enqueue", "--file", "names.txt", "--wait"); e.code != 0 {
			t.Fatal(e)
		}
		checkOnce(t, d.counts(), names)
	})
	t.Run("gives back", func(t *testing.T) {
		t.Parallel()
		m, d, _ := setup(t, "30s")
		w := inFlight(t, m, d, "--shutdown-timeout", "1s")
		began := time.Now()
		w.signal(syscall.SIGTERM)
		if e := w.wait(soon); e.code != 0 {
			t.Error(e)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("the worker took %v to end, with 1s for running tasks", took)
		}
		for _, r := range m.results("names") {
			if r.State != "queued" || r.Tries != 0 {
				t.Errorf("%q is %s after %d tries, want queued after none", r.Name, r.State, r.Tries)
			}
		}
		// Back in the queue at once, and not when a lease is over.
		m.start("worker", "--concurrency", "100")
		eventually(t, soon, "all names are asked", func() bool { return len(d.counts().Names) == n })
	})
	t.Run("second signal", func(t *testing.T) {
		t.Parallel()
		m, d, _ := setup(t, "30s")
		w := inFlight(t, m, d)
		w.signal(syscall.SIGTERM)
		w.says("stopping")
		began := time.Now()
		w.signal(syscall.SIGTERM)
		e := w.wait(soon)
		if took := time.Since(began); took > 3*time.Second { // promised: 1 s
			t.Errorf("the second signal took %v", took)
		}
		if e.code != 130 {
			t.Errorf("exit code %d, want 130", e.code)
		}
	})
}

// An enqueuer that dies half-way leaves a batch that says so, and the same
// command completes it.
func TestEnqueuerDies(t *testing.T) {
	t.Parallel()
	const n = 2000
	for _, tt := range []struct {
		name   string
		signal os.Signal
		code   int
		within time.Duration
	}{
		{"killed", syscall.SIGKILL, -1, soon}, // its lease lasts 15 s
		{"interrupted", syscall.SIGTERM, 130, soon},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.onRedis()
			d := startDemo(m, "--people", "2000")
			m.asking(d)
			names := people(t, n)
			enqueue := func() *process { return m.start("enqueue", "--file", "-", "--batch", "names", "--wait") }
			feed := func(p *process, names []string) {
				t.Helper()
				w := bufio.NewWriter(p.stdin)
				fmt.Fprintln(w, strings.Join(names, "\n"))
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}

			first := enqueue()
			feed(first, names[:1100])
			eventually(t, soon, "names are enqueued", func() bool {
				e := m.run("harvest", "status", "names", "--json")
				return e.code == 0 && decodeLines[batchStatus](t, e.stdout)[0].Names >= 1000
			})
			first.signal(tt.signal)
			if e := first.wait(soon); e.code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", e.code, tt.code, e.stderr)
			}
			s := m.untilStatus(tt.within, "names", "the batch is interrupted", func(s batchStatus) bool {
				return s.State == "interrupted"
			})
			if s.Finished || s.Sealed {
				t.Errorf("status %+v, want neither sealed nor finished", s)
			}
			if said := m.ok("harvest", "status", "names").stdout; !strings.Contains(said, "enqueue that file again to complete it") {
				t.Errorf("status does not say what to do:\n%s", said)
			}

			m.start("worker")
			second := enqueue()
			feed(second, names)
			second.stdin.Close()
			if e := second.wait(commandWithin); e.code != 0 {
				t.Fatal(e)
			}
			checkOnce(t, d.counts(), names)
			if s := m.status("names"); !s.Finished || s.States["done"] != n {
				t.Errorf("status %+v, want finished with %d done", s, n)
			}
		})
	}
}

// What a run was killed in the middle of, the same command completes at once.
func TestRunKilled(t *testing.T) {
	t.Parallel()
	const n = 1000
	for _, tt := range []struct {
		name string
		mini bool
	}{{"redis-server", false}, {"miniredis", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if tt.mini {
				m.set("PATH=" + m.path("nothing"))
			}
			d := startDemo(m, "--people", "1000", "--latency", "40ms")
			m.asking(d)
			takeHeavy(t)
			names := m.writeNames("names.txt", n)
			args := []string{"run", "--file", "names.txt", "--provider", "people"}

			first := m.start("harvest", args...)
			eventually(t, soon, "a third is asked", func() bool { return d.counts().Pictures >= n/3 })
			if !first.running() {
				t.Fatal(first.wait(0))
			}
			first.kill()
			before := d.counts()

			second := m.ok("harvest", args...)
			// asynq takes a minute at least to miss a task.
			if second.took > 55*time.Second {
				t.Errorf("the second run took %v: it waited for what the first had in hand", second.took)
			}
			m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
			after := d.counts()
			if again := repeats(after); !tt.mini && again > 100 {
				// 40 tasks of each lane were in hand, and 20 pictures under way.
				t.Errorf("%d questions were asked again after a good answer, want at most 100", again)
			}
			t.Logf("killed after %d pictures; asked again: %d; second run %v", before.Pictures, repeats(after), second.took)

			third := m.ok("harvest", args...)
			if c := d.counts(); c.Lookups != after.Lookups || c.Pictures != after.Pictures {
				t.Errorf("the third run asked %d lookups and %d pictures", c.Lookups-after.Lookups, c.Pictures-after.Pictures)
			}
			if !strings.Contains(third.stderr, "1,000 done") {
				t.Error(third)
			}
			if pids := redisOf(t, m.path("harvest-data")); len(pids) > 0 {
				t.Errorf("processes of the data folder's Redis are left: %v", pids)
			}
		})
	}
}

// A run that was killed while it still read names need not wait for its own
// dead lease.
func TestRunKilledWhileEnqueueing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := startDemo(m, "--people", "1000")
	m.asking(d)
	names := people(t, 1000)
	start := func() *process {
		return m.start("harvest", "run", "--file", "-", "--batch", "names", "--provider", "people")
	}
	first := start()
	if _, err := fmt.Fprintln(first.stdin, strings.Join(names[:600], "\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "500 pictures are asked", func() bool { return d.counts().Pictures >= 500 })
	first.kill()

	second := start()
	if _, err := fmt.Fprintln(second.stdin, strings.Join(names, "\n")); err != nil {
		t.Fatal(err)
	}
	second.stdin.Close()
	e := second.wait(commandWithin)
	if e.code != 0 {
		t.Fatal(e)
	}
	if e.took > 14*time.Second { // a lease is 15 s
		t.Errorf("the second run took %v: it waited for the lease of the first", e.took)
	}
	m.checkDone("names", names, expected(t, demo.Config{People: 1000}, names))
}

// After a run nothing of its Redis is left, whatever way it ended.
func TestRunLeavesNoRedis(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		signal os.Signal
		code   int
	}{{"finished", nil, 0}, {"SIGTERM", syscall.SIGTERM, 130}, {"SIGINT", syscall.SIGINT, 130}, {"SIGKILL", syscall.SIGKILL, -1}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			latency := "0s"
			if tt.signal != nil {
				latency = "2s"
			}
			d := startDemo(m, "--people", "100", "--latency", latency)
			m.asking(d)
			m.writeNames("names.txt", 100)
			p := m.start("harvest", "run", "--file", "names.txt", "--provider", "people")
			if tt.signal != nil {
				eventually(t, soon, "lookups are under way", func() bool { return d.counts().Lookups > 0 })
				if len(redisOf(t, m.path("harvest-data"))) == 0 {
					t.Fatal("no process of the data folder's Redis is seen while it runs")
				}
				p.signal(tt.signal)
			}
			if e := p.wait(soon); e.code != tt.code {
				t.Error(e)
			}
			eventually(t, soon, "no process of the data folder's Redis is left", func() bool {
				return len(redisOf(t, m.path("harvest-data"))) == 0
			})
		})
	}
}

// The programs wait for their Redis or say that it is away, as they promise.
func TestRedisComesLate(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	server := m.onRedis()
	server.Stop()
	d := startDemo(m)
	m.asking(d)
	m.write("names.txt", "Brus Lee\n")
	w := m.start("worker")
	w.says("waiting for Redis")
	server.Restart()
	w.says("worker started")
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := server.Client().Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	m.ok("enqueue", "--file", "names.txt", "--wait")
}
