//go:build integration

package integration

import (
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/demo"
)

// Two enqueuers at once with the same names, and two workers: each name is
// asked once, and doing it all again asks nothing.
func TestEveryNameOnce(t *testing.T) {
	t.Parallel()
	const n = 2000
	m := newMachine(t)
	m.onRedis()
	d := startDemo(m, "--people", "2000")
	m.asking(d)
	takeHeavy(t)
	names := m.writeNames("names.txt", n)
	for range 2 {
		m.start("worker").says("worker started")
	}

	twice := func() []ended {
		a := m.start("enqueue", "--file", "names.txt", "--wait")
		b := m.start("enqueue", "--file", "names.txt", "--wait")
		return []ended{a.wait(commandWithin), b.wait(commandWithin)}
	}
	for _, e := range twice() {
		if e.code != 0 || !strings.Contains(e.stderr, "\nnames: 2,000 done\n") {
			t.Fatal(e)
		}
	}
	checkOnce(t, d.counts(), names)
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	if s := m.status("names"); !s.Finished || s.States["done"] != n || s.settled() != n {
		t.Errorf("status %+v, want finished with %d done", s, n)
	}

	for _, e := range twice() {
		if e.code != 0 || !strings.Contains(e.stderr, "0 new, 2,000 already done") {
			t.Error(e)
		}
	}
	if c := d.counts(); c.Lookups != n || c.Pictures != n {
		t.Errorf("enqueueing again asked %d lookups and %d pictures, want %d as before", c.Lookups, c.Pictures, n)
	}
}
