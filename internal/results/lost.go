package results

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/tasks"
)

// Lost is a settled name of which stored pictures are not in the store any
// more, or are others.
type Lost struct {
	// Record as it was read.
	Record Record
	// Ranks of the pictures.
	Ranks []int
}

// Reopen opens names again whose pictures were lost and returns how many: a
// name that is done or partial, and still as it was read, is [Found] in a
// generation of its own, and the lost pictures and those that failed are to
// come. Others stay: what is under way fetches its pictures by itself. The
// names are some hundreds of one batch. do is as for [DB.Retry]. Errors:
// [ErrNoBatch], [ErrCancelled].
func (db *DB) Reopen(ctx context.Context, b Batch, lost []Lost, do func(context.Context, []OpenName) error) (int64, error) {
	byShard := make(map[int][]Lost)
	for _, l := range lost {
		s := tasks.Shard(l.Record.Name, b.Shards)
		byShard[s] = append(byShard[s], l)
	}
	var n int64
	for s, some := range byShard {
		names := make([]string, len(some))
		args := []any{b.Birth}
		for i, l := range some {
			names[i] = l.Record.Name
			args = append(args, l.Record.Name, l.Record.Generation, string(l.Record.State), rankList(l.Ranks))
		}
		k := db.keys
		status, err := lostScript.Run(ctx, db.rdb, []string{
			k.meta(b.Name, s), k.records(b.Name, s), k.state(b.Name, s, Done), k.state(b.Name, s, Partial), k.state(b.Name, s, Found),
			k.reasons(b.Name, s), k.hosts(b.Name, s),
		}, args...).Text()
		if err := notCancelled(b.Name, status, err); err != nil {
			return n, err
		}
		open, err := db.openNames(ctx, b, s, names)
		if err != nil {
			return n, err
		}
		if len(open) == 0 {
			continue
		}
		n += int64(len(open))
		if err := do(ctx, open); err != nil {
			return n, err
		}
	}
	return n, nil
}

// rankList writes ranks as the scripts read them: ",1,3,".
func rankList(ranks []int) string {
	var b strings.Builder
	b.WriteByte(',')
	for _, r := range slices.Sorted(slices.Values(ranks)) {
		b.WriteString(strconv.Itoa(r) + ",")
	}
	return b.String()
}

// Rebind binds the batch to another store, whatever it was bound to.
func (db *DB) Rebind(ctx context.Context, batch string, birth int64, store string) error {
	err := rebindScript.Run(ctx, db.rdb, []string{db.keys.batch(batch)}, birth, store).Err()
	return noBatch(batch, err)
}
