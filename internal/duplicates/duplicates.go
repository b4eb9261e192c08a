// Package duplicates finds the pictures of a batch that have equal bytes, by
// the hashes in its records. It reads no store.
package duplicates

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"

	"github.com/picharvest/picharvest/internal/results"
)

// Group is some pictures with one content.
type Group struct {
	// SHA256 in hex.
	SHA256 string
	// Pictures is how many there are, at least 2.
	Pictures int64
	// Bytes of one of them.
	Bytes int64
}

// Entry is one picture of a group.
type Entry struct {
	Name string
	Rank int
	results.Picture
}

// held is how many pictures of groups are in memory at once.
const held = 200_000

// Each calls do with every picture that has an equal one in the batch: group
// by group, the largest first, and within a group in the order of the names
// file. Memory is bounded: 8 bytes for each picture of the batch, and some
// 200,000 entries; for more, the records are read several times. Contents are
// told apart by the first 64 bits of their hash. A batch at work may give
// groups of the time of the first look. It returns how many groups there are.
func Each(ctx context.Context, db *results.DB, b results.Batch, do func(Group, Entry) error) (int64, error) {
	var prefixes []uint64
	err := walk(ctx, db, b, func(prefix uint64, _ Entry) error {
		prefixes = append(prefixes, prefix)
		return nil
	})
	if err != nil {
		return 0, err
	}
	groups := equal(prefixes)
	for rest := groups; len(rest) > 0; {
		n, window := 0, 0
		for window < len(rest) && (window == 0 || n+rest[window].n <= held) {
			n += rest[window].n
			window++
		}
		if err := hand(ctx, db, b, rest[:window], n > held, do); err != nil {
			return 0, err
		}
		rest = rest[window:]
	}
	return int64(len(groups)), nil
}

// run is a prefix that several pictures have.
type run struct {
	prefix uint64
	n      int
}

// equal returns the prefixes that are there more than once, the most frequent
// first. It sorts its argument.
func equal(prefixes []uint64) []run {
	slices.Sort(prefixes)
	var runs []run
	for i := 0; i < len(prefixes); {
		j := i + 1
		for j < len(prefixes) && prefixes[j] == prefixes[i] {
			j++
		}
		if j-i > 1 {
			runs = append(runs, run{prefixes[i], j - i})
		}
		i = j
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.prefix, b.prefix)) })
	return runs
}

// hand hands out the pictures of some groups; at once, as they are read, where
// there is one group.
func hand(ctx context.Context, db *results.DB, b results.Batch, runs []run, atOnce bool, do func(Group, Entry) error) error {
	entries := make(map[uint64][]Entry, len(runs))
	sizes := make(map[uint64]int64, len(runs))
	for _, r := range runs {
		entries[r.prefix], sizes[r.prefix] = nil, int64(r.n)
	}
	group := func(prefix uint64, e Entry) Group { return Group{e.Hex(), sizes[prefix], e.Bytes} }
	err := walk(ctx, db, b, func(prefix uint64, e Entry) error {
		if _, ok := entries[prefix]; !ok {
			return nil
		}
		if atOnce {
			return do(group(prefix, e), e)
		}
		entries[prefix] = append(entries[prefix], e)
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range runs {
		for _, e := range entries[r.prefix] {
			if err := do(group(r.prefix, e), e); err != nil {
				return err
			}
		}
	}
	return nil
}

// walk calls do with every stored picture of the batch and the beginning of
// its hash.
func walk(ctx context.Context, db *results.DB, b results.Batch, do func(prefix uint64, e Entry) error) error {
	for r, err := range db.Each(ctx, b, results.Query{}) {
		if results.IsRecordError(err) {
			continue
		}
		if err != nil {
			return err
		}
		if r.Forgotten || r.Lookup == nil {
			continue
		}
		for rank := 1; rank <= len(r.Lookup.Pictures); rank++ {
			p := r.Outcomes[rank].Picture
			if p == nil {
				continue
			}
			sum, err := base64.RawURLEncoding.DecodeString(p.SHA256)
			if err != nil || len(sum) < 8 {
				continue
			}
			if err := do(binary.BigEndian.Uint64(sum), Entry{r.Name, rank, *p}); err != nil {
				return err
			}
		}
	}
	return nil
}
