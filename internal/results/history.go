package results

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/tasks"
)

// MaxHistory is how many events of a name are kept; the scripts have it as
// well.
const MaxHistory = 8

// What an [Event] was.
type What string

// The things that are kept in a history.
const (
	// TryFailed: a try ended without what it was for.
	TryFailed What = "failed"
	// TrySucceeded: the lookup or picture came, after tries that failed.
	TrySucceeded What = "succeeded"
	// WorkerDied: a worker ended in the middle of a try, alone with the name
	// or beside others.
	WorkerDied What = "died"
)

// Event is one thing that happened to a name which had trouble. A step that
// succeeds at once leaves none, so that it costs no memory.
type Event struct {
	// At is when, by Redis's clock, to the second; of [WorkerDied] when it was
	// noticed.
	At time.Time
	// Generation of the name at the time.
	Generation int64
	// Rank of the step: [LookupRank] or that of a picture.
	Rank int
	What What
	// Reason and Status are for [TryFailed]: why, and the HTTP status that was
	// answered, 0 where the failure was not told by one.
	Reason failure.Reason
	Status int
}

// Past returns the history of the name and how many events there were before
// it, those of a refresh under way included.
func (r Record) Past() (history []Event, earlier int) {
	if r.Refresh != nil {
		return r.Refresh.History, r.Refresh.EarlierEvents
	}
	return r.History, r.EarlierEvents
}

// check reports why the event cannot be one.
func (e Event) check() error {
	switch {
	case e.Rank < 0 || e.Generation < 1 || e.Status < 0 || e.At.Unix() < 0:
		return errors.New("a number or the time of its history is none")
	case e.What == TryFailed && e.Reason == "", e.What != TryFailed && (e.Reason != "" || e.Status != 0):
		return fmt.Errorf("its history says %q for %q", e.What, e.Reason)
	case e.What != TryFailed && e.What != TrySucceeded && e.What != WorkerDied:
		return fmt.Errorf("its history says %q", e.What)
	}
	return nil
}

// A history is kept as "EARLIER EVENT EVENT…": how many events were let go,
// then GENERATION:RANK:SECONDS:WORD of each, the oldest first. WORD is ok,
// died:TOKEN, or a reason, with :STATUS where there was one. tryWord and the
// scripts write it.
const (
	wordOK   = "ok"
	wordDied = "died"
)

// tryWord is the word of a try that failed.
func tryWord(e *failure.Error) string {
	if e.Status == 0 {
		return string(reason(e))
	}
	return string(reason(e)) + ":" + strconv.Itoa(e.Status)
}

func parseHistory(s string) (events []Event, earlier int, err error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return nil, 0, errors.New("an empty history")
	}
	if earlier, err = strconv.Atoi(words[0]); err != nil {
		return nil, 0, err
	}
	for _, w := range words[1:] {
		e, err := parseEvent(w)
		if err != nil {
			return nil, 0, fmt.Errorf("event %.40q: %w", w, err)
		}
		events = append(events, e)
	}
	return events, earlier, nil
}

func parseEvent(s string) (Event, error) {
	f := strings.SplitN(s, ":", 5)
	if len(f) < 4 {
		return Event{}, errors.New("it is cut off")
	}
	generation, err1 := strconv.ParseInt(f[0], 10, 64)
	rank, err2 := strconv.Atoi(f[1])
	at, err3 := strconv.ParseInt(f[2], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Event{}, err
	}
	e := Event{At: time.Unix(at, 0).UTC(), Generation: generation, Rank: rank}
	switch f[3] {
	case wordOK:
		e.What = TrySucceeded
	case wordDied:
		e.What = WorkerDied
	default:
		e.What, e.Reason = TryFailed, failure.Reason(f[3])
		if len(f) == 5 {
			status, err := strconv.Atoi(f[4])
			if err != nil {
				return Event{}, err
			}
			e.Status = status
		}
	}
	return e, nil
}

// historyLine is a record's line of its history, "" where there is none.
func historyLine(events []Event, earlier int) string {
	if len(events) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "H %d", earlier)
	for i, e := range events {
		fmt.Fprintf(&b, " %d:%d:%d:", e.Generation, e.Rank, e.At.Unix())
		switch e.What {
		case TrySucceeded:
			b.WriteString(wordOK)
		case WorkerDied:
			fmt.Fprintf(&b, "%s:i%d", wordDied, i) // a token that no worker makes
		default:
			b.WriteString(tryWord(&failure.Error{Reason: e.Reason, Status: e.Status}))
		}
	}
	return b.String()
}

// NoteDeath adds to the history of a step that its worker died in the middle
// of it. token, of letters, digits and dots, tells one death from another, so
// that a repeated call notes it once. Nothing is noted, and it is no error,
// when the step is not to come any more.
func (db *DB) NoteDeath(ctx context.Context, r tasks.Ref, rank int, token string) error {
	k := db.keys
	err := deathScript.Run(ctx, db.rdb, []string{k.meta(r.Batch, r.Shard), k.records(r.Batch, r.Shard)},
		r.Name, r.Generation, r.Epoch, rank, token).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}
