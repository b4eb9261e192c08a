package enqueuer

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/picharvest/picharvest/internal/results"
)

const (
	// maxAlike bounds the names that are compared: 8 bytes each.
	maxAlike = 4_000_000
	// exactBits of a mark tell names apart that are alike; the others tell
	// who is alike.
	exactBits = 20
	exactMask = 1<<exactBits - 1
)

// alike finds the names of an input that differ by case or Unicode form alone.
// They are names of their own, and often one that somebody wrote in two ways.
type alike struct {
	seed  maphash.Seed
	fold  cases.Caser
	marks []uint64
}

func newAlike() *alike { return &alike{seed: maphash.MakeSeed(), fold: cases.Fold()} }

func (a *alike) add(name string) {
	if len(a.marks) < maxAlike {
		a.marks = append(a.marks, a.folded(name)|maphash.String(a.seed, name)&exactMask)
	}
}

// folded is the part of a name's mark that those have in common that are
// alike.
func (a *alike) folded(name string) uint64 {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			name = norm.NFC.String(a.fold.String(norm.NFD.String(name)))
			return maphash.String(a.seed, name) &^ exactMask
		}
	}
	return maphash.String(a.seed, strings.ToLower(name)) &^ exactMask
}

// groups returns how many names there are that are like another one, and how
// many each of the first few groups of them has.
func (a *alike) groups() (names int64, some map[uint64]int) {
	slices.Sort(a.marks)
	marks := slices.Compact(a.marks)
	some = make(map[uint64]int)
	for from := 0; from < len(marks); {
		to := from + 1
		for to < len(marks) && marks[to]&^exactMask == marks[from]&^exactMask {
			to++
		}
		if n := to - from; n > 1 {
			names += int64(n)
			if len(some) < maxExamples {
				some[marks[from]&^exactMask] = n
			}
		}
		from = to
	}
	return names, some
}

var errAllFound = errors.New("all names were found")

// tell adds to the report which names are alike. Their spelling was not
// remembered, so it walks over the batch if there are any.
func (a *alike) tell(ctx context.Context, db *results.DB, batch string, r *Report) error {
	var some map[uint64]int
	if r.Alike, some = a.groups(); r.Alike == 0 {
		return nil
	}
	b, err := db.Batch(ctx, batch)
	if err != nil {
		return err
	}
	found := make(map[uint64][]string)
	missing := 0
	for _, n := range some {
		missing += n
	}
	err = db.EachNames(ctx, b, results.Query{}, func(_ context.Context, _ int, names []string) error {
		for _, n := range names {
			mark := a.folded(n)
			if some[mark] == 0 || slices.Contains(found[mark], n) {
				continue
			}
			found[mark] = append(found[mark], n)
			if missing--; missing == 0 {
				return errAllFound
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errAllFound) {
		return err
	}
	for _, names := range found {
		// One whose state changes on the way may not be met.
		if slices.Sort(names); len(names) > 1 {
			r.AlikeNames = append(r.AlikeNames, names)
		}
	}
	slices.SortFunc(r.AlikeNames, slices.Compare[[]string])
	return nil
}
