package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

const (
	// tendEvery is how often the batches of running tasks are looked at: what
	// is in flight ends within 2 s of a pause, a cancellation or a deletion.
	tendEvery = time.Second
	// tendWithin bounds one such look.
	tendWithin = 5 * time.Second
)

// errHeldBack ends a task whose batch is not to go on. Its task comes to
// nothing: whoever lets the batch go on makes new ones.
var errHeldBack = errors.New("the batch was paused, cancelled or deleted")

// underWay knows the tasks that run in this process by their batches, and ends
// them when their batch is not to go on. It costs one command a second for
// each batch with running tasks.
type underWay struct {
	db  *results.DB
	log *slog.Logger

	mu     sync.Mutex
	shares map[string]*share
}

// share is what this process does for a batch.
type share struct {
	runs map[*taskRun]struct{}
	// bytes that were stored for tasks of that epoch, and are not told yet.
	epoch, bytes int64
}

type taskRun struct {
	epoch int64
	stop  context.CancelCauseFunc
}

// do runs f until it ends or its batch is held back.
func (u *underWay) do(ctx context.Context, r tasks.Ref, f func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	run := &taskRun{r.Epoch, stop}
	u.mu.Lock()
	s := u.share(r.Batch)
	s.runs[run] = struct{}{}
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		delete(s.runs, run)
		u.mu.Unlock()
	}()
	err := f(ctx)
	if errors.Is(context.Cause(ctx), errHeldBack) {
		return nil
	}
	return err
}

// share returns that of a batch. u is locked.
func (u *underWay) share(batch string) *share {
	s := u.shares[batch]
	if s == nil {
		s = &share{runs: make(map[*taskRun]struct{})}
		u.shares[batch] = s
	}
	return s
}

// stored notes that a picture was stored.
func (u *underWay) stored(r tasks.Ref, bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.share(r.Batch)
	s.epoch = max(s.epoch, r.Epoch)
	s.bytes += bytes
}

// tend looks after the tasks until the returned function is called, which
// tells the last bytes.
func (u *underWay) tend() (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(tendEvery)
		defer tick.Stop()
		for ending := false; !ending; {
			select {
			case <-tick.C:
			case <-end:
				ending = true
			}
			u.look()
		}
	}()
	return func() {
		close(end)
		<-done
	}
}

// look asks once how the batches stand.
func (u *underWay) look() {
	ctx, cancel := context.WithTimeout(context.Background(), tendWithin)
	defer cancel()
	u.mu.Lock()
	told := make(map[string]share)
	for batch, s := range u.shares {
		if len(s.runs) == 0 && s.bytes == 0 {
			delete(u.shares, batch)
			continue
		}
		told[batch] = share{epoch: s.epoch, bytes: s.bytes}
	}
	u.mu.Unlock()
	for batch, t := range told {
		now, err := u.db.Standing(ctx, batch, t.epoch, t.bytes)
		if err != nil {
			// The next look may succeed, and the servers say what is wrong.
			u.log.Debug("look how a batch stands", "batch", batch, "error", err)
			continue
		}
		u.heed(batch, t.bytes, now)
	}
}

// heed ends the tasks that are not to go on as a batch stands now.
func (u *underWay) heed(batch string, told int64, now results.Standing) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.shares[batch]
	if s == nil {
		return
	}
	s.bytes -= told
	for run := range s.runs {
		if !now.Runs(run.epoch) {
			run.stop(errHeldBack)
		}
	}
}
