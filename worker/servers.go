package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/picharvest/picharvest/tasks"
)

const (
	// An asynq server takes one task per round trip, whatever its
	// concurrency: several on one queue, here called fetchers, share it. They
	// are as many as it takes to fill the concurrency with tasks of
	// shortTask, and near Redis some more, for the trip is not what takes
	// long there. Each has a connection of its own for asynq's
	// cancellations, which bounds them: the express lane, which never has many
	// names, leaves some of its share to the bulk lane.
	shortTask          = 20 * time.Millisecond
	namesPerFetcher    = 25
	nearFetchers       = 4
	maxFetchers        = 12
	maxExpressFetchers = 4
	// forwardEvery is how often due retries are put back into the queue.
	forwardEvery = time.Second
	// newerDelay is how long a task of a newer version is left alone by a
	// worker that cannot read it, and so how long after the last such worker
	// is gone its name may wait.
	newerDelay = time.Minute
)

// startServers starts the fetchers of some queues that are served alike.
func startServers(rdb redis.UniversalClient, queues []string, shares []int, cfg Config, h asynq.Handler, log asynqLog) ([]*asynq.Server, error) {
	alike := make(map[string]int, len(queues))
	for _, queue := range queues {
		alike[queue] = 1
	}
	var servers []*asynq.Server
	for _, share := range shares {
		s := asynq.NewServerFromRedisClient(rdb, asynq.Config{
			Concurrency: share,
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
		if err := s.Start(h); err != nil {
			return servers, fmt.Errorf("serve queues %s: %w", strings.Join(queues, ", "), err)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// fetchers returns the concurrency of each fetcher of a queue that is rtt
// away, most at most; the shares add up to the queue's.
func fetchers(concurrency int, rtt time.Duration, most int) []int {
	near := min(nearFetchers, (concurrency+namesPerFetcher-1)/namesPerFetcher)
	far := min(most, concurrency, int(time.Duration(concurrency)*rtt/shortTask))
	n := max(near, far)
	shares := make([]int, n)
	for i := range shares {
		shares[i] = (concurrency + i) / n
	}
	return shares
}

// roundTrip is the least time that a command takes, 0 where that is unknown.
func roundTrip(ctx context.Context, rdb redis.UniversalClient) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	least := time.Duration(0)
	for i := range 3 {
		began := time.Now()
		if err := rdb.Ping(ctx).Err(); err != nil {
			return 0
		}
		if took := time.Since(began); i == 0 || took < least {
			least = took
		}
	}
	return least
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
