package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// The worker that has an answer goes on with its pictures at once, and where
// all goes well one script then takes the name from queued to done: that
// spares a second task and two trips a name. What cannot be fetched now gets
// a task of its own.

// answerWithin is how long an answer waits for its pictures before it is
// recorded alone: until then a crash costs one more lookup.
const answerWithin = time.Second

// errNotNow says that a picture is left to a task of its own.
var errNotNow = errors.New("not in this run")

// early is what became of one picture in the lookup's run.
type early struct {
	picture results.Picture
	host    string
	err     error
	// release ends the claim on what was stored, when it is recorded.
	release func()
	given   int // see pictureStep
}

// goOn fetches the pictures of an answer as far as they can be had now,
// records what there is, and enqueues the rest. A name that is settled and
// lacks a picture ends it with asynq.SkipRetry, for asynqmon to show.
func (s *lookupStep) goOn(ctx context.Context, b results.Begun, l results.Lookup) error {
	b.Record.Lookup = &l
	if s.pictures == nil || b.Suspect {
		// The picture that kills workers, if one does, has to be found out by
		// its own runs.
		if err := s.commit(ctx, results.Found, l); err != nil {
			return err
		}
		return s.held(s.handOver(ctx, b, ranks(l)))
	}
	got, recorded, err := s.fetchAll(ctx, b)
	defer letGo(got)
	var have []results.Stored
	for i, e := range got {
		if e.err == nil {
			have = append(have, results.Stored{Rank: i + 1, Picture: e.picture})
		}
	}
	if err == nil && recorded {
		err = s.record(ctx, got)
	} else if err == nil {
		err = s.commitAll(ctx, l, have, len(got))
	}
	if errors.Is(err, errOtherwise) {
		letGo(got)
		late, cancel := detached(ctx)
		defer cancel()
		for _, p := range have {
			s.pictures.step(s.ref, p.Rank).unwanted(late, p.Picture)
		}
	}
	if err != nil {
		return err
	}
	return s.settleRest(ctx, got)
}

// commitAll records the answer with what is stored, of want pictures.
func (s *lookupStep) commitAll(ctx context.Context, l results.Lookup, have []results.Stored, want int) error {
	err := s.commit(ctx, results.Found, l, have...)
	if err == nil && len(have) == want {
		s.attempts.tell(ctx, s.ref, want)
	}
	return err
}

// letGo ends the claims on what was stored.
func letGo(got []early) {
	for _, e := range got {
		if e.release != nil {
			e.release()
		}
	}
}

// fetchAll fetches the pictures side by side. It reports whether it had to
// record the answer meanwhile, since they took long.
func (s *lookupStep) fetchAll(ctx context.Context, b results.Begun) (got []early, recorded bool, err error) {
	ended := make(chan struct{})
	late := time.AfterFunc(answerWithin, func() {
		defer close(ended)
		recorded = true
		err = s.commit(ctx, results.Found, *b.Record.Lookup)
	})
	got = make([]early, len(b.Record.Lookup.Pictures))
	// The first one, which mostly is all, runs here.
	var others sync.WaitGroup
	for i := 1; i < len(got); i++ {
		others.Go(func() { got[i] = s.fetch(ctx, b, i+1) })
	}
	got[0] = s.fetch(ctx, b, 1)
	others.Wait()
	if !late.Stop() {
		<-ended
	}
	return got, recorded, err
}

// fetch stores one picture if a slot is free soon.
func (s *lookupStep) fetch(ctx context.Context, b results.Begun, rank int) (e early) {
	defer s.attempts.survive(ctx, s.ref, &e.err)
	leaving := s.attempts.leaving
	if s.pictures.shelf.held() != nil {
		return early{err: errNotNow} // its task waits for the store
	}
	if err := s.pictures.checkStore(ctx, bornBatch{s.ref.Batch, b.Birth}); err != nil {
		return early{err: errNotNow} // its task says so
	}
	if err := s.pictures.slots.acquireWithin(ctx, leaving, pictureWait, s.ref.Lane == tasks.Express); err != nil {
		return early{err: errNotNow}
	}
	p := s.pictures.step(s.ref, rank)
	done, err := p.visitFirst(ctx, leaving, b)
	if err != nil {
		return early{err: err}
	}
	defer done()
	leave, err := s.attempts.crowd.enter(ctx, false)
	if err != nil {
		return early{err: err}
	}
	defer leave()
	if leaving.Err() != nil {
		return early{err: errLeaving}
	}
	e.picture, e.host, e.err = p.download(ctx, b)
	e.release = p.release
	e.given = p.given
	return e
}

// record adds what was stored to an answer that is recorded.
func (s *lookupStep) record(ctx context.Context, got []early) error {
	for i, e := range got {
		if e.err != nil {
			continue
		}
		p := s.pictures.step(s.ref, i+1)
		p.release = e.release
		if err := p.record(ctx, e.picture); err != nil {
			return err
		}
	}
	return nil
}

// settleRest gives every picture that is not stored its verdict, and enqueues
// those that are to be tried again.
func (s *lookupStep) settleRest(ctx context.Context, got []early) error {
	token := strconv.FormatUint(rand.Uint64(), 36)
	var shown error
	open := false
	for i, e := range got {
		if e.err == nil {
			continue
		}
		rank, turn := i+1, &again{}
		if !errors.Is(e.err, errNotNow) {
			p := s.pictures.step(s.ref, rank)
			p.notAgain(ctx, e.given)
			err := s.attempts.verdict(ctx, s.ref, rank, p, e.host, token, e.err)
			if err == nil {
				continue // settled by another run
			}
			if !errors.As(err, &turn) {
				if shown == nil {
					shown = err
				}
				continue
			}
		}
		open = true
		if err := s.held(s.enqueue(ctx, rank, turn)); err != nil {
			return err
		}
	}
	if open {
		return nil
	}
	return shown
}

// handOver enqueues the tasks of the ranks, in one trip where the client
// gathers what is sent at once. Those of a suspect are suspected too.
func (s *lookupStep) handOver(ctx context.Context, b results.Begun, ranks []int) error {
	var g errgroup.Group
	for _, rank := range ranks {
		g.Go(func() error {
			if b.Suspect {
				if err := s.db.Suspect(ctx, s.ref, rank); err != nil {
					return err
				}
			}
			return s.enqueue(ctx, rank, &again{})
		})
	}
	return g.Wait()
}

// enqueue gives a picture a task of its own, for when its turn has come.
func (s *lookupStep) enqueue(ctx context.Context, rank int, turn *again) error {
	tries := 0
	if turn.counts {
		tries = 1
	}
	task, err := tasks.NewTriedPictureTask(s.namespace, s.ref, rank, tries)
	if err != nil {
		return err
	}
	var opts []asynq.Option
	if turn.delay > 0 {
		opts = append(opts, asynq.ProcessIn(turn.delay))
	}
	if _, err := s.queue.EnqueueContext(ctx, task, opts...); err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("enqueue picture %d: %w", rank, err)
	}
	return nil
}

// held makes an error of the queue one that is not the name's.
func (s *lookupStep) held(err error) error {
	if err == nil {
		return nil
	}
	return failure.New(failure.ReasonInternal, failure.Hold, err)
}

// ranks lists the pictures of an answer.
func ranks(l results.Lookup) []int {
	all := make([]int, len(l.Pictures))
	for i := range all {
		all[i] = i + 1
	}
	return all
}
