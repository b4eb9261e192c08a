package control

import (
	"context"
	"sync"
	"time"
)

const (
	// pulseFor is how long it is believed that Redis answers, or does not.
	pulseFor = time.Second
	// pulseWithin is how long Redis may take to show that it is there: one that
	// is held up by a script for 2 s is.
	pulseWithin = 2200 * time.Millisecond
	// lookAfter is how long an answer may take before somebody looks whether
	// Redis is still there.
	lookAfter = 500 * time.Millisecond
)

// pulse knows whether Redis answers. A command to one that is away is tried
// again for longer than anybody wants to wait for a page.
type pulse struct {
	ping func(context.Context) error

	mu  sync.Mutex
	at  time.Time
	err error
}

// Alive returns nil if Redis answers, within 2.2 s. All callers of one second
// share one look.
func (c *Control) Alive(ctx context.Context) error { return c.pulse.check(ctx, pulseFor) }

// AliveNow is Alive that believes nobody: for callers that cannot be stopped
// once they have asked Redis.
func (c *Control) AliveNow(ctx context.Context) error { return c.pulse.check(ctx, 0) }

// WhileAlive returns a context that also ends, with Redis's error as its
// cause, when Redis stops answering: 2.7 s from now where it did so before, and
// else at most 4 s after it did. stop must be called.
func (c *Control) WhileAlive(ctx context.Context) (alive context.Context, stop func()) {
	alive, cancel := context.WithCancelCause(ctx)
	looks := make(chan struct{})
	look := time.AfterFunc(lookAfter, func() {
		defer close(looks)
		for alive.Err() == nil {
			// What was seen before the answer was asked for says nothing of now.
			if err := c.pulse.check(alive, lookAfter); err != nil {
				cancel(err)
				return
			}
			select {
			case <-alive.Done():
			case <-time.After(pulseFor):
			}
		}
	})
	return alive, func() {
		cancel(context.Canceled)
		if !look.Stop() {
			<-looks
		}
	}
}

// check asks Redis unless somebody did within the time of believe.
func (p *pulse) check(ctx context.Context, believe time.Duration) error {
	asked := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.After(asked) || time.Since(p.at) < believe {
		return p.err
	}
	// One caller asks for all: that it leaves says nothing about Redis.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pulseWithin)
	defer cancel()
	answered := make(chan error, 1)
	// A client that reads from a Redis that is frozen does not look at ctx.
	go func() { answered <- p.ping(ctx) }()
	select {
	case p.err = <-answered:
	case <-ctx.Done():
		p.err = ctx.Err()
	}
	p.at = time.Now()
	return p.err
}
