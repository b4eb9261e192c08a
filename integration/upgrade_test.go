//go:build integration

package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/tasks"
)

// While a fleet is upgraded old and new workers share the queues: what the
// old version queued is done by either, what the new one queued waits for a
// new worker, and no name is burnt.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	const n = 300
	release := takeHeavy(t)
	newer := buildNewer(t)
	m := newMachine(t)
	s := m.onRedis()
	d := startDemo(m, "--people", strconv.Itoa(2*n), "--latency", "10ms")
	m.asking(d)
	all := people(t, 2*n)
	before, after := all[:n], all[n:]
	m.write("before.txt", strings.Join(before, "\n")+"\n")
	m.write("after.txt", strings.Join(after, "\n")+"\n")
	sums := expected(t, demo.Config{People: 2 * n}, all)

	old := m.start("worker")
	old.says("worker started")
	m.ok(newer, "enqueue", "--file", "after.txt")
	queue := tasks.Queue{Kind: tasks.Lookups, Provider: "people", Lane: tasks.Express}.String()
	inspector := asynq.NewInspectorFromRedisClient(s.Client())
	eventually(t, soon, "the old worker has looked at all that it cannot read", func() bool {
		info, err := inspector.GetQueueInfo(queue)
		return err == nil && info.Retry == n
	})
	if c := d.counts(); c.Lookups != 0 {
		t.Errorf("%d lookups were asked for tasks of a newer version", c.Lookups)
	}
	old.says("waits for a worker of that version")
	checkWaiting(t, inspector, queue)

	// What the old version made is done meanwhile, by both.
	young := m.start(newer, "worker")
	young.says("worker started")
	m.ok("enqueue", "--file", "before.txt", "--wait")
	m.checkDone("before", before, sums)
	if st := m.status("after"); st.States["queued"] != n || len(st.Reasons) != 0 {
		t.Errorf("names of the newer version: %+v, want all queued", st)
	}

	old.signal(syscall.SIGTERM)
	if e := old.wait(soon); e.code != 0 {
		t.Error(e)
	}
	if lines := strings.Count(old.stderr.String(), "newer version"); lines > 20 {
		t.Errorf("the old worker said it %d times", lines)
	}
	// The minute until they are due by themselves is cut short.
	if _, err := inspector.RunAllRetryTasks(queue); err != nil {
		t.Fatal(err)
	}
	m.untilStatus(commandWithin, "after", "the newer names are done", func(s batchStatus) bool { return s.States["done"] == n })
	release()
	m.checkDone("after", after, sums)
	checkOnce(t, d.counts(), all)
	if left := tasksLeft(t, s); left > 0 {
		t.Errorf("%d tasks are left", left)
	}

	// Records and results of the newer version are read by the older one, and
	// what it did is left alone.
	if e := m.ok("enqueue", "--file", "after.txt"); !strings.Contains(e.stderr, "300 already done") {
		t.Error(e)
	}
}

// checkWaiting checks that the tasks come back within a minute and that none
// of their tries was used.
func checkWaiting(t *testing.T, inspector *asynq.Inspector, queue string) {
	t.Helper()
	waiting, err := inspector.ListRetryTasks(queue, asynq.PageSize(1000))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range waiting {
		if task.Retried != 0 || time.Until(task.NextProcessAt) > time.Minute {
			t.Fatalf("task %s was tried %d times and is due %v, want none and within a minute", task.ID, task.Retried, task.NextProcessAt)
		}
	}
}

// buildNewer builds a program that writes payloads of the next version, and
// returns its name.
func buildNewer(t *testing.T) string {
	t.Helper()
	redistest.Binary(t) // where the test is skipped nothing need be built
	source, err := filepath.Abs(filepath.Join("..", "tasks", "payload.go"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const line = "const PayloadVersion = "
	changed := strings.Replace(string(text), line+strconv.Itoa(tasks.PayloadVersion)+"\n", line+strconv.Itoa(tasks.PayloadVersion+1)+"\n", 1)
	if changed == string(text) {
		t.Fatalf("%s has no line %q", source, line)
	}
	dir := t.TempDir()
	replaced, overlay := filepath.Join(dir, "payload.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(replaced, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	const name = "newer"
	build := exec.Command("go", "build", "-overlay", overlay, "-o", filepath.Join(bin, name), "../cmd/harvest")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the newer version: %v\n%s", err, out)
	}
	return name
}
