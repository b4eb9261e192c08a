package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
	"github.com/picharvest/picharvest/worker"
)

// A service that is down burns no name: the batch waits, and goes on when the
// service is back.
func TestAServiceThatIsDownBurnsNoName(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		const n = 1000
		r.cfg.Concurrency = 20
		r.breaker = gate.Breaker{After: 10, Delay: 100 * time.Millisecond, MaxDelay: 400 * time.Millisecond, Ramp: 8}
		var began atomic.Int64
		var failures, most, now atomic.Int64
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			began.CompareAndSwap(0, time.Now().UnixNano())
			if d := time.Duration(time.Now().UnixNano() - began.Load()); d > 50*time.Millisecond && d < 4*time.Second {
				failures.Add(1)
				return lookup.Answer{}, failure.Newf(failure.ReasonUnavailable, failure.Temporary, "500")
			}
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		})
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("n", i)
		}
		r.enqueue("names", "people", names...)
		r.hurry()
		stop := r.start("people")
		if diff := cmp.Diff(results.Counts{results.NotFound: n}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		stop()
		if f := failures.Load(); f > 100 {
			t.Errorf("a service that was down was asked %d times, want at most 100", f)
		}
		t.Logf("asked %d times while it was down", failures.Load())
	})
}

// Where nobody answers at a service's address, no try of any name is used, with
// however few names and tries.
func TestAServiceOutOfReachBurnsNoName(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 9} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, r *rig) {
				r.cfg.MaxAttempts = 1
				r.breaker = gate.Breaker{After: 3, Delay: 100 * time.Millisecond, MaxDelay: 400 * time.Millisecond, Ramp: 8}
				away := failure.New(failure.ReasonNetwork, failure.Temporary, errors.New("connect: connection refused"))
				away.Unreached = true
				var asked counter
				r.provide("people", func(context.Context, string) (lookup.Answer, error) {
					if asked.add("") < n+10 {
						return lookup.Answer{}, away
					}
					return lookup.Answer{Verdict: lookup.NotFound}, nil
				})
				var names []string
				for i := range n {
					names = append(names, fmt.Sprint("n", i))
				}
				r.enqueue("names", "people", names...)
				r.hurry()
				r.start("people")
				r.until("the provider is held back", func() bool {
					keys := r.rdb.Keys(t.Context(), "*breaker:people").Val()
					return len(keys) == 1 && r.rdb.HGet(t.Context(), keys[0], "state").Val() == "open"
				})
				if diff := cmp.Diff(results.Counts{results.NotFound: int64(n)}, r.finished("names")); diff != "" {
					t.Errorf("counts differ (-want +got):\n%s", diff)
				}
				for _, name := range names {
					if rec := r.record("names", name); rec.FailedTries != 0 {
						t.Errorf("%s: %d tries failed, want 0", name, rec.FailedTries)
					}
				}
			})
		})
	}
}

// notThere is a fetcher to whom nobody listens, for so many requests.
type notThere struct {
	worker.Fetcher
	left *atomic.Int64
}

func (n notThere) Do(ctx context.Context, r fetch.Request) (*fetch.Response, error) {
	if n.left.Add(-1) < 0 {
		return n.Fetcher.Do(ctx, r)
	}
	away := failure.New(failure.ReasonNetwork, failure.Temporary, errors.New("connect: connection refused"))
	away.Unreached = true
	return nil, away
}

// The same holds for pictures at the service's own host, and for its rules.
func TestAHostOutOfReachBurnsNoName(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(p *worker.Provider, r *rig, left *atomic.Int64){
		"pictures": func(p *worker.Provider, _ *rig, left *atomic.Int64) { p.Pictures = notThere{p.Pictures, left} },
		"rules": func(p *worker.Provider, r *rig, left *atomic.Int64) {
			p.LookupRobots = notThere{p.Robots, left}
			p.LookupURL = func(q lookup.Query) (string, error) { return r.site.url(q.Name), nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newMiniRig(t)
			r.cfg.MaxAttempts = 1
			r.breaker = gate.Breaker{After: 3, Delay: 100 * time.Millisecond, MaxDelay: 400 * time.Millisecond, Ramp: 8}
			left := new(atomic.Int64)
			left.Store(1 << 30)
			p := r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
				return found([]string{r.site.url(name)}), nil
			})
			p.Host = r.site.host()
			wrap(p, r, left)
			r.enqueue("names", "people", "Brus Lee")
			r.hurry()
			r.start("people")
			r.until("the provider is held back", func() bool {
				s, err := r.state()
				return err == nil && len(s[p.Host].Breakers) == 1 && s[p.Host].Breakers[0].Open
			})
			if rec := r.record("names", "Brus Lee"); !rec.State.Open() || rec.FailedTries != 0 {
				t.Errorf("%s after %d failed tries, want it open and none", rec.State, rec.FailedTries)
			}
		})
	}
}

// A provider that cannot be asked has its queues paused for asynq and all who
// look at it, until it is due, unless an operator has paused them.
func TestQueuesOfAHeldProviderArePaused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		express, other := lookups(r, "people"), lookups(r, "others")
		var asked counter
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			if asked.add("") == 1 {
				return lookup.Answer{}, hold(failure.ReasonRateLimited, time.Hour)
			}
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		})
		p := r.provide("others", func(context.Context, string) (lookup.Answer, error) {
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		})
		p.Host = "others.test"
		r.enqueue("names", "people", "Brus Lee")
		r.enqueue("more", "others", "Jet Lee")
		r.start("people", "others")
		paused := func(queue string) bool {
			info, err := r.inspector.GetQueueInfo(queue)
			return err == nil && info.Paused
		}
		r.until("the queue is paused", func() bool { return paused(express) })
		if paused(other) {
			t.Error("the queue of another provider is paused")
		}
		ttl := r.rdb.PTTL(t.Context(), "asynq:{"+express+"}:paused").Val()
		if ttl < 50*time.Minute || ttl > time.Hour {
			t.Errorf("the pause ends after %v, want about an hour", ttl)
		}
		if diff := cmp.Diff(results.Counts{results.NotFound: 1}, r.finished("more")); diff != "" {
			t.Errorf("counts of the other provider differ (-want +got):\n%s", diff)
		}
		// asynq takes the pause for one of its own.
		if err := r.inspector.UnpauseQueue(express); err != nil {
			t.Error(err)
		}
	})
}

// lookups is the express lane of a provider's lookups.
func lookups(r *rig, provider string) string {
	return tasks.Queue{Namespace: r.namespace, Kind: tasks.Lookups, Provider: provider, Lane: tasks.Express}.String()
}

// What an operator paused by hand stays paused, with no end.
func TestAnOperatorsPauseStays(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.breaker = gate.Breaker{After: 10, Delay: time.Hour, MaxDelay: time.Hour, Ramp: 1}
		var good atomic.Bool
		var refused atomic.Int64
		p := r.provide("people", func(context.Context, string) (lookup.Answer, error) {
			if good.Load() {
				return lookup.Answer{Verdict: lookup.NotFound}, nil
			}
			// The operator is faster than the worker.
			if refused.Add(1) == 1 {
				if err := r.inspector.PauseQueue(lookups(r, "people")); err != nil {
					t.Error(err)
				}
			}
			return lookup.Answer{}, hold(failure.ReasonCredentials, 0)
		})
		p.Version = func() string { return fmt.Sprint(good.Load()) }
		r.enqueue("names", "people", "Brus Lee")
		r.start("people")
		r.until("the worker holds the queue back", func() bool { return len(r.log.with("lookups are held back")) > 0 })
		good.Store(true)
		<-time.After(2500 * time.Millisecond) // two looks of the worker's
		if ttl := r.rdb.TTL(t.Context(), "asynq:{"+lookups(r, "people")+"}:paused").Val(); ttl != -1 {
			t.Errorf("the operator's pause has the TTL %v, want none and to be there", ttl)
		}
	})
}

// A service that refuses its credentials is asked again as soon as they change.
func TestChangedCredentialsLetItGoOn(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.breaker = gate.Breaker{After: 10, Delay: time.Hour, MaxDelay: time.Hour, Ramp: 1}
		var good atomic.Bool
		var refused atomic.Int64
		p := r.provide("people", func(context.Context, string) (lookup.Answer, error) {
			if !good.Load() {
				refused.Add(1)
				return lookup.Answer{}, hold(failure.ReasonCredentials, 0)
			}
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		})
		p.Version = func() string { return fmt.Sprint(good.Load()) }
		r.enqueue("names", "people", "Brus Lee", "Jet Lee", "Sammo Hung")
		r.hurry()
		r.start("people")
		r.until("the service refused", func() bool { return refused.Load() > 0 })
		r.until("the queue is paused", func() bool {
			info, err := r.inspector.GetQueueInfo(lookups(r, "people"))
			return err == nil && info.Paused
		})
		good.Store(true)
		if diff := cmp.Diff(results.Counts{results.NotFound: 3}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
	})
}

// A picture host that asks to wait long keeps no slot from the others.
func TestOneHostThatSaysADayHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	bad := newSite(t)
	bad.answer("x", reply{status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {"86400"}}})
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprint("n", i))
		r.site.answer(fmt.Sprint("n", i), reply{status: http.StatusOK, body: pixels(8)})
	}
	held := []string{"b0", "b1", "b2"}
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		if slices.Contains(held, name) {
			return found([]string{bad.url("x")}), nil
		}
		return found([]string{r.site.url(name)}), nil
	})
	r.enqueue("names", "people", append(held, names...)...)
	began := time.Now()
	r.start("people")
	r.until("all others are done", func() bool { return r.counts("names")[results.Done] == int64(len(names)) })
	if d := time.Since(began); d > 60*time.Second {
		t.Errorf("the others took %v", d)
	}
	if c := r.counts("names"); c[results.Found] != int64(len(held)) {
		t.Errorf("counts are %v, want %d found that wait", c, len(held))
	}
}
