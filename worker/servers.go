package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/tasks"
)

const (
	// An asynq server takes one task per round trip, whatever its
	// concurrency: several on one queue, here called fetchers, share it.
	namesPerFetcher = 25
	maxFetchers     = 4
	// forwardEvery is how often due retries are put back into the queue.
	forwardEvery = time.Second
)

// startServers starts the fetchers of one queue.
func startServers(rdb redis.UniversalClient, queue string, concurrency int, cfg Config, h asynq.Handler, log *slog.Logger) ([]*asynq.Server, error) {
	n := min(maxFetchers, (concurrency+namesPerFetcher-1)/namesPerFetcher)
	var servers []*asynq.Server
	for i := range n {
		s := asynq.NewServerFromRedisClient(rdb, asynq.Config{
			Concurrency: (concurrency + i) / n, // the shares add up to concurrency
			Queues:      map[string]int{queue: 1},
			// Not the signal's context: that would fail every running task.
			BaseContext:              context.Background,
			TaskCheckInterval:        cfg.PollInterval,
			DelayedTaskCheckInterval: forwardEvery,
			ShutdownTimeout:          cfg.ShutdownTimeout,
			RetryDelayFunc:           retryDelay,
			IsFailure:                isFailure,
			Logger:                   asynqLog{log},
			LogLevel:                 asynq.WarnLevel,
		})
		if err := s.Start(h); err != nil {
			return servers, fmt.Errorf("serve queue %s: %w", queue, err)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// typed makes an asynq handler of one that takes a decoded payload.
func typed[P any](taskType string, decode func([]byte) (P, error), log *slog.Logger, handle func(context.Context, P) error) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		if t.Type() != taskType {
			return reject(ctx, log, fmt.Errorf("%w: type %q in a queue for %q", tasks.ErrPayload, t.Type(), taskType))
		}
		p, err := decode(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewer):
			// A newer worker will do it; this one asks again in a while.
			return &again{err: err, delay: time.Minute}
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
// our own failed tries are crashes, so a lost lease must count.
func isFailure(err error) bool {
	if a, ok := errors.AsType[*again](err); ok {
		return a.counts
	}
	return true
}

// asynqLog passes asynq's log on.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLog) Info(args ...any)  { l.log.Debug(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLog) Warn(args ...any)  { l.log.Info(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLog) Error(args ...any) { l.log.Warn(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLog) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...), "component", "asynq") }
