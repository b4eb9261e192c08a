//go:build integration

package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

// lanesBig is the size of the batch that a small one overtakes; `make lanes`
// takes a million.
var lanesBig = flag.Int("lanes.big", 60_000, "names of the batch that a small one overtakes")

var leadingNumber = regexp.MustCompile(`(?m)^([0-9,]+) names? `)

// said returns the number of names that a command said it touched.
func said(t *testing.T, e ended) int {
	t.Helper()
	m := leadingNumber.FindStringSubmatch(e.stderr)
	if e.code != 0 || m == nil {
		t.Fatalf("it says no number of names: %v", e)
	}
	n, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// numbered writes a names file of n names of the demo, who knows them by
// --people.
func (m *machine) numbered(file string, n int) {
	m.t.Helper()
	m.write(file, m.ok("harvest", "demo-server", "--people", strconv.Itoa(n), "--names").stdout)
}

// quietWithin is well above the 2 s in which what is in flight ends.
const quietWithin = 10 * time.Second

// quiet returns once nothing is asked for a second, and fails the test if
// that takes longer than within.
func (d *demoServer) quiet(within time.Duration) demo.Counts {
	d.t.Helper()
	last, since := d.counts(), time.Now()
	eventually(d.t, within+time.Second, "the server is not asked any more", func() bool {
		if now := d.counts(); now.Lookups != last.Lookups || now.Pictures != last.Pictures {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
	return last
}

// 100,000 names are paused, resumed, cancelled and retried while two workers
// are at them, each command counting exactly; and two commands at once.
func TestCommandsOn100000Names(t *testing.T) {
	t.Parallel()
	const people = 100_000
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", strconv.Itoa(people), "--latency", "200ms")
	m.asking(d)
	takeHeavy(t)
	m.numbered("names.txt", people)
	m.ok("enqueue", "--file", "names.txt")
	total := m.status("names").Names
	if total < people {
		t.Fatalf("%d names, want at least %d", total, people)
	}
	whole := func(what string) batchStatus {
		t.Helper()
		s := m.status("names")
		n := 0
		for _, k := range s.States {
			n += k
		}
		if n != total || s.Names != total {
			t.Fatalf("after %s: %d names in %+v, want %d", what, n, s, total)
		}
		return s
	}
	for range 2 {
		m.start("worker", "--concurrency", "20").says("worker started")
	}
	m.untilStatus(soon, "names", "100 names are settled", func(s batchStatus) bool { return s.settled() >= 100 })

	began := time.Now()
	m.ok("harvest", "pause", "names", "--yes")
	d.quiet(quietWithin)
	t.Logf("paused: quiet for 1 s at %v", time.Since(began).Round(time.Millisecond))
	paused := whole("pause")
	if n := said(t, m.run("harvest", "resume", "names", "--yes")); n != paused.open() {
		t.Errorf("resumed %d names, want the %d open ones", n, paused.open())
	}
	m.untilStatus(soon, "names", "more names are settled", func(s batchStatus) bool { return s.settled() > paused.settled()+50 })

	before := whole("resume")
	n := said(t, m.run("harvest", "cancel", "names", "--yes"))
	d.quiet(quietWithin)
	cancelled := whole("cancel")
	if cancelled.open() != 0 || cancelled.States["cancelled"] != n || n > before.open() {
		t.Errorf("cancelled %d names, and it stands %+v, want as many cancelled and none open", n, cancelled)
	}
	again := said(t, m.run("harvest", "cancel", "names", "--yes"))
	if again != 0 {
		t.Errorf("cancelled again: %d names, want 0", again)
	}

	// A paused batch keeps what is retried where it can be counted.
	retry := m.start("harvest", "retry", "names", "--state", "cancelled", "--yes")
	retry.stdin.Close()
	m.untilStatus(soon, "names", "the retry has begun", func(s batchStatus) bool { return s.open() > 0 })
	second := m.start("harvest", "retry", "names", "--state", "cancelled,failed", "--yes")
	second.stdin.Close()
	a, b := said(t, retry.wait(commandWithin)), said(t, second.wait(commandWithin))
	if a+b < n {
		t.Errorf("two retries at once brought %d and %d names back, want %d in all", a, b, n)
	}
	if s := whole("two retries at once"); s.States["cancelled"] != 0 {
		t.Errorf("status %+v, want none cancelled", s)
	}

	stop := m.start("harvest", "cancel", "names", "--yes")
	stop.stdin.Close()
	m.untilStatus(soon, "names", "the cancellation has begun", func(s batchStatus) bool { return s.States["cancelled"] > 0 })
	e := m.run("harvest", "retry", "names", "--state", "cancelled", "--yes")
	stop.wait(commandWithin)
	t.Logf("a retry beside a cancellation: %s", strings.TrimSpace(e.stderr))
	whole("a retry beside a cancellation")
	m.ok("harvest", "cancel", "names", "--yes")
	if s := whole("the last cancellation"); s.open() != 0 || !s.Finished {
		t.Errorf("status %+v, want it finished", s)
	}

	m.exported(total)

	m.ok("harvest", "delete", "names", "--pictures", "--yes")
	d.quiet(quietWithin)
	if left := filesBelow(t, m.path("harvest-data", "pictures", "names")); len(left) > 0 {
		t.Errorf("%d pictures are left, such as %s", len(left), left[0])
	}
}

// exported exports the batch in formats that have all of it, in an amount of
// memory that is that of the program and not of the names.
func (m *machine) exported(total int) {
	m.t.Helper()
	const allowed = 250_000 // kB, for a process that was measured at 100,000
	for _, format := range []string{"csv", "jsonl", "parquet", "webdataset"} {
		p := m.start("harvest", "export", "names", "--format", format, "--state", "cancelled,done,failed,partial,not_found,no_picture", "--to", "all."+format, "--json")
		p.stdin.Close()
		e := p.wait(commandWithin)
		var report struct{ Names int }
		if err := json.Unmarshal([]byte(e.stdout), &report); err != nil || report.Names != total || e.code != 0 {
			m.t.Errorf("%d names exported, want %d: %v\n%s", report.Names, total, err, e)
		}
		used, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if ok && runtime.GOOS == "linux" && used.Maxrss > allowed {
			m.t.Errorf("%s of %d names took %d kB of memory, want at most %d", format, total, used.Maxrss, allowed)
		}
	}
}

// A batch is deleted with its pictures while they come in: none stays.
func TestDeleteWithPicturesInFlight(t *testing.T) {
	t.Parallel()
	const n = 2000
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", strconv.Itoa(n), "--latency", "100ms")
	m.asking(d)
	m.writeNames("names.txt", n)
	for range 2 {
		m.start("worker", "--concurrency", "40").says("worker started")
	}
	for range 3 {
		m.ok("enqueue", "--file", "names.txt")
		m.untilStatus(soon, "names", "pictures come in", func(s batchStatus) bool { return s.States["done"] >= 50 })
		m.ok("harvest", "delete", "names", "--pictures", "--yes")
		d.quiet(quietWithin)
		if left := filesBelow(t, m.path("harvest-data", "pictures", "names")); len(left) > 0 {
			t.Fatalf("%d pictures are left, such as %s", len(left), left[0])
		}
	}
}

// A second run of the same batch joins the first: names are asked once, and
// both see the end.
func TestASecondRunJoins(t *testing.T) {
	t.Parallel()
	const n = 1000
	for _, tt := range []struct {
		name  string
		redis bool
	}{{"embedded", false}, {"redis", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if tt.redis {
				m.onRedis()
			}
			d := startDemo(m, "--people", strconv.Itoa(n), "--latency", "100ms")
			m.asking(d)
			names := m.writeNames("names.txt", n)
			args := []string{"run", "--file", "names.txt", "--provider", "people"}
			first := m.start("harvest", args...)
			eventually(t, soon, "names are asked", func() bool { return d.counts().Lookups > 0 })
			second := m.start("harvest", args...)
			second.says("joins it")
			var ends [2]string
			for i, p := range []*process{first, second} {
				e := p.wait(commandWithin)
				if e.code != 0 {
					t.Fatal(e)
				}
				ends[i] = regexp.MustCompile(`(?m)^names: [^(]*`).FindString(e.stderr)
			}
			if want := fmt.Sprintf("names: %s done ", "1,000"); ends[0] != want || ends[1] != want {
				t.Errorf("the summaries are %q and %q, want %q", ends[0], ends[1], want)
			}
			checkOnce(t, d.counts(), names)
			m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
		})
	}
}

// A limit ends the work with exit code 5, and the same command goes on.
func TestLimits(t *testing.T) {
	t.Parallel()
	const n = 400
	for _, tt := range []struct {
		limit []string
		least int // names that are settled when it is reached
	}{
		{[]string{"--max-names", "100"}, 100},
		{[]string{"--max-bytes", "100kB"}, 1},
		{[]string{"--max-duration", "3s"}, 0},
	} {
		for _, how := range []string{"run", "enqueue"} {
			t.Run(how+" "+tt.limit[0], func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				d := startDemo(m, "--people", strconv.Itoa(n), "--latency", "200ms", "--picture-bytes", "5000")
				m.asking(d)
				names := m.writeNames("names.txt", n)
				args := []string{"run", "--file", "names.txt", "--provider", "people", "--concurrency", "10"}
				program := "harvest"
				if how == "enqueue" {
					m.onRedis()
					m.start("worker", "--concurrency", "10").says("worker started")
					program, args = "enqueue", []string{"--file", "names.txt", "--wait"}
				}
				e := m.run(program, append(args, tt.limit...)...)
				if e.code != 5 || !strings.Contains(e.stderr, tt.limit[0]+" "+tt.limit[1]+" is reached") {
					t.Fatalf("want exit code 5 and the limit named: %v", e)
				}
				d.quiet(quietWithin)
				s := m.status("names")
				if s.settled() < tt.least || s.settled() == n {
					t.Errorf("%d names are settled, want at least %d and not all", s.settled(), tt.least)
				}
				if tt.least == 100 && s.settled() > 100+3*20 {
					t.Errorf("%d names are settled, want 100 and few more", s.settled())
				}
				m.ok(program, args...)
				m.checkDone("names", names, expected(t, demo.Config{People: n, PictureBytes: 5000}, names))
				c := d.counts()
				t.Logf("%d settled at the limit; %d lookups and %d pictures for %d names in the end", s.settled(), c.Lookups, c.Pictures, n)
			})
		}
	}
}

// A batch of ten behind a large one is done before that is 5 % done.
func TestLanes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", strconv.Itoa(*lanesBig), "--latency", "30ms")
	m.asking(d)
	takeHeavy(t)
	m.numbered("big.txt", *lanesBig)
	began := time.Now()
	m.ok("enqueue", "--file", "big.txt")
	t.Logf("%d names enqueued in %v", *lanesBig, time.Since(began).Round(time.Millisecond))
	m.start("worker", "--concurrency", "20").says("worker started")
	m.untilStatus(soon, "big", "the big batch is under way", func(s batchStatus) bool { return s.settled() > 0 })
	m.write("small.txt", strings.Join(people(t, 10), "\n")+"\n")
	e := m.ok("enqueue", "--file", "small.txt", "--wait")
	s := m.status("big")
	share := float64(s.settled()) / float64(s.Names)
	t.Logf("10 names done in %v; the big batch of %d is then %.2f %% done", e.took.Round(time.Millisecond), s.Names, 100*share)
	if share >= 0.05 {
		t.Errorf("%.1f %% of the big batch were done before the small one, want less than 5 %%", 100*share)
	}
}

// Who puts names into a Redis that may lose them is told; who reads is not.
func TestPersistenceWarning(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.set("HARVEST_REDIS_URL=" + redistest.Start(t, "--appendonly", "no").URL())
	m.write("names.txt", "Brus Lee\n")
	const warning = "redis loses queued names"
	if e := m.ok("enqueue", "--file", "names.txt"); !strings.Contains(e.stderr, warning) {
		t.Errorf("no warning: %v", e)
	}
	for _, args := range [][]string{{"status"}, {"status", "--hosts"}, {"results"}, {"results", "--json"}, {"pause", "names", "--yes"}} {
		if e := m.ok("harvest", args...); strings.Contains(e.stderr, warning) {
			t.Errorf("a warning that was given before: %v", e)
		}
	}
}
