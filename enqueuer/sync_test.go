package enqueuer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
)

// sync enqueues the names as --sync does and returns what is surplus.
func (r *rig) sync(e *enqueuer.Enqueuer, source enqueuer.Source) (*enqueuer.Surplus, error) {
	r.t.Helper()
	seen := enqueuer.NewSeen(source)
	_, err := e.Enqueue(r.t.Context(), enqueuer.Job{Batch: "staff", Provider: "people", Label: "staff.txt", Names: seen})
	if err != nil {
		r.t.Logf("enqueue: %v", err)
	}
	return e.Surplus(r.t.Context(), "staff", seen)
}

// prune removes what is surplus, without files.
func (r *rig) prune(s *enqueuer.Surplus) ([]string, error) {
	b, err := r.db.Batch(r.t.Context(), "staff")
	if err != nil {
		return nil, err
	}
	var gone []string
	err = s.Each(r.db)(r.t.Context(), func(ctx context.Context, shard int, names []string) error {
		gone = append(gone, names...)
		if _, err := r.db.Retire(ctx, b, shard, names); err != nil {
			return err
		}
		return r.db.Forget(ctx, b, shard, names)
	})
	slices.Sort(gone)
	return slices.Compact(gone), err
}

func numbered(from, to int) []string {
	var names []string
	for i := from; i < to; i++ {
		names = append(names, fmt.Sprintf("Name %06d", i))
	}
	return names
}

func TestSyncMakesTheBatchEqualToTheFile(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		e := r.enqueuer()
		n := r.size(3000)
		s, err := r.sync(e, list(numbered(0, n)...))
		if err != nil || s.Names != 0 {
			t.Fatalf("a new batch has a surplus: %+v %v", s, err)
		}
		// 700 have left, 5 are new.
		s, err = r.sync(e, list(numbered(700, n+5)...))
		if err != nil {
			t.Fatal(err)
		}
		if s.Names != 700 || s.Total != int64(n+5) || len(s.Examples) != 5 || s.Examples[0] >= "Name 000700" {
			t.Errorf("surplus %d of %d, e.g. %q; want 700 of %d", s.Names, s.Total, s.Examples, n+5)
		}
		gone, err := r.prune(s)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(gone, numbered(0, 700)) {
			t.Errorf("%d names went, from %q", len(gone), gone[:min(3, len(gone))])
		}
		b, err := r.db.Batch(t.Context(), "staff")
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.db.Counts(t.Context(), b)
		if err != nil || c.Total() != int64(n-695) {
			t.Errorf("%d names are left (%v), want %d", c.Total(), err, n-695)
		}
		if s, err = r.sync(e, list(numbered(700, n+5)...)); err != nil || s.Names != 0 {
			t.Errorf("repeated, the surplus is %+v %v", s, err)
		}
	})
}

// listed is a source of names that ends with end.
type listed struct {
	names []string
	end   error
	next  int
}

func list(names ...string) *listed { return &listed{names: names, end: io.EOF} }

func (l *listed) Next() (names.Line, error) {
	if l.next == len(l.names) {
		return names.Line{}, l.end
	}
	l.next++
	return names.Line{Number: int64(l.next), Name: l.names[l.next-1]}, nil
}

func TestSyncRemovesNothingItCannotKnow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		source    func() enqueuer.Source
		meanwhile func(r *rig, e *enqueuer.Enqueuer) func()
		want      error
	}{
		"no names":          {source: func() enqueuer.Source { return list() }, want: enqueuer.ErrNoNames},
		"ended in an error": {source: func() enqueuer.Source { return &listed{names: []string{"Ada"}, end: io.ErrUnexpectedEOF} }, want: enqueuer.ErrNoNames},
		"another enqueuer is at work": {
			source: func() enqueuer.Source { return list("Ada") },
			meanwhile: func(r *rig, _ *enqueuer.Enqueuer) func() {
				o, err := r.db.Open(r.t.Context(), "staff", "people", "other.txt", 1)
				if err != nil {
					r.t.Fatal(err)
				}
				return func() { o.Close(r.t.Context(), true) }
			},
			want: enqueuer.ErrShared,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newMiniRig(t)
			e := r.enqueuer()
			if _, err := r.sync(e, list("Ada", "Bob", "Cyd")); err != nil {
				t.Fatal(err)
			}
			if tc.meanwhile != nil {
				defer tc.meanwhile(r, e)()
			}
			if s, err := r.sync(e, tc.source()); !errors.Is(err, tc.want) {
				t.Errorf("surplus is %+v, %v; want %v", s, err, tc.want)
			}
		})
	}
}

// Between the question and the answer another enqueuer may come and go.
func TestSyncStopsWhereAnotherAddedNames(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	e := r.enqueuer()
	if _, err := r.sync(e, list("Ada", "Bob", "Cyd")); err != nil {
		t.Fatal(err)
	}
	s, err := r.sync(e, list("Ada"))
	if err != nil || s.Names != 2 {
		t.Fatalf("surplus %+v %v, want 2", s, err)
	}
	if _, err := e.Enqueue(t.Context(), enqueuer.Job{Batch: "staff", Provider: "people", Label: "other.txt", Names: list("Bob")}); err != nil {
		t.Fatal(err)
	}
	if gone, err := r.prune(s); !errors.Is(err, enqueuer.ErrShared) || len(gone) > 0 {
		t.Errorf("%q went, %v; want none and ErrShared", gone, err)
	}
	if _, err := r.db.Batch(t.Context(), "staff"); errors.Is(err, results.ErrNoBatch) {
		t.Error("the batch is gone")
	}
}
