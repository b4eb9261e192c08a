package worker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/picharvest/picharvest/internal/results"
)

// sweeper removes the files of pictures that refreshes have dropped. What
// drops a picture notes it in the same script, so that whoever comes next
// goes on where a worker died.
type sweeper struct {
	db      *results.DB
	remover Remover
	// store makes sure that the batch's pictures are here.
	store func(context.Context, bornBatch) error
	log   *slog.Logger
}

// all sweeps every batch. It is for the start of a worker.
func (s *sweeper) all(ctx context.Context) {
	batches, err := s.db.Batches(ctx)
	if err != nil {
		s.log.Debug("look for dropped pictures", "error", err)
		return
	}
	for _, b := range batches {
		for shard := range b.Shards {
			s.shard(ctx, b.Name, b.Birth, shard)
		}
	}
}

// shard sweeps one shard as far as it can be done now.
func (s *sweeper) shard(ctx context.Context, batch string, birth int64, shard int) {
	dropped, err := s.db.Dropped(ctx, batch, shard)
	if err != nil || len(dropped) == 0 {
		return
	}
	if err := s.store(ctx, bornBatch{batch, birth}); err != nil {
		return // a worker that has the store will do it
	}
	for _, d := range dropped {
		if err := s.remove(ctx, d); err != nil && ctx.Err() == nil {
			s.log.Warn("a picture that is not wanted any more stays for now", "batch", batch, "key", d.Picture.Key, "error", err)
		}
	}
}

func (s *sweeper) remove(ctx context.Context, d results.Dropped) error {
	rec, err := s.db.Record(ctx, d.Ref.Batch, d.Ref.Shard, d.Ref.Name)
	switch {
	case err != nil && !errors.Is(err, results.ErrNoName):
		return err
	case err == nil && (rec.State.Open() || rec.Refresh != nil):
		return nil // it may be about to store a picture there
	case d.Picture.Key != "":
		if err := s.remover.Unwanted(ctx, d.Ref, d.Picture); err != nil {
			return err
		}
	}
	return s.db.Removed(ctx, d)
}
