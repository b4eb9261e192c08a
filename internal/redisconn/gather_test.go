package redisconn_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/redistest"
)

// TestGatheredTasks: tasks that share a script lie in Redis as those that
// asynq enqueues by itself, and each caller hears of its own.
func TestGatheredTasks(t *testing.T) {
	t.Parallel()
	const tasks, callers = 500, 3
	server := redistest.Start(t)
	c, _ := open(t, config(server.URL()))
	gathered := asynq.NewClientFromRedisClient(c.ForClient())
	var wg sync.WaitGroup
	var added, there atomic.Int64
	for range callers {
		for i := range tasks {
			wg.Go(func() {
				_, err := gathered.EnqueueContext(t.Context(), asynq.NewTask("t", fmt.Append(nil, i)),
					asynq.Queue(fmt.Sprint("q", i%2)), asynq.TaskID(fmt.Sprint(i)))
				switch {
				case err == nil:
					added.Add(1)
				case errors.Is(err, asynq.ErrTaskIDConflict):
					there.Add(1)
				default:
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if added.Load() != tasks || there.Load() != (callers-1)*tasks {
		t.Errorf("%d were added and %d were there, want %d and %d", added.Load(), there.Load(), tasks, (callers-1)*tasks)
	}

	alone := redistest.Start(t)
	plain := asynq.NewClientFromRedisClient(alone.Client())
	for i := range tasks {
		if _, err := plain.EnqueueContext(t.Context(), asynq.NewTask("t", fmt.Append(nil, i)),
			asynq.Queue(fmt.Sprint("q", i%2)), asynq.TaskID(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(contents(t, alone.Client()), contents(t, server.Client())); diff != "" {
		t.Errorf("what lies in Redis differs (-asynq +gathered):\n%s", diff)
	}
}

// contents is all that lies in a server but when it came there, and asynq's
// words about its servers.
func contents(t *testing.T, rdb *redis.Client) map[string]any {
	t.Helper()
	ctx := t.Context()
	all := make(map[string]any)
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if strings.HasPrefix(key, "asynq:servers") || strings.HasPrefix(key, "asynq:workers") {
			continue
		}
		kind, err := rdb.Type(ctx, key).Result()
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case "string":
			v, err := rdb.Get(ctx, key).Result()
			if err != nil {
				t.Fatal(err)
			}
			all[key] = fmt.Sprint(v, ", for ever: ", rdb.TTL(ctx, key).Val() < 0)
		case "zset":
			ends, err := rdb.ZRangeWithScores(ctx, key, 0, -1).Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, z := range ends {
				if d := time.Until(time.Unix(int64(z.Score), 0)); d < 10*time.Second || d > time.Minute {
					t.Errorf("%v of %s ends in %s", z.Member, key, d)
				}
			}
			all[key] = len(ends)
		case "hash":
			fields, err := rdb.HGetAll(ctx, key).Result()
			if err != nil {
				t.Fatal(err)
			}
			if since := fields["pending_since"]; (fields["state"] == "pending") != (len(since) == len("1700000000000000000")) {
				t.Errorf("%s is %s, pending since %q", key, fields["state"], since)
			}
			delete(fields, "pending_since")
			all[key] = fields
		case "list":
			ids, err := rdb.LRange(ctx, key, 0, -1).Result()
			if err != nil {
				t.Fatal(err)
			}
			all[key] = slices.Sorted(slices.Values(ids))
		case "set":
			members, err := rdb.SMembersMap(ctx, key).Result()
			if err != nil {
				t.Fatal(err)
			}
			all[key] = slices.Sorted(maps.Keys(members))
		default:
			t.Errorf("%s is a %s", key, kind)
		}
	}
	return all
}
