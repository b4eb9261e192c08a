//go:build integration

package integration

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/tasks"
)

// More names fail than asynq's archive keeps. Each is listed, and each is done
// when it is tried again, though tasks of the same names are still archived.
func TestMoreFailuresThanTheArchiveKeeps(t *testing.T) {
	t.Parallel()
	const n = 12_000
	takeHeavy(t)
	m := newMachine(t)
	s := m.onRedis()
	people := knowing(t, demo.Config{People: n, Count: true})
	var refuses atomic.Bool
	refuses.Store(true)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuses.Load() {
			http.Error(w, "not today", http.StatusTeapot)
			return
		}
		people.ServeHTTP(w, r)
	}))
	t.Cleanup(service.Close)
	m.set("HARVEST_PROVIDERS_BASE_URLS=people=" + service.URL)
	names := m.writeNames("names.txt", n)
	m.start("worker", "--concurrency", "50").says("worker started")

	if e := m.run("enqueue", "--file", "names.txt", "--wait"); e.code != 1 || !strings.Contains(e.stderr, "12,000 failed") {
		t.Fatalf("want exit code 1 and 12,000 failed: %v", e)
	}
	failed := make(map[string]bool)
	for _, r := range m.results("names", "--state", "failed") {
		if r.Reason != "refused" || r.Kind != "final" {
			t.Fatalf("record %+v, want refused, final", r)
		}
		failed[r.Name] = true
	}
	if len(failed) != n {
		t.Errorf("%d names are listed as failed, want %d", len(failed), n)
	}
	archived := 0
	inspector := asynq.NewInspectorFromRedisClient(s.Client())
	for _, lane := range []tasks.Lane{tasks.Express, tasks.Bulk} {
		info, err := inspector.GetQueueInfo(tasks.Queue{Kind: tasks.Lookups, Provider: "people", Lane: lane}.String())
		if err != nil {
			t.Fatal(err)
		}
		archived += info.Archived
	}
	if archived == 0 || archived >= n {
		t.Errorf("asynq's archive has %d tasks, want some and fewer than %d", archived, n)
	}

	refuses.Store(false)
	m.ok("harvest", "retry", "names", "--reason", "refused", "--yes")
	m.ok("enqueue", "--file", "names.txt", "--wait")
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
}
