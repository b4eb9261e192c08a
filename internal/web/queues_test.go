package web_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/web"
)

func TestQueues(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.api("POST", "/batches/b/names", "Brus Lee\n<script>alert(1)</script>\n", 200, nil)

	res, page := f.do(f.client, "GET", "/queues/", nil, nil)
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("page: got %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	wantHeaders(t, "/queues/", res)
	if regexp.MustCompile(`(src|href)="(https?:)?//`).Match(page) {
		t.Errorf("the page loads something from elsewhere:\n%s", page)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/queues/[^"]+)"`).FindAllSubmatch(page, -1) {
		res, data := f.do(f.client, "GET", string(m[1]), nil, nil)
		if res.StatusCode != http.StatusOK || len(data) == 0 || strings.Contains(string(data), "<!doctype html>") {
			t.Errorf("%s: got %s, %d bytes", m[1], res.Status, len(data))
		}
		wantHeaders(t, string(m[1]), res)
	}
	// Its own addresses are the page again, as it finds its way by them.
	if _, again := f.do(f.client, "GET", "/queues/queues/lookup-people-express", nil, nil); string(again) != string(page) {
		t.Errorf("a page within asynqmon: got %.200s", again)
	}

	var tasks struct {
		Tasks []struct{ Payload, Type string }
	}
	_, data := f.do(f.client, "GET", "/queues/api/queues/lookup-people-express/pending_tasks", nil, nil)
	if err := json.Unmarshal(data, &tasks); err != nil || len(tasks.Tasks) != 2 {
		t.Fatalf("tasks: %v: %s", err, data)
	}
	for _, task := range tasks.Tasks {
		if !strings.Contains(task.Payload, "batch b") || strings.Contains(task.Payload, `"e":`) {
			t.Errorf("payload: got %s, want words", task.Payload)
		}
	}
	if res, _ := f.do(f.client, "GET", "/queues/api/redis_info", nil, nil); res.StatusCode != http.StatusOK {
		t.Errorf("Redis's page: got %s", res.Status)
	}
	for _, c := range changes[4:] {
		if res, _ := f.do(f.client, c.method, c.path, nil, nil); res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s %s, read-only: got %s, want 405", c.method, c.path, res.Status)
		}
	}
}

func TestQueuesWritable(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *web.Config) { c.QueuesWritable = true })
	f.api("POST", "/batches/b/names", "Brus Lee\n", 200, nil)
	res, body := f.do(f.client, "POST", "/queues/api/queues/lookup-people-express/pending_tasks:archive_all", nil, nil)
	if res.StatusCode >= 300 {
		t.Errorf("archive: got %s: %s", res.Status, body)
	}
	_, page := f.do(f.client, "GET", "/queues/", nil, nil)
	if !strings.Contains(string(page), `FLAG_READ_ONLY="false"`) {
		t.Errorf("the page believes that it may change nothing")
	}
}
