package worker_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// heldWithin is well above the 2 s in which what is in flight must end.
const heldWithin = 10 * time.Second

// change is what a user does to a batch while it is worked on.
type change struct {
	do   func(ctx context.Context, r *rig, b results.Batch) error
	want results.Counts // of a batch with one open name; nil: it is gone
}

var holds = map[string]change{
	"pause": {func(ctx context.Context, r *rig, b results.Batch) error { return r.db.Pause(ctx, b.Name) }, results.Counts{}},
	"limit": {func(ctx context.Context, r *rig, b results.Batch) error { return r.db.Limit(ctx, b.Name) }, results.Counts{}},
	"cancel": {func(ctx context.Context, r *rig, b results.Batch) error {
		_, err := r.db.Cancel(ctx, b)
		return err
	}, results.Counts{results.Cancelled: 1}},
	"delete": {func(ctx context.Context, r *rig, b results.Batch) error { return r.db.Delete(ctx, b.Name) }, nil},
	"mark for deletion": {func(ctx context.Context, r *rig, b results.Batch) error {
		_, err := r.db.Condemn(ctx, b.Name)
		return err
	}, results.Counts{}},
}

// What is asked just now ends, whatever is asked, and leaves no try behind.
func TestWhatIsInFlightEndsWithItsBatch(t *testing.T) {
	t.Parallel()
	for name, h := range holds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, what := range []string{"lookup", "picture"} {
				t.Run(what, func(t *testing.T) {
					t.Parallel()
					onBoth(t, func(t *testing.T, r *rig) { holdInFlight(t, r, h, what) })
				})
			}
		})
	}
}

func holdInFlight(t *testing.T, r *rig, h change, what string) {
	asked, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	open := results.Queued
	if what == "lookup" {
		r.provide("people", func(ctx context.Context, _ string) (lookup.Answer, error) {
			asked <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return lookup.Answer{}, ctx.Err()
		})
	} else {
		open = results.Found
		server := serveUntilGone(t, asked, ended)
		r.provide("people", func(context.Context, string) (lookup.Answer, error) {
			return found([]string{server + "/slow"}), nil
		})
	}
	r.enqueue("names", "people", "Ada")
	r.start("people")
	<-asked
	b, err := r.db.Batch(t.Context(), "names")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := h.do(t.Context(), r, b); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(within):
		t.Fatal("the request goes on")
	}
	if took := time.Since(began); took > heldWithin {
		t.Errorf("the request ended after %v, want within %v", took, heldWithin)
	}
	r.empty()
	now, err := r.db.Batch(t.Context(), "names")
	if h.want == nil {
		if !errors.Is(err, results.ErrNoBatch) {
			t.Errorf("the batch is %+v, %v; want it gone", now, err)
		}
		return
	}
	want := h.want
	if len(want) == 0 {
		want = results.Counts{open: 1}
	}
	got := r.counts("names")
	for st, n := range got {
		if n != want[st] {
			t.Errorf("%d names are %s, want %d", n, st, want[st])
		}
	}
	if rec := r.record("names", "Ada"); rec.FailedTries != 0 || rec.Outcomes != nil {
		t.Errorf("the record is %+v, want no try and no outcome", rec)
	}
}

// serveUntilGone serves a picture that never comes to its end.
func serveUntilGone(t *testing.T, asked, ended chan<- struct{}) string {
	t.Helper()
	s := newSite(t)
	s.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Length", "10000")
		_, _ = w.Write(pixels(8))
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		<-q.Context().Done()
		ended <- struct{}{}
	})
	return s.server.URL
}

// A batch that goes on asks again what was cut off, and another batch is not
// touched.
func TestAPausedBatchGoesOn(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	asked := make(chan string, 10)
	var times counter
	r.provide("people", func(ctx context.Context, name string) (lookup.Answer, error) {
		if times.add(name) == 1 {
			asked <- name
			if name == "Ada" {
				<-ctx.Done()
				return lookup.Answer{}, ctx.Err()
			}
		}
		return found([]string{r.site.url(name)}), nil
	})
	r.enqueue("names", "people", "Ada")
	r.start("people")
	<-asked
	if err := r.db.Pause(t.Context(), "names"); err != nil {
		t.Fatal(err)
	}
	r.enqueue("others", "people", "Bob")
	if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("others")); diff != "" {
		t.Errorf("counts of the other batch differ (-want +got):\n%s", diff)
	}
	r.empty()
	if err := r.db.Resume(t.Context(), "names"); err != nil {
		t.Fatal(err)
	}
	b, err := r.db.Batch(t.Context(), "names")
	if err != nil {
		t.Fatal(err)
	}
	err = r.db.OpenNames(t.Context(), b, func(_ context.Context, open []results.OpenName) error {
		for _, n := range open {
			r.lookupTask("people", n.Ref)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	if rec := r.record("names", "Ada"); rec.FailedTries != 0 {
		t.Errorf("%d tries failed, want 0", rec.FailedTries)
	}
}

// A picture that is stored in the moment in which its batch is deleted does
// not stay.
func TestADeletedBatchLeavesNoPicture(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.store = &lateStore{Store: r.store, before: func() {
		if err := r.db.Delete(context.Background(), "names"); err != nil {
			t.Error(err)
		}
	}}
	r.enqueue("names", "people", "Ada")
	r.start("people")
	r.until("the batch is gone", func() bool {
		_, err := r.db.Batch(t.Context(), "names")
		return errors.Is(err, results.ErrNoBatch)
	})
	r.empty()
	key := storage.Key("names", "Ada", 1, "png")
	if _, err := r.store.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: got %v, want no such file", key, err)
	}
}

// lateStore calls before in the middle of a Commit.
type lateStore struct {
	storage.Store
	before func()
}

func (s *lateStore) Create(ctx context.Context) (storage.Writer, error) {
	w, err := s.Store.Create(ctx)
	return &lateWriter{w, s.before}, err
}

type lateWriter struct {
	storage.Writer
	before func()
}

func (w *lateWriter) Commit(ctx context.Context, key string) error {
	w.before()
	return w.Writer.Commit(ctx, key)
}

// What is no record is set aside; the batch ends, and says so. A record of a
// later version is left for a worker that knows it.
func TestANameWithoutAReadableRecord(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		refs := r.add("names", "people", "Ada", "Bob", "Cyd")
		prefix := "harvest:"
		if r.namespace != "" {
			prefix += r.namespace + ":"
		}
		records := prefix + "{names.0}:records"
		if err := r.rdb.HSet(ctx, records, "Ada", "garbage\n{").Err(); err != nil {
			t.Fatal(err)
		}
		if err := r.rdb.HDel(ctx, records, "Bob").Err(); err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			r.lookupTask("people", ref)
		}
		r.start("people")
		want := results.Counts{results.Done: 1, results.Unreadable: 2}
		if diff := cmp.Diff(want, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		r.empty()
		if lines := r.log.with("set aside"); len(lines) == 0 || !strings.Contains(lines[0], records) {
			t.Errorf("the log says %q, want it to name %s", lines, records)
		}

		// Looked up anew they are done.
		b, err := r.db.Batch(ctx, "names")
		if err != nil {
			t.Fatal(err)
		}
		n, err := r.db.Retry(ctx, b, results.Query{State: results.Unreadable}, func(_ context.Context, open []results.OpenName) error {
			for _, o := range open {
				r.lookupTask("people", o.Ref)
			}
			return nil
		})
		if n != 2 || err != nil {
			t.Fatalf("retried %d names, %v; want 2", n, err)
		}
		if diff := cmp.Diff(results.Counts{results.Done: 3}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}

		newer := r.add("newer", "people", "Dan")[0]
		if err := r.rdb.HSet(ctx, prefix+"{newer.0}:records", "Dan", "2 new form").Err(); err != nil {
			t.Fatal(err)
		}
		r.lookupTask("people", newer)
		r.until("the task waits", func() bool { return r.info(r.queue("lookup", "people")).Retry == 1 })
		if diff := cmp.Diff(results.Counts{results.Queued: 1}, nonZero(r.counts("newer"))); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
	})
}

func nonZero(c results.Counts) results.Counts {
	for st, n := range c {
		if n == 0 {
			delete(c, st)
		}
	}
	return c
}

// What a batch stored is added up, for limits.
func TestBytesOfABatch(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.enqueue("names", "people", "Ada", "Bob", "Cyd")
	stop := r.start("people")
	r.finished("names")
	stop()
	b, err := r.db.Batch(t.Context(), "names")
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(3 * len(pixels(8))); b.Bytes != want {
		t.Errorf("%d bytes, want %d", b.Bytes, want)
	}
}
