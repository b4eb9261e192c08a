package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/tasks"
)

const (
	// forwardEvery is how often due retries are put back into the queue.
	forwardEvery = time.Second
	// newerDelay is how long a task of a newer version is left alone by a
	// worker that cannot read it, and so how long after the last such worker
	// is gone its name may wait.
	newerDelay = time.Minute
)

// server serves some queues that are served alike.
type server struct {
	*asynq.Server
	ahead *redisconn.Ahead
}

// startServer starts one with so many tasks in hand at most.
func startServer(rdb redis.UniversalClient, queues []string, concurrency int, cfg Config, h asynq.Handler, log asynqLog) (server, error) {
	alike := make(map[string]int, len(queues))
	for _, queue := range queues {
		alike[queue] = 1
	}
	var running atomic.Int64
	ahead := redisconn.TakeAhead(rdb, func() int { return concurrency - int(running.Load()) })
	s := asynq.NewServerFromRedisClient(ahead, asynq.Config{
		Concurrency: concurrency,
		Queues:      alike,
		// Not the signal's context: that would fail every running task.
		BaseContext:              context.Background,
		TaskCheckInterval:        cfg.PollInterval,
		DelayedTaskCheckInterval: forwardEvery,
		// 0 would be a default of asynq's.
		ShutdownTimeout: max(cfg.ShutdownTimeout, time.Nanosecond),
		RetryDelayFunc:  retryDelay,
		IsFailure:       isFailure,
		Logger:          log,
		LogLevel:        asynq.WarnLevel,
	})
	err := s.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		running.Add(1)
		defer running.Add(-1)
		return h.ProcessTask(ctx, t)
	}))
	if err != nil {
		return server{}, fmt.Errorf("serve queues %s: %w", strings.Join(queues, ", "), err)
	}
	return server{Server: s, ahead: ahead}, nil
}

// shutdown ends a server that was stopped. What it took and did not begin goes
// back at once.
func (s server) shutdown(log *slog.Logger) {
	var back sync.WaitGroup
	back.Go(func() {
		// The client bounds this while Redis is away.
		if err := s.ahead.GiveBack(context.Background()); err != nil {
			log.Warn("tasks that this worker took and did not begin come back in a while", "error", err)
		}
	})
	s.Shutdown()
	back.Wait()
}

// typed makes an asynq handler of one that takes a decoded payload.
func typed[P any](taskType string, decode func([]byte) (P, error), log *slog.Logger, handle func(context.Context, P) error) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		growStack()
		if t.Type() != taskType {
			return reject(ctx, log, fmt.Errorf("%w: type %q in a queue for %q", tasks.ErrPayload, t.Type(), taskType))
		}
		p, err := decode(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewer):
			// A newer worker will do it; this one asks again in a while.
			queue, _ := asynq.GetQueueName(ctx)
			log.Warn("a task was made by a newer version and waits for a worker of that version", "queue", queue, "error", err)
			return &again{err: err, delay: newerDelay}
		case err != nil:
			return reject(ctx, log, err)
		}
		return handle(ctx, p)
	})
}

// reject archives a task that nobody can do, with its reason.
func reject(ctx context.Context, log *slog.Logger, err error) error {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	log.Warn("a task cannot be read and was archived", "task_id", id, "queue", queue, "error", err)
	return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
}

// again is an error after which asynq is to run the task once more.
type again struct {
	err   error
	delay time.Duration
	// counts says that asynq shall count a retry; waits do not.
	counts bool
}

func (a *again) Error() string { return a.err.Error() }

func (a *again) Unwrap() error { return a.err }

// retryDelay is asynq's RetryDelayFunc. Tasks whose worker died run again at
// once.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if a, ok := errors.AsType[*again](err); ok {
		return a.delay
	}
	return 0
}

// isFailure is asynq's: whether a retry is counted. What asynq counts beyond
// our own failed tries are crashes, so a lost lease must count, and a task
// whose time ran out while it waited must not.
func isFailure(err error) bool {
	if a, ok := errors.AsType[*again](err); ok {
		return a.counts
	}
	return !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// asynqLog passes asynq's log on, its errors at no more than a bounded rate:
// while Redis is away each server has several to tell every second. asynq's
// warnings are about single tasks, of which our records tell.
type asynqLog struct {
	log   *slog.Logger
	limit *rate.Limiter
}

func newAsynqLog(log *slog.Logger) asynqLog {
	return asynqLog{log: log, limit: rate.NewLimiter(rate.Every(5*time.Second), 2)}
}

func (l asynqLog) Debug(args ...any) { l.debug(args) }
func (l asynqLog) Info(args ...any)  { l.debug(args) }
func (l asynqLog) Warn(args ...any)  { l.debug(args) }
func (l asynqLog) Fatal(args ...any) {
	l.log.Error("the queue cannot go on", "component", "asynq", "error", fmt.Sprint(args...))
}

func (l asynqLog) Error(args ...any) {
	if l.limit.Allow() {
		l.log.Warn("the queue could not be read or written; it is tried again", "component", "asynq", "error", fmt.Sprint(args...))
	}
}

func (l asynqLog) debug(args []any) { l.log.Debug(fmt.Sprint(args...), "component", "asynq") }
