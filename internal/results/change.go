package results

import (
	"context"
	"errors"
	"fmt"

	"github.com/picharvest/picharvest/tasks"
)

// OpenName is a name with work to come.
type OpenName struct {
	Ref   tasks.Ref
	State State
	// Missing pictures by rank, for a name that is [Found].
	Missing []int
}

// OpenNames calls do with every open name of the batch, some hundreds at a
// time, as it is now.
func (db *DB) OpenNames(ctx context.Context, b Batch, do func(context.Context, []OpenName) error) error {
	for _, st := range []State{Queued, Found} {
		err := db.pages(ctx, b, Query{State: st}, func(ctx context.Context, s int, names []string) error {
			open, err := db.openNames(ctx, b, s, names)
			if err != nil {
				return err
			}
			return do(ctx, open)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Retry raises the generation of the settled names that q selects, failed and
// partial ones unless it gives a state, and calls do with them, open again:
// [Found] where only pictures are missing, else [Queued]. A cancelled batch
// runs again. It returns how many there were. do must enqueue; a name whose
// tasks were not enqueued is restored by enqueueing the names file again or
// by resuming the batch. Errors: [ErrNoBatch], [ErrCancelled].
func (db *DB) Retry(ctx context.Context, b Batch, q Query, do func(context.Context, []OpenName) error) (int64, error) {
	states := []State{q.State}
	switch {
	case q.State == "":
		states = []State{Failed, Partial}
	case q.State.Open():
		return 0, fmt.Errorf("names that are %s cannot be retried: they are still to come", q.State)
	}
	if b.Status == Stopped {
		// A cancellation that was cut off left names whose tasks are gone.
		if _, err := db.giveUp(ctx, b); err != nil {
			return 0, err
		}
	}
	if _, err := db.setStatus(ctx, b.Name, Running, false, Stopped); err != nil {
		return 0, err
	}
	var n int64
	for _, st := range states {
		q.State = st
		err := db.pages(ctx, b, q, func(ctx context.Context, s int, names []string) error {
			args := []any{b.Birth, string(st)}
			for _, name := range names {
				args = append(args, name)
			}
			k := db.keys
			status, err := retryScript.Run(ctx, db.rdb, []string{
				k.meta(b.Name, s), k.records(b.Name, s), k.state(b.Name, s, st),
				k.state(b.Name, s, Queued), k.state(b.Name, s, Found), k.reasons(b.Name, s), k.hosts(b.Name, s),
			}, args...).Text()
			if err != nil {
				return noBatch(b.Name, err)
			}
			if Status(status) == Stopped {
				return fmt.Errorf("batch %q: %w", b.Name, ErrCancelled)
			}
			// Whatever is open now, for the script's own answer would be
			// another if it was sent twice.
			open, err := db.openNames(ctx, b, s, names)
			if err != nil || len(open) == 0 {
				return err
			}
			n += int64(len(open))
			return do(ctx, open)
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Cancel gives up every open name of the batch and returns how many there
// were. What is in flight is not recorded any more. Interrupted half-way it
// is simply called again.
func (db *DB) Cancel(ctx context.Context, b Batch) (int64, error) {
	if _, err := db.setStatus(ctx, b.Name, Stopped, false, ""); err != nil {
		return 0, err
	}
	return db.giveUp(ctx, b)
}

// giveUp cancels the open names of a cancelled batch.
func (db *DB) giveUp(ctx context.Context, b Batch) (int64, error) {
	var n int64
	for _, st := range []State{Queued, Found} {
		err := db.pages(ctx, b, Query{State: st}, func(ctx context.Context, s int, names []string) error {
			args := []any{b.Birth}
			for _, name := range names {
				args = append(args, name)
			}
			k := db.keys
			changed, err := cancelScript.Run(ctx, db.rdb, []string{
				k.meta(b.Name, s), k.records(b.Name, s), k.tries(b.Name, s), k.crashes(b.Name, s),
				k.state(b.Name, s, Queued), k.state(b.Name, s, Found), k.state(b.Name, s, Cancelled),
			}, args...).Int64()
			n += changed
			return noBatch(b.Name, err)
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// pages walks over the names that q selects and hands them out by shard.
func (db *DB) pages(ctx context.Context, b Batch, q Query, do func(ctx context.Context, shard int, names []string) error) error {
	if q.Name != "" {
		s := tasks.Shard(q.Name, b.Shards)
		return db.hand(ctx, b, q, []place{{Position{Name: q.Name}, s}}, do)
	}
	m := db.merge(b, q)
	for {
		places, err := m.next(ctx, pageSize)
		if err != nil || len(places) == 0 {
			return err
		}
		if err := db.hand(ctx, b, q, places, do); err != nil {
			return err
		}
	}
}

// hand calls do with the names of one page, of which q may select but some.
func (db *DB) hand(ctx context.Context, b Batch, q Query, places []place, do func(ctx context.Context, shard int, names []string) error) error {
	byShard := make(map[int][]string)
	if q.Name == "" && q.Reason == "" && q.Host == "" {
		for _, p := range places {
			byShard[p.shard] = append(byShard[p.shard], p.Name)
		}
	} else {
		records, err := db.read(ctx, b, places)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.err == nil && q.matches(r.Record) {
				s := tasks.Shard(r.Name, b.Shards)
				byShard[s] = append(byShard[s], r.Name)
			}
		}
	}
	for s, names := range byShard {
		if err := do(ctx, s, names); err != nil {
			return err
		}
	}
	return nil
}

// openNames returns those of the names that are open. Their epoch is the
// shard's and not b's, which may have been read before another resumed.
func (db *DB) openNames(ctx context.Context, b Batch, s int, names []string) ([]OpenName, error) {
	epoch, err := db.rdb.HGet(ctx, db.keys.meta(b.Name, s), "epoch").Int64()
	if err != nil {
		return nil, noBatch(b.Name, err)
	}
	places := make([]place, len(names))
	for i, n := range names {
		places[i] = place{Position{Name: n}, s}
	}
	records, err := db.read(ctx, b, places)
	if err != nil {
		return nil, err
	}
	var open []OpenName
	for _, r := range records {
		if r.err != nil || !r.State.Open() {
			continue
		}
		open = append(open, OpenName{
			Ref: tasks.Ref{
				Batch: b.Name, Shard: s, Epoch: epoch, Name: r.Name, Generation: r.Generation, Lane: r.Lane,
			},
			State: r.State, Missing: r.Missing(),
		})
	}
	return open, nil
}

// IsRecordError reports whether err concerns one name only.
func IsRecordError(err error) bool {
	var bad *RecordError
	return errors.As(err, &bad)
}
