package enqueuer

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
)

// Seen remembers which names an input has, as 8 bytes each: a million take 8
// MB. That two names have one hash is as good as impossible, and would only
// keep a name that should go.
type Seen struct {
	source Source
	seed   maphash.Seed
	hashes []uint64
	sorted bool
	// ended and opens are set when a job has added all of the names.
	ended bool
	opens int64
}

// NewSeen returns a Source for a [Job], which hands out the names of source
// and remembers them.
func NewSeen(source Source) *Seen {
	return &Seen{source: source, seed: maphash.MakeSeed()}
}

// Next implements [Source].
func (s *Seen) Next() (names.Line, error) {
	line, err := s.source.Next()
	if err == nil {
		s.hashes = append(s.hashes, maphash.String(s.seed, line.Name))
		s.sorted = false
	}
	return line, err
}

func (s *Seen) has(hash uint64) bool {
	if !s.sorted {
		slices.Sort(s.hashes)
		s.sorted = true
	}
	_, ok := slices.BinarySearch(s.hashes, hash)
	return ok
}

// Surplus is the names of a batch that an input does not have.
type Surplus struct {
	// Names is how many there are, of Total in the batch.
	Names, Total int64
	// Examples are a few of them.
	Examples []string

	batch  results.Batch
	seen   *Seen
	hashes []uint64
}

// maxExamples is how many names a Surplus shows.
const maxExamples = 5

var (
	// ErrNoNames: the input has no name at all, or was not read to its end,
	// which is no reason to remove names from a batch.
	ErrNoNames = errors.New("the input has no names, or was not read to its end")
	// ErrShared: another enqueuer is, or was meanwhile, adding names to the
	// batch, and what is surplus cannot be told.
	ErrShared = errors.New("another enqueuer adds names to the batch")
)

// Surplus returns the names of the batch that seen does not have. seen must
// have been the source of a job that added it to the batch. Errors are
// [ErrNoNames] and [ErrShared].
func (e *Enqueuer) Surplus(ctx context.Context, batch string, seen *Seen) (*Surplus, error) {
	if !seen.ended || len(seen.hashes) == 0 {
		return nil, ErrNoNames
	}
	b, err := e.db.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	counts, err := e.db.Counts(ctx, b)
	if err != nil {
		return nil, err
	}
	s := &Surplus{Total: counts.Total(), batch: b, seen: seen}
	s.batch.Opens = seen.opens
	if err := s.alone(ctx, e.db); err != nil {
		return nil, err
	}
	err = e.db.EachNames(ctx, b, results.Query{}, func(_ context.Context, _ int, names []string) error {
		for _, n := range names {
			h := maphash.String(seen.seed, n)
			if seen.has(h) {
				continue
			}
			s.hashes = append(s.hashes, h)
			if len(s.Examples) < maxExamples && !slices.Contains(s.Examples, n) {
				s.Examples = append(s.Examples, n)
			}
		}
		return nil
	})
	// A name whose state changed on the way is met twice.
	slices.Sort(s.hashes)
	s.hashes = slices.Compact(s.hashes)
	s.Names = int64(len(s.hashes))
	return s, err
}

// Each hands out the surplus names, and no others, as removal.Pages does. It
// ends with [ErrShared] before a page if another enqueuer has opened the batch
// since the input was read.
func (s *Surplus) Each(db *results.DB) func(ctx context.Context, do func(ctx context.Context, shard int, names []string) error) error {
	return func(ctx context.Context, do func(context.Context, int, []string) error) error {
		return db.EachNames(ctx, s.batch, results.Query{}, func(ctx context.Context, shard int, names []string) error {
			names = slices.DeleteFunc(names, func(n string) bool {
				h := maphash.String(s.seen.seed, n)
				_, mine := slices.BinarySearch(s.hashes, h)
				return !mine
			})
			if len(names) == 0 {
				return nil
			}
			if err := s.alone(ctx, db); err != nil {
				return err
			}
			return do(ctx, shard, names)
		})
	}
}

// alone reports whether anybody else has to do with the names of the batch.
func (s *Surplus) alone(ctx context.Context, db *results.DB) error {
	now, err := db.Batch(ctx, s.batch.Name)
	switch {
	case err != nil:
		return err
	case now.Birth != s.batch.Birth:
		return fmt.Errorf("%w: %q was deleted meanwhile", results.ErrNoBatch, s.batch.Name)
	case now.Enqueuing > 0 || now.Opens != s.batch.Opens:
		return ErrShared
	}
	return nil
}
