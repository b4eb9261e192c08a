package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/tasks"
)

// A store that is full or gone burns no name; work goes on when it is back.
func TestAStoreThatIsAwayBurnsNoName(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]*flakyStore{
		"absent":               {atID: true},
		"refuses to begin":     {atCreate: true},
		"full while it writes": {atWrite: true},
		"full at the end":      {atCommit: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newMiniRig(t)
			r.cfg.MaxAttempts = 1
			store.Store = r.store
			store.away.Store(true)
			r.store = store
			var names []string
			for i := range 30 {
				names = append(names, fmt.Sprint("n", i))
			}
			r.enqueue("names", "people", names...)
			r.hurry()
			r.start()
			r.until("a refusal", func() bool { return store.refused.Load() > 0 })
			r.until("every name is looked up", func() bool { return r.counts("names")[results.Queued] == 0 })
			if c := r.counts("names"); c[results.Found] != 30 {
				t.Errorf("counts are %v while the store is away, want 30 found", c)
			}
			if n := len(r.log.with("no pictures are fetched")); n != 1 {
				t.Errorf("%d lines say that pictures wait for the store, want one", n)
			}
			if n := len(r.log.with("no space left")); n < 1 {
				t.Error("no line says why")
			}
			store.away.Store(false)
			if diff := cmp.Diff(results.Counts{results.Done: 30}, r.finished("names")); diff != "" {
				t.Errorf("counts differ (-want +got):\n%s", diff)
			}
			for _, n := range names {
				if rec := r.record("names", n); rec.FailedTries != 0 {
					t.Errorf("%s has %d failed tries, want 0", n, rec.FailedTries)
				}
			}
		})
	}
}

// flakyStore is away at one of its steps.
type flakyStore struct {
	storage.Store
	atID, atCreate, atWrite, atCommit bool

	away    atomic.Bool
	refused atomic.Int64
}

func (s *flakyStore) refuse(here bool) error {
	if !here || !s.away.Load() {
		return nil
	}
	s.refused.Add(1)
	return failure.Newf(failure.ReasonStore, failure.Hold, "write to /mnt: no space left on device")
}

func (s *flakyStore) Probe(ctx context.Context) error {
	if err := s.refuse(true); err != nil {
		return err
	}
	return s.Store.Probe(ctx)
}

func (s *flakyStore) ID(ctx context.Context) (string, error) {
	if err := s.refuse(s.atID); err != nil {
		return "", err
	}
	return s.Store.ID(ctx)
}

func (s *flakyStore) Create(ctx context.Context) (storage.Writer, error) {
	if err := s.refuse(s.atCreate); err != nil {
		return nil, err
	}
	w, err := s.Store.Create(ctx)
	return &flakyWriter{w, s}, err
}

type flakyWriter struct {
	storage.Writer
	s *flakyStore
}

func (w *flakyWriter) Write(p []byte) (int, error) {
	if err := w.s.refuse(w.s.atWrite); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

func (w *flakyWriter) Commit(ctx context.Context, key string) error {
	if err := w.s.refuse(w.s.atCommit); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Writer.Commit(ctx, key)
}

func (r *rig) counts(batch string) results.Counts {
	r.t.Helper()
	b, err := r.db.Batch(r.t.Context(), batch)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.db.Counts(r.t.Context(), b)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// A folder that is not the batch's store is not filled.
func TestTheStoreOfAnotherBatchIsRefused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.enqueue("names", "people", "Ada")
		stop := r.start()
		r.finished("names")
		stop()

		right := r.store
		wrong, err := file.New(t.TempDir(), "test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { wrong.Close() })
		r.store = wrong
		r.enqueue("names", "people", "Bob")
		stop = r.start()
		r.until("a refusal", func() bool { return len(r.log.with("not the store of batch")) > 0 })
		stop()
		if n := r.site.count("Bob"); n != 0 || r.counts("names")[results.Found] != 1 {
			t.Errorf("asked for the picture %d times, counts %v; want none, 1 found", n, r.counts("names"))
		}

		r.store = right
		r.hurry()
		r.start()
		if diff := cmp.Diff(results.Counts{results.Done: 2}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
	})
}

func TestTasksThatCannotBeRead(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		ref := r.add("names", "people", "Ada")[0]
		lookups, pictures := r.queue("lookup", "people"), r.queue("picture", "")
		newer, err := json.Marshal(tasks.LookupPayload{Version: tasks.PayloadVersion + 1, Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		for id, task := range map[string]*asynq.Task{
			"garbage":   asynq.NewTask(tasks.TypeLookup, []byte("\x00garbage"), asynq.Queue(lookups)),
			"wrongtype": asynq.NewTask("email:send", []byte("{}"), asynq.Queue(lookups)),
			"nopicture": asynq.NewTask(tasks.TypePicture, []byte("{}"), asynq.Queue(pictures)),
			"newer":     asynq.NewTask(tasks.TypeLookup, newer, asynq.Queue(lookups)),
		} {
			if _, err := r.client.EnqueueContext(t.Context(), task, asynq.TaskID(id), asynq.MaxRetry(9)); err != nil {
				t.Fatal(err)
			}
		}
		r.lookupTask("people", ref)
		began := time.Now()
		r.start()
		if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		r.until("poison archived", func() bool { return r.info(lookups).Archived == 2 && r.info(pictures).Archived == 1 })
		for id, queue := range map[string]string{"garbage": lookups, "wrongtype": lookups, "nopicture": pictures} {
			info, err := r.inspector.GetTaskInfo(queue, id)
			if err != nil || info.State != asynq.TaskStateArchived || !strings.Contains(info.LastErr, "unreadable payload") {
				t.Errorf("%s is %+v, %v; want it archived with its reason", id, info, err)
			}
			if n := len(r.log.with("task_id=" + id)); n != 1 {
				t.Errorf("%d log lines about %s, want 1", n, id)
			}
		}
		r.until("newer waits", func() bool { return r.info(lookups).Retry == 1 })
		info, err := r.inspector.GetTaskInfo(lookups, "newer")
		if err != nil || info.Retried != 0 || info.NextProcessAt.Sub(began) < 58*time.Second {
			t.Errorf("the newer task is %+v, %v; want it in a minute", info, err)
		}
	})
}

// A name that is found but whose picture tasks were lost gets them again.
func TestLostPictureTasksComeAgain(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		var asked counter
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			asked.add(name)
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		})
		ref := r.add("names", "people", "Ada")[0]
		l := results.Lookup{Pictures: [][]string{{r.site.url("1")}, {r.site.url("2")}, {r.site.url("3")}}}
		if ok, err := r.db.CommitLookup(t.Context(), ref, results.Found, l); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if ok, err := r.db.CommitPicture(t.Context(), ref, 2, results.Picture{Kind: "png", Key: "k"}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		r.lookupTask("people", ref)
		r.start()
		if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		got := [4]int{asked.get("Ada"), r.site.count("1"), r.site.count("2"), r.site.count("3")}
		if want := [4]int{0, 1, 0, 1}; got != want {
			t.Errorf("lookup and pictures were asked %v times, want %v", got, want)
		}
	})
}

func TestVoidTasksComeToNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]func(t *testing.T, r *rig, ref tasks.Ref) tasks.Ref{
		"paused": func(t *testing.T, r *rig, ref tasks.Ref) tasks.Ref {
			return given(t, ref, r.db.Pause(t.Context(), "names"))
		},
		"cancelled": func(t *testing.T, r *rig, ref tasks.Ref) tasks.Ref {
			b, err := r.db.Batch(t.Context(), "names")
			if err == nil {
				_, err = r.db.Cancel(t.Context(), b)
			}
			return given(t, ref, err)
		},
		"deleted": func(t *testing.T, r *rig, ref tasks.Ref) tasks.Ref {
			return given(t, ref, r.db.Delete(t.Context(), "names"))
		},
		"older epoch": func(t *testing.T, r *rig, ref tasks.Ref) tasks.Ref {
			return given(t, ref, r.db.Resume(t.Context(), "names"))
		},
		"older generation": func(t *testing.T, r *rig, ref tasks.Ref) tasks.Ref {
			e := failure.Newf(failure.ReasonBlocked, failure.Final, "x")
			_, err := r.db.FailLookup(t.Context(), ref, e, "", false)
			given(t, ref, err)
			b, err := r.db.Batch(t.Context(), "names")
			if err == nil {
				_, err = r.db.Retry(t.Context(), b, results.Query{}, func(context.Context, []results.OpenName) error { return nil })
			}
			return given(t, ref, err)
		},
		"unknown name": func(_ *testing.T, _ *rig, ref tasks.Ref) tasks.Ref {
			ref.Name = "Nobody"
			return ref
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, r *rig) {
				var asked counter
				r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
					asked.add("lookup")
					return lookup.Answer{Verdict: lookup.NotFound}, nil
				})
				ref := tc(t, r, r.add("names", "people", "Ada")[0])
				r.lookupTask("people", ref)
				r.pictureTask(ref, 1)
				r.start()
				r.until("both taken", func() bool {
					a, b := r.info(r.queue("lookup", "people")), r.info(r.queue("picture", ""))
					return a.Size == 0 && b.Size == 0 && a.Processed == 1 && b.Processed == 1
				})
				if n := asked.get("lookup"); n != 0 {
					t.Errorf("asked %d times, want 0", n)
				}
			})
		})
	}
}

func given(t *testing.T, ref tasks.Ref, err error) tasks.Ref {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// An answer that comes when the name was given to another try changes nothing.
func TestALateAnswerChangesNothing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		begun, release := make(chan struct{}), make(chan struct{})
		r.provide("people", func(context.Context, string) (lookup.Answer, error) {
			close(begun)
			<-release
			return found([]string{r.site.url("Ada")}), nil
		})
		ref := r.enqueue("names", "people", "Ada")[0]
		stop := r.start("people")
		<-begun
		e := failure.Newf(failure.ReasonBlocked, failure.Final, "x")
		if _, err := r.db.FailLookup(t.Context(), ref, e, "", false); err != nil {
			t.Fatal(err)
		}
		b, err := r.db.Batch(t.Context(), "names")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.db.Retry(t.Context(), b, results.Query{}, func(context.Context, []results.OpenName) error { return nil }); err != nil {
			t.Fatal(err)
		}
		close(release)
		stop()
		rec := r.record("names", "Ada")
		if rec.State != results.Queued || rec.Generation != 2 || rec.Lookup != nil || r.info(r.queue("picture", "")).Size != 0 {
			t.Errorf("record is %+v, want it queued in generation 2", rec)
		}
	})
}

// Shutdown lets running tasks end and gives waiting ones back untried.
func TestShutdown(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.cfg.Concurrency = 3
		begun, release := make(chan string, 100), make(chan struct{})
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			begun <- name
			<-release
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		})
		// One provider's host allows one request: two of three have a slot and wait.
		r.providers["people"].LookupLimits = lookup.Limits{InFlight: 1}
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprint("n", i))
		}
		r.enqueue("names", "people", names...)
		q := r.queue("lookup", "people")
		stop := r.start("people")
		first := <-begun
		r.until("eight in hand: three for lookups, three for pictures to come, and two on their way", func() bool { return r.info(q).Active == 8 })
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		r.until("the waiting ones are given back", func() bool { i := r.info(q); return i.Active == 1 && i.Retry == 7 })
		close(release)
		<-stopped
		if len(begun) != 0 {
			t.Errorf("%d requests were begun after the signal", len(begun))
		}
		if rec := r.record("names", first); rec.State != results.NotFound {
			t.Errorf("%s, which was running, is %s", first, rec.State)
		}
		i := r.info(q)
		if i.Active != 0 || i.Size != 9 || i.Archived != 0 {
			t.Errorf("left behind: %+v; want 9 tasks, none active", i)
		}
		list, err := r.inspector.ListRetryTasks(q)
		if err != nil || len(list) != 7 {
			t.Fatalf("%d given back, %v", len(list), err)
		}
		for _, info := range list {
			if info.Retried != 0 {
				t.Errorf("%s was given back with %d retries", info.ID, info.Retried)
			}
		}
		r.start()
		if diff := cmp.Diff(results.Counts{results.NotFound: 10}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
	})
}

// What outlasts the shutdown goes back untried, but a good answer is kept,
// and no handler runs when Run has returned.
func TestShutdownTimeout(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]time.Duration{"none": 0, "short": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, r *rig) {
				r.cfg.ShutdownTimeout = timeout
				begun := make(chan string, 2)
				var handlers atomic.Int64
				r.provide("people", func(ctx context.Context, name string) (lookup.Answer, error) {
					handlers.Add(1)
					defer handlers.Add(-1)
					begun <- name
					<-ctx.Done()
					if name == "Late" {
						return found([]string{r.site.url("Late")}), nil
					}
					return lookup.Answer{}, ctx.Err()
				})
				r.enqueue("names", "people", "Late", "Slow")
				began := time.Now()
				stop := r.start("people")
				<-begun
				<-begun
				stop()
				if d := time.Since(began); d > 20*time.Second {
					t.Errorf("it took %v to stop", d)
				}
				if n := handlers.Load(); n != 0 {
					t.Errorf("%d handlers still run", n)
				}
				if rec := r.record("names", "Late"); rec.State != results.Found {
					t.Errorf("the good answer was dropped: %s", rec.State)
				}
				if rec := r.record("names", "Slow"); rec.State != results.Queued || rec.FailedTries != 0 {
					t.Errorf("Slow is %s after %d tries", rec.State, rec.FailedTries)
				}
				pending, err := r.inspector.ListPendingTasks(r.queue("lookup", "people"))
				if err != nil || len(pending) != 2 || pending[0].Retried+pending[1].Retried != 0 {
					t.Errorf("pending are %d, %v; want 2 without retries", len(pending), err)
				}
				r.provide("people", func(context.Context, string) (lookup.Answer, error) {
					return lookup.Answer{Verdict: lookup.NotFound}, nil
				})
				r.start()
				want := results.Counts{results.Done: 1, results.NotFound: 1}
				if diff := cmp.Diff(want, r.finished("names")); diff != "" {
					t.Errorf("counts differ (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A suspect that is stopped in the middle has not crashed.
func TestASuspectThatIsStoppedHasNotCrashed(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.ShutdownTimeout = time.Millisecond
	begun := make(chan struct{}, 1)
	r.provide("people", func(ctx context.Context, _ string) (lookup.Answer, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return lookup.Answer{}, ctx.Err()
	})
	ref := r.enqueue("names", "people", "Ada")[0]
	if err := r.db.Suspect(t.Context(), ref, results.LookupRank); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		stop := r.start("people")
		<-begun
		stop()
	}
	b, err := r.db.Begin(t.Context(), ref, results.LookupRank)
	if err != nil || b.Crashes != 0 || !b.Suspect || b.Tries != 0 {
		t.Errorf("begun is %+v, %v; want a suspect without crashes", b, err)
	}
}

// A suspect runs alone in its process, and the others go on after it.
func TestASuspectRunsAlone(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	var running atomic.Int64
	var mu sync.Mutex
	beside := map[string]int64{}
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		running.Add(1)
		defer running.Add(-1)
		<-time.After(2 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		beside[name] = max(beside[name], running.Load())
		return lookup.Answer{Verdict: lookup.NotFound}, nil
	})
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprint("n", i))
	}
	for i, ref := range r.enqueue("names", "people", names...) {
		if i%20 == 10 {
			if err := r.db.Suspect(t.Context(), ref, results.LookupRank); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.start()
	if diff := cmp.Diff(results.Counts{results.NotFound: 60}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	mu.Lock()
	defer mu.Unlock()
	if beside["n10"] != 1 || beside["n30"] != 1 || beside["n50"] != 1 {
		t.Errorf("suspects ran among %d, %d and %d, want 1", beside["n10"], beside["n30"], beside["n50"])
	}
}

func TestWhichQueuesAreServed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.enqueue("other", "strangers", "Ada")
		if _, err := r.client.Enqueue(asynq.NewTask("x", nil), asynq.Queue("somebody-elses")); err != nil {
			t.Fatal(err)
		}
		other := tasks.Queue{Namespace: "elsewhere", Kind: tasks.Pictures, Lane: tasks.Bulk}.String()
		if _, err := r.client.Enqueue(asynq.NewTask(tasks.TypePicture, nil), asynq.Queue(other)); err != nil {
			t.Fatal(err)
		}
		w := r.worker()
		r.run(w)
		r.until("a warning", func() bool { return len(r.log.with("leaves a queue alone")) > 0 })
		if got := w.Serves(); len(got) != 0 {
			t.Errorf("it serves %v, want nothing", got)
		}
		// A queue that comes into being later is found.
		r.enqueue("names", "people", "Bob")
		if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		if n := len(r.log.with("leaves a queue alone")); n != 1 {
			t.Errorf("%d warnings, want 1", n)
		}
		if i := r.info(r.queue("lookup", "strangers")); i.Pending != 1 || i.Processed != 0 {
			t.Errorf("the strangers' queue is %+v", i)
		}
		if i := r.info("somebody-elses"); i.Pending != 1 {
			t.Errorf("somebody else's queue is %+v", i)
		}
	})
}

func TestOnlyOneKind(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.enqueue("names", "people", "Ada")
	r.cfg.Only = "lookup"
	stop := r.start("people")
	r.until("found", func() bool { return r.record("names", "Ada").State == results.Found })
	r.until("its task", func() bool { return r.info(r.queue("picture", "")).Pending == 1 })
	stop()
	if n := r.site.count("Ada"); n != 0 {
		t.Errorf("a worker for lookups asked for %d pictures", n)
	}
	r.cfg.Only = "picture"
	r.start("people")
	if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
}

// The log does not grow with the number of names that fail or wait.
func TestLogLinesAreBounded(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.MaxAttempts = 2
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		switch name[0] {
		case 'f':
			return lookup.Answer{}, final(failure.ReasonBlocked)
		case 't':
			return lookup.Answer{}, temporary(failure.ReasonTimeout)
		}
		return lookup.Answer{Verdict: lookup.NotFound}, nil
	})
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprint("f", i), fmt.Sprint("t", i), fmt.Sprint("n", i))
	}
	r.enqueue("names", "people", names...)
	r.hurry()
	stop := r.start("people")
	want := results.Counts{results.Failed: 60, results.NotFound: 30}
	if diff := cmp.Diff(want, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	stop()
	if lines := r.log.with(""); len(lines) > 5 {
		t.Errorf("%d lines for 60 failures, want a handful; the first:\n%s", len(lines), strings.Join(lines[:5], "\n"))
	}
}

// A missing key must not have the service asked as fast as it can answer.
func TestAHoldWithoutATimeIsPaced(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.Concurrency = 2
	var asked counter
	r.provide("people", func(context.Context, string) (lookup.Answer, error) {
		asked.add("")
		return lookup.Answer{}, hold(failure.ReasonCredentials, 0)
	})
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprint("n", i))
	}
	r.enqueue("names", "people", names...)
	began := time.Now()
	stop := r.start("people")
	r.until("five requests", func() bool { return asked.get("") >= 5 })
	stop()
	if d := time.Since(began); d < 1900*time.Millisecond {
		t.Errorf("5 requests in 2 slots took %v, want 2 s", d)
	}
	if c := r.counts("names"); c[results.Queued] != 50 {
		t.Errorf("counts are %v, want all queued", c)
	}
}
