package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/netguard"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// lookupHandler asks a provider about a name and enqueues its pictures.
type lookupHandler struct {
	db        *results.DB
	queue     Enqueuer
	namespace string
	providers map[string]*Provider
	hosts     *hosts
}

// step returns the lookup of one name as a step.
func (h *lookupHandler) step(r tasks.Ref) step { return &lookupStep{h, r} }

type lookupStep struct {
	*lookupHandler
	ref tasks.Ref
}

func (s *lookupStep) due(ctx context.Context, b results.Begun) (bool, error) {
	if b.Record.State == results.Found {
		// An earlier run recorded the answer and perhaps no more than that.
		return false, s.enqueuePictures(ctx, b.Record.Missing())
	}
	if s.providers[b.Provider] == nil {
		return false, fmt.Errorf("no definition of provider %q", b.Provider)
	}
	return b.Record.State == results.Queued, nil
}

func (s *lookupStep) wait(ctx, leaving context.Context, b results.Begun) (func(), error) {
	return s.hosts.enter(ctx, leaving, s.hosts.lookup(b.Provider, s.providers[b.Provider]))
}

func (s *lookupStep) work(ctx context.Context, b results.Begun) (string, error) {
	p := s.providers[b.Provider]
	answer, err := p.Service.Lookup(ctx, s.ref.Name)
	if err != nil {
		s.hosts.heed(ctx, p.Host, err)
	}
	if err := s.hosts.judge(ctx, s.hosts.lookup(b.Provider, p), err, b.Tries == 0); err != nil {
		return p.Host, err
	}
	record, state := recorded(answer)
	// A good answer is kept though the task's time is over.
	late, cancel := detached(ctx)
	defer cancel()
	ok, err := s.db.CommitLookup(late, s.ref, state, record)
	if err != nil {
		return p.Host, failure.New(failure.ReasonInternal, failure.Hold, err)
	}
	if !ok {
		// Another run was first, perhaps with another answer: the next one
		// reads what is left to do.
		return p.Host, failure.Newf(failure.ReasonInternal, failure.Hold, "recorded otherwise meanwhile")
	}
	if state != results.Found {
		return p.Host, nil
	}
	ranks := make([]int, len(record.Pictures))
	for i := range ranks {
		ranks[i] = i + 1
	}
	if err := s.enqueuePictures(ctx, ranks); err != nil {
		return p.Host, failure.New(failure.ReasonInternal, failure.Hold, err)
	}
	return p.Host, nil
}

func (s *lookupStep) fail(ctx context.Context, e *failure.Error, host string, exhausted bool) (bool, error) {
	return s.db.FailLookup(ctx, s.ref, e, host, exhausted)
}

// enqueuePictures enqueues the tasks of the ranks, in one trip where the
// client gathers what is sent at once.
func (s *lookupStep) enqueuePictures(ctx context.Context, ranks []int) error {
	one := func(rank int) error {
		task, err := tasks.NewPictureTask(s.namespace, s.ref, rank)
		if err != nil {
			return err
		}
		if _, err := s.queue.EnqueueContext(ctx, task); err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
			return fmt.Errorf("enqueue picture %d: %w", rank, err)
		}
		return nil
	}
	if len(ranks) == 1 {
		return one(ranks[0])
	}
	var g errgroup.Group
	for _, rank := range ranks {
		g.Go(func() error { return one(rank) })
	}
	return g.Wait()
}

// recorded turns an answer into what is kept of it.
func recorded(a lookup.Answer) (results.Lookup, results.State) {
	l := results.Lookup{
		Truncated: a.Truncated, Licence: a.Licence, Attribution: a.Attribution, Source: a.Source,
	}
	for _, attr := range a.Attributes {
		l.Attributes = append(l.Attributes, results.Attribute(attr))
	}
	for _, p := range a.Pictures {
		// A password is never kept, and its URL never asked.
		urls := make([]string, len(p.Candidates))
		for i, u := range p.Candidates {
			urls[i] = netguard.HideUserinfo(u)
		}
		l.Pictures = append(l.Pictures, urls)
	}
	switch a.Verdict {
	case lookup.Found:
		return l, results.Found
	case lookup.NotFound:
		return results.Lookup{}, results.NotFound
	default:
		return l, results.NoPicture
	}
}
