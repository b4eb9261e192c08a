package results

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/tasks"
)

// DefaultGoneAfter is how many refreshes in a row must say that a name or a
// picture is not there before the record says so too. refreshScript has it as
// well.
const DefaultGoneAfter = 2

// Refresh is one command to ask settled names again.
type Refresh struct {
	// id is when it began, in microseconds by Redis's clock: it asks no name
	// twice.
	id int64
	// maxAge of a good answer that is left alone; 0 asks for all.
	maxAge    time.Duration
	goneAfter int
}

// NewRefresh begins a refresh of the names whose last good answer is maxAge
// old or older, 0 for all; names without one are always asked. goneAfter is as
// for [DefaultGoneAfter]; 0 is what the refresh before had.
func (db *DB) NewRefresh(ctx context.Context, maxAge time.Duration, goneAfter int) (Refresh, error) {
	now, err := db.rdb.Time(ctx).Result()
	return Refresh{now.UnixMicro(), maxAge, goneAfter}, err
}

// ask opens those of the names that are due, with the columns of lines that
// have any; the others stay as they are.
func (db *DB) ask(ctx context.Context, batch string, birth int64, s int, r Refresh, lines []Line) error {
	args := []any{birth, r.id, r.goneAfter, int64(r.maxAge.Seconds())}
	for _, l := range lines {
		columns, err := columnsLine(l.Columns, l.ColumnsTruncated)
		if err != nil {
			return err
		}
		args = append(args, l.Name, columns)
	}
	k := db.keys
	status, err := askScript.Run(ctx, db.rdb, []string{
		k.meta(batch, s), k.records(batch, s), k.refreshed(batch, s), k.state(batch, s, Refreshing),
	}, args...).Text()
	return notCancelled(batch, status, err)
}

// Again says which settled names are asked again when they are added once
// more. The zero value asks none.
type Again struct {
	// Failed opens names that are failed or partial, as [DB.Retry] does.
	Failed bool
	// Refresh asks settled names again, nil for none. What failed is among
	// them.
	Refresh *Refresh
}

// AddAgain is [Enqueuing.Add] that opens settled names again. They are asked
// with the columns of their line, where it has any; partial names that are
// opened as failed ones keep theirs, which their pictures came by.
func (e *Enqueuing) AddAgain(ctx context.Context, shard int, lines []Line, again Again) ([]Added, error) {
	added, err := e.Add(ctx, shard, lines)
	if err != nil || (!again.Failed && again.Refresh == nil) {
		return added, err
	}
	byState := make(map[State][]Line)
	var settled []Line
	for i, a := range added {
		if !a.State.Open() {
			settled = append(settled, lines[i])
			if !a.Duplicate {
				byState[a.State] = append(byState[a.State], lines[i])
			}
		}
	}
	switch {
	case again.Refresh != nil && len(settled) > 0:
		err = e.db.ask(ctx, e.batch, e.birth, shard, *again.Refresh, settled)
	case again.Failed:
		settled = append(byState[Failed], byState[Partial]...)
		for _, st := range []State{Failed, Partial} {
			if len(byState[st]) > 0 && err == nil {
				err = e.db.raise(ctx, e.batch, e.birth, shard, st, byState[st])
			}
		}
	}
	if err != nil || len(settled) == 0 {
		return added, err
	}
	return added, e.reread(ctx, shard, lines, added, settled)
}

// reread brings those of added up to date that have one of the names. It asks
// for what is there now, since a script that was sent twice would say of the
// second time that nothing was opened.
func (e *Enqueuing) reread(ctx context.Context, shard int, lines []Line, added []Added, opened []Line) error {
	names := make(map[string]bool, len(opened))
	for _, l := range opened {
		names[l.Name] = true
	}
	var some []Line
	var at []int
	for i, l := range lines {
		if names[l.Name] {
			some, at = append(some, l), append(at, i)
		}
	}
	now, err := e.Add(ctx, shard, some)
	if err != nil {
		return err
	}
	first := make(map[string]bool, len(now))
	for i, a := range now {
		if !a.State.Open() {
			continue
		}
		was := added[at[i]]
		if a.Duplicate = first[a.Ref.Name]; !a.Duplicate {
			a.Was = was.State
		}
		first[a.Ref.Name] = true
		added[at[i]] = a
	}
	return nil
}

// Refreshed is what came of the newest refresh of a batch so far. Each figure
// is counted by the script that settles the name, once.
type Refreshed struct {
	// Began is when, zero where the batch was never refreshed.
	Began time.Time `json:"began"`
	// Unchanged names have the same record and the same pictures.
	Unchanged int64 `json:"unchanged"`
	// Changed names have another record, or another picture.
	Changed int64 `json:"changed"`
	// Gone names, or a picture of theirs, are not there any more.
	Gone int64 `json:"gone"`
	// Failed names keep the last good answer, where they had one.
	Failed int64 `json:"failed"`
}

// Refreshed returns what came of the newest refresh of the batch.
func (db *DB) Refreshed(ctx context.Context, b Batch) (Refreshed, error) {
	var r Refreshed
	var newest int64
	for s := range b.Shards {
		m, err := db.rdb.HGetAll(ctx, db.keys.refreshed(b.Name, s)).Result()
		if err != nil {
			return r, err
		}
		id := number(m["refresh"])
		if id == 0 || id < newest {
			continue
		}
		if id > newest {
			newest, r = id, Refreshed{Began: time.UnixMicro(id).UTC()}
		}
		r.Unchanged += number(m["unchanged"])
		r.Changed += number(m["changed"])
		r.Gone += number(m["gone"])
		r.Failed += number(m["failed"])
	}
	return r, nil
}

// inRefresh begins the reply of a script to a step of a name that is asked
// again; its record follows.
const inRefresh = "refresh "

// settleRefresh settles a step of such a name. differs says whether the step
// came to something else than the settled record has; its value is right
// whoever comes between, since that record stays until the name is settled.
func (db *DB) settleRefresh(ctx context.Context, r tasks.Ref, record string, rank int, to State, left, stored int,
	lines, reason, host, try string, differs func(good Record) bool,
) (string, error) {
	good, err := db.parse(r.Batch, r.Shard, r.Name, record)
	if err != nil {
		return "", err
	}
	changed := "0"
	if differs(good) {
		changed = "1"
	}
	k, b, s := db.keys, r.Batch, r.Shard
	keys := []string{
		k.meta(b, s), k.records(b, s), k.tries(b, s), k.crashes(b, s), k.reasons(b, s), k.hosts(b, s),
		k.refreshed(b, s), k.dropped(b, s), k.state(b, s, Refreshing), k.state(b, s, Stale),
	}
	for _, st := range []State{Done, Partial, Failed, NotFound, NoPicture, Cancelled} {
		keys = append(keys, k.state(b, s, st))
	}
	return refreshScript.Run(ctx, db.rdb, keys, r.Name, r.Generation, r.Epoch, strconv.Itoa(rank), string(to), left, stored,
		lines, reason, host, try, changed).Text()
}

// nothingNew is what a failure tells about a record.
func nothingNew(Record) bool { return false }

// differs reports whether p is another picture than the record has at rank.
func (r Record) differs(rank int, p Picture) bool {
	was := r.Outcomes[rank].Picture
	return was == nil || was.SHA256 != p.SHA256
}

// same reports whether l and o say the same of a name, wherever its pictures
// are: their URLs may change with every answer, their bytes tell.
func (l Lookup) same(o *Lookup) bool {
	return o != nil && slices.Equal(l.Attributes, o.Attributes) && l.Truncated == o.Truncated && l.Licence == o.Licence &&
		l.Attribution == o.Attribution && l.Source == o.Source && len(l.Pictures) == len(o.Pictures)
}

// Dropped is a stored picture that a record has no more. Its file is to be
// removed unless another record refers to it.
type Dropped struct {
	// Ref is the name that had it, without epoch, generation and lane.
	Ref     tasks.Ref
	Picture Picture
	member  string
}

// Dropped returns some pictures of the shard that were dropped and are not
// [DB.Removed] yet, in no order.
func (db *DB) Dropped(ctx context.Context, batch string, shard int) ([]Dropped, error) {
	members, err := db.rdb.SRandMemberN(ctx, db.keys.dropped(batch, shard), 100).Result()
	if err != nil {
		return nil, err
	}
	all := make([]Dropped, len(members))
	for i, m := range members {
		all[i] = parseDropped(batch, shard, m)
	}
	return all, nil
}

// DroppedOf returns the pictures that were dropped from records of the names,
// all of one shard, and are not [DB.Removed] yet. It reads the whole list of
// the shard, which workers keep short.
func (db *DB) DroppedOf(ctx context.Context, batch string, shard int, names []string) ([]Dropped, error) {
	var some []Dropped
	members := db.rdb.SScan(ctx, db.keys.dropped(batch, shard), 0, "", 1000).Iterator()
	for members.Next(ctx) {
		if name, _, _ := strings.Cut(members.Val(), "\n"); slices.Contains(names, name) {
			some = append(some, parseDropped(batch, shard, members.Val()))
		}
	}
	return some, members.Err()
}

// parseDropped reads "NAME", line break, the picture's line in the record.
// Where that is none the Picture is empty.
func parseDropped(batch string, shard int, member string) Dropped {
	name, line, _ := strings.Cut(member, "\n")
	d := Dropped{Ref: tasks.Ref{Batch: batch, Shard: shard, Name: name}, member: member}
	var r Record
	if err := r.parseLine(line); err == nil && r.Outcomes[r.Last].Picture != nil {
		d.Picture = *r.Outcomes[r.Last].Picture
	}
	return d
}

// Removed notes that the files of dropped pictures of one shard are gone, or
// belong to others.
func (db *DB) Removed(ctx context.Context, dropped ...Dropped) error {
	if len(dropped) == 0 {
		return nil
	}
	members := make([]any, len(dropped))
	for i, d := range dropped {
		members[i] = d.member
	}
	ref := dropped[0].Ref
	return db.rdb.SRem(ctx, db.keys.dropped(ref.Batch, ref.Shard), members...).Err()
}
