package gate_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/redistest"
)

// both runs a test on a real Redis and on miniredis.
func both(t *testing.T, f func(t *testing.T, rdb *redis.Client)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		f(t, redistest.Start(t, "--appendonly", "no").Client())
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
		t.Cleanup(func() { rdb.Close() })
		f(t, rdb)
	})
}

func newGate(t *testing.T, rdb redis.UniversalClient, o gate.Options) *gate.Gate {
	t.Helper()
	g := gate.New(rdb, "", o)
	t.Cleanup(g.Close)
	return g
}

// acquire fails the test where the gate does not let the request begin.
func acquire(t *testing.T, g *gate.Gate, a gate.Ask) func() {
	t.Helper()
	release, err := g.Acquire(t.Context(), a)
	if err != nil {
		t.Fatalf("acquire %s: %v", a.Host, err)
	}
	return release
}

// later fails the test unless the gate sends the request away for why.
func later(t *testing.T, g *gate.Gate, a gate.Ask, why string) time.Duration {
	t.Helper()
	release, err := g.Acquire(t.Context(), a)
	if err == nil {
		release()
	}
	l, ok := errors.AsType[*gate.LaterError](err)
	if !ok || l.Why != why {
		t.Fatalf("acquire %s: got %v, want to be sent away for %q", a.Host, err, why)
	}
	return l.After
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 60s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		const limit, each = 3, 40
		var now, most, done atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			g := newGate(t, rdb, gate.Options{})
			for range each {
				wg.Go(func() {
					release, err := g.Acquire(t.Context(), gate.Ask{Host: "a.example", Limits: gate.Limits{InFlight: limit}, Wait: time.Minute})
					if err != nil {
						t.Error(err)
						return
					}
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Millisecond) // the request
					now.Add(-1)
					done.Add(1)
					release()
				})
			}
		}
		start := time.Now()
		wg.Wait()
		if most.Load() != limit || done.Load() != 3*each {
			t.Errorf("got %d done, %d at once, want %d and %d", done.Load(), most.Load(), 3*each, limit)
		}
		t.Logf("%d in %v", done.Load(), time.Since(start))
	})
}

func TestPlaceIsFreed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newGate(t, rdb, gate.Options{}), newGate(t, rdb, gate.Options{})
		ask := gate.Ask{Host: "a.example", Limits: gate.Limits{InFlight: 1}}
		release := acquire(t, a, ask)
		if after := later(t, b, ask, "place"); after < time.Second || after > 3*time.Second {
			t.Errorf("come back after %v, want 1s to 3s", after)
		}
		release()
		release()
		ask.Wait = time.Minute
		acquire(t, b, ask)()
	})
}

func TestCancelledWaiterTakesNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		g := newGate(t, rdb, gate.Options{})
		ask := gate.Ask{Host: "a.example", Limits: gate.Limits{InFlight: 1}, Wait: time.Minute}
		release := acquire(t, g, ask)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 20 {
			wg.Go(func() {
				if _, err := g.Acquire(ctx, ask); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want context.Canceled", err)
				}
			})
		}
		eventually(t, "20 wait", func() bool {
			s, err := g.State(t.Context())
			return err == nil && len(s) == 1 && s[0].Waiting > 0
		})
		cancel()
		wg.Wait()
		release()
		acquire(t, g, ask)()
	})
}

func TestNoLimitsNoTrip(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	g := newGate(t, s.Client(), gate.Options{})
	s.Kill()
	acquire(t, g, gate.Ask{Host: "a.example", Breaker: "people"})()
	if held, err := g.Report(t.Context(), gate.Ask{Host: "a.example", Breaker: "people"}, "", true); held != 0 || err != nil {
		t.Errorf("got %v, %v, want nothing", held, err)
	}
}

func TestHold(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		for _, limits := range []gate.Limits{{}, {InFlight: 2}, {PerSecond: 1000}} {
			a, b := newGate(t, rdb, gate.Options{}), newGate(t, rdb, gate.Options{})
			ask := gate.Ask{Host: "a.example", Limits: limits}
			acquire(t, b, ask)()
			start := time.Now()
			if err := a.Hold(t.Context(), "A.example", 3*time.Second); err != nil {
				t.Fatal(err)
			}
			if err := a.Hold(t.Context(), "a.example", time.Second); err != nil {
				t.Fatal(err)
			}
			for _, g := range []*gate.Gate{a, b} {
				eventually(t, "every gate knows", func() bool {
					_, why := g.Blocked(ask)
					return why == "hold"
				})
				if after := later(t, g, ask, "hold"); after < time.Second || after > 4*time.Second {
					t.Errorf("come back after %v, want 1s to 4s", after)
				}
				acquire(t, g, gate.Ask{Host: "b.example", Limits: limits, Wait: time.Second})()
			}
			if heard := time.Since(start); heard > 2*time.Second {
				t.Errorf("every gate knew after %v, promised are 1s", heard)
			}
			// Who comes later reads it.
			c := newGate(t, rdb, gate.Options{})
			eventually(t, "a new gate knows", func() bool {
				_, why := c.Blocked(ask)
				return why == "hold"
			})
			ask.Wait = time.Minute
			acquire(t, b, ask)()
			if took := time.Since(start); took < 3*time.Second {
				t.Errorf("begun after %v, want 3s", took)
			}
		}
	})
}

func TestHoldIsCapped(t *testing.T) {
	t.Parallel()
	g := newGate(t, redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()}), gate.Options{})
	if err := g.Hold(t.Context(), "a.example", 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if after := later(t, g, gate.Ask{Host: "a.example"}, "hold"); after > time.Hour+time.Second {
		t.Errorf("come back after %v, want at most 1h", after)
	}
}

// A service that is back with a few errors is let through by fewer at once;
// only one that fails alone keeps it out.
func TestBreakerRampsDown(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		g := newGate(t, rdb, gate.Options{Breaker: gate.Breaker{After: 1, Delay: 50 * time.Millisecond, MaxDelay: 50 * time.Millisecond, Ramp: 4}})
		ask := gate.Ask{Host: "a.example", Breaker: "people", Wait: time.Minute}
		report := func(r failure.Reason, wantHeld bool) {
			t.Helper()
			release := acquire(t, g, ask)
			defer release()
			if held, err := g.Report(t.Context(), ask, r, true); err != nil || held > 0 != wantHeld {
				t.Fatalf("report %q: got %v, %v, want held %v", r, held, err, wantHeld)
			}
		}
		report(failure.ReasonUnavailable, true)  // open
		report("", false)                        // 2 at once
		report(failure.ReasonUnavailable, false) // 1 at once, and still tried
		report(failure.ReasonUnavailable, true)  // open again
		for range 1 + 2 + 4 {
			report("", false)
		}
		s, err := g.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range s {
			if len(h.Breakers) > 0 {
				t.Errorf("breakers are %+v, want none", h.Breakers)
			}
		}
	})
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		o := gate.Options{Breaker: gate.Breaker{After: 3, Delay: 200 * time.Millisecond, MaxDelay: 300 * time.Millisecond, Ramp: 4}}
		a, b := newGate(t, rdb, o), newGate(t, rdb, o)
		ask := gate.Ask{Host: "a.example", Breaker: "people"}
		report := func(g *gate.Gate, r failure.Reason, first, wantHeld bool) {
			t.Helper()
			held, err := g.Report(t.Context(), ask, r, first)
			if err != nil || held > 0 != wantHeld {
				t.Fatalf("report %q: got %v, %v, want held %v", r, held, err, wantHeld)
			}
		}
		report(a, failure.ReasonUnavailable, true, false)
		report(b, failure.ReasonTimeout, true, false)
		report(a, "", true, false) // an answer: it counts anew
		report(a, failure.ReasonNetwork, true, false)
		report(a, failure.ReasonBadAnswer, true, false)
		report(b, failure.ReasonDNS, true, false)
		report(a, failure.ReasonBlocked, true, false)
		report(b, failure.ReasonBlocked, false, false) // its name may be to blame
		report(b, failure.ReasonUnavailable, true, true)
		eventually(t, "both know", func() bool {
			_, why := a.Blocked(ask)
			_, why2 := b.Blocked(ask)
			return why == "breaker" && why2 == "breaker"
		})
		later(t, a, ask, "breaker")
		acquire(t, a, gate.Ask{Host: "a.example", Breaker: "others"})()
		acquire(t, a, gate.Ask{Host: "a.example"})()

		ask.Wait = time.Minute
		release := acquire(t, a, ask)
		none := ask
		none.Wait = 0
		later(t, b, none, "place") // one probe at a time
		report(a, failure.ReasonUnavailable, false, true)
		release()
		// 1, 2, 4: then it counts as up.
		for _, n := range []int{1, 2, 4} {
			var releases []func()
			for range n {
				releases = append(releases, acquire(t, b, ask))
			}
			later(t, a, none, "place")
			for _, release := range releases {
				report(b, "", true, false)
				release()
			}
		}
		eventually(t, "it is closed for both", func() bool {
			s, err := a.State(t.Context())
			_, why := a.Blocked(ask)
			if err != nil || why != "" {
				return false
			}
			for _, h := range s {
				if len(h.Breakers) > 0 {
					return false
				}
			}
			return true
		})
		for range 10 {
			defer acquire(t, a, none)()
		}
	})
}

func TestBreakerCredentials(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		g := newGate(t, rdb, gate.Options{Breaker: gate.Breaker{After: 100, Delay: time.Hour, MaxDelay: time.Hour, Ramp: 1}})
		ask := gate.Ask{Host: "a.example", Breaker: "people", Version: func() string { return "1" }}
		if held, err := g.Report(t.Context(), ask, failure.ReasonCredentials, false); held == 0 || err != nil {
			t.Fatalf("got %v, %v, want to be held", held, err)
		}
		later(t, g, ask, "breaker")
		s, err := g.State(t.Context())
		if err != nil || len(s) != 1 || len(s[0].Breakers) != 1 || s[0].Breakers[0].Reason != failure.ReasonCredentials {
			t.Fatalf("got %+v, %v, want the breaker with its reason", s, err)
		}
		ask.Version = func() string { return "2" }
		acquire(t, g, ask)()
		if _, err := g.Report(t.Context(), ask, failure.ReasonCredentials, false); err != nil {
			t.Fatal(err)
		}
		later(t, g, ask, "breaker")
		if err := g.Reset(t.Context(), ask.Host, ask.Breaker); err != nil {
			t.Fatal(err)
		}
		ask.Wait = time.Minute
		acquire(t, g, ask)()
	})
}

func TestNamespacesApart(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
	a, b := gate.New(rdb, "a", gate.Options{}), gate.New(rdb, "b", gate.Options{})
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	ask := gate.Ask{Host: "a.example", Limits: gate.Limits{InFlight: 1, PerDay: 1}}
	acquire(t, a, ask)
	acquire(t, b, ask)
	if err := a.Hold(t.Context(), "b.example", time.Hour); err != nil {
		t.Fatal(err)
	}
	acquire(t, b, gate.Ask{Host: "b.example"})()
}

func TestTurnsAreSpread(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rdb *redis.Client) {
		g := newGate(t, rdb, gate.Options{})
		ask := gate.Ask{Host: "a.example", Limits: gate.Limits{PerSecond: 2}}
		var last time.Duration
		n := 0
		for range 40 {
			release, err := g.Acquire(t.Context(), ask)
			if err == nil {
				release()
				continue
			}
			l, ok := errors.AsType[*gate.LaterError](err)
			if !ok {
				t.Fatal(err)
			}
			n++
			last = max(last, l.After)
		}
		if n < 35 {
			t.Fatalf("%d of 40 were sent away at 2 a second", n)
		}
		if want := time.Duration(n) * 500 * time.Millisecond; last < want-8*time.Second || last > want+8*time.Second {
			t.Errorf("the last of %d comes back after %v, want about %v", n, last, want)
		}
	})
}
