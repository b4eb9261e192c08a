package enqueuer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/enqueuer"
)

// slowWorker is a queue that is worked on only while somebody asks how many
// wait in it.
type slowWorker struct{ pending, most, total atomic.Int64 }

func (w *slowWorker) EnqueueContext(context.Context, *asynq.Task, ...asynq.Option) (*asynq.TaskInfo, error) {
	w.total.Add(1)
	n := w.pending.Add(1)
	for {
		most := w.most.Load()
		if n <= most || w.most.CompareAndSwap(most, n) {
			return nil, nil
		}
	}
}

func (w *slowWorker) Pending(_ context.Context, queue string) (int, error) {
	if queue != "two.lookup-people-express" {
		return 0, nil
	}
	n := w.pending.Load()
	w.pending.Add(-min(n, 400))
	return int(n), nil
}

func TestBoundedQueuesStayShort(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	w := &slowWorker{}
	e := enqueuer.New(enqueuer.Config{Shards: 1}, r.db, w, r.namespace).
		Bounded(enqueuer.Bound{MaxPending: 1000, Pending: w.Pending})
	const n = 20_000
	rep, err := e.Enqueue(t.Context(), r.numbers("names", n, nil))
	if err != nil || rep.New != n || w.total.Load() != n {
		t.Fatalf("%+v, %d tasks, %v; want %d", rep, w.total.Load(), err, n)
	}
	if most := w.most.Load(); most > 1000 {
		t.Errorf("%d tasks waited at once, want 1000 at most", most)
	}
}

// With no worker at all the command can still be stopped.
func TestBoundedWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	full := func(context.Context, string) (int, error) { cancel(); return 1000, nil }
	e := r.enqueuer().Bounded(enqueuer.Bound{MaxPending: 1000, Pending: full})
	if _, err := e.Enqueue(ctx, r.numbers("names", 5000, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// What was read before the memory ran short gets its tasks; what comes after
// is for the same command again.
func TestEnqueueStopsWhileThereIsNoRoom(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	full := errors.New("full")
	w := &slowWorker{}
	most := int64(5_000_000)
	e := enqueuer.New(enqueuer.Config{Shards: 1}, r.db, w, r.namespace).
		WhileRoom(func(_ context.Context, bytes int64) error {
			if w.total.Load()*1000+bytes > most {
				return full
			}
			return nil
		})
	rep, err := e.Enqueue(t.Context(), r.numbers("names", 20_000, nil))
	if !errors.Is(err, full) {
		t.Fatalf("got %v, want %v", err, full)
	}
	// 500 names at a time, and 1 kB each.
	if rep.New != 5000 || w.total.Load() != rep.New {
		t.Errorf("%d names and %d tasks, want 5000 of each", rep.New, w.total.Load())
	}
	most *= 10
	if rep, err = e.Enqueue(t.Context(), r.numbers("names", 20_000, nil)); err != nil || rep.New != 15_000 {
		t.Errorf("again: %+v, %v; want the other 15,000 new", rep, err)
	}
}
