package worker

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
)

// limit keeps this process within what one host allows: requests in flight,
// requests per time, and no request before the host wants to be asked again.
// Other processes are not looked at.
type limit struct {
	inFlight *semaphore.Weighted // nil: no bound
	rates    []*rate.Limiter

	mu        sync.Mutex
	notBefore time.Time
}

// newProviderLimits makes one limit for each provider's lookups or pictures.
func newProviderLimits(providers map[string]*Provider, lookups bool) map[string]*limit {
	limits := make(map[string]*limit, len(providers))
	for name, p := range providers {
		l := p.PictureLimits
		if lookups {
			l = p.LookupLimits
		}
		limits[name] = newLimit(l)
	}
	return limits
}

func newLimit(l lookup.Limits) *limit {
	var out limit
	if l.InFlight > 0 {
		out.inFlight = semaphore.NewWeighted(int64(l.InFlight))
	}
	for _, r := range []struct {
		n   int
		per time.Duration
	}{{l.PerSecond, time.Second}, {l.PerMinute, time.Minute}, {l.PerHour, time.Hour}, {l.PerDay, 24 * time.Hour}} {
		if r.n > 0 {
			// Evenly spaced: no host likes bursts.
			out.rates = append(out.rates, rate.NewLimiter(rate.Every(r.per/time.Duration(r.n)), 1))
		}
	}
	return &out
}

// tooFar is how long a task stays away whose turn at its host would come
// after the task's own time.
const tooFar = time.Minute

// wait waits for the host's turn, and returns what ends it. It gives up when
// ctx or leaving is over, and at once, with a hold, when the turn would come
// after ctx's deadline.
func (l *limit) wait(ctx, leaving context.Context) (func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(leaving, cancel)
	defer stop()
	done, err := l.turn(ctx)
	if err != nil && leaving.Err() != nil {
		return nil, errLeaving
	}
	return done, err
}

func (l *limit) turn(ctx context.Context) (func(), error) {
	done := func() {}
	if l.inFlight != nil {
		if err := l.inFlight.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		done = func() { l.inFlight.Release(1) }
	}
	for _, r := range l.rates {
		if err := r.Wait(ctx); err != nil {
			done()
			if ctx.Err() == nil {
				// The turn comes after the task's own time.
				err = &failure.Error{Reason: failure.ReasonInternal, Kind: failure.Hold, RetryAfter: tooFar, Err: err}
			}
			return nil, err
		}
	}
	// What was put off meanwhile may have been put off again.
	for {
		d := l.putOff()
		if d <= 0 {
			return done, nil
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			done()
			return nil, ctx.Err()
		}
	}
}

func (l *limit) putOff() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.notBefore)
}

// hold lets no request begin for d.
func (l *limit) hold(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := time.Now().Add(d); t.After(l.notBefore) {
		l.notBefore = t
	}
}
