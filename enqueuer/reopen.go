package enqueuer

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// Retry opens the settled names that q selects again, see
// [results.DB.Retry], and enqueues their tasks. It returns how many names
// there were.
func (e *Enqueuer) Retry(ctx context.Context, b results.Batch, q results.Query) (int64, error) {
	return e.db.Retry(ctx, b, q, e.open(b.Provider))
}

// Resume runs a batch again and enqueues the tasks of all its open names. It
// returns how many names were open when it began: workers move them on while
// they are walked over.
func (e *Enqueuer) Resume(ctx context.Context, batch string) (int64, error) {
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
		return g.Wait()
	}
}
