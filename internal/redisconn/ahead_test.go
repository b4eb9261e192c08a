package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/redistest"
)

// enqueue puts tasks 0 to n-1 into queue q.
func enqueue(t *testing.T, rdb redis.UniversalClient, n int) {
	t.Helper()
	client := asynq.NewClientFromRedisClient(rdb)
	for i := range n {
		if _, err := client.EnqueueContext(t.Context(), asynq.NewTask("t", fmt.Append(nil, i)), asynq.Queue("q"), asynq.TaskID(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTasksTakenAhead: a server that takes tasks ahead runs each once, in their
// order, and leaves in Redis what one leaves that takes each by itself.
func TestTasksTakenAhead(t *testing.T) {
	t.Parallel()
	const tasks, hold, concurrency = 300, 260, 16
	var states [2][2]map[string]any // ahead and not: while some are in hand, and in the end
	for i, ahead := range []bool{true, false} {
		s := redistest.Start(t)
		c, _ := open(t, config(s.URL()))
		enqueue(t, c.Pipelined, tasks)
		var begun, running, held atomic.Int64
		release := make(chan struct{})
		rdb := c.Pipelined
		if ahead {
			rdb = redisconn.TakeAhead(c.ForServers(time.Millisecond), func() int { return concurrency - int(running.Load()) })
		}
		srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
			Concurrency: concurrency, Queues: map[string]int{"q": 1}, TaskCheckInterval: 20 * time.Millisecond, LogLevel: asynq.FatalLevel,
		})
		if err := srv.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
			running.Add(1)
			defer running.Add(-1)
			begun.Add(1)
			if n, err := strconv.Atoi(string(task.Payload())); err != nil || n >= hold {
				held.Add(1)
				<-release
			}
			return nil
		})); err != nil {
			t.Fatal(err)
		}
		// What is ready has the state of what runs: so many are in hand that
		// none is left to be taken ahead.
		waitFor(t, "as many are in hand as there is room for", func() bool {
			return held.Load() == concurrency && s.Client().LLen(t.Context(), "asynq:{q}:active").Val() == concurrency
		})
		states[i][0] = contents(t, s.Client())
		close(release)
		waitFor(t, "all have ended", func() bool {
			left, err := s.Client().Keys(t.Context(), "asynq:{q}:t:*").Result()
			return err == nil && len(left) == 0
		})
		states[i][1] = contents(t, s.Client())
		srv.Shutdown()
		if begun.Load() != tasks {
			t.Errorf("%d runs of %d tasks", begun.Load(), tasks)
		}
	}
	for at, when := range []string{"while some are in hand", "in the end"} {
		if diff := cmp.Diff(states[1][at], states[0][at]); diff != "" {
			t.Errorf("what lies in Redis %s differs (-asynq +ahead):\n%s", when, diff)
		}
	}
}

// dequeue asks as asynq does.
func dequeue(rdb redis.UniversalClient) (string, error) {
	keys := []string{"asynq:{q}:pending", "asynq:{q}:paused", "asynq:{q}:active", "asynq:{q}:lease"}
	return rdb.EvalSha(context.Background(), "asynq's own", keys, time.Now().Add(30*time.Second).Unix(), "asynq:{q}:t:").Text()
}

// TestTasksThatDidNotBeginGoBack: what a server has taken and not asked for is
// in its queue again, in its order, as if nobody had taken it.
func TestTasksThatDidNotBeginGoBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c, _ := open(t, config(s.URL()))
	enqueue(t, c.Pipelined, 10)
	rdb := s.Client()
	before := contents(t, rdb)
	ids := rdb.LRange(t.Context(), "asynq:{q}:pending", 0, -1).Val()
	ahead := redisconn.TakeAhead(c.Pipelined, func() int { return 6 })
	if _, err := dequeue(ahead); err != nil {
		t.Fatal(err)
	}
	if n := rdb.LLen(t.Context(), "asynq:{q}:active").Val(); n != 6 {
		t.Fatalf("%d tasks are in hand, want 6", n)
	}
	// One is put back by others meanwhile, as a lost one is.
	if err := asynqRequeue(rdb, ids[len(ids)-2]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ahead.GiveBack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := rdb.LRange(t.Context(), "asynq:{q}:active", 0, -1).Val(); !slices.Equal(got, ids[9:]) {
		t.Errorf("in hand are %v, want %v", got, ids[9:])
	}
	want := slices.Concat(ids[:4], []string{ids[8]}, ids[4:8])
	if got := rdb.LRange(t.Context(), "asynq:{q}:pending", 0, -1).Val(); !slices.Equal(got, want) {
		t.Errorf("the queue is %v, want %v", got, want)
	}
	after := contents(t, rdb)
	for _, id := range ids[:9] {
		key := "asynq:{q}:t:" + id
		if diff := cmp.Diff(before[key], after[key]); diff != "" {
			t.Errorf("%s differs (-before +after):\n%s", key, diff)
		}
	}
	if n := rdb.ZCard(t.Context(), "asynq:{q}:lease").Val(); n != 1 {
		t.Errorf("%d leases, want that of the one in hand", n)
	}
	if _, err := dequeue(ahead); !errors.Is(err, redis.Nil) {
		t.Errorf("got %v after the tasks were given back, want nothing", err)
	}
}

// TestTasksThatNobodyAsksForGoBack: a server that had less room than it told
// keeps nothing that others could do.
func TestTasksThatNobodyAsksForGoBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c, _ := open(t, config(s.URL()))
	enqueue(t, c.Pipelined, 5)
	ids := s.Client().LRange(t.Context(), "asynq:{q}:pending", 0, -1).Val()
	ahead := redisconn.TakeAhead(c.Pipelined, func() int { return 4 })
	began := time.Now()
	if _, err := dequeue(ahead); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the others are in the queue again", func() bool {
		return slices.Equal(s.Client().LRange(t.Context(), "asynq:{q}:pending", 0, -1).Val(), ids[:4])
	})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("that took %s, want 10 s at most", took)
	}
	if _, err := dequeue(ahead); err != nil {
		t.Errorf("take one again: %v", err)
	}
}

// asynqRequeue puts a task back as another process does whose worker is gone.
func asynqRequeue(rdb *redis.Client, id string) error {
	return rdb.Eval(context.Background(), `
redis.call('LREM', 'asynq:{q}:active', 0, ARGV[1])
redis.call('ZREM', 'asynq:{q}:lease', ARGV[1])
redis.call('RPUSH', 'asynq:{q}:pending', ARGV[1])
redis.call('HSET', 'asynq:{q}:t:' .. ARGV[1], 'state', 'pending', 'pending_since', ARGV[2])
return 1`, nil, id, time.Now().UnixNano()).Err()
}

// TestWhatCannotBeTakenAheadFailsAlone: a paused queue gives nothing, a task
// whose key is of the wrong kind an error, and the others their messages.
func TestWhatCannotBeTakenAheadFailsAlone(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c, _ := open(t, config(s.URL()))
	enqueue(t, c.Pipelined, 5)
	rdb := s.Client()
	ahead := redisconn.TakeAhead(c.Pipelined, func() int { return 100 })
	if err := rdb.Set(t.Context(), "asynq:{q}:paused", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := dequeue(ahead); !errors.Is(err, redis.Nil) {
		t.Fatalf("got %v from a paused queue, want nothing", err)
	}
	if err := errors.Join(rdb.Del(t.Context(), "asynq:{q}:paused", "asynq:{q}:t:2").Err(), rdb.LPush(t.Context(), "asynq:{q}:t:2", "foreign").Err()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var messages, failed, none atomic.Int64
	for range 8 {
		wg.Go(func() {
			message, err := dequeue(ahead)
			switch {
			case err == nil && strings.Contains(message, "\x01t"):
				messages.Add(1)
			case errors.Is(err, redis.Nil):
				none.Add(1)
			case err != nil && strings.Contains(err.Error(), "WRONGTYPE"):
				failed.Add(1)
			default:
				t.Errorf("got %q, %v", message, err)
			}
		})
	}
	wg.Wait()
	if messages.Load() != 4 || failed.Load()+none.Load() != 4 {
		t.Errorf("%d messages, %d errors and %d times nothing; want 4 messages", messages.Load(), failed.Load(), none.Load())
	}
	if n := rdb.LLen(t.Context(), "asynq:{q}:active").Val(); n != 5 {
		t.Errorf("%d are in hand, want 5", n)
	}
}
