package results

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/picharvest/picharvest/tasks"
)

// OpenName is a name with work to come.
type OpenName struct {
	Ref   tasks.Ref
	State State
	// Missing pictures by rank, for a name that is [Found].
	Missing []int
	// Since is when the name came to that state, by Redis's clock.
	Since time.Time
}

// OpenNames calls do with every open name of the batch, some hundreds at a
// time, as it is now.
func (db *DB) OpenNames(ctx context.Context, b Batch, do func(context.Context, []OpenName) error) error {
	for _, st := range workToCome() {
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

// workToCome are the sets in which names lie that are open.
func workToCome() []State { return []State{Queued, Found, Refreshing} }

// Walk is how far somebody has come who looks through the open names of a
// batch a few at a time. The zero value is at the beginning.
type Walk struct {
	set   int // among workToCome
	after Position
}

// NextOpen returns the next names behind w, about n of them, those that are
// open, and moves w on. ended says that there are no more; w is at the
// beginning again then. Records that cannot be read are set aside.
func (db *DB) NextOpen(ctx context.Context, b Batch, w *Walk, n int) (open []OpenName, ended bool, err error) {
	sets := workToCome()
	places, err := db.merge(b, Query{State: sets[w.set], After: w.after}).next(ctx, n)
	if err != nil {
		return nil, false, db.wrongType(ctx, b, err)
	}
	err = db.hand(ctx, b, Query{}, places, func(ctx context.Context, s int, places []place) error {
		more, err := db.openNames(ctx, b, s, namesOf(places))
		open = append(open, more...)
		return err
	})
	if err != nil {
		return nil, false, db.wrongType(ctx, b, err)
	}
	switch {
	case len(places) == n:
		w.after = places[n-1].Position
	case w.set+1 < len(sets):
		*w = Walk{set: w.set + 1}
	default:
		*w, ended = Walk{}, true
	}
	return open, ended, nil
}

// StillOpen returns those of the names that are open in the same generation
// still, as they are now.
func (db *DB) StillOpen(ctx context.Context, b Batch, names []OpenName) ([]OpenName, error) {
	type place struct {
		shard      int
		generation int64
	}
	before := make(map[string]place, len(names))
	byShard := make(map[int][]string)
	for _, n := range names {
		before[n.Ref.Name] = place{n.Ref.Shard, n.Ref.Generation}
		byShard[n.Ref.Shard] = append(byShard[n.Ref.Shard], n.Ref.Name)
	}
	var still []OpenName
	for s, shardNames := range byShard {
		open, err := db.openNames(ctx, b, s, shardNames)
		if err != nil {
			return nil, err
		}
		for _, n := range open {
			if before[n.Ref.Name] == (place{s, n.Ref.Generation}) {
				still = append(still, n)
			}
		}
	}
	return still, nil
}

// Retry opens settled names again and returns how many: those that q selects,
// failed and partial ones unless it gives states. It raises their generation;
// they are [Found] where only pictures are missing, else [Queued]. Those that
// are [Stale] or [NoPicture] are asked by a refresh, which loses no record. A
// cancelled batch runs again.
//
// do is called with the open names and must enqueue; one whose tasks were not
// enqueued is restored by enqueueing the names file again, or by resuming the
// batch. Errors: [*StateError], [ErrNoBatch], [ErrCancelled].
func (db *DB) Retry(ctx context.Context, b Batch, q Query, do func(context.Context, []OpenName) error) (int64, error) {
	q, err := q.ForRetry()
	if err != nil {
		return 0, err
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
	again, err := db.NewRefresh(ctx, 0, 0)
	if err != nil {
		return 0, err
	}
	var n int64
	err = db.walk(ctx, b, q, func(ctx context.Context, s int, places []place) error {
		byState := make(map[State][]string)
		for _, p := range places {
			byState[p.state] = append(byState[p.state], p.Name)
		}
		for st, names := range byState {
			if st == Stale || st == NoPicture {
				err = db.ask(ctx, b.Name, b.Birth, s, again, withoutColumns(names))
			} else {
				err = db.raise(ctx, b.Name, b.Birth, s, st, withoutColumns(names))
			}
			if err != nil {
				return err
			}
		}
		// Whatever is open now, for the scripts' own answer would be another
		// if it was sent twice.
		open, err := db.openNames(ctx, b, s, namesOf(places))
		if err != nil || len(open) == 0 {
			return err
		}
		n += int64(len(open))
		return do(ctx, open)
	})
	return n, err
}

// withoutColumns is lines for names that are opened by name alone.
func withoutColumns(names []string) []Line {
	lines := make([]Line, len(names))
	for i, n := range names {
		lines[i].Name = n
	}
	return lines
}

// raise raises the generation of those of the names that are st, with the
// columns of lines that have any.
func (db *DB) raise(ctx context.Context, batch string, birth int64, s int, st State, lines []Line) error {
	args := []any{birth, string(st)}
	for _, l := range lines {
		columns, err := columnsLine(l.Columns, l.ColumnsTruncated)
		if err != nil {
			return err
		}
		args = append(args, l.Name, columns)
	}
	k := db.keys
	status, err := retryScript.Run(ctx, db.rdb, []string{
		k.meta(batch, s), k.records(batch, s), k.state(batch, s, st), k.state(batch, s, Queued), k.state(batch, s, Found),
		k.reasons(batch, s), k.hosts(batch, s), k.state(batch, s, Stale),
	}, args...).Text()
	return notCancelled(batch, status, err)
}

// notCancelled turns a script's reply, the batch's status, into an error.
func notCancelled(batch, status string, err error) error {
	if err != nil {
		return noBatch(batch, err)
	}
	if Status(status) == Stopped {
		return fmt.Errorf("batch %q: %w", batch, ErrCancelled)
	}
	return nil
}

// Cancel gives up every open name of the batch and returns how many there
// were. One that was asked again keeps its last good answer and its state.
// What is in flight is not recorded any more. Interrupted half-way it is
// simply called again.
func (db *DB) Cancel(ctx context.Context, b Batch) (int64, error) {
	if _, err := db.setStatus(ctx, b.Name, Stopped, false, ""); err != nil {
		return 0, err
	}
	return db.giveUp(ctx, b)
}

// giveUp cancels the open names of a cancelled batch.
func (db *DB) giveUp(ctx context.Context, b Batch) (int64, error) {
	var n int64
	for _, st := range workToCome() {
		err := db.pages(ctx, b, Query{State: st}, func(ctx context.Context, s int, names []string) error {
			args := []any{b.Birth}
			for _, name := range names {
				args = append(args, name)
			}
			k := db.keys
			changed, err := cancelScript.Run(ctx, db.rdb, append([]string{
				k.meta(b.Name, s), k.records(b.Name, s), k.tries(b.Name, s), k.crashes(b.Name, s),
				k.reasons(b.Name, s), k.hosts(b.Name, s), k.dropped(b.Name, s),
			}, k.states(b.Name, s)...), args...).Int64()
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
	return db.walk(ctx, b, q, func(ctx context.Context, shard int, places []place) error {
		return do(ctx, shard, namesOf(places))
	})
}

func namesOf(places []place) []string {
	names := make([]string, len(places))
	for i, p := range places {
		names[i] = p.Name
	}
	return names
}

// walk is pages with where each name was found: the first of q's states that
// it is in.
func (db *DB) walk(ctx context.Context, b Batch, q Query, do func(ctx context.Context, shard int, places []place) error) error {
	if q.Name != "" {
		s := tasks.Shard(q.Name, b.Shards)
		return db.hand(ctx, b, q, []place{{Position: Position{Name: q.Name}, shard: s}}, do)
	}
	m := db.merge(b, q)
	for {
		// An autopipelined command does not look at its context.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
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
func (db *DB) hand(ctx context.Context, b Batch, q Query, places []place, do func(ctx context.Context, shard int, places []place) error) error {
	byShard := make(map[int][]place)
	if q.Name == "" && !q.ofFailures() && !q.reads() {
		for _, p := range places {
			byShard[p.shard] = append(byShard[p.shard], p)
		}
	} else {
		records, err := db.read(ctx, b, places)
		if err != nil {
			return err
		}
		for _, r := range records {
			p := place{Position{r.Line, r.Name}, tasks.Shard(r.Name, b.Shards), Unreadable}
			switch {
			case r.err != nil && !q.matchesUnreadable(), r.err == nil && !q.matches(r.Record):
				continue
			case r.err == nil:
				p.state = q.states()[slices.IndexFunc(q.states(), r.is)]
			}
			byShard[p.shard] = append(byShard[p.shard], p)
		}
	}
	for s, places := range byShard {
		if err := do(ctx, s, places); err != nil {
			return err
		}
	}
	return nil
}

// openNames returns those of the names that are open, and sets aside those
// whose record cannot be read. Their epoch is the shard's and not b's, which
// may have been read before another resumed.
func (db *DB) openNames(ctx context.Context, b Batch, s int, names []string) ([]OpenName, error) {
	epoch, err := db.rdb.HGet(ctx, db.keys.meta(b.Name, s), "epoch").Int64()
	if err != nil {
		return nil, noBatch(b.Name, err)
	}
	places := make([]place, len(names))
	for i, n := range names {
		places[i] = place{Position: Position{Name: n}, shard: s}
	}
	records, err := db.read(ctx, b, places)
	if err != nil {
		return nil, err
	}
	var open []OpenName
	bad := make(map[string]error)
	if len(records) < len(names) {
		for _, n := range names {
			_, bad[n] = db.parse(b.Name, s, n, "")
		}
	}
	for _, r := range records {
		delete(bad, r.Name)
		if r.err != nil {
			bad[r.Name] = r.err
		} else if r.Refresh != nil {
			r.Record = *r.Refresh
		}
		if r.err != nil || !r.State.Open() {
			continue
		}
		open = append(open, OpenName{
			Ref: tasks.Ref{
				Batch: b.Name, Shard: s, Epoch: epoch, Name: r.Name, Generation: r.Generation, Lane: r.Lane,
			},
			State: r.State, Missing: r.Missing(), Since: r.Updated,
		})
	}
	for _, err := range bad {
		if _, err := db.SetAside(ctx, b.Name, s, b.Birth, err); err != nil {
			return nil, err
		}
	}
	return open, nil
}

// SetAside takes an open name out of the way of its batch's end because its
// record cannot be read: it is [Unreadable] from then on, and its record stays
// as it is. err is a [*RecordError] of that very record; any other, and one
// that is [ErrNewer], is left to whoever can read it. It reports whether the
// name was open and is not any more.
func (db *DB) SetAside(ctx context.Context, batch string, shard int, birth int64, err error) (bool, error) {
	bad, ok := errors.AsType[*RecordError](err)
	if !ok || errors.Is(err, ErrNewer) {
		return false, nil
	}
	k := db.keys
	return asideScript.Run(ctx, db.rdb, append([]string{
		k.meta(batch, shard), k.records(batch, shard), k.reasons(batch, shard), k.hosts(batch, shard),
	}, k.states(batch, shard)...), birth, bad.Name, bad.Raw).Bool()
}

// IsRecordError reports whether err concerns one name only.
func IsRecordError(err error) bool {
	var bad *RecordError
	return errors.As(err, &bad)
}
