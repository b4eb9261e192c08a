package sweep

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// asynq waits until a lease of 30 s has run out, for half a minute more and
// for its next search, up to two minutes in all. A worker prolongs its leases
// every 5 s, so whose worker has died is known much sooner.
const (
	// lookEvery is how often the leases are looked at.
	lookEvery = 5 * time.Second
	// looksUnheld is in how many looks in a row a lease must have stayed as it
	// was: a worker had 20 s to prolong it.
	looksUnheld = 5
	// lookGap is how far apart two looks may lie. Where Redis or this process
	// stood still meanwhile, workers could prolong as little.
	lookGap = 2 * lookEvery
	// lookWithin bounds a look, and lookTurn is how long a process has the
	// turn after one.
	lookWithin = 5 * time.Second
	lookTurn   = 12 * time.Second
	// leasesAtOnce is how many leases of a queue a look sees, those first that
	// were prolonged the longest ago.
	leasesAtOnce = 500
)

// lookout is what the looks so far have shown.
type lookout struct {
	last time.Time
	seen map[queueKeys]map[string]sighting
}

// sighting is a lease, in how many looks in a row it was the same.
type sighting struct {
	lease float64
	looks int
}

// look takes the tasks back that nobody holds any more, if this process has
// the turn. Taking the turn is a write, without which leases cannot be
// prolonged either.
func (s *Sweeper) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if time.Since(s.out.last) > lookGap {
		s.out.seen = nil
	}
	mine, err := s.turn(ctx, "lookout", lookTurn)
	if err == nil && mine {
		err = s.lookAtLeases(ctx)
	}
	if err != nil {
		// The next look may succeed, and the servers say what is wrong.
		s.log.Debug("look for tasks that nobody holds", "error", err)
	}
	if err != nil || !mine {
		s.out.seen = nil
	}
	s.out.last = time.Now()
}

func (s *Sweeper) lookAtLeases(ctx context.Context) error {
	names, err := s.queues(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	leases := make([]*redis.ZSliceCmd, len(names))
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			leases[i] = p.ZRangeWithScores(ctx, keysOf(name).lease(), 0, leasesAtOnce-1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the leases: %w", err)
	}
	seen := make(map[queueKeys]map[string]sighting, len(names))
	for i, name := range names {
		k, n := keysOf(name), 0
		seen[k] = make(map[string]sighting)
		for _, z := range leases[i].Val() {
			id := fmt.Sprint(z.Member)
			now := sighting{z.Score, 1}
			if before := s.out.seen[k][id]; before.lease == z.Score {
				now.looks += before.looks
			}
			seen[k][id] = now
			if now.looks < looksUnheld {
				continue
			}
			back, err := s.takeBack(ctx, k, name, id, z.Score)
			if err != nil {
				return err
			}
			if back {
				n++
			}
		}
		if n > 0 {
			s.log.Warn("tasks whose worker is gone come back", "queue", name, "tasks", n)
		}
	}
	s.out.seen = seen
	return nil
}

// takeBack puts a task back to where the next worker takes it first, and
// counts a run that never came back, as asynq would.
func (s *Sweeper) takeBack(ctx context.Context, k queueKeys, queue, id string, lease float64) (bool, error) {
	message, err := s.rdb.HGet(ctx, k.task(id), "msg").Result()
	if err != nil || decode(queue, id, message) != nil {
		return false, ignoreNil(err) // the rounds see to it
	}
	counted, err := countRun(message)
	if err != nil {
		return false, err
	}
	back, err := takeBackScript.Run(ctx, s.rdb, []string{k.task(id), k.active(), k.lease(), k.pending()},
		id, strconv.FormatFloat(lease, 'f', -1, 64), message, counted).Bool()
	if err != nil {
		return false, fmt.Errorf("take task %s back: %w", id, err)
	}
	return back, nil
}
