package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
)

// within bounds every wait of these tests.
const within = 60 * time.Second

// event is one server-sent event.
type event struct {
	name, id, data string
}

// reader reads a stream of events.
type reader struct {
	t    *testing.T
	body io.Closer
	in   *bufio.Reader
}

// watch opens a stream.
func (f *fixture) watch(path, lastID string) *reader {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	f.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/api/v1"+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := f.client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("%s: got %s, %s", path, res.Status, res.Header.Get("Content-Type"))
	}
	return &reader{f.t, res.Body, bufio.NewReader(res.Body)}
}

// next returns the next event.
func (r *reader) next() (event, error) {
	var e event
	for {
		line, err := r.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e, nil
			}
		}
	}
}

// until returns the first event that is the one.
func (r *reader) until(what string, is func(event) bool) event {
	r.t.Helper()
	for {
		e, err := r.next()
		if err != nil {
			r.t.Fatalf("before %s: %v", what, err)
		}
		if is(e) {
			return e
		}
	}
}

func ofBatch(t *testing.T, e event) batchAnswer {
	t.Helper()
	var b batchAnswer
	if err := json.Unmarshal([]byte(e.data), &b); err != nil {
		t.Fatalf("%v: %s", err, e.data)
	}
	return b
}

func TestEvents(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("b", "A", "B")
	f.add("other", "A")
	one, all := f.watch("/batches/b/events", ""), f.watch("/events", "")
	first := one.until("the batch as it is", func(e event) bool { return e.name == "batch" })
	if b := ofBatch(t, first); b.Batch != "b" || b.States["queued"] != 2 {
		t.Errorf("first event: got %s", first.data)
	}
	f.done(refs["A"])
	f.failed(refs["B"], failure.ReasonTimeout, "h.example")
	finished := func(e event) bool { return e.name == "batch" && ofBatch(t, e).Batch == "b" && ofBatch(t, e).Finished }
	last := one.until("the end of b", finished)
	if b := ofBatch(t, last); b.States["done"] != 1 || b.Reasons["timeout"] != 1 {
		t.Errorf("last event: got %s", last.data)
	}
	all.until("the end of b among all", finished)

	// Who comes back gets what changed since, and what did not is left out.
	again := f.watch("/events", last.id)
	f.api("POST", "/batches/other/pause", "", 200, nil)
	again.until("the pause of other", func(e event) bool {
		return e.name == "batch" && ofBatch(t, e).Batch == "other" && ofBatch(t, e).Status == "paused"
	})
	f.api("DELETE", "/batches/b", "", 200, nil)
	for _, r := range []*reader{one, all, again} {
		gone := r.until("the end of b", func(e event) bool { return e.name == "gone" })
		if gone.data != `{"batch":"b"}` {
			t.Errorf("gone: got %s", gone.data)
		}
	}
	if res, _ := f.do(f.client, "GET", "/api/v1/batches/b/events", nil, nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("events of a batch that is gone: got %s, want 404", res.Status)
	}
}

func TestEventsSurviveRedis(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.add("b", "A")
	r := f.watch("/events", "")
	r.until("the batch", func(e event) bool { return e.name == "batch" })
	f.redis.Stop()
	trouble := r.until("trouble", func(e event) bool { return e.name == "trouble" })
	if !strings.Contains(trouble.data, "does not answer") {
		t.Errorf("trouble: got %s", trouble.data)
	}
	f.redis.Restart()
	r.until("the batch again", func(e event) bool { return e.name == "batch" })
}

// A server that stops ends its streams at once.
func TestEventsEndWithTheServer(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.add("b", "A")
	r := f.watch("/events", "")
	r.until("the batch", func(e event) bool { return e.name == "batch" })
	began := time.Now()
	if err := f.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stop took %v", took)
	}
	for {
		if _, err := r.next(); err != nil {
			break
		}
	}
}

// However many watch, a batch is read once for all of them.
func TestThousandWatchers(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.add("b", "A", "B")
	const watchers = 1000
	readers := make([]*reader, watchers)
	transport := f.client.Transport.(*http.Transport)
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = 0, watchers
	for i := range readers {
		readers[i] = f.watch("/batches/b/events", "")
	}
	var wg sync.WaitGroup
	seen := make(chan struct{}, watchers)
	for _, r := range readers {
		wg.Go(func() {
			for {
				e, err := r.next()
				if err != nil {
					t.Error(err)
					return
				}
				if e.name == "batch" && strings.Contains(e.data, `"status":"paused"`) {
					seen <- struct{}{}
					return
				}
			}
		})
	}
	before := f.commands()
	began := time.Now()
	f.api("POST", "/batches/b/pause", "", 200, nil)
	wg.Wait()
	took := time.Since(began)
	if len(seen) != watchers {
		t.Errorf("the pause was seen by %d of %d", len(seen), watchers)
	}
	// A look is about ten commands, and there is one each half second.
	perSecond := float64(f.commands()-before) / max(took.Seconds(), 1)
	t.Logf("%d watchers saw a change after %v; %.0f commands/s", watchers, took, perSecond)
	if perSecond > 400 {
		t.Errorf("%.0f commands a second for %d watchers, want as many as for one", perSecond, watchers)
	}
}

// commands returns how many commands Redis has had.
func (f *fixture) commands() int64 {
	f.t.Helper()
	info, err := f.redis.Client().Info(f.t.Context(), "stats").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "total_commands_processed:")
	n, err := strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest, "\r", 2)[0]), 10, 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}
