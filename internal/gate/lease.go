package gate

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// renew keeps the leases of all places of this process alive while there are
// any. The caller has the lock.
func (g *Gate) renew() {
	if g.renewing || g.closed {
		return
	}
	g.renewing = true
	g.wg.Go(func() {
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-g.ctx.Done():
				return
			case <-tick.C:
			}
			if !g.renewAll() {
				return
			}
		}
	})
}

// renewAll prolongs every lease, in one trip: one script for each host, since
// hosts may be in different slots. It reports whether there were any.
func (g *Gate) renewAll() bool {
	type hostPlaces struct {
		keys []string
		args []any
	}
	var all []hostPlaces
	g.mu.Lock()
	for k, l := range g.lines {
		if len(l.held) == 0 {
			continue
		}
		p := hostPlaces{
			keys: []string{g.keys.places(k.host), g.keys.probes(breakerKey{k.host, k.breaker})},
			args: []any{leaseTime.Microseconds()},
		}
		for id := range l.held {
			p.args = append(p.args, id)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		g.renewing = false
	}
	g.mu.Unlock()
	if len(all) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(g.ctx, scriptTime)
	defer cancel()
	_, err := g.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, p := range all {
			// In full: a pipeline cannot send a script that turns out to be unknown.
			renewScript.Eval(ctx, pipe, p.keys, p.args...)
		}
		return nil
	})
	if err != nil && g.ctx.Err() == nil {
		g.log.Warn("places at hosts could not be kept; others may take them", "error", err)
	}
	return true
}
