package results

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/tasks"
)

// LookupRank is the rank of the lookup among a name's steps; pictures count
// from 1.
const LookupRank = 0

// Begun is what a task finds when it begins.
type Begun struct {
	// Void: there is nothing to do. The batch is paused, cancelled or gone,
	// or the task belongs to an earlier epoch or generation.
	Void bool
	// Birth of the batch, see [Batch].
	Birth    int64
	Provider string
	// Params of the batch's provider that are not its defaults, as they are
	// kept: equal ones are written equally.
	Params string
	// Record is the one under way where the name is asked again.
	Record Record
	// Good is the settled record of a name that is asked again, else nil.
	Good *Record
	// Tries that failed at this step in this generation.
	Tries int
	// Counted are those of Tries that tasks of this epoch made, which is what
	// asynq counted too: a resumed batch has new tasks.
	Counted int
	// Refused is how many of the picture's candidates, from the first, were
	// refused for good in this generation; see [DB.RefuseCandidates].
	Refused int
	// Crashes is how often this step ran alone and never came back.
	Crashes int
	// Suspect: it was running, perhaps beside others, when a process died.
	Suspect bool
}

// suspectToken marks a step that ran when its process died; see [DB.Suspect].
const suspectToken = "suspect"

// Begin reads all that a task needs to know before it does anything, in one
// trip. A record that is missing or cannot be read is a [*RecordError]; see
// [DB.SetAside].
func (db *DB) Begin(ctx context.Context, r tasks.Ref, rank int) (Begun, error) {
	k := db.keys
	reply, err := beginScript.Run(ctx, db.rdb, []string{
		k.meta(r.Batch, r.Shard), k.records(r.Batch, r.Shard), k.tries(r.Batch, r.Shard), k.crashes(r.Batch, r.Shard),
	}, r.Name, field(r.Name, rank)).StringSlice()
	if errors.Is(err, redis.Nil) {
		return Begun{Void: true}, nil
	}
	if err != nil {
		return Begun{}, err
	}
	birth, epoch, status, provider, record := number(reply[0]), number(reply[1]), Status(reply[2]), reply[3], reply[4]
	if r.Epoch < epoch || status != Running {
		return Begun{Void: true}, nil
	}
	rec, err := db.parse(r.Batch, r.Shard, r.Name, record)
	if err != nil {
		return Begun{Birth: birth}, err
	}
	b := Begun{Birth: birth, Provider: provider, Params: reply[7], Record: rec}
	if rec.Refresh != nil {
		b.Record, b.Good = *rec.Refresh, &rec
	}
	b.Void = b.Record.Generation != r.Generation
	if gen, rest, ok := strings.Cut(reply[5], " "); ok && number(gen) == r.Generation {
		f := strings.Fields(rest) // tries, waits, token, refused, epoch, of that epoch
		b.Tries = int(number(f[0]))
		if len(f) > 3 {
			b.Refused = int(number(f[3]))
		}
		switch {
		case len(f) < 6: // by an older version
			b.Counted = b.Tries
		case number(f[4]) == r.Epoch:
			b.Counted = int(number(f[5]))
		}
	}
	for mark := range strings.FieldsSeq(reply[6]) {
		gen, token, _ := strings.Cut(mark, ":")
		if number(gen) != r.Generation {
			continue
		}
		b.Suspect = true
		if token != suspectToken {
			b.Crashes++
		}
	}
	return b, nil
}

// Stored is a picture that was stored before the answer that named it was
// recorded; its bytes are durable.
type Stored struct {
	Rank int
	Picture
}

// CommitLookup records what the provider said: l with pictures makes the
// name [Found]; without, state is [NotFound] or [NoPicture]. The outcomes of
// pictures that are stored already are recorded with it; if that is all of
// them the name is [Done] at once. It reports whether the record says so now,
// by this call or an equal one. If not, the call came late and changed
// nothing, and only [DB.Begin] tells what is left to do: the record may have
// other pictures.
func (db *DB) CommitLookup(ctx context.Context, r tasks.Ref, state State, l Lookup, have ...Stored) (bool, error) {
	if answer := state == Found || state == NotFound || state == NoPicture; !answer || (state == Found) != (len(l.Pictures) > 0) {
		return false, fmt.Errorf("a lookup with %d pictures cannot make %q %s", len(l.Pictures), r.Name, state)
	}
	doc, err := encode(stored(l))
	if err != nil {
		return false, err
	}
	lines := "L " + doc
	for _, p := range have {
		if p.Rank < 1 || p.Rank > len(l.Pictures) {
			return false, fmt.Errorf("picture %d of %d of %q", p.Rank, len(l.Pictures), r.Name)
		}
		if doc, err = encode(p.Picture); err != nil {
			return false, err
		}
		lines += "\nP" + strconv.Itoa(p.Rank) + " " + doc
	}
	left := len(l.Pictures) - len(have)
	if len(have) > 0 && left == 0 {
		state = Done
	}
	return db.settleLookup(ctx, r, state, left, len(have), lines, none, none, "", func(good Record) bool {
		return !l.same(good.Lookup) || slices.ContainsFunc(have, func(p Stored) bool { return good.differs(p.Rank, p.Picture) })
	})
}

// FailLookup records that the lookup was given up, exhausted or for good. The
// tries of an exhausted one were counted by [DB.CountTry], the last included;
// the try that ended it for good, or by a crash, is counted and noted here. It reports as
// [DB.CommitLookup] does.
func (db *DB) FailLookup(ctx context.Context, r tasks.Ref, e *failure.Error, host string, exhausted bool) (bool, error) {
	doc, err := encode(newFailure(e, host, exhausted))
	if err != nil {
		return false, err
	}
	return db.settleLookup(ctx, r, Failed, 0, 0, "E "+doc, string(reason(e)), word(host), lastTry(e, exhausted), nothingNew)
}

func (db *DB) settleLookup(ctx context.Context, r tasks.Ref, to State, left, stored int, lines, reason, host, try string,
	differs func(good Record) bool,
) (bool, error) {
	k, b, s := db.keys, r.Batch, r.Shard
	reply, err := lookupScript.Run(ctx, db.rdb, []string{
		k.meta(b, s), k.records(b, s), k.tries(b, s), k.crashes(b, s),
		k.state(b, s, Queued), k.state(b, s, to), k.reasons(b, s), k.hosts(b, s),
	}, r.Name, r.Generation, r.Epoch, string(to), left, stored, lines, reason, host, try).Text()
	if record, ok := strings.CutPrefix(reply, inRefresh); ok {
		reply, err = db.settleRefresh(ctx, r, record, LookupRank, to, left, stored, lines, reason, host, try, differs)
	}
	return reply == "ok", err
}

// CommitPicture records that the picture is stored; its bytes must be
// durable. It reports whether the record says so now, by this call or an
// equal one. If not, the file may be nobody's.
func (db *DB) CommitPicture(ctx context.Context, r tasks.Ref, rank int, p Picture) (bool, error) {
	doc, err := encode(p)
	if err != nil {
		return false, err
	}
	reply, err := db.settlePicture(ctx, r, rank, "P"+strconv.Itoa(rank)+" "+doc, none, none, "", func(good Record) bool { return good.differs(rank, p) })
	return reply == "ok", err
}

// FailPicture records that the picture was given up, exhausted or for good.
// It counts as [DB.FailLookup] does. It reports whether the record has an
// outcome of this generation for the picture or its name, by this call or an
// earlier one.
func (db *DB) FailPicture(ctx context.Context, r tasks.Ref, rank int, e *failure.Error, host string, exhausted bool) (bool, error) {
	doc, err := encode(newFailure(e, host, exhausted))
	if err != nil {
		return false, err
	}
	reply, err := db.settlePicture(ctx, r, rank, "F"+strconv.Itoa(rank)+" "+doc, string(reason(e)), word(host), lastTry(e, exhausted), nothingNew)
	switch State(reply) {
	case "ok", Found, Done, Partial, Failed:
		return true, err
	}
	return false, err
}

// lastTry is the try that is to be counted when a step is given up, as its
// history has it, or "".
func lastTry(e *failure.Error, exhausted bool) string {
	if exhausted && reason(e) != failure.ReasonCrashed {
		return ""
	}
	return tryWord(e)
}

func (db *DB) settlePicture(ctx context.Context, r tasks.Ref, rank int, line, reason, host, try string,
	differs func(good Record) bool,
) (string, error) {
	k, b, s := db.keys, r.Batch, r.Shard
	reply, err := pictureScript.Run(ctx, db.rdb, []string{
		k.meta(b, s), k.records(b, s), k.tries(b, s), k.crashes(b, s),
		k.state(b, s, Found), k.state(b, s, Done), k.state(b, s, Partial), k.state(b, s, Failed), k.reasons(b, s), k.hosts(b, s),
	}, r.Name, r.Generation, r.Epoch, rank, line, reason, host, try).Text()
	if record, ok := strings.CutPrefix(reply, inRefresh); ok {
		reply, err = db.settleRefresh(ctx, r, record, rank, "", 0, 0, line, reason, host, try, differs)
	}
	return reply, err
}

// CountTry counts a try that failed with e, and notes it in the name's history;
// of kind Hold e is a wait that the other side asked for, which is counted
// alone. It returns both sums of this step in this generation. token tells
// this run of the task from others, so that a repeated call counts once. ok is
// false when there is nothing to count any more.
func (db *DB) CountTry(ctx context.Context, r tasks.Ref, rank int, token string, e *failure.Error) (tries, waits int, ok bool, err error) {
	addTry, addWait := 1, 0
	if e.Kind == failure.Hold {
		addTry, addWait = 0, 1
	}
	k, b, s := db.keys, r.Batch, r.Shard
	reply, err := tryScript.Run(ctx, db.rdb, []string{k.meta(b, s), k.records(b, s), k.tries(b, s)},
		r.Name, r.Generation, r.Epoch, rank, token, addTry, addWait, tryWord(e)).Int64Slice()
	if errors.Is(err, redis.Nil) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, err
	}
	return int(reply[0]), int(reply[1]), true, nil
}

// RefuseCandidates notes that the first n candidates of a picture were
// refused for good, so that a later run of its step does not ask them again.
// Nothing is noted, and it is no error, when the step is not to come any more.
func (db *DB) RefuseCandidates(ctx context.Context, r tasks.Ref, rank, n int) error {
	k, b, s := db.keys, r.Batch, r.Shard
	err := refuseScript.Run(ctx, db.rdb, []string{k.meta(b, s), k.records(b, s), k.tries(b, s)},
		r.Name, r.Generation, r.Epoch, rank, n).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// Mark sets or clears the mark under which a step runs alone in its process.
// A mark that nobody clears is a crash, see [Begun]. Nothing is marked, and
// it is no error, when the step is not to come any more.
func (db *DB) Mark(ctx context.Context, r tasks.Ref, rank int, token string, set bool) error {
	on := 0
	if set {
		on = 1
	}
	k := db.keys
	err := markScript.Run(ctx, db.rdb, []string{
		k.meta(r.Batch, r.Shard), k.records(r.Batch, r.Shard), k.crashes(r.Batch, r.Shard),
	}, r.Name, r.Generation, r.Epoch, rank, token, on).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// reason is never empty: a blank would make the record unreadable.
func reason(e *failure.Error) failure.Reason {
	return cmp.Or(e.Reason, failure.ReasonInternal)
}

// Suspect notes that a step was running when its process died. It runs alone
// the next time, which tells whether it was to blame.
func (db *DB) Suspect(ctx context.Context, r tasks.Ref, rank int) error {
	return db.Mark(ctx, r, rank, suspectToken, true)
}

// word makes a host fit for a record's first line.
func word(host string) string {
	if host == "" {
		return none
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, fmt.Sprintf("%.255s", host))
}
