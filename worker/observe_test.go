package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/tasks"
	"github.com/picharvest/picharvest/worker"
)

// notes is an Observer that counts what it is told.
type notes struct {
	mu       sync.Mutex
	inFlight map[tasks.Kind]int
	turns    int
	bytes    int64
	ended    map[string]int
}

func newNotes() *notes {
	return &notes{inFlight: make(map[tasks.Kind]int), ended: make(map[string]int)}
}

func (n *notes) Waited(tasks.Kind, time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turns++
}

func (n *notes) Begun(k tasks.Kind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inFlight[k]++
}

func (n *notes) Ended(r worker.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inFlight[r.Kind]--
	n.bytes += r.Bytes
	n.ended[fmt.Sprint(r.Kind, " ", r.Host, " ", r.Status, " ", r.Reason)]++
}

func (n *notes) Crashed(tasks.Kind, bool) {}

func (n *notes) StoreHeld(bool) {}

// An observer is told of every request and how it went, once, even of one
// that panics.
func TestObserverIsToldOfEveryRequest(t *testing.T) {
	t.Parallel()
	r, n := newMiniRig(t), newNotes()
	r.observer = n
	r.cfg.MaxAttempts = 2
	r.site.answer("broken", reply{status: http.StatusOK, body: []byte("<html>")})
	r.site.answer("late", reply{status: http.StatusServiceUnavailable}, reply{status: http.StatusOK, body: pixels(8)})
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		switch name {
		case "unknown":
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		case "bare":
			return lookup.Answer{Verdict: lookup.NoPicture}, nil
		case "refused":
			return lookup.Answer{}, failure.Newf(failure.ReasonBadAnswer, failure.Final, "no JSON")
		case "panics":
			panic("a defect")
		}
		return found([]string{r.site.url("broken"), r.site.url(name)}), nil
	})
	r.enqueue("names", "people", "good", "late", "unknown", "bare", "refused", "panics")
	r.hurry()
	r.start()
	r.finished("names")
	r.empty()

	n.mu.Lock()
	defer n.mu.Unlock()
	host := r.site.host()
	want := map[string]int{
		"lookup lookup.test found ":                 2,
		"lookup lookup.test not_found ":             1,
		"lookup lookup.test no_picture ":            1,
		"lookup lookup.test failed bad_answer":      1,
		"lookup lookup.test failed internal":        2,
		"picture " + host + " failed not_a_picture": 2,
		"picture " + host + " stored ":              2,
		"picture " + host + " failed unavailable":   1,
	}
	if diff := cmp.Diff(want, n.ended); diff != "" {
		t.Errorf("what ended differs (-want +got):\n%s", diff)
	}
	if n.inFlight[tasks.Lookups] != 0 || n.inFlight[tasks.Pictures] != 0 {
		t.Errorf("in flight at the end: %v, want none", n.inFlight)
	}
	if want := int64(2 * len(pixels(8))); n.bytes != want {
		t.Errorf("%d bytes, want %d", n.bytes, want)
	}
	if n.turns < 10 {
		t.Errorf("%d turns, want one for each run", n.turns)
	}
}
