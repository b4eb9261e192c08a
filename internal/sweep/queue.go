package sweep

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/tasks"
)

const (
	// inHandAtOnce is how many doubtful tasks of a queue a round looks at.
	inHandAtOnce = 500
	// keptAside is how many messages are kept for somebody to look at.
	keptAside = 1000
	// keptArchived and archivedFor bound asynq's archive, which is for looking
	// only: failures stand in our records.
	keptArchived = 1000
	archivedFor  = 7 * 24 * time.Hour
	// trimAtOnce is how many tasks of an archive one script removes, and
	// trimsARound how many scripts a round has for a queue.
	trimAtOnce  = 500
	trimsARound = 20
)

// queues returns the queues of the installation.
func (s *Sweeper) queues(ctx context.Context) ([]string, error) {
	names, err := s.rdb.SMembers(ctx, "asynq:queues").Result()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	var ours []string
	for _, name := range names {
		if q, ok := tasks.ParseQueue(name); ok && q.Namespace == s.namespace {
			ours = append(ours, name)
		}
	}
	return ours, nil
}

// sweepQueue looks at the tasks in hand of one queue, and repairs.
func (s *Sweeper) sweepQueue(ctx context.Context, name string, repair bool) Queue {
	q := Queue{Name: name}
	k := keysOf(name)
	found, strays, err := s.inHand(ctx, k)
	if err != nil {
		q.Err = err
		return q
	}
	q.Strays = strays
	for _, t := range found {
		switch err := decode(name, t.id, t.message); {
		case t.message == "":
			q.Empty = append(q.Empty, t.id)
		case err != nil:
			q.Unreadable = append(q.Unreadable, Aside{
				Queue: name, ID: t.id, Cause: err.Error(), At: time.Now().UTC(), Message: []byte(t.message),
			})
		case t.lease == "":
			q.Unleased = append(q.Unleased, t.id)
		}
	}
	if repair {
		q.Err = s.repairQueue(ctx, k, &q)
	}
	return q
}

// inHand is a task in hand of which it is doubtful in whose.
type inHand struct{ id, lease, message string }

func (s *Sweeper) inHand(ctx context.Context, k queueKeys) (found []inHand, strays []string, err error) {
	reply, err := handScript.Run(ctx, s.rdb, []string{k.active(), k.lease()}, k.tasks(), inHandAtOnce).Slice()
	if err != nil {
		return nil, nil, err
	}
	entries, _ := reply[0].([]any)
	for _, e := range entries {
		if f, _ := e.([]any); len(f) == 3 {
			found = append(found, inHand{fmt.Sprint(f[0]), fmt.Sprint(f[1]), fmt.Sprint(f[2])})
		}
	}
	dead, _ := reply[1].([]any)
	for _, id := range dead {
		strays = append(strays, fmt.Sprint(id))
	}
	return found, strays, nil
}

func (s *Sweeper) repairQueue(ctx context.Context, k queueKeys, q *Queue) error {
	for _, a := range q.Unreadable {
		// Kept first: cut off in between it is kept twice.
		if err := s.keep(ctx, a); err != nil {
			return fmt.Errorf("keep the message of task %s aside: %w", a.ID, err)
		}
		if err := s.drop(ctx, k, a.ID, string(a.Message)); err != nil {
			return fmt.Errorf("move the message of task %s aside: %w", a.ID, err)
		}
	}
	for _, id := range q.Empty {
		if err := s.drop(ctx, k, id, ""); err != nil {
			return fmt.Errorf("forget task %s, which has no message: %w", id, err)
		}
	}
	for _, id := range q.Unleased {
		if err := lendScript.Run(ctx, s.rdb, []string{k.active(), k.lease()}, id).Err(); err != nil {
			return fmt.Errorf("give task %s a lease: %w", id, err)
		}
	}
	for _, id := range q.Strays {
		if err := endLeaseScript.Run(ctx, s.rdb, []string{k.active(), k.lease()}, id).Err(); err != nil {
			return fmt.Errorf("end the lease of task %s: %w", id, err)
		}
	}
	before := s.now.Add(-archivedFor).Unix()
	for range trimsARound {
		n, err := trimScript.Run(ctx, s.rdb, []string{k.archived()}, k.tasks(), keptArchived, before, trimAtOnce).Int()
		if err != nil {
			return fmt.Errorf("keep the archive short: %w", err)
		}
		q.Archived += n
		if n == 0 {
			break
		}
	}
	return nil
}

func (s *Sweeper) keep(ctx context.Context, a Aside) error {
	doc, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = s.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.LPush(ctx, s.asideKey(), doc)
		p.LTrim(ctx, s.asideKey(), 0, keptAside-1)
		return nil
	})
	return err
}

func (s *Sweeper) drop(ctx context.Context, k queueKeys, id, message string) error {
	return dropScript.Run(ctx, s.rdb, []string{k.active(), k.lease(), k.task(id)}, id, message).Err()
}

func (s *Sweeper) asideKey() string { return prefix(s.namespace) + "aside" }

// Asides returns how many messages are kept aside, and the latest ones, up to
// n.
func (s *Sweeper) Asides(ctx context.Context, n int) (int64, []Aside, error) {
	total, err := s.rdb.LLen(ctx, s.asideKey()).Result()
	if err != nil {
		return 0, nil, err
	}
	docs, err := s.rdb.LRange(ctx, s.asideKey(), 0, int64(n)-1).Result()
	if err != nil {
		return 0, nil, err
	}
	var asides []Aside
	for _, doc := range docs {
		var a Aside
		if err := json.Unmarshal([]byte(doc), &a); err != nil {
			return total, asides, fmt.Errorf("read %s: %w", s.asideKey(), err)
		}
		asides = append(asides, a)
	}
	return total, asides, nil
}

// forgetServers clears asynq's lists of servers and workers from those that
// ended without saying so.
func (s *Sweeper) forgetServers(ctx context.Context) error {
	for _, key := range []string{"asynq:servers", "asynq:workers"} {
		if err := s.rdb.ZRemRangeByScore(ctx, key, "-inf", fmt.Sprint(s.now.Add(-time.Minute).Unix())).Err(); err != nil {
			return fmt.Errorf("forget dead servers in %s: %w", key, err)
		}
	}
	return nil
}
