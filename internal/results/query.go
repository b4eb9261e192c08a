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
	Name string
	// State is a state or a mark.
	State State
	// States selects any of several, where State is empty.
	States []State
	Reason failure.Reason
	// Reasons selects any of several, where Reason is empty.
	Reasons []failure.Reason
	Host    string
	// Where selects names that have all of these attributes. Letters of a
	// value match in either case, those of an attribute's name do not.
	Where []Attribute
	// Licence is the SPDX identifier that names' licences mean.
	Licence string
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

// RecordError says that one name's record is missing or cannot be read.
// Listings go on behind it.
type RecordError struct {
	Name string
	// Key in Redis of the hash that has the record.
	Key string
	// Raw is what is there.
	Raw string
	Err error
}

// Error names the name and the key.
func (e *RecordError) Error() string {
	return fmt.Sprintf("record of %q in %s is not readable: %v", e.Name, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// pageSize is how many names a listing asks Redis for at once.
const pageSize = 500

// Counts returns how many names are in each state, and have each mark.
func (db *DB) Counts(ctx context.Context, b Batch) (Counts, error) {
	pipe := db.rdb.Pipeline()
	sizes := make(map[State][]*redis.IntCmd)
	for s := range b.Shards {
		for _, st := range append(States(), Marks()...) {
			sizes[st] = append(sizes[st], pipe.ZCard(ctx, db.keys.state(b.Name, s, st)))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, db.wrongType(ctx, b, err)
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

// FailedHosts returns the hosts at which names of the batch failed, at most
// limit for each shard, in order.
func (db *DB) FailedHosts(ctx context.Context, b Batch, limit int) ([]string, error) {
	var hosts []string
	for s := range b.Shards {
		from := "-"
		for range limit {
			next, err := db.rdb.ZRangeByLex(ctx, db.keys.hosts(b.Name, s), &redis.ZRangeBy{Min: from, Max: "+", Count: 1}).Result()
			if err != nil {
				return nil, err
			}
			if len(next) == 0 {
				break
			}
			host, _, _ := strings.Cut(next[0], " ")
			if host != none {
				hosts = append(hosts, host)
			}
			from = "[" + host + "!" // behind all of this host's
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
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
	return db.parse(batch, shard, name, v)
}

// parse reads the record v of a name. Its errors are of type [*RecordError].
func (db *DB) parse(batch string, shard int, name, v string) (Record, error) {
	r, err := parse(name, v)
	if err != nil {
		return Record{Name: name}, &RecordError{Name: name, Key: db.keys.records(batch, shard), Raw: v, Err: err}
	}
	return r, nil
}

// Each lists the records that q selects in the order of their lines. An
// error of type [*RecordError] concerns one name and the listing goes on; any
// other ends it. Where names stand in keys that hold something else, all others
// are listed and a [*KeyError] comes last. A name whose state changes meanwhile may be left out. Memory
// is bounded by the number of shards, not of names.
func (db *DB) Each(ctx context.Context, b Batch, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if q.Name != "" {
			r, err := db.Get(ctx, b, q.Name)
			switch {
			case errors.Is(err, ErrNoName), err == nil && !q.matches(r), IsRecordError(err) && !q.matchesUnreadable():
				return
			}
			yield(r, err)
			return
		}
		m := db.merge(b, q)
		for _, l := range m.lists {
			l.lenient = true
		}
		for {
			refs, err := m.next(ctx, pageSize)
			if err != nil {
				yield(Record{}, err)
				return
			}
			if len(refs) == 0 {
				if err := m.passed(); err != nil {
					yield(Record{}, db.wrongType(ctx, b, err))
				}
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

// Count returns how many names q selects. It is a look-up for states, reasons
// or one host, also where the states are [Failed] and [Partial] and more, and a
// walk over the smallest list for a combination, for several marks and states,
// and for attributes and licences.
func (db *DB) Count(ctx context.Context, b Batch, q Query) (int64, error) {
	var n int64
	q.After = Position{}
	switch {
	case q.Name != "" || q.reads():
	case !q.ofFailures():
		if q.doubles() {
			break
		}
		c, err := db.Counts(ctx, b)
		for _, st := range q.states() {
			n += c[st]
		}
		return n, err
	case q.everyFailure() && (q.Host == "" || len(q.reasons()) == 0):
		for s := range b.Shards {
			for _, l := range db.failures(b, s, q) {
				k, err := db.rdb.ZLexCount(ctx, l.key, "["+l.first+" ", "("+l.first+"!").Result()
				if err != nil {
					return 0, err
				}
				n += k
			}
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

// index is a list of failures: entries of a key that begin with a word.
type index struct{ key, first string }

// failures returns the lists of a shard that serve q's host or reasons.
func (db *DB) failures(b Batch, s int, q Query) []index {
	if q.Host != "" {
		return []index{{db.keys.hosts(b.Name, s), word(q.Host)}}
	}
	var lists []index
	for _, r := range q.reasons() {
		lists = append(lists, index{db.keys.reasons(b.Name, s), string(r)})
	}
	return lists
}

// ofFailures reports whether q gives a host or a reason.
func (q Query) ofFailures() bool { return q.Host != "" || len(q.reasons()) > 0 }

// everyFailure reports whether q's states have all names in them that can have
// a host or a reason.
func (q Query) everyFailure() bool {
	states := q.states()
	return slices.Contains(states, Failed) && slices.Contains(states, Partial)
}

// doubles reports whether a name may be in two of q's states: in one, and in
// that of a mark.
func (q Query) doubles() bool {
	states := q.states()
	return len(states) > 1 && slices.ContainsFunc(states, State.isMark)
}

// states lists those that q selects.
func (q Query) states() []State {
	switch {
	case q.State != "":
		return []State{q.State}
	case len(q.States) > 0:
		return q.States
	}
	return States()
}

// reads reports whether every record has to be read to know what q selects.
func (q Query) reads() bool { return len(q.Where) > 0 || q.Licence != "" }

// reasons lists those that q selects, none for all.
func (q Query) reasons() []failure.Reason {
	if q.Reason != "" {
		return []failure.Reason{q.Reason}
	}
	return q.Reasons
}

func (q Query) matches(r Record) bool {
	if q.Licence != "" && (r.Lookup == nil || r.Lookup.LicenceID() != q.Licence) {
		return false
	}
	if !r.Has(q.Where) {
		return false
	}
	if reasons := q.reasons(); len(reasons) > 0 && !slices.Contains(reasons, r.Reason) {
		return false
	}
	if (q.State != "" || len(q.States) > 0) && !slices.ContainsFunc(q.states(), r.is) {
		return false
	}
	return q.Host == "" || r.Reason != "" && word(r.Host) == word(q.Host)
}

// Has reports whether the record has all of the attributes, as [Query.Where]
// compares them.
func (r Record) Has(where []Attribute) bool {
	for _, want := range where {
		if v, ok := r.Attribute(want.Name); !ok || !strings.EqualFold(v, want.Value) {
			return false
		}
	}
	return true
}

// matchesUnreadable reports whether q may select a name whose record cannot
// be read, and so has neither attributes nor a failure.
func (q Query) matchesUnreadable() bool {
	return slices.Contains(q.states(), Unreadable) && len(q.Where) == 0 && !q.ofFailures()
}

// is reports whether the record has the state, or the mark.
func (r Record) is(st State) bool { return r.State == st || r.has(st) }

// has reports whether the record has a mark.
func (r Record) has(mark State) bool {
	return mark == Refreshing && r.Refresh != nil || mark == Stale && r.Stale != nil
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
	wrong := make(map[int]error)
	for s, names := range byShard {
		vs, err := db.rdb.HMGet(ctx, db.keys.records(b.Name, s), names...).Result()
		if err != nil && isWrongType(err) {
			wrong[s] = err
			continue
		}
		if err != nil {
			return nil, err
		}
		for i, v := range vs {
			values[names[i]] = v
		}
	}
	records := make([]readRecord, 0, len(refs))
	for _, ref := range refs {
		if err := wrong[ref.shard]; err != nil {
			bad := &RecordError{Name: ref.Name, Key: db.keys.records(b.Name, ref.shard), Err: err}
			records = append(records, readRecord{Record{Name: ref.Name, Line: ref.Line}, bad})
			continue
		}
		v, ok := values[ref.Name].(string)
		if !ok {
			continue
		}
		r, err := db.parse(b.Name, ref.shard, ref.Name, v)
		if err != nil {
			r = Record{Name: ref.Name, Line: ref.Line}
		}
		records = append(records, readRecord{r, err})
	}
	return records, nil
}

// place is a position with the shard where its record lies, and the state, or
// mark, in whose set it was found, "" for a failure.
type place struct {
	Position
	shard int
	state State
}

// merge returns the lists that serve q, over all shards, as one.
func (db *DB) merge(b Batch, q Query) *merged {
	m := &merged{}
	for s := range b.Shards {
		if q.ofFailures() {
			for _, l := range db.failures(b, s, q) {
				m.lists = append(m.lists, &list{shard: s, at: q.After, read: db.readFailures(l.key, l.first)})
			}
			continue
		}
		for _, st := range q.states() {
			m.lists = append(m.lists, &list{shard: s, state: st, at: q.After, read: db.readState(db.keys.state(b.Name, s, st))})
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
	state State
	at    Position
	page  []Position
	ended bool
	// lenient passes over a key that holds something else, and notes in passed
	// what Redis said.
	lenient bool
	passed  error
	read    func(ctx context.Context, after Position) ([]Position, error)
}

func (l *list) head(ctx context.Context) (Position, bool, error) {
	if len(l.page) == 0 && !l.ended {
		page, err := l.read(ctx, l.at)
		if l.lenient && err != nil && isWrongType(err) {
			l.passed, err = err, nil
		}
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

// passed returns what Redis said of a list that was passed over, if any was.
func (m *merged) passed() error {
	for _, l := range m.lists {
		if l.passed != nil {
			return l.passed
		}
	}
	return nil
}

func (m *merged) next(ctx context.Context, n int) ([]place, error) {
	// A connection that is well takes no notice of a context that ended.
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
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
			places = append(places, place{least, first.shard, first.state})
		}
		m.last, m.begun = least, true
	}
	return places, nil
}
