package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
)

func TestLimitsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimit(lookup.Limits{InFlight: 2})
		var ends []func()
		for range 2 {
			done, err := l.wait(t.Context(), t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, done)
		}
		third := make(chan error, 1)
		go func() {
			done, err := l.wait(t.Context(), t.Context())
			if err == nil {
				defer done()
			}
			third <- err
		}()
		synctest.Wait()
		select {
		case err := <-third:
			t.Fatalf("a third request went beside two: %v", err)
		default:
		}
		ends[0]()
		if err := <-third; err != nil {
			t.Error(err)
		}
		ends[1]()
		// Nothing is lost on the way.
		if !l.inFlight.TryAcquire(2) {
			t.Error("a place in flight was lost")
		}
	})
}

func TestLimitsRate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limits lookup.Limits
		n      int
		want   time.Duration
	}{
		"none":              {lookup.Limits{}, 100, 0},
		"per second":        {lookup.Limits{PerSecond: 10}, 21, 2 * time.Second},
		"per minute":        {lookup.Limits{PerMinute: 200}, 201, time.Minute},
		"the slower counts": {lookup.Limits{PerSecond: 100, PerHour: 3600}, 11, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLimit(tc.limits)
				began := time.Now()
				for range tc.n {
					done, err := l.wait(t.Context(), t.Context())
					if err != nil {
						t.Fatal(err)
					}
					done()
				}
				if got := time.Since(began); got < tc.want || got > tc.want+tc.want/100 {
					t.Errorf("%d requests took %v, want %v", tc.n, got, tc.want)
				}
			})
		})
	}
}

func TestLimitsHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimit(lookup.Limits{})
		began := time.Now()
		l.hold(10 * time.Second)
		l.hold(time.Second) // a shorter hold takes nothing away
		go func() {
			<-time.After(9 * time.Second)
			l.hold(11 * time.Second) // one that comes meanwhile adds
		}()
		if _, err := l.wait(t.Context(), t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != 20*time.Second {
			t.Errorf("waited %v, want 20 s", got)
		}
	})
}

func TestLimitsGiveUp(t *testing.T) {
	t.Parallel()
	full := func(l *limit) { _ = l.inFlight.Acquire(context.Background(), 1) }
	for name, tc := range map[string]struct {
		limits lookup.Limits
		before func(*limit)
	}{
		"in flight": {lookup.Limits{InFlight: 1}, full},
		"rate":      {lookup.Limits{InFlight: 1, PerHour: 1}, func(l *limit) { l.rates[0].Allow() }},
		"hold":      {lookup.Limits{InFlight: 1}, func(l *limit) { l.hold(time.Hour) }},
	} {
		for why, want := range map[string]error{"its time is over": context.Canceled, "the worker leaves": errLeaving} {
			t.Run(name+", "+why, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					leaving, leave := context.WithCancel(t.Context())
					defer cancel()
					defer leave()
					l := newLimit(tc.limits)
					tc.before(l)
					time.AfterFunc(time.Second, func() {
						if errors.Is(want, errLeaving) {
							leave()
						} else {
							cancel()
						}
					})
					began := time.Now()
					_, err := l.wait(ctx, leaving)
					if !errors.Is(err, want) || time.Since(began) != time.Second {
						t.Errorf("got %v after %v, want %v after 1 s", err, time.Since(began), want)
					}
					if name != "in flight" && !l.inFlight.TryAcquire(1) {
						t.Error("its place in flight was not given back")
					}
				})
			})
		}
	}
}

// A turn that comes only after the task's own time is over is no failed try.
func TestATurnTooFarAwayIsAHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimit(lookup.Limits{PerDay: 2, InFlight: 3})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done, err := l.wait(ctx, t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done()
		_, err = l.wait(ctx, t.Context())
		e, ok := errors.AsType[*failure.Error](err)
		if !ok || e.Kind != failure.Hold || asked(e) || e.RetryAfter <= 0 {
			t.Errorf("got %v, want a hold of our own", err)
		}
		if !l.inFlight.TryAcquire(3) {
			t.Error("a place in flight was lost")
		}
	})
}
