package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// stuckAfter is how long a worker may get nowhere before it counts as stuck:
// longer than everything that ends by itself, the longest wait for a Redis
// that is away included.
const stuckAfter = 15 * time.Minute

// slowRound is how long the worker's loop may take for one round with a Redis
// that is well.
const slowRound = 10 * time.Second

// pulse knows whether a worker gets anywhere. Its times are in unix
// nanoseconds, 0 for never.
type pulse struct {
	running  atomic.Int64 // handlers
	progress atomic.Int64 // when one of them ended, or the first of them began
	round    atomic.Int64 // when the loop came round
	well     atomic.Int64 // since when Redis has answered every round
	draining atomic.Bool
}

func (p *pulse) begin() {
	if p.running.Add(1) == 1 {
		p.progress.Store(time.Now().UnixNano())
	}
}

func (p *pulse) end() {
	p.progress.Store(time.Now().UnixNano())
	p.running.Add(-1)
}

// cameRound says that the loop has begun a round at began, and whether Redis
// answered in it.
func (p *pulse) cameRound(began time.Time, answered bool) {
	now := time.Now()
	p.round.Store(now.UnixNano())
	switch {
	case !answered:
		p.well.Store(0)
	case p.well.Load() == 0 || now.Sub(began) > slowRound:
		p.well.Store(now.UnixNano())
	}
}

// stuck says what only a restart can mend, or nothing.
func (p *pulse) stuck(now time.Time) error {
	if round := p.round.Load(); round > 0 && !p.draining.Load() {
		if d := now.Sub(time.Unix(0, round)); d > stuckAfter {
			return fmt.Errorf("the worker's loop has not come round for %s", d.Round(time.Second))
		}
	}
	well := p.well.Load()
	if p.running.Load() == 0 || well == 0 {
		return nil
	}
	// While Redis is away no task can end, and that is no fault of ours.
	if d := now.Sub(time.Unix(0, max(well, p.progress.Load()))); d > stuckAfter {
		return fmt.Errorf("%d tasks are running and none has ended for %s, though Redis answers", p.running.Load(), d.Round(time.Second))
	}
	return nil
}

// Stuck returns what is wrong with the worker that only a restart can mend,
// or nil. It asks nobody, and a Redis that is away does not make it fail.
func (w *Worker) Stuck() error { return w.pulse.stuck(time.Now()) }

// Serving returns how many queues are being served, in words, or why no task
// is taken. It asks nobody.
func (w *Worker) Serving(context.Context) (string, error) {
	switch {
	case w.pulse.draining.Load():
		return "", errors.New("stopping: no new tasks are taken")
	case w.pulse.well.Load() == 0:
		return "", errors.New("the queues in Redis could not be read yet, or not any more")
	}
	switch n := len(w.Serves()); n {
	case 0:
		return "no queue yet: nothing was enqueued that this worker can do", nil
	case 1:
		return "1 served", nil
	default:
		return fmt.Sprintf("%d served", n), nil
	}
}
