package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
)

// A store that is full, read-only or away takes no picture, whichever it is:
// to fetch them all the same would ask their hosts again and again for what is
// thrown away. So the process stops fetching pictures at the first such
// refusal, probes the store now and then, and when it takes the probe lets one
// picture through; the others follow when that one is stored. Lookups go on.

const (
	// probeFirst and probeMost are the waits between probes, doubling.
	probeFirst = 500 * time.Millisecond
	probeMost  = 15 * time.Second
	// probeWithin bounds one probe.
	probeWithin = 30 * time.Second
	// trialEvery is when another picture is let through after one of which
	// nothing was heard.
	trialEvery = 5 * time.Second
	// shelfWait is how long a picture's task waits for the store before it
	// goes back to its queue.
	shelfWait = 20 * time.Second
)

// shelf knows whether the store takes pictures. The zero value does not work.
type shelf struct {
	probe    func(context.Context) error
	log      *slog.Logger
	observer Observer
	// open is true while all is well: then nothing else is looked at.
	open atomic.Bool
	wake chan struct{}

	mu sync.Mutex
	// why the store takes nothing, nil while it does.
	why   error
	since time.Time
	// trial: a probe succeeded, and pictures are let through one at a time,
	// the last one at tried.
	trial   bool
	tried   time.Time
	changed chan struct{} // closed and made anew when any of these changes
	delay   time.Duration
}

func newShelf(probe func(context.Context) error, log *slog.Logger, o Observer) *shelf {
	s := &shelf{probe: probe, log: log, observer: o, wake: make(chan struct{}, 1), changed: make(chan struct{})}
	s.open.Store(true)
	return s
}

// held returns why no pictures are fetched, or nil.
func (s *shelf) held() error {
	if s.open.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// enter waits until a picture may be fetched; where that takes long the task
// is to come again.
func (s *shelf) enter(ctx, leaving context.Context) error {
	if s.open.Load() {
		return nil
	}
	late := time.NewTimer(shelfWait)
	defer late.Stop()
	for {
		s.mu.Lock()
		why, changed := s.why, s.changed
		mine := s.trial && time.Since(s.tried) >= trialEvery
		if mine {
			s.tried = time.Now()
		}
		s.mu.Unlock()
		if why == nil || mine {
			return nil
		}
		again := time.NewTimer(trialEvery)
		select {
		case <-changed:
		case <-again.C:
		case <-late.C:
			again.Stop()
			return putBack(why)
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		case <-leaving.Done():
			again.Stop()
			return errLeaving
		}
		again.Stop()
	}
}

// putBack is the error of a picture that waits for the store. It counts no
// try, and the log has said why.
func putBack(why error) error { return &again{err: why, delay: time.Second} }

// heed looks at what a picture's way into the store came to. An error that is
// the store's holds all pictures back, and comes back as one that says so.
func (s *shelf) heed(err error) error {
	e, ok := errors.AsType[*failure.Error](err)
	if !ok || e.Reason != failure.ReasonStore || e.Kind != failure.Hold {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.since, s.delay = time.Now(), probeFirst
		s.open.Store(false)
		s.observer.StoreHeld(true)
		s.log.Warn("no pictures are fetched until the store takes them again; it is looked at by itself, and no name is lost", "cause", err)
	} else if s.trial {
		s.delay = min(2*s.delay, probeMost)
	}
	s.why, s.trial = err, false
	s.tell()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return putBack(err)
}

// stored notes that the store took a picture.
func (s *shelf) stored() {
	if s.open.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// One that was under way when the store refused others proves nothing.
	if s.why == nil || !s.trial {
		return
	}
	s.log.Info("the store takes pictures again", "after", time.Since(s.since).Round(time.Second))
	s.why, s.trial = nil, false
	s.open.Store(true)
	s.observer.StoreHeld(false)
	s.tell()
}

// tell wakes who waits. s.mu is held.
func (s *shelf) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// tend probes a store that takes nothing until ctx is over.
func (s *shelf) tend(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for s.unwell() {
			s.mu.Lock()
			delay := s.delay
			s.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
			s.look(ctx)
		}
	}
}

// unwell reports whether the store is to be probed.
func (s *shelf) unwell() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why != nil && !s.trial
}

// look probes the store once.
func (s *shelf) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	err := s.probe(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		return
	}
	if err != nil {
		if _, ok := errors.AsType[*failure.Error](err); ok {
			s.why = err // it may be another cause by now
		}
		s.delay = min(2*s.delay, probeMost)
		return
	}
	s.trial, s.tried = true, time.Time{}
	s.tell()
}

// Storing returns why no pictures are fetched because of the store, or nil. It
// asks nobody.
func (w *Worker) Storing() error { return w.picture.shelf.held() }
