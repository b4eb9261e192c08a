package worker

import (
	"context"

	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// Remover keeps the store free of files that nobody refers to.
// *removal.Remover is one.
type Remover interface {
	// Claim keeps the file of p, whose content others may be removing, from
	// going while it is stored and recorded. release ends that.
	Claim(ctx context.Context, p results.Picture) (release func(), err error)
	// Unwanted removes the file of a picture whose commit was refused.
	Unwanted(ctx context.Context, r tasks.Ref, p results.Picture) error
}

// keepAll is the Remover of who never removes anything.
type keepAll struct{}

func (keepAll) Claim(context.Context, results.Picture) (func(), error) { return func() {}, nil }

func (keepAll) Unwanted(context.Context, tasks.Ref, results.Picture) error { return nil }

// unwanted removes the file of a picture that was stored and is not recorded:
// its name was forgotten or cancelled, or its batch deleted, meanwhile.
func (s *pictureStep) unwanted(ctx context.Context, p results.Picture) {
	if err := s.remover.Unwanted(ctx, s.ref, p); err != nil {
		s.attempts.log.Warn("a file that no record refers to may be left in the store", "batch", s.ref.Batch, "key", p.Key, "error", err)
	}
}
