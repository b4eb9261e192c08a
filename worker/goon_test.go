package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
)

// taken returns how many picture tasks were ever done.
func (r *rig) taken() int { return r.info(r.queue("picture", "")).Processed }

// Where all goes well a name is one task, and its pictures are asked once.
func TestPicturesAreFetchedInTheLookupsRun(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			return found([]string{r.site.url(name + "1")}, []string{r.site.url(name + "2")}), nil
		})
		var told counter
		r.settled = func(_ string, rec results.Record) { told.add(rec.Name) }
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprint("n", i))
		}
		r.enqueue("names", "people", names...)
		stop := r.start()
		if diff := cmp.Diff(results.Counts{results.Done: 100}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		stop()
		if n := r.taken(); n != 0 {
			t.Errorf("%d picture tasks were done, want none", n)
		}
		for _, name := range names {
			rec := r.record("names", name)
			if rec.Left != 0 || len(rec.Outcomes) != 2 || r.site.count(name+"1") != 1 || r.site.count(name+"2") != 1 || told.get(name) != 1 {
				t.Errorf("%+v, asked %d and %d times, told %d times; want all once", rec, r.site.count(name+"1"), r.site.count(name+"2"), told.get(name))
			}
		}
	})
}

// An answer whose pictures take long is recorded meanwhile, and neither is
// asked again.
func TestASlowPictureDoesNotKeepTheAnswer(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.site.hook = func(path string) {
			if path == "/slow" {
				<-release
			}
		}
		var asked counter
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			asked.add(name)
			return found([]string{r.site.url("fast")}, []string{r.site.url("slow")}), nil
		})
		r.enqueue("names", "people", "Ada")
		r.start()
		r.until("found", func() bool { return r.record("names", "Ada").State == results.Found })
		close(release)
		if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		got := [4]int{asked.get("Ada"), r.site.count("fast"), r.site.count("slow"), r.taken()}
		if want := [4]int{1, 1, 1, 0}; got != want {
			t.Errorf("lookup, pictures and picture tasks: %v, want %v", got, want)
		}
	})
}

// Pictures that are downloaded keep no lookup from beginning, and lookups no
// more pictures than there are slots for.
func TestLookupsAndPicturesHaveSlotsOfTheirOwn(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.Lookups, r.cfg.Pictures = 2, 3
	var now, most, lookups atomic.Int64
	release := make(chan struct{})
	r.site.hook = func(string) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		<-release
	}
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		lookups.Add(1)
		return found([]string{r.site.url(name)}), nil
	})
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprint("n", i))
	}
	r.enqueue("names", "people", names...)
	r.start()
	// Who finds no slot in its time leaves its pictures to tasks.
	r.until("all are looked up, and three pictures are under way", func() bool { return lookups.Load() == 6 && now.Load() == 3 })
	close(release)
	if diff := cmp.Diff(results.Counts{results.Done: 6}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	if n := most.Load(); n != 3 {
		t.Errorf("%d pictures at once, want 3", n)
	}
	for _, name := range names {
		if n := r.site.count(name); n != 1 {
			t.Errorf("the picture of %s was asked %d times, want once", name, n)
		}
	}
}

// A worker for lookups alone leaves every picture to the others.
func TestAWorkerForLookupsAloneFetchesNoPicture(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.enqueue("names", "people", "Ada", "Bob")
	r.cfg.Only = "lookup"
	stop := r.start()
	r.until("both are found", func() bool { return r.counts("names")[results.Found] == 2 })
	stop()
	if n := r.site.count("Ada") + r.site.count("Bob"); n != 0 {
		t.Errorf("%d pictures were asked, want none", n)
	}
	r.cfg.Only = "picture"
	r.start()
	if diff := cmp.Diff(results.Counts{results.Done: 2}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	r.until("two picture tasks are done", func() bool { return r.taken() == 2 })
}

// Tries in the lookup's run and in a task of its own are one picture's tries.
func TestTriesOfAPictureGoOnInItsTask(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.MaxAttempts = 3
	broken := reply{status: http.StatusInternalServerError}
	r.site.answer("lasting", broken)
	r.site.answer("passing", broken, broken, reply{status: http.StatusOK, body: pixels(8)})
	r.site.answer("gone", reply{status: http.StatusNotFound})
	var asked counter
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		asked.add(name)
		return found([]string{r.site.url("lasting")}, []string{r.site.url("passing")}, []string{r.site.url("gone")}), nil
	})
	r.enqueue("names", "people", "Ada")
	r.hurry()
	r.start()
	if diff := cmp.Diff(results.Counts{results.Partial: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	got := []int{asked.get("Ada"), r.site.count("lasting"), r.site.count("passing"), r.site.count("gone")}
	if want := []int{1, 3, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("lookup and pictures were asked %v times, want %v", got, want)
	}
	rec := r.record("names", "Ada")
	if rec.Reason != failure.ReasonUnavailable || rec.FailedTries != 6 {
		t.Errorf("failed for %s after %d tries, want unavailable after 6", rec.Reason, rec.FailedTries)
	}
	if f := rec.Outcomes[1].Failure; f == nil || f.Kind() != "exhausted" {
		t.Errorf("failure is %+v, want exhausted", f)
	}
}

// What is stopped in the middle goes on where it was: the answer is not asked
// for again, nor is the picture that is stored.
func TestStoppedBetweenTwoPictures(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.cfg.ShutdownTimeout = 50 * time.Millisecond
		begun := make(chan struct{}, 1)
		release := make(chan struct{})
		r.site.hook = func(path string) {
			if path == "/slow" {
				begun <- struct{}{}
				<-release
			}
		}
		var asked counter
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			asked.add(name)
			return found([]string{r.site.url("fast")}, []string{r.site.url("slow")}), nil
		})
		r.enqueue("names", "people", "Ada")
		stop := r.start("people")
		<-begun
		r.until("the other is asked", func() bool { return r.site.count("fast") == 1 })
		stop()
		close(release)
		rec := r.record("names", "Ada")
		if rec.State != results.Found || rec.FailedTries != 0 {
			t.Errorf("record is %+v, want it found and no try counted", rec)
		}
		r.start()
		if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		if asked.get("Ada") != 1 || r.site.count("slow") != 2 {
			t.Errorf("the lookup was asked %d times and the slow picture %d times, want 1 and 2", asked.get("Ada"), r.site.count("slow"))
		}
	})
}
