package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/time/rate"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

const (
	// maxCrashes is how often a name may take its worker with it. The first
	// time it ran beside others, and any of them may have been the one.
	maxCrashes = 3
	// waitsPerAttempt bounds the waits that a host may ask of a name, so that
	// a batch has an end whatever its hosts say.
	waitsPerAttempt = 20
	// recordWithin bounds what is written after a task's own time is over.
	recordWithin = 10 * time.Second
)

// step is what one run of a task does between reading the record and
// settling it.
type step interface {
	// due says whether there is something to do, given what was read. What
	// only has to be said again (tasks that got lost) it does itself.
	due(ctx context.Context, b results.Begun) (bool, error)
	// wait waits for the host's turn. The returned function ends the turn.
	wait(ctx, leaving context.Context, b results.Begun) (func(), error)
	// work does it, records the outcome and tells of it. It returns the host
	// that it spoke with last. leave ends the turn before work does: at the
	// host, and among those who run side by side or alone.
	work(ctx context.Context, b results.Begun, leave func()) (host string, err error)
	// fail records that it was given up.
	fail(ctx context.Context, e *failure.Error, host string, exhausted bool) (bool, error)
}

// attempts decides what each run of a task means: done, once more, or given
// up. Nothing else in the package does.
type attempts struct {
	db          *results.DB
	log         *slog.Logger
	leaving     context.Context
	settled     func(string, results.Record)
	crowd       crowd
	maxAttempts int
	delay       time.Duration
	maxDelay    time.Duration
	sweeper     sweeper
	// beside brings what stands beside the pictures of a name up to date.
	beside func(ctx context.Context, r tasks.Ref, birth int64) error
	// recall is called before that in a run that has nothing else to do.
	recall func(ctx context.Context, r tasks.Ref, birth int64)
	// says bounds the log lines about what waits.
	says     rate.Sometimes
	observer Observer
}

// run does one run of a task. nil means that asynq may forget the task.
// before is how many tries failed before there was a task.
func (a *attempts) run(ctx context.Context, r tasks.Ref, rank, before int, s step) error {
	b, err := a.db.Begin(ctx, r, rank)
	if results.IsRecordError(err) {
		return a.setAside(ctx, r, b.Birth, err)
	}
	if err != nil {
		return a.putOff(ctx, r, fmt.Errorf("read the record: %w", err))
	}
	if b.Void {
		return nil
	}
	if b.Good != nil {
		defer func() {
			late, cancel := detached(ctx)
			defer cancel()
			a.sweeper.shard(late, r.Batch, b.Birth, r.Shard)
		}()
	}
	// A run that asynq counted and we did not never came back.
	retried, _ := asynq.GetRetryCount(ctx)
	died := retried + before - b.Counted
	b.Suspect = b.Suspect || died > 0
	err = a.goThrough(ctx, r, rank, b, died, s)
	if err != nil && !errors.Is(err, asynq.SkipRetry) {
		return err
	}
	// A run that dies before this comes again, and finds nothing else to do.
	if berr := a.beside(ctx, r, b.Birth); berr != nil {
		return a.putOff(ctx, r, berr)
	}
	return err
}

// goThrough takes a run that may have something to do to its end. died is how
// many runs of its task never came back.
func (a *attempts) goThrough(ctx context.Context, r tasks.Ref, rank int, b results.Begun, died int, s step) error {
	due, err := s.due(ctx, b)
	if turn, ok := errors.AsType[*again](err); ok {
		return turn
	}
	if errors.Is(err, errLeaving) {
		return a.later(err, 0)
	}
	if err != nil {
		return a.putOff(ctx, r, err)
	}
	if !due {
		a.recall(ctx, r, b.Birth)
		return nil
	}
	if b.Crashes+1 >= maxCrashes {
		a.observer.Crashed(kindOf(rank), true)
		e := failure.Newf(failure.ReasonCrashed, failure.Final, "the worker died on this name %d times", maxCrashes)
		return a.giveUp(ctx, r, rank, s, e, "", true)
	}
	token := strconv.FormatUint(rand.Uint64(), 36)
	host, err := a.turn(ctx, r, rank, b, died, s, token)
	if err == nil {
		return nil
	}
	return a.verdict(ctx, r, rank, s, host, token, err)
}

// turn waits for the host, then works among others, or alone if the name is
// suspected of killing workers. died is how many runs of its task never came
// back.
func (a *attempts) turn(ctx context.Context, r tasks.Ref, rank int, b results.Begun, died int, s step, token string) (host string, err error) {
	done, err := s.wait(ctx, a.leaving, b)
	if err != nil {
		return "", err
	}
	defer done()
	out, err := a.crowd.enter(ctx, b.Suspect)
	if err != nil {
		return "", err
	}
	leave := sync.OnceFunc(func() { out(); done() })
	defer leave()
	if a.leaving.Err() != nil {
		return "", errLeaving
	}
	if b.Suspect {
		a.observer.Crashed(kindOf(rank), false)
		if err := a.db.Mark(ctx, r, rank, token, true); err != nil {
			return "", failure.New(failure.ReasonInternal, failure.Hold, err)
		}
		if died > 0 {
			// An epoch has tasks of its own, which count anew.
			death := fmt.Sprintf("%d.%d", r.Epoch-b.Birth, died)
			if err := a.db.NoteDeath(ctx, r, rank, death); err != nil {
				return "", failure.New(failure.ReasonInternal, failure.Hold, err)
			}
		}
		defer func() {
			late, cancel := detached(ctx)
			defer cancel()
			if merr := a.db.Mark(late, r, rank, token, false); merr != nil && !errors.Is(merr, results.ErrNoBatch) {
				a.about(ctx, r).Warn("a name that ran alone keeps the mark of a crash", "error", merr)
			}
		}()
	}
	defer a.survive(ctx, r, &err)
	if b.Suspect {
		// It stays alone until its mark is gone: the crash of the next one
		// would count as its own.
		return s.work(ctx, b, done)
	}
	return s.work(ctx, b, leave)
}

// survive, deferred, turns a panic into an error.
func (a *attempts) survive(ctx context.Context, r tasks.Ref, err *error) {
	if p := recover(); p != nil {
		a.about(ctx, r).Error("a handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = failure.Newf(failure.ReasonInternal, failure.Temporary, "internal error: %v", p)
	}
}

// verdict turns an error into what asynq is to do with the task.
func (a *attempts) verdict(ctx context.Context, r tasks.Ref, rank int, s step, host, token string, err error) error {
	if errors.Is(err, asynq.SkipRetry) {
		return err // given up already: it only has to be shown
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errLeaving) || ctx.Err() != nil {
		return a.later(err, 0)
	}
	if turn, ok := errors.AsType[*again](err); ok {
		return turn
	}
	e := failure.From(err)
	switch {
	case e.Kind == failure.Final:
		return a.giveUp(ctx, r, rank, s, e, host, false)
	case e.Kind == failure.Hold && !asked(e):
		return a.putOff(ctx, r, e)
	}
	late, cancel := detached(ctx)
	defer cancel()
	wait := e.Kind == failure.Hold
	tries, waits, open, cerr := a.db.CountTry(late, r, rank, token, e)
	switch {
	case cerr != nil:
		return a.putOff(ctx, r, cerr)
	case !open:
		return nil
	case tries >= a.maxAttempts || waits >= waitsPerAttempt*a.maxAttempts:
		return a.giveUp(ctx, r, rank, s, e, host, true)
	case wait:
		return a.later(e, pause(e))
	}
	return &again{err: e, delay: a.backoff(tries), counts: true}
}

// about returns the log for lines about one task.
func (a *attempts) about(ctx context.Context, r tasks.Ref) *slog.Logger {
	id, _ := asynq.GetTaskID(ctx)
	return a.log.With("batch", r.Batch, "task_id", id)
}

// asked reports whether the wait was asked for by the other side.
func asked(e *failure.Error) bool {
	return e.Reason == failure.ReasonRateLimited || e.Reason == failure.ReasonUnavailable
}

// pause is how long a hold lasts: a second at least, for what counts no try
// would otherwise be asked without a pause.
func pause(e *failure.Error) time.Duration { return max(e.RetryAfter, time.Second) }

// putOff gives the task back for a cause that is not the name's, and says so
// now and then: nobody else would.
func (a *attempts) putOff(ctx context.Context, r tasks.Ref, err error) error {
	a.says.Do(func() {
		a.about(ctx, r).Warn("tasks wait and try again by themselves; no name is lost", "cause", err)
	})
	return a.later(err, pause(failure.From(err)))
}

// newerWait is how long a task waits for a worker that knows its record's
// version.
const newerWait = time.Minute

// setAside takes a name out of the way whose record cannot be read: no run of
// its task could, and its batch would never end.
func (a *attempts) setAside(ctx context.Context, r tasks.Ref, birth int64, err error) error {
	if errors.Is(err, results.ErrNewer) {
		a.says.Do(func() { a.about(ctx, r).Warn("tasks wait for a newer worker", "cause", err) })
		return a.later(err, newerWait)
	}
	moved, aerr := a.db.SetAside(ctx, r.Batch, r.Shard, birth, err)
	if aerr != nil {
		return a.putOff(ctx, r, aerr)
	}
	if moved {
		a.says.Do(func() {
			a.about(ctx, r).Warn("a name is set aside: something else than a record stands for it", "cause", err)
		})
	}
	return nil
}

// later gives the task back without counting anything.
func (a *attempts) later(err error, delay time.Duration) error {
	return &again{err: err, delay: delay}
}

// backoff doubles from delay to maxDelay, less up to a half by chance.
func (a *attempts) backoff(tries int) time.Duration {
	d := a.maxDelay
	if shift := tries - 1; shift < 63 && a.delay <= a.maxDelay>>shift {
		d = a.delay << shift
	}
	if d <= 0 {
		return 0
	}
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}

// giveUp records the failure, then shows it in asynq's archive.
func (a *attempts) giveUp(ctx context.Context, r tasks.Ref, rank int, s step, e *failure.Error, host string, exhausted bool) error {
	late, cancel := detached(ctx)
	defer cancel()
	recorded, err := s.fail(late, e, host, exhausted)
	if err != nil {
		return a.putOff(ctx, r, fmt.Errorf("record the failure: %w", err))
	}
	if !recorded {
		return nil
	}
	a.tell(late, r, rank)
	return fmt.Errorf("%s: %w: %w", e.Reason, e, asynq.SkipRetry)
}

// tell reports a name that has come to its end.
func (a *attempts) tell(ctx context.Context, r tasks.Ref, rank int) {
	if a.settled == nil {
		return
	}
	rec, err := a.db.Record(ctx, r.Batch, r.Shard, r.Name)
	if err != nil || rec.State.Open() || rec.Generation != r.Generation {
		return
	}
	if rec.Last != rank {
		return // the step that was settled last tells, and no other
	}
	a.settled(r.Batch, rec)
}

// detached returns a context for what must be written though ctx is over.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
}
