package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/worker"
)

// bus is a service that takes several names in one request.
type bus struct {
	most  int
	took  time.Duration
	serve func(names []string) ([]lookup.Result, error)

	mu       sync.Mutex
	requests [][]string
	inFlight int
	peak     int
	began    []time.Time
}

var _ worker.Together = (*bus)(nil)

func (b *bus) Together() int { return b.most }

func (b *bus) Fit(qs []lookup.Query) bool {
	alone := func(q lookup.Query) bool { return strings.Contains(q.Name, "|") }
	return len(qs) <= b.most && (len(qs) == 1 || !slices.ContainsFunc(qs, alone))
}

func (b *bus) LookupMany(ctx context.Context, qs []lookup.Query) ([]lookup.Result, error) {
	names := make([]string, len(qs))
	for i, q := range qs {
		names[i] = q.Name
	}
	b.mu.Lock()
	b.requests = append(b.requests, names)
	b.began = append(b.began, time.Now())
	b.inFlight++
	b.peak = max(b.peak, b.inFlight)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.inFlight--
		b.mu.Unlock()
	}()
	select {
	case <-time.After(b.took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.serve != nil {
		return b.serve(names)
	}
	return none(names), nil
}

func none(names []string) []lookup.Result {
	return slices.Repeat([]lookup.Result{{Answer: lookup.Answer{Verdict: lookup.NotFound}}}, len(names))
}

func (b *bus) asked() [][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

// together adds a provider that takes several names in one request.
func (r *rig) together(b *bus, limits lookup.Limits) {
	r.t.Helper()
	p := r.provide("wiki", func(_ context.Context, name string) (lookup.Answer, error) {
		rs, err := b.LookupMany(context.Background(), []lookup.Query{{Name: name}})
		if err != nil {
			return lookup.Answer{}, err
		}
		return rs[0].Answer, rs[0].Err
	})
	p.Together, p.LookupLimits = b, limits
}

func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("name %d", i)
	}
	return names
}

// 1,000 names at a service that takes 50 in a request, 3 requests at once, and
// 12 a second: four times what 200 a minute are.
func TestNamesShareRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Start(t).Client(), "") // the other engine brings the names one by one
	b := &bus{most: 50, took: 200 * time.Millisecond}
	r.together(b, lookup.Limits{PerSecond: 12, InFlight: 3})
	r.enqueue("all", "wiki", numbered(1000)...)
	r.start("wiki")
	if c := r.finished("all"); c[results.NotFound] != 1000 {
		t.Errorf("got %v", c)
	}
	asked := b.asked()
	seen := make(map[string]int)
	for _, names := range asked {
		for _, n := range names {
			seen[n]++
		}
	}
	t.Logf("%d requests, %d at once", len(asked), b.peak)
	if len(asked) > 20+8 || len(seen) != 1000 || b.peak > 3 {
		t.Errorf("%d names in %d requests, %d at once; want 1000 in hardly more than 20, 3 at once", len(seen), len(asked), b.peak)
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%q was asked %d times", n, times)
		}
	}
}

// Each name has its own outcome, picture and record.
func TestEachOfManyKeepsItsOwnOutcome(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		b := &bus{most: 10, serve: func(names []string) ([]lookup.Result, error) {
			rs := none(names)
			for i, n := range names {
				switch {
				case strings.HasPrefix(n, "yes"):
					rs[i].Answer = found([]string{r.site.url(n)})
				case n == "bare":
					rs[i].Answer.Verdict = lookup.NoPicture
				case n == "ill":
					rs[i].Err = failure.Newf(failure.ReasonBadAnswer, failure.Final, "no record of ill")
				}
			}
			return rs, nil
		}}
		r.together(b, lookup.Limits{})
		r.enqueue("all", "wiki", "yes 1", "no", "bare", "ill", "yes 2", "a|b")
		r.start("wiki")
		want := results.Counts{results.Done: 2, results.NotFound: 2, results.NoPicture: 1, results.Failed: 1}
		if c := r.finished("all"); fmt.Sprint(c) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", c, want)
		}
		if rec := r.record("all", "yes 2"); len(rec.Outcomes) != 1 || rec.Outcomes[1].Picture == nil {
			t.Errorf("got %+v", rec)
		}
		for _, names := range b.asked() {
			if slices.Contains(names, "a|b") && len(names) > 1 {
				t.Errorf("%q did not go alone", names)
			}
		}
	})
}

// An error of the request is every name's, and the host hears of it once: a 429
// without a time doubles its pause with each.
func TestAnErrorOfASharedRequestIsToldOnce(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.hurry()
	var mu sync.Mutex
	first := true
	b := &bus{most: 50}
	b.serve = func(names []string) ([]lookup.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		if first {
			first = false
			return nil, failure.Newf(failure.ReasonRateLimited, failure.Temporary, "429 Too Many Requests")
		}
		return none(names), nil
	}
	r.together(b, lookup.Limits{InFlight: 1})
	refs := r.enqueue("all", "wiki", numbered(50)...)
	r.start("wiki")
	if c := r.finished("all"); c[results.NotFound] != 50 {
		t.Errorf("got %v", c)
	}
	hit := b.asked()[0]
	for _, ref := range refs {
		want := 0
		if slices.Contains(hit, ref.Name) {
			want = 1
		}
		if rec := r.record("all", ref.Name); rec.FailedTries != want {
			t.Errorf("%q: %d failed tries, want %d", ref.Name, rec.FailedTries, want)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if pause := b.began[1].Sub(b.began[0]); pause > 20*time.Second {
		t.Errorf("the host was left alone for %v after one 429", pause)
	}
}

// A service that refuses all of a request because of one name fails that name
// alone.
func TestARefusalOfManyIsTracedToItsName(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	b := &bus{most: 50, serve: func(names []string) ([]lookup.Result, error) {
		if slices.Contains(names, "poison") {
			return nil, failure.Newf(failure.ReasonRefused, failure.Final, "400 Bad Request")
		}
		return none(names), nil
	}}
	r.together(b, lookup.Limits{InFlight: 2})
	r.enqueue("all", "wiki", append(numbered(40), "poison")...)
	r.start("wiki")
	if c := r.finished("all"); c[results.NotFound] != 40 || c[results.Failed] != 1 {
		t.Errorf("got %v", c)
	}
	if rec := r.record("all", "poison"); rec.Failure == nil || rec.Failure.Reason != failure.ReasonRefused {
		t.Errorf("got %+v", rec)
	}
	if n := len(b.asked()); n > 20 {
		t.Errorf("%d requests to find one name of 41", n)
	}
}

// Names that are under way in a shared request are let go when their batch is
// paused; the others are not.
func TestAPausedBatchLeavesASharedRequest(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	held, let := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(held) })
	b := &bus{most: 2, serve: func(names []string) ([]lookup.Result, error) {
		once()
		<-let
		return none(names), nil
	}}
	r.together(b, lookup.Limits{InFlight: 1})
	r.enqueue("one", "wiki", "a")
	r.enqueue("two", "wiki", "b")
	r.start("wiki")
	<-held
	if err := r.db.Pause(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	r.until("the paused batch has no task", func() bool {
		return r.info(r.queue("lookup", "wiki")).Size <= 1
	})
	close(let)
	if c := r.finished("two"); c[results.NotFound] != 1 {
		t.Errorf("got %v", c)
	}
	if rec := r.record("one", "a"); rec.State != results.Queued {
		t.Errorf("the name of the paused batch is %s", rec.State)
	}
}

// With work for many and nobody to share with, a name waits no longer than it
// takes.
func TestASingleNameIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	b := &bus{most: 50}
	r.together(b, lookup.Limits{})
	r.enqueue("all", "wiki", "only")
	r.start("wiki")
	if c := r.finished("all"); c[results.NotFound] != 1 || len(b.asked()) != 1 {
		t.Errorf("got %v after %v", c, b.asked())
	}
}

// A batch's own bound of pictures reaches the provider.
func TestMaxPicturesOfABatch(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	var mu sync.Mutex
	got := make(map[string]int)
	p := r.provide("people", nil)
	p.Service = queryFunc(func(q lookup.Query) lookup.Answer {
		mu.Lock()
		defer mu.Unlock()
		got[q.Name] = q.MaxPictures
		return lookup.Answer{Verdict: lookup.NotFound}
	})
	e, err := r.db.Open(t.Context(), "some", "people", "names.txt", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.BindMaxPictures(t.Context(), 7, false); err != nil {
		t.Fatal(err)
	}
	r.enqueue("some", "people", "a")
	r.enqueue("others", "people", "b")
	if err := e.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.start("people")
	r.finished("some")
	r.finished("others")
	mu.Lock()
	defer mu.Unlock()
	if got["a"] != 7 || got["b"] != 0 {
		t.Errorf("got %v", got)
	}
}

// queryFunc is a lookup service that looks at all of a query.
type queryFunc func(lookup.Query) lookup.Answer

func (f queryFunc) Revalidate(_ context.Context, q lookup.Query, _ string) (lookup.Answer, bool, error) {
	return f(q), false, nil
}

func (queryFunc) PictureRequest(url string) (fetch.Request, error) {
	return fetch.Request{URL: url}, nil
}
