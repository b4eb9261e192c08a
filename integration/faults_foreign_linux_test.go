//go:build integration

package integration

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/picharvest/picharvest/tasks"
)

// foreign are keys that nobody here wrote, or did not finish, and that have to
// be as they were in the end.
var foreign = []string{
	"harvest:{stray.0}:batch", "harvest:{later.0}:records", "harvest:{later.0}:state:queued",
	"asynq:{picture-bulk}:active", "asynq:{default}:pending", "harvest:something",
}

// notOurs puts what is not ours, or of another version, or half-written,
// where workers and commands look.
func notOurs(f *trouble) string {
	// Another program's.
	f.do("SET", "harvest:something", "x")
	f.do("ZADD", "harvest:batches", 1, "stray")
	f.do("SET", "harvest:{stray.0}:batch", "no hash")
	f.do("SADD", "asynq:queues", "picture-bulk", "default")
	f.do("SET", "asynq:{picture-bulk}:active", "no list")
	f.do("LPUSH", "asynq:{default}:pending", "another program's task")
	// An enqueuer died before its batch was whole.
	f.do("ZADD", "harvest:batches", 2, "half")
	f.batchHash("half", "told", 0)
	f.do("ZADD", "harvest:{half.0}:leases", 1, "enqueuer half.txt") // its lease ran out long ago
	// A later version's.
	f.do("ZADD", "harvest:batches", 3, "later")
	f.batchHash("later", "told", 1)
	f.do("HSET", "harvest:{later.0}:meta", "birth", birth, "epoch", birth, "rev", 1, "status", "running", "provider", "people")
	f.do("HSET", "harvest:{later.0}:records", "Somebody", "2 in a new form")
	f.do("ZADD", "harvest:{later.0}:state:queued", 1, "Somebody")

	for _, key := range foreign {
		f.dumps[key] = f.dump(key)
	}
	f.until("a worker's health names the queue", func() bool {
		for _, w := range f.workers {
			if strings.Contains(f.health(w), tasks.Queue{Kind: tasks.Pictures, Lane: tasks.Bulk}.String()) {
				return true
			}
		}
		return false
	})
	return "health names the queue"
}

// birth is that of the batches that are made by hand, in µs.
const birth = 1_700_000_000_000_000

func (f *trouble) batchHash(name string, more ...any) {
	f.t.Helper()
	f.do(append([]any{
		"HSET", "harvest:{" + name + ".0}:batch", "birth", birth, "epoch", birth, "rev", 1, "status", "running",
		"provider", "people", "shards", 1, "source", name + ".txt", "opens", 1, "ended", 0,
	}, more...)...)
}

// notOursAfter looks whether commands say what there is, and harmed nothing.
func notOursAfter(f *trouble) string {
	if e := f.run("harvest", "status"); !strings.Contains(e.stdout, "names: finished") || !strings.Contains(e.stdout+e.stderr, "harvest:{stray.0}:batch") {
		f.t.Errorf("want the good batch, and the key of the one that is none: %v", e)
	}
	e := f.run("harvest", "doctor")
	for _, key := range []string{"harvest:{stray.0}:batch", "picture-bulk"} {
		if e.code != 1 || !strings.Contains(e.stdout, key) {
			f.t.Errorf("want doctor to name %s: %v", key, e)
		}
	}
	if e := f.run("harvest", "status", "half"); !strings.Contains(e.stdout, "interrupted") {
		f.t.Errorf("want to hear that it is interrupted: %v", e)
	}
	f.write("half.txt", "Nobody 1\nNobody 2\n")
	f.ok("enqueue", "--file", "half.txt", "--wait")
	if s := f.status("half"); s.States["not_found"] != 2 || !s.Finished {
		f.t.Errorf("after the same command: %+v, want 2 not found and finished", s)
	}
	f.others = 2
	if e := f.run("harvest", "results", "later"); !strings.Contains(e.stdout+e.stderr, "newer version") {
		f.t.Errorf("want to hear that a record is of a newer version: %v", e)
	}
	for _, key := range foreign {
		if f.dump(key) != f.dumps[key] {
			f.t.Errorf("%s is another", key)
		}
	}
	return fmt.Sprintf("%d keys as they were; the half-written batch done by the same command", len(foreign))
}

func (f *trouble) dump(key string) string {
	f.t.Helper()
	return fmt.Sprint(f.do("DUMP", key))
}

var servedAt = regexp.MustCompile(`"health and metrics are served","address":"([^"]+)"`)

// health returns what a worker says of itself.
func (f *trouble) health(w *process) string {
	resp, err := http.Get("http://" + servedAt.FindStringSubmatch(w.stderr.String())[1] + "/healthz")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
