package gate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
)

// Hold lets no request to host begin for d, at most an hour, in any process:
// in this one from now on, in the others as soon as they hear of it. The
// longest hold counts.
func (g *Gate) Hold(ctx context.Context, host string, d time.Duration) error {
	host = strings.ToLower(host)
	d = min(d, maxHold)
	if d <= 0 {
		return nil
	}
	g.setHold(host, time.Now().Add(d))
	reply, err := holdScript.Run(ctx, g.rdb, []string{g.keys.host(host)}, host, g.keys.channel(), d.Microseconds()).StringSlice()
	if err != nil {
		return fmt.Errorf("hold requests to %s back: %w", host, err)
	}
	g.note(host, Limits{})
	g.remember(host, func(k *known) { k.limited = time.Now() })
	if err := listHoldScript.Run(ctx, g.rdb, []string{g.keys.holds()}, host, reply[1]).Err(); err != nil {
		return fmt.Errorf("hold requests to %s back: %w", host, err)
	}
	return nil
}

// Slow is Hold for a host that refused a request as one too many and did not
// say for how long: 1 s, then twice as long as the last time, up to 5 minutes,
// for as long as it serves nothing in between ([Gate.Served]).
func (g *Gate) Slow(ctx context.Context, host string) error {
	host = strings.ToLower(host)
	reply, err := slowScript.Run(ctx, g.rdb, []string{g.keys.host(host)}, host, g.keys.channel(),
		firstSlow.Microseconds(), maxSlow.Microseconds(), slowCounts.Microseconds()).StringSlice()
	if err != nil {
		return fmt.Errorf("slow requests to %s down: %w", host, err)
	}
	g.setHold(host, fromNow(micros(reply[0]), micros(reply[1])))
	g.setSlow(host)
	g.note(host, Limits{})
	g.remember(host, func(k *known) { k.limited = time.Now() })
	if err := listHoldScript.Run(ctx, g.rdb, []string{g.keys.holds()}, host, reply[1]).Err(); err != nil {
		return fmt.Errorf("slow requests to %s down: %w", host, err)
	}
	return nil
}

// Served says that host answered a request: a hold of [Gate.Slow] was long
// enough, and the next one begins at the shortest. It costs a trip to Redis
// after such a hold only.
func (g *Gate) Served(ctx context.Context, host string) error {
	host = strings.ToLower(host)
	g.mu.Lock()
	slow := g.slow[host]
	delete(g.slow, host)
	g.mu.Unlock()
	if !slow {
		return nil
	}
	if err := g.rdb.HDel(ctx, g.keys.host(host), "slow").Err(); err != nil {
		return fmt.Errorf("note that %s answers again: %w", host, err)
	}
	return nil
}

func (g *Gate) setSlow(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.slow) >= maxKnown {
		clear(g.slow)
	}
	g.slow[host] = true
}

func (g *Gate) setHold(host string, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.holds[host]) {
		g.holds[host] = until
		g.announce()
	}
}

// announce wakes who waits for a hold or a breaker. The caller has the lock.
func (g *Gate) announce() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// listen follows what other processes publish. After every connection it
// reads what it may have missed.
func (g *Gate) listen(rdb redis.UniversalClient) {
	sub := rdb.Subscribe(g.ctx, g.keys.channel())
	defer sub.Close()
	messages := sub.ChannelWithSubscriptions()
	for {
		select {
		case <-g.ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			switch m := m.(type) {
			case *redis.Subscription:
				g.callAll()
				if err := g.reread(); err != nil && g.ctx.Err() == nil {
					g.log.Warn("what hosts asked for is not known until they ask again", "error", err)
				}
			case *redis.Message:
				g.hear(m.Payload)
			}
		}
	}
}

// callAll lets every line ask again: it may have been called meanwhile.
func (g *Gate) callAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lines {
		if len(l.waiting) > 0 {
			l.wake()
		}
	}
}

// reread reads every hold and breaker.
func (g *Gate) reread() error {
	ctx, cancel := context.WithTimeout(g.ctx, scriptTime)
	defer cancel()
	reply, err := holdsScript.Run(ctx, g.rdb, []string{g.keys.holds()}).StringSlice()
	if err != nil {
		return fmt.Errorf("read what hosts asked for: %w", err)
	}
	for i := 1; i+1 < len(reply); i += 2 {
		// Redis writes large scores in whatever way it likes.
		until, err := strconv.ParseFloat(reply[i+1], 64)
		if err == nil {
			g.setHold(reply[i], fromNow(micros(reply[0]), int64(until)))
		}
	}
	listed, err := g.rdb.SMembers(ctx, g.keys.breakers()).Result()
	if err != nil {
		return fmt.Errorf("read the breakers: %w", err)
	}
	var errs []error
	for _, entry := range listed {
		host, name, _ := strings.Cut(entry, " ")
		_, err := g.readBreaker(ctx, breakerKey{host, name})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// hear takes in a message.
func (g *Gate) hear(message string) {
	words := strings.Split(message, " ")
	switch {
	case words[0] == "w" && len(words) == 2:
		g.mu.Lock()
		defer g.mu.Unlock()
		if l := g.byID[words[1]]; l != nil && len(l.waiting) > 0 {
			l.wake()
		}
	case words[0] == "h" && len(words) == 4:
		g.setHold(words[3], fromNow(micros(words[1]), micros(words[2])))
		g.remember(words[3], func(k *known) { k.limited = time.Now() })
	case words[0] == "s" && len(words) == 2:
		g.setSlow(words[1])
	case words[0] == "b" && len(words) == 9:
		dash := func(s string) string { return strings.TrimSuffix(s, "-") }
		g.setBreaker(breakerKey{words[7], words[8]}, shut{
			state: breakerState(words[2]), until: fromNow(micros(words[1]), micros(words[3])),
			fails: int(micros(words[4])), reason: failure.Reason(dash(words[5])), version: dash(words[6]), asOf: micros(words[1]),
		})
	}
}

// fromNow turns a time by Redis's clock into one of ours.
func fromNow(now, t int64) time.Time {
	return time.Now().Add(time.Duration(t-now) * time.Microsecond)
}
