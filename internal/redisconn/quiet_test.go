package redisconn_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/redistest"
)

// Idle servers on many queues cost next to nothing, and yet a task that
// comes, or comes due, is done soon.
func TestIdleServersAreQuiet(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c, _ := open(t, config(server.URL()))
	const poll = 20 * time.Millisecond
	rdb := c.ForServers(poll / 2)
	queues := make(map[string]int)
	for i := range 16 {
		queues[fmt.Sprint("q", i)] = 1
	}
	tries := make(chan string, 100)
	for range 8 {
		s := asynq.NewServerFromRedisClient(rdb, asynq.Config{
			Concurrency: 2, Queues: queues, TaskCheckInterval: poll, DelayedTaskCheckInterval: time.Second,
			RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
			LogLevel:       asynq.FatalLevel,
		})
		err := s.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
			tries <- task.Type()
			if n, _ := asynq.GetRetryCount(ctx); n == 0 && task.Type() == "twice" {
				return context.DeadlineExceeded
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
	}
	client := asynq.NewClientFromRedisClient(c.Pipelined)
	do := func(queue string, want string) {
		t.Helper()
		if _, err := client.Enqueue(asynq.NewTask(want, nil), asynq.Queue(queue)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-tries:
			if got != want {
				t.Errorf("%s was done, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s was not done", want)
		}
	}
	for i := range 16 {
		do(fmt.Sprint("q", i), "once")
		next("once")
	}
	do("q3", "twice")
	next("twice")
	next("twice")

	plain := server.Client()
	before := scripts(t, plain)
	listen := time.NewTimer(time.Second)
	<-listen.C
	// 50 looks a second are asked for; alone the servers would ask for 16
	// queues 8 times in each 20 ms.
	if n := scripts(t, plain) - before; n > 200 {
		t.Errorf("%d scripts in a second from idle servers, want at most 100", n)
	}
	do("q7", "late")
	next("late")
}

// scripts is how many scripts the server has run.
func scripts(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	text, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			calls, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(calls)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
