package results

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/tasks"
)

// Query selects names of a batch. Zero fields select everything.
type Query struct {
	Batch string
	// Name is one exact name.
	Name   string
	State  State
	Reason failure.Reason
	Host   string
	// After continues behind this position.
	After Position
}

// Position of a name in listings: by line, and by name where lines are equal.
type Position struct {
	Line int64
	Name string
}

func (p Position) compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Line, o.Line), cmp.Compare(p.Name, o.Name))
}

// RecordError says that one name's record cannot be read. Listings go on
// behind it.
type RecordError struct {
	Name string
	Err  error
}

// Error names the name.
func (e *RecordError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// pageSize is how many names a listing asks Redis for at once.
const pageSize = 500

// Counts returns how many names are in each state.
func (db *DB) Counts(ctx context.Context, b Batch) (Counts, error) {
	pipe := db.rdb.Pipeline()
	sizes := make(map[State][]*redis.IntCmd)
	for s := range b.Shards {
		for _, st := range States() {
			sizes[st] = append(sizes[st], pipe.ZCard(ctx, db.keys.state(b.Name, s, st)))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	c := make(Counts, len(sizes))
	for st, cmds := range sizes {
		for _, cmd := range cmds {
			c[st] += cmd.Val()
		}
	}
	return c, nil
}

// ReasonCount is how many names failed for a reason.
type ReasonCount struct {
	Reason failure.Reason
	Names  int64
}

// Reasons returns the reasons for failed and partial names, the most frequent
// first.
func (db *DB) Reasons(ctx context.Context, b Batch) ([]ReasonCount, error) {
	pipe := db.rdb.Pipeline()
	sizes := make(map[failure.Reason][]*redis.IntCmd)
	for _, r := range failure.Reasons() {
		for s := range b.Shards {
			sizes[r] = append(sizes[r], pipe.ZLexCount(ctx, db.keys.reasons(b.Name, s), "["+string(r)+" ", "("+string(r)+"!"))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var counts []ReasonCount
	for _, r := range failure.Reasons() {
		var n int64
		for _, cmd := range sizes[r] {
			n += cmd.Val()
		}
		if n > 0 {
			counts = append(counts, ReasonCount{r, n})
		}
	}
	slices.SortStableFunc(counts, func(a, b ReasonCount) int { return cmp.Compare(b.Names, a.Names) })
	return counts, nil
}

// Get returns the record of one name. [ErrNoName] where there is none, a
// [*RecordError] where it cannot be read.
func (db *DB) Get(ctx context.Context, b Batch, name string) (Record, error) {
	return db.Record(ctx, b.Name, tasks.Shard(name, b.Shards), name)
}

// Record is Get for who knows the name's shard.
func (db *DB) Record(ctx context.Context, batch string, shard int, name string) (Record, error) {
	v, err := db.rdb.HGet(ctx, db.keys.records(batch, shard), name).Result()
	if errors.Is(err, redis.Nil) {
		return Record{}, fmt.Errorf("%w: %q in batch %q", ErrNoName, name, batch)
	}
	if err != nil {
		return Record{}, err
	}
	return parseRecord(name, v)
}

// Each lists the records that q selects in the order of their lines. An
// error of type [*RecordError] concerns one name and the listing goes on; any
// other ends it. A name whose state changes meanwhile may be left out. Memory
// is bounded by the number of shards, not of names.
func (db *DB) Each(ctx context.Context, b Batch, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if q.Name != "" {
			r, err := db.Get(ctx, b, q.Name)
			if errors.Is(err, ErrNoName) || (err == nil && !q.matches(r)) {
				return
			}
			yield(r, err)
			return
		}
		m := db.merge(b, q)
		for {
			refs, err := m.next(ctx, pageSize)
			if err != nil {
				yield(Record{}, err)
				return
			}
			if len(refs) == 0 {
				return
			}
			records, err := db.read(ctx, b, refs)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range records {
				if r.err == nil && !q.matches(r.Record) {
					continue
				}
				if !yield(r.Record, r.err) {
					return
				}
			}
		}
	}
}

// Count returns how many names q selects. It is a look-up for at most one of
// state, reason and host, and a walk over the smallest list for more.
func (db *DB) Count(ctx context.Context, b Batch, q Query) (int64, error) {
	var n int64
	switch {
	case q.Name == "" && q.Host == "" && q.Reason == "":
		c, err := db.Counts(ctx, b)
		if err != nil {
			return 0, err
		}
		if q.State == "" {
			return c.Total(), nil
		}
		return c[q.State], nil
	case q.Name == "" && q.State == "" && (q.Host == "") != (q.Reason == ""):
		for s := range b.Shards {
			key, word := db.failures(b, s, q)
			k, err := db.rdb.ZLexCount(ctx, key, "["+word+" ", "("+word+"!").Result()
			if err != nil {
				return 0, err
			}
			n += k
		}
		return n, nil
	}
	for _, err := range db.Each(ctx, b, q) {
		if err != nil && !IsRecordError(err) {
			return 0, err
		}
		n++
	}
	return n, nil
}

// failures returns the list of a shard that serves q's reason or host, and
// the word that its entries begin with.
func (db *DB) failures(b Batch, s int, q Query) (key, first string) {
	if q.Host != "" {
		return db.keys.hosts(b.Name, s), word(q.Host)
	}
	return db.keys.reasons(b.Name, s), string(q.Reason)
}

func (q Query) matches(r Record) bool {
	return (q.State == "" || r.State == q.State) &&
		(q.Reason == "" || r.Reason == q.Reason) &&
		(q.Host == "" || (r.Reason != "" && word(r.Host) == word(q.Host)))
}

type readRecord struct {
	Record
	err error
}

// read returns the records of refs in their order; those that are gone
// meanwhile are left out.
func (db *DB) read(ctx context.Context, b Batch, refs []place) ([]readRecord, error) {
	byShard := make(map[int][]string)
	for _, r := range refs {
		byShard[r.shard] = append(byShard[r.shard], r.Name)
	}
	values := make(map[string]any, len(refs))
	for s, names := range byShard {
		vs, err := db.rdb.HMGet(ctx, db.keys.records(b.Name, s), names...).Result()
		if err != nil {
			return nil, err
		}
		for i, v := range vs {
			values[names[i]] = v
		}
	}
	records := make([]readRecord, 0, len(refs))
	for _, ref := range refs {
		v, ok := values[ref.Name].(string)
		if !ok {
			continue
		}
		r, err := parseRecord(ref.Name, v)
		if err != nil {
			r = Record{Name: ref.Name, Line: ref.Line}
		}
		records = append(records, readRecord{r, err})
	}
	return records, nil
}

// place is a position with the shard where its record lies.
type place struct {
	Position
	shard int
}

// merge returns the lists that serve q, over all shards, as one.
func (db *DB) merge(b Batch, q Query) *merged {
	m := &merged{}
	for s := range b.Shards {
		if q.Reason != "" || q.Host != "" {
			key, first := db.failures(b, s, q)
			m.lists = append(m.lists, &list{shard: s, at: q.After, read: db.readFailures(key, first)})
			continue
		}
		states := States()
		if q.State != "" {
			states = []State{q.State}
		}
		for _, st := range states {
			m.lists = append(m.lists, &list{shard: s, at: q.After, read: db.readState(db.keys.state(b.Name, s, st))})
		}
	}
	return m
}

// readState reads a set of names by line.
func (db *DB) readState(key string) func(context.Context, Position) ([]Position, error) {
	return func(ctx context.Context, after Position) ([]Position, error) {
		// Names of several files may share a line: skip what is not behind after.
		for offset := int64(0); ; offset += pageSize {
			zs, err := db.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
				Key: key, ByScore: true, Start: after.Line, Stop: "+inf", Offset: offset, Count: pageSize,
			}).Result()
			if err != nil {
				return nil, err
			}
			var ps []Position
			for _, z := range zs {
				p := Position{Line: int64(z.Score), Name: fmt.Sprint(z.Member)}
				if p.compare(after) > 0 {
					ps = append(ps, p)
				}
			}
			if len(ps) > 0 || len(zs) < pageSize {
				return ps, nil
			}
		}
	}
}

// readFailures reads a list whose entries are "FIRST LINE NAME".
func (db *DB) readFailures(key, first string) func(context.Context, Position) ([]Position, error) {
	return func(ctx context.Context, after Position) ([]Position, error) {
		start := "[" + first + " "
		if after != (Position{}) {
			start = fmt.Sprintf("(%s %012d %s", first, after.Line, after.Name)
		}
		entries, err := db.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: key, ByLex: true, Start: start, Stop: "(" + first + "!", Count: pageSize,
		}).Result()
		if err != nil {
			return nil, err
		}
		ps := make([]Position, 0, len(entries))
		for _, e := range entries {
			line, name, _ := strings.Cut(e[len(first)+1:], " ")
			n, _ := strconv.ParseInt(line, 10, 64)
			ps = append(ps, Position{n, name})
		}
		return ps, nil
	}
}

// list reads one sorted list page by page.
type list struct {
	shard int
	at    Position
	page  []Position
	ended bool
	read  func(ctx context.Context, after Position) ([]Position, error)
}

func (l *list) head(ctx context.Context) (Position, bool, error) {
	if len(l.page) == 0 && !l.ended {
		page, err := l.read(ctx, l.at)
		if err != nil {
			return Position{}, false, err
		}
		l.page, l.ended = page, len(page) == 0
		if !l.ended {
			l.at = page[len(page)-1]
		}
	}
	if l.ended {
		return Position{}, false, nil
	}
	return l.page[0], true, nil
}

// merged reads several sorted lists as one.
type merged struct {
	lists []*list
	last  Position
	begun bool
}

func (m *merged) next(ctx context.Context, n int) ([]place, error) {
	var places []place
	for len(places) < n {
		var first *list
		var least Position
		for _, l := range m.lists {
			p, ok, err := l.head(ctx)
			if err != nil {
				return nil, err
			}
			if ok && (first == nil || p.compare(least) < 0) {
				first, least = l, p
			}
		}
		if first == nil {
			break
		}
		first.page = first.page[1:]
		// A name that changes state while the lists are read may be met twice.
		if !m.begun || m.last != least {
			places = append(places, place{least, first.shard})
		}
		m.last, m.begun = least, true
	}
	return places, nil
}
