package results

import (
	"context"
	"fmt"
	"slices"
)

// Retire takes names of one shard out of all work, for good, and returns
// their records; one that cannot be read, or is not there, is left out. It is
// the first half of forgetting: what is in flight for such a name is not
// recorded any more, and nothing but [DB.Forget] changes it. Its pictures are
// to be removed in between, so that whoever was interrupted finds here again
// which they are. A few hundred names a call are best. [ErrNoBatch].
func (db *DB) Retire(ctx context.Context, b Batch, shard int, names []string) ([]Record, error) {
	k := db.keys
	keys := append([]string{
		k.meta(b.Name, shard), k.records(b.Name, shard), k.tries(b.Name, shard), k.crashes(b.Name, shard),
		k.reasons(b.Name, shard), k.hosts(b.Name, shard),
	}, k.states(b.Name, shard)...)
	values, err := retireScript.Run(ctx, db.rdb, keys, named(b.Birth, names)...).StringSlice()
	if err != nil {
		return nil, noBatch(b.Name, err)
	}
	if len(values) != len(names) {
		return nil, fmt.Errorf("batch %q: %d records for %d names", b.Name, len(values), len(names))
	}
	records := make([]Record, 0, len(names))
	for i, v := range values {
		if v == "" {
			continue
		}
		r, err := parse(names[i], v)
		if err != nil {
			// Its first line was good enough to retire it; what it refers to
			// nobody can tell.
			r = Record{Name: names[i], State: Cancelled, Forgotten: true}
		}
		records = append(records, r)
	}
	return records, nil
}

// Forget removes the records of names that [DB.Retire] has retired, and
// leaves others alone. [ErrNoBatch].
func (db *DB) Forget(ctx context.Context, b Batch, shard int, names []string) error {
	k := db.keys
	err := forgetScript.Run(ctx, db.rdb, []string{
		k.meta(b.Name, shard), k.records(b.Name, shard), k.state(b.Name, shard, Cancelled),
	}, named(b.Birth, names)...).Err()
	return noBatch(b.Name, err)
}

// named is the arguments of a script about names of a batch.
func named(birth int64, names []string) []any {
	args := make([]any, 0, 1+len(names))
	args = append(args, birth)
	for _, n := range names {
		args = append(args, n)
	}
	return args
}

// EachNames calls do with the names that q selects, some hundreds of one
// shard at a time. A name that changes its state meanwhile may be left out or
// met twice. Memory is bounded by the number of shards.
func (db *DB) EachNames(ctx context.Context, b Batch, q Query, do func(ctx context.Context, shard int, names []string) error) error {
	return db.pages(ctx, b, q, do)
}

// Condemn is the first half of [DB.Delete]: the batch takes no enqueuer any
// more, and its tasks come to nothing for good. Its records stay. It returns
// the batch as it is then. [ErrNoBatch].
func (db *DB) Condemn(ctx context.Context, batch string) (Batch, error) {
	c, err := db.setStatus(ctx, batch, Deleting, false, "")
	if err != nil {
		return Batch{}, err
	}
	if err := db.tellShards(ctx, batch, c, false); err != nil {
		return Batch{}, err
	}
	return db.Batch(ctx, batch)
}

// Keeps reports whether the record refers to the picture that is stored at
// key.
func (r Record) Keeps(key string) bool {
	return !r.Forgotten && slices.ContainsFunc(r.Stored(), func(p *Picture) bool { return p.Key == key })
}
