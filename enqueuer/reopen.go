package enqueuer

import (
	"context"
	"errors"
	"io"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// Retry opens the settled names that q selects again, see
// [results.DB.Retry], and enqueues their tasks. It returns how many names
// there were.
func (e *Enqueuer) Retry(ctx context.Context, b results.Batch, q results.Query) (int64, error) {
	if err := e.room(ctx, 0); err != nil {
		return 0, err
	}
	return e.db.Retry(ctx, b, q, e.open(b.Provider))
}

// Refetch opens names again whose pictures were lost, see
// [results.DB.Reopen], and enqueues what they lack. It returns how many names
// there were.
func (e *Enqueuer) Refetch(ctx context.Context, b results.Batch, lost []results.Lost) (int64, error) {
	if err := e.room(ctx, 0); err != nil {
		return 0, err
	}
	return e.db.Reopen(ctx, b, lost, e.open(b.Provider))
}

// Watched makes Retry and Resume call f with the number of each some hundreds
// of names that have their tasks again, and returns e.
func (e *Enqueuer) Watched(f func(names int)) *Enqueuer {
	e.reopened = f
	return e
}

// Known is a [Source] of all names of a batch in the order of their lines, for
// a job that asks them again. It must be closed.
type Known struct {
	next func() (results.Record, error, bool)
	stop func()
}

// Known returns the names of b.
func (e *Enqueuer) Known(ctx context.Context, b results.Batch) *Known {
	next, stop := iter.Pull2(e.db.Each(ctx, b, results.Query{}))
	return &Known{next, stop}
}

// Next implements [Source].
func (k *Known) Next() (names.Line, error) {
	r, err, ok := k.next()
	if !ok {
		return names.Line{}, io.EOF
	}
	// A record that cannot be read stays as it is; its name is good.
	if _, bad := errors.AsType[*results.RecordError](err); err != nil && !bad {
		return names.Line{}, err
	}
	return names.Line{Number: r.Line, Name: r.Name}, nil
}

// Close ends the listing.
func (k *Known) Close() error {
	k.stop()
	return nil
}

// Resume runs a batch again and enqueues the tasks of all its open names. It
// returns how many names were open when it began: workers move them on while
// they are walked over.
func (e *Enqueuer) Resume(ctx context.Context, batch string) (int64, error) {
	if err := e.room(ctx, 0); err != nil {
		return 0, err
	}
	b, err := e.db.Batch(ctx, batch)
	if err != nil {
		return 0, err
	}
	counts, err := e.db.Counts(ctx, b)
	if err != nil {
		return 0, err
	}
	if err := e.db.Resume(ctx, batch); err != nil {
		return 0, err
	}
	return counts.Open(), e.db.OpenNames(ctx, b, e.open(b.Provider))
}

// Restore enqueues what open names of a batch of provider lack. A task that
// is there already stays the only one.
func (e *Enqueuer) Restore(ctx context.Context, provider string, names []results.OpenName) error {
	return e.open(provider)(ctx, names)
}

// open returns a function that enqueues what open names lack.
func (e *Enqueuer) open(provider string) func(context.Context, []results.OpenName) error {
	return func(ctx context.Context, names []results.OpenName) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(pushers)
		for _, n := range names {
			if n.State == results.Queued {
				g.Go(func() error {
					_, err := e.lookup(ctx, provider, n.Ref)
					return err
				})
			}
			for _, rank := range n.Missing {
				g.Go(func() error {
					task, err := tasks.NewPictureTask(e.namespace, n.Ref, rank)
					if err != nil {
						return err
					}
					_, err = e.enqueue(ctx, task)
					return err
				})
			}
		}
		err := g.Wait()
		if err == nil && e.reopened != nil {
			e.reopened(len(names))
		}
		return err
	}
}
