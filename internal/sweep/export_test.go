package sweep

import (
	"context"
	"time"
)

// Round makes one round as Run does.
func (s *Sweeper) Round(ctx context.Context) { s.round(ctx) }

// Look makes one look at the leases as Run does, so long after the one before.
func (s *Sweeper) Look(ctx context.Context, after time.Duration) {
	s.out.last = time.Now().Add(-after)
	s.look(ctx)
}

// Round's figures, for tests.
const (
	KeptArchived = keptArchived
	NamesAtOnce  = namesAtOnce
	LooksUnheld  = looksUnheld
	LookEvery    = lookEvery
)

// Away makes it so long since the worker was seen to be gone.
func (s *Sweeper) Away(worker string, d time.Duration) { s.gone[worker] = s.gone[worker].Add(-d) }
