package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// inSlot runs f in a slot.
func inSlot(s *slots, ctx, leaving context.Context, express bool, f func()) error {
	if err := s.acquire(ctx, leaving, express); err != nil {
		return err
	}
	defer s.release()
	f()
	return nil
}

// line starts a wait for a slot and returns when it stands in line.
func line(t *testing.T, s *slots, ctx, leaving context.Context, express bool, f func()) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		done <- inSlot(s, ctx, leaving, express, f)
	}()
	synctest.Wait()
	return done
}

func TestExpressGoesBeforeBulk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		ctx := t.Context()
		var order []string
		gate := make(chan struct{})
		first := line(t, s, ctx, ctx, false, func() { <-gate })
		var all []<-chan error
		for i, express := range []bool{false, true, false, true} {
			all = append(all, line(t, s, ctx, ctx, express, func() { order = append(order, fmt.Sprint(i, express)) }))
		}
		close(gate)
		<-first
		for _, done := range all {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if got, want := fmt.Sprint(order), "[1 true 3 true 0 false 2 false]"; got != want {
			t.Errorf("order is %s, want %s", got, want)
		}
		if s.free != 1 {
			t.Errorf("%d slots are free, want 1", s.free)
		}
	})
}

func TestBulkUsesWhatExpressLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(3)
		ctx := t.Context()
		gate := make(chan struct{})
		running := 0
		var all []<-chan error
		for range 4 {
			all = append(all, line(t, s, ctx, ctx, false, func() { running++; <-gate }))
		}
		if running != 3 {
			t.Errorf("%d bulk tasks run in 3 idle slots", running)
		}
		close(gate)
		for _, done := range all {
			<-done
		}
	})
}

func TestAWaitForASlotIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, express := range map[string]bool{"express": true, "bulk": false} {
		for why, want := range map[string]error{"its time is over": context.Canceled, "the worker leaves": errLeaving} {
			t.Run(name+", "+why, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSlots(1)
					ctx, cancel := context.WithCancel(t.Context())
					leaving, leave := context.WithCancel(t.Context())
					defer leave()
					defer cancel()
					gate := make(chan struct{})
					first := line(t, s, t.Context(), t.Context(), false, func() { <-gate })
					ran := false
					second := line(t, s, ctx, leaving, express, func() { ran = true })
					if errors.Is(want, errLeaving) {
						leave()
					} else {
						cancel()
					}
					if err := <-second; !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
					close(gate)
					<-first
					if ran || s.free != 1 || len(s.express)+len(s.bulk) != 0 {
						t.Errorf("it ran %v, %d slots free, %d in line", ran, s.free, len(s.express)+len(s.bulk))
					}
				})
			})
		}
	}
}

// A worker that is leaving begins nothing, free slot or not.
func TestNoSlotIsGivenToWhoIsLeaving(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	leaving, leave := context.WithCancel(t.Context())
	leave()
	for range 100 {
		if err := s.acquire(t.Context(), leaving, true); !errors.Is(err, errLeaving) {
			t.Fatalf("got %v, want %v", err, errLeaving)
		}
	}
	if s.free != 1 {
		t.Errorf("%d slots are free, want 1", s.free)
	}
}

// Waits given up in the very moment in which they are served lose no slot.
func TestNoSlotIsLost(t *testing.T) {
	t.Parallel()
	const n, rounds, tasks = 4, 50, 64
	s := newSlots(n)
	var running, most atomic.Int64
	for round := range rounds {
		leaving, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range tasks {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*20)*time.Microsecond)
			wg.Go(func() {
				defer cancel()
				_ = inSlot(s, ctx, leaving, i%3 == 0, func() {
					k := running.Add(1)
					defer running.Add(-1)
					for {
						if m := most.Load(); k <= m || most.CompareAndSwap(m, k) {
							break
						}
					}
					<-time.After(time.Duration(i%5*10) * time.Microsecond)
				})
			})
			if i == tasks/2 && round%2 == 0 {
				leave()
			}
		}
		wg.Wait()
		leave()
		if s.free != n || len(s.express)+len(s.bulk) != 0 {
			t.Fatalf("round %d: %d slots free, %d in line; want %d and 0", round, s.free, len(s.express)+len(s.bulk), n)
		}
	}
	if m := most.Load(); m > n {
		t.Errorf("%d ran at once, want at most %d", m, n)
	}
}

// A slot is given back though the wait for its host panicked.
func TestAPanicGivesTheSlotBack(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	ref := tasks.Ref{Name: "Ada"}
	for kind, step := range map[string]step{
		"lookup":  (&lookupHandler{slots: map[string]*slots{"people": s}}).step(ref),
		"picture": (&pictureHandler{slots: s}).step(ref, 1),
	} {
		panicked := false
		func() {
			defer func() { panicked = recover() != nil }()
			_, _ = step.wait(t.Context(), t.Context(), results.Begun{Provider: "people"})
		}()
		if !panicked || s.free != 1 {
			t.Errorf("%s: panicked %v, %d slots are free, want 1", kind, panicked, s.free)
		}
	}
}

func TestASuspectRunsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		var inside []string
		enter := func(who string, alone bool) (leave chan struct{}) {
			leave = make(chan struct{})
			go func() {
				out, err := c.enter(t.Context(), alone)
				if err != nil {
					t.Error(err)
					return
				}
				inside = append(inside, who)
				<-leave
				out()
			}()
			synctest.Wait()
			return leave
		}
		expect := func(want string) {
			t.Helper()
			if got := fmt.Sprint(inside); got != want {
				t.Errorf("inside came %s, want %s", got, want)
			}
		}
		a, b := enter("a", false), enter("b", false)
		suspect := enter("suspect", true)
		late := enter("late", false)
		expect("[a b]")
		close(a)
		synctest.Wait()
		expect("[a b]")
		close(b)
		synctest.Wait()
		expect("[a b suspect]")
		close(suspect)
		synctest.Wait()
		expect("[a b suspect late]")
		close(late)
		synctest.Wait()
	})
}
