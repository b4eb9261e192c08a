//go:build integration

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

// A Redis with too little memory: the enqueuer leaves the last fifth to the
// workers. When others take that as well, workers wait and ask little, a batch
// can be deleted, and all is done when there is room.
func TestRedisFull(t *testing.T) {
	t.Parallel()
	const n, known = 8000, 300
	s := redistest.Start(t, "--maxmemory", "6mb")
	m := newMachine(t).set("HARVEST_REDIS_URL=" + s.URL())
	d := startDemo(m, "--people", strconv.Itoa(known))
	m.asking(d)
	takeHeavy(t)
	names := people(t, known)
	for i := range n - known {
		names = append(names, fmt.Sprintf("Nobody %d", i))
	}
	m.write("names.txt", strings.Join(names, "\n")+"\n")
	m.write("old.txt", strings.Join(names[:100], "\n")+"\n")
	c := s.Client()
	m.ok("enqueue", "--file", "old.txt")

	for i := range 2 {
		e := m.run("enqueue", "--file", "names.txt")
		if e.code != 3 || !strings.Contains(e.stderr, "nearly full") || !strings.Contains(e.stderr, "raise its maxmemory") {
			t.Fatalf("want exit code 3 and the cure: %s", e)
		}
		if i > 0 && !strings.Contains(e.stderr, "(0 new") {
			t.Errorf("names were added to a Redis that is nearly full: %s", e)
		}
		if used := figure(t, c, "memory", "used_memory"); used < 3<<20 || used > (6<<20)*9/10 {
			t.Errorf("%d bytes are used of 6 MiB, want about 80 %%", used)
		}
	}
	stopped := m.status("names")
	if stopped.State != "interrupted" || stopped.Names < 1000 || stopped.Names == n {
		t.Fatalf("status %+v, want interrupted with some of the names", stopped)
	}

	for size := 100 << 10; size >= 100; size /= 10 {
		for i := 0; c.Set(t.Context(), fmt.Sprint("junk:", size, ":", i), strings.Repeat("x", size), 0).Err() == nil; i++ {
		}
	}
	limit := func(size string) {
		t.Helper()
		if err := c.ConfigSet(t.Context(), "maxmemory", size).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("5mb") // not even what moves about fits in
	var workers []*process
	for range 2 {
		workers = append(workers, m.start("worker", "--concurrency", "20"))
	}
	for _, w := range workers {
		w.says("redis is away or takes no commands")
	}
	const watched = 5 * time.Second
	before := commands(t, c)
	<-time.After(watched)
	each := float64(commands(t, c)-before) / watched.Seconds() / float64(len(workers))
	t.Logf("Redis is full: %.0f commands/s from each worker", each)
	if each > 2*100 {
		t.Errorf("%.0f commands/s from each worker on a full Redis, want less than 100", each)
	}
	if asked := d.counts().Lookups; asked != 0 {
		t.Errorf("%d lookups were asked though nothing can be recorded", asked)
	}
	m.ok("harvest", "delete", "old", "--yes")

	for keys := range slices.Chunk(c.Keys(t.Context(), "junk:*").Val(), 100) {
		if err := c.Del(t.Context(), keys...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("6mb")
	m.untilStatus(commandWithin, "names", "what was queued is done", func(s batchStatus) bool { return s.open() == 0 })
	limit("64mb")
	m.ok("enqueue", "--file", "names.txt", "--wait")
	m.checkDone("names", names, expected(t, demo.Config{People: known}, names[:known]))
	if again := repeats(d.counts()); again > 0 {
		t.Errorf("%d questions were asked again after a good answer", again)
	}
	for _, w := range workers {
		if lines := strings.Count(w.stderr.String(), "\n"); lines > 40 {
			t.Errorf("a worker wrote %d lines", lines)
		}
	}
}

// figure returns a number that INFO says.
func figure(t *testing.T, c *redis.Client, section, field string) int {
	t.Helper()
	text := c.Info(t.Context(), section).Val()
	found := regexp.MustCompile(`(?m)^` + field + `:(\d+)`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("INFO %s has no %s:\n%s", section, field, text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var commandCalls = regexp.MustCompile(`(?m)^cmdstat_([a-z|]+):calls=(\d+),.*rejected_calls=(\d+)`)

// commands returns how many commands clients have sent. What scripts call is
// counted by Redis as well, and what it refused is not a call.
func commands(t *testing.T, c *redis.Client) int {
	t.Helper()
	sum := 0
	for _, found := range commandCalls.FindAllStringSubmatch(c.Info(t.Context(), "commandstats").Val(), -1) {
		for _, digits := range found[2:] {
			n, err := strconv.Atoi(digits)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
