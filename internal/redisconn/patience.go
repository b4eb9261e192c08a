package redisconn

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// pauseLeast is the shortest pause after an error; as much again is
	// added at random.
	pauseLeast = 500 * time.Millisecond
	// pauseEach is added for every caller that pauses already, so that any
	// number of them together stays under 50 tries a second.
	pauseEach = 20 * time.Millisecond
	pauseMost = 5 * time.Second
)

// patientClient pauses after a script that failed because of the server, not
// because of its arguments. It hooks in at the methods, since a hook of the
// client cannot hold back a full-duplex stream.
type patientClient struct {
	redis.UniversalClient
	patience *patience
}

func (c *patientClient) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return c.patience.after(ctx, c.UniversalClient.Eval(ctx, script, keys, args...))
}

func (c *patientClient) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	return c.patience.after(ctx, c.UniversalClient.EvalSha(ctx, sha1, keys, args...))
}

func (c *patientClient) EvalRO(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return c.patience.after(ctx, c.UniversalClient.EvalRO(ctx, script, keys, args...))
}

func (c *patientClient) EvalShaRO(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	return c.patience.after(ctx, c.UniversalClient.EvalShaRO(ctx, sha1, keys, args...))
}

// patience holds callers back while the server fails.
type patience struct {
	stop    <-chan struct{} // ends every pause
	trouble *troubleLog
	pausing atomic.Int64
}

// after returns cmd, at once if the server did its part, else after a pause.
func (p *patience) after(ctx context.Context, cmd *redis.Cmd) *redis.Cmd {
	err := cmd.Err()
	if !serverTrouble(err) {
		return cmd
	}
	p.trouble.warn(err)
	others := p.pausing.Add(1) - 1
	defer p.pausing.Add(-1)
	pause := pauseLeast + rand.N(pauseLeast) + time.Duration(others)*pauseEach
	timer := time.NewTimer(min(pause, pauseMost))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-p.stop:
	}
	return cmd
}

// serverTrouble reports whether a script's error is likely to be the same a
// moment later. What scripts answer in the course of their work is not: no
// value, not cached, and asynq's NOT FOUND for a task that is gone.
func serverTrouble(err error) bool {
	switch {
	case err == nil, errors.Is(err, redis.Nil), errors.Is(err, ErrKilled),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	}
	text := err.Error()
	return !strings.HasPrefix(text, "NOSCRIPT") && !strings.Contains(text, "NOT FOUND")
}
