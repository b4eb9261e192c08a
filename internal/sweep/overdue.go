package sweep

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

const (
	// overdueAfter is how long a name must have been in its state before its
	// tasks are missed: between the record and the queue lie moments in which
	// there is none.
	overdueAfter = time.Minute
	// namesARound is how many open names a round looks at over all batches: a
	// million in less than an hour, for about 0.5 % of a Redis.
	namesARound = 10_000
	// namesAtOnce is how many are looked at in one trip.
	namesAtOnce = 1000
	// searchesARound bounds the searches through lists of pending tasks, which
	// take Redis up to 10 ms each where a million waits.
	searchesARound = 50
	// shownLost is how many lost names a report tells.
	shownLost = 10
)

// task is one task that an open name should have.
type task struct {
	keys queueKeys
	id   string
}

// sweepBatch walks on over the open names of a batch that runs, for about n
// names, and restores the tasks that are in no queue.
func (s *Sweeper) sweepBatch(ctx context.Context, b results.Batch, n int, repair bool) Batch {
	r := Batch{Name: b.Name}
	walk := s.walks[b.Name]
	if walk.birth != b.Birth {
		walk = place{birth: b.Birth}
	}
	for left := n; left > 0 && !r.Whole && r.Err == nil; {
		var open []results.OpenName
		page := min(namesAtOnce, left)
		open, r.Whole, r.Err = s.db.NextOpen(ctx, b, &walk.at, page)
		if r.Err != nil {
			break
		}
		left -= page
		r.Looked += len(open)
		r.Err = s.sweepNames(ctx, b, open, &r, repair)
	}
	if errors.Is(r.Err, results.ErrNoBatch) {
		r.Err = nil // deleted meanwhile, or half-made: its maker's command completes it
	}
	if r.Err != nil {
		walk = place{}
	}
	s.walks[b.Name] = walk
	return r
}

// place is how far the walk over a batch has come.
type place struct {
	birth int64
	at    results.Walk
}

func (s *Sweeper) sweepNames(ctx context.Context, b results.Batch, open []results.OpenName, r *Batch, repair bool) error {
	var due []results.OpenName
	for _, n := range open {
		if s.now.Sub(n.Since) >= overdueAfter {
			due = append(due, n)
		}
	}
	missed, err := s.missing(ctx, b, due)
	if err != nil || len(missed) == 0 {
		return err
	}
	// A worker records first and ends its task then: who is still open now has
	// no task, or one that is doubtful.
	still, err := s.db.StillOpen(ctx, b, missed)
	if err != nil {
		return err
	}
	var lost []results.OpenName
	for _, n := range still {
		gone, err := s.lost(ctx, b, n, repair)
		if err != nil {
			return err
		}
		if gone {
			lost = append(lost, n)
		}
	}
	for _, n := range lost {
		if r.LostNames++; len(r.Lost) < shownLost {
			r.Lost = append(r.Lost, n.Ref.Name)
		}
	}
	if !repair || len(lost) == 0 {
		return nil
	}
	return s.restore(ctx, b.Provider, lost)
}

// tasksOf returns the tasks of which a name needs one, or where it is found
// and its lookup's task has ended, each. A worker fetches pictures in the run
// of their lookup.
func (s *Sweeper) tasksOf(b results.Batch, n results.OpenName) (lookup task, pictures []task) {
	of := func(kind tasks.Kind, provider string, rank int) task {
		q := tasks.Queue{Namespace: s.namespace, Kind: kind, Provider: provider, Lane: n.Ref.Lane, Shard: n.Ref.Shard}
		return task{keysOf(q.String()), tasks.ID(n.Ref, kind, rank)}
	}
	for _, rank := range n.Missing {
		pictures = append(pictures, of(tasks.Pictures, "", rank))
	}
	return of(tasks.Lookups, b.Provider, 0), pictures
}

// missing returns the names that seem to have no task that will run, by one
// look at the state of each task.
func (s *Sweeper) missing(ctx context.Context, b results.Batch, names []results.OpenName) ([]results.OpenName, error) {
	if len(names) == 0 {
		return nil, nil
	}
	type looks struct {
		lookup   *redis.SliceCmd
		pictures []*redis.SliceCmd
	}
	all := make([]looks, len(names))
	pipe := s.rdb.Pipeline()
	ask := func(t task) *redis.SliceCmd { return pipe.HMGet(ctx, t.keys.task(t.id), "state", "pending_since") }
	for i, n := range names {
		lookup, pictures := s.tasksOf(b, n)
		all[i].lookup = ask(lookup)
		for _, p := range pictures {
			all[i].pictures = append(all[i].pictures, ask(p))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var missed []results.OpenName
	for i, n := range names {
		lookup, pictures := s.tasksOf(b, n)
		ok, err := s.seemsWell(ctx, lookup, all[i].lookup)
		if err != nil {
			return nil, err
		}
		if !ok && n.State == results.Found && len(pictures) > 0 {
			ok = true
			for j, p := range pictures {
				well, err := s.seemsWell(ctx, p, all[i].pictures[j])
				if err != nil {
					return nil, err
				}
				ok = ok && well
			}
		}
		if !ok {
			missed = append(missed, n)
		}
	}
	return missed, nil
}

// seemsWell judges a task by what its hash says. Only for one that waits is it
// not certain that it stands in the list; see [Sweeper.oldest].
func (s *Sweeper) seemsWell(ctx context.Context, t task, look *redis.SliceCmd) (bool, error) {
	fields := look.Val()
	state, _ := fields[0].(string)
	switch state {
	case "pending":
		since, _ := fields[1].(string)
		oldest, err := s.oldest(ctx, t.keys)
		if err != nil {
			return false, err
		}
		return since == "" || number(since) >= oldest-int64(overdueAfter), nil
	case "active":
		hand, err := s.handOf(ctx, t.keys)
		return hand[t.id], err
	case "scheduled", "retry":
		return true, nil
	}
	return false, nil
}

// oldest returns since when the task waits that is at the head of a queue, in
// ns. Tasks that came before it and still wait are in no list. Where nothing
// waits all are; what was put back has no time and is taken as it is.
func (s *Sweeper) oldest(ctx context.Context, k queueKeys) (int64, error) {
	if since, ok := s.heads[k]; ok {
		return since, nil
	}
	since := s.now.UnixNano()
	id, err := s.rdb.LIndex(ctx, k.pending(), -1).Result()
	if err == nil {
		var text string
		text, err = s.rdb.HGet(ctx, k.task(id), "pending_since").Result()
		since = number(text)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, err
	}
	s.heads[k] = since
	return since, nil
}

// handOf returns the tasks of a queue that are in hand.
func (s *Sweeper) handOf(ctx context.Context, k queueKeys) (map[string]bool, error) {
	if hand, ok := s.hands[k]; ok {
		return hand, nil
	}
	ids, err := s.rdb.LRange(ctx, k.active(), 0, -1).Result()
	if err != nil {
		return nil, err
	}
	hand := make(map[string]bool, len(ids))
	for _, id := range ids {
		hand[id] = true
	}
	s.hands[k] = hand
	return hand, nil
}

// lost reports whether a name lacks a task, certainly, and removes what is
// left of such tasks where it is to be restored.
func (s *Sweeper) lost(ctx context.Context, b results.Batch, n results.OpenName, repair bool) (bool, error) {
	lookup, pictures := s.tasksOf(b, n)
	gone, err := s.isLost(ctx, lookup, repair)
	if err != nil || !gone || n.State == results.Queued {
		return gone, err
	}
	gone = false
	for _, p := range pictures {
		lost, err := s.isLost(ctx, p, repair)
		if err != nil {
			return false, err
		}
		gone = gone || lost
	}
	return gone, nil
}

func (s *Sweeper) isLost(ctx context.Context, t task, repair bool) (bool, error) {
	if s.searches++; s.searches > searchesARound {
		// Whether it waits takes a search, and the next rounds have more.
		if state, err := s.rdb.HGet(ctx, t.keys.task(t.id), "state").Result(); err == nil && state == "pending" {
			return false, nil
		}
	}
	remove := 0
	if repair {
		remove = 1
	}
	k := t.keys
	return lostScript.Run(ctx, s.rdb, []string{
		k.task(t.id), k.pending(), k.active(), k.scheduled(), k.retry(), k.archived(), k.completed(),
	}, t.id, remove).Bool()
}

// ignoreNil makes of an answer that there is nothing no error.
func ignoreNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// number reads what asynq wrote as a number; what is none is 0.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
