package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/internal/failure"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		delay, most time.Duration
		tries       int
		want        time.Duration
	}{
		{time.Second, time.Minute, 1, time.Second},
		{time.Second, time.Minute, 2, 2 * time.Second},
		{time.Second, time.Minute, 6, 32 * time.Second},
		{time.Second, time.Minute, 7, time.Minute},
		{time.Second, time.Minute, 1000, time.Minute},
		{time.Minute, time.Hour, 30, time.Hour},
		{24 * time.Hour, 24 * time.Hour, 25, 24 * time.Hour},
		{time.Nanosecond, 24 * time.Hour, 1000, 24 * time.Hour},
		{0, time.Minute, 3, 0},
	} {
		a := attempts{delay: tc.delay, maxDelay: tc.most}
		for range 100 {
			if got := a.backoff(tc.tries); got > tc.want || got < tc.want/2 {
				t.Errorf("delay %v, most %v, try %d: waits %v, want %v to %v", tc.delay, tc.most, tc.tries, got, tc.want/2, tc.want)
				break
			}
		}
	}
}

// asynq's count of retries, less our own failed tries, is the number of
// crashes: only what crashed may be counted.
func TestWhatAsynqCounts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err    error
		counts bool
		delay  time.Duration
	}{
		"a failed try":          {&again{err: errors.New("x"), delay: time.Minute, counts: true}, true, time.Minute},
		"a wait":                {&again{err: errors.New("x"), delay: time.Second}, false, time.Second},
		"a wrapped wait":        {fmt.Errorf("y: %w", &again{err: errors.New("x"), delay: time.Second}), false, time.Second},
		"a lost lease":          {asynq.ErrLeaseExpired, true, 0},
		"a panic of ours":       {errors.New("panic"), true, 0},
		"the task's time over":  {context.DeadlineExceeded, false, 0},
		"cancelled in asynqmon": {context.Canceled, false, 0},
	} {
		if got := isFailure(tc.err); got != tc.counts {
			t.Errorf("%s: counts is %v, want %v", name, got, tc.counts)
		}
		if got := retryDelay(7, tc.err, nil); got != tc.delay {
			t.Errorf("%s: delay is %v, want %v", name, got, tc.delay)
		}
	}
}

func TestWhoAsksForAWait(t *testing.T) {
	t.Parallel()
	for _, r := range failure.Reasons() {
		want := r == failure.ReasonRateLimited || r == failure.ReasonUnavailable
		if got := asked(failure.New(r, failure.Hold, nil)); got != want {
			t.Errorf("%s: asked is %v, want %v", r, got, want)
		}
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	c := Config{
		Concurrency: 0, Lookups: -1, Pictures: maxConcurrency + 1, Only: "lookups", MaxAttempts: 0,
		RetryDelay: 2, MaxRetryDelay: 1, ShutdownTimeout: -1, PollInterval: 0, Listen: "9464",
	}
	want := []string{
		"worker.concurrency is 0", "worker.lookups is -1", "worker.pictures is 10001", `worker.only is "lookups"`,
		"worker.max_attempts is 0", "worker.retry_delay is 2ns", "worker.shutdown_timeout is -1ns", "worker.poll_interval is 0s",
		`worker.listen is "9464"`,
	}
	for range 20 {
		lines := strings.Split(c.Validate().Error(), "\n")
		if len(lines) != len(want) {
			t.Fatalf("got %d problems, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
		}
		for i, l := range lines {
			if !strings.HasPrefix(l, want[i]) {
				t.Fatalf("problem %d is %q, want %q", i, l, want[i])
			}
		}
	}
}
