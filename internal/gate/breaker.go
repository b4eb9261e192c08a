package gate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
)

// Breaker says when a service counts as down and how it is tried again.
type Breaker struct {
	// After is how many failures in a row open it, of those that count (see
	// [Gate.Report]). Default 10.
	After int
	// Delay is the time to the first try; it doubles with each one that
	// fails up to MaxDelay. Defaults 5s, 1m.
	Delay, MaxDelay time.Duration
	// Ramp is how many requests in flight it takes to count as up again:
	// 1, 2, 4 and so on are let through until so many went well; one that
	// fails halves the number, and the last one opens it again. Default 32.
	Ramp int
}

// DefaultBreaker returns the defaults.
func DefaultBreaker() Breaker {
	return Breaker{After: 10, Delay: 5 * time.Second, MaxDelay: time.Minute, Ramp: 32}
}

type breakerKey struct{ host, name string }

type breakerState string

const (
	stateClosed breakerState = "closed"
	stateOpen   breakerState = "open"
	stateHalf   breakerState = "half"
)

// shut is what is known here of a breaker that is not closed, or that has
// seen failures.
type shut struct {
	state   breakerState
	until   time.Time
	fails   int
	reason  failure.Reason
	version string
	asOf    int64 // Redis's clock: news may come late
}

// Report tells a's breaker how a request went: by the reason of its failure,
// or "" if the service answered. blameless says that nothing is known against
// what was asked, since it has not failed before or the service was not
// reached: only such failures count towards the opening, because a question
// that failed before may itself be to blame. A service counts as
// down by unavailable, timeout, network, dns and blocked; credentials open
// the breaker at once; other reasons are answers.
//
// held is how long to wait if the request failed because its service is
// down, else 0: then the failure says nothing about what was asked.
func (g *Gate) Report(ctx context.Context, a Ask, reason failure.Reason, blameless bool) (held time.Duration, err error) {
	a.Host = strings.ToLower(a.Host)
	b := breakerKey{a.Host, a.Breaker}
	how := "ok"
	switch reason {
	case failure.ReasonUnavailable, failure.ReasonTimeout, failure.ReasonNetwork, failure.ReasonDNS, failure.ReasonBlocked:
		how = "down"
	case failure.ReasonCredentials:
		how = "refused"
	}
	if how == "ok" && !g.knows(b) {
		return 0, nil
	}
	if how != "ok" {
		g.expect(b)
	}
	version := ""
	if how == "refused" {
		version = a.version()
	}
	counts := 0
	if blameless {
		counts = 1
	}
	reply, err := reportScript.Run(ctx, g.rdb, []string{g.keys.breakerOf(b), g.keys.probes(b)},
		b.host, g.keys.channel(), b.name, version, how, string(reason), counts,
		g.breaker.After, g.breaker.Delay.Microseconds(), g.breaker.MaxDelay.Microseconds(), g.breaker.Ramp).StringSlice()
	if err != nil {
		return 0, fmt.Errorf("tell others how %s answered: %w", b.name, err)
	}
	s := g.learn(b, reply)
	if s.state == stateOpen || s.state == stateHalf {
		if err := g.rdb.SAdd(ctx, g.keys.breakers(), b.host+" "+b.name).Err(); err != nil {
			g.log.Debug("list a breaker", "provider", b.name, "error", err)
		}
	}
	if how == "ok" || s.state != stateOpen {
		return 0, nil
	}
	return max(time.Until(s.until), time.Millisecond), nil
}

// knows reports whether b is anything but closed and without failures.
func (g *Gate) knows(b breakerKey) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.breakers[b]
	return ok
}

// expect notes that b is to be told of a failure. Whoever was answered well from
// now on tells so too, or failures that were not in a row would look like one.
func (g *Gate) expect(b breakerKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.breakers[b]; !ok {
		g.breakers[b] = shut{state: stateClosed, fails: 1}
	}
}

// Reset lets an open breaker try at once.
func (g *Gate) Reset(ctx context.Context, host, name string) error {
	b := breakerKey{strings.ToLower(host), name}
	if err := resetScript.Run(ctx, g.rdb, []string{g.keys.breakerOf(b)}, b.host, g.keys.channel(), b.name).Err(); err != nil {
		return fmt.Errorf("try %s again: %w", name, err)
	}
	_, err := g.readBreaker(ctx, b)
	return err
}

func (g *Gate) readBreaker(ctx context.Context, b breakerKey) (shut, error) {
	reply, err := breakerScript.Run(ctx, g.rdb, []string{g.keys.breakerOf(b)}).StringSlice()
	if err != nil {
		return shut{}, fmt.Errorf("read the breaker of %s: %w", b.name, err)
	}
	return g.learn(b, reply), nil
}

// learn takes in {now, state, until, fails, reason, version}.
func (g *Gate) learn(b breakerKey, reply []string) shut {
	s := shut{
		state: breakerState(reply[1]), until: fromNow(micros(reply[0]), micros(reply[2])),
		fails: int(micros(reply[3])), reason: failure.Reason(reply[4]), version: reply[5], asOf: micros(reply[0]),
	}
	g.setBreaker(b, s)
	return s
}

func (g *Gate) setBreaker(b breakerKey, s shut) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.breakers[b]
	if s.asOf < old.asOf {
		return
	}
	if s.state == stateClosed && s.fails == 0 {
		delete(g.breakers, b)
	} else {
		g.breakers[b] = s
	}
	if old.state != s.state || !old.until.Equal(s.until) {
		g.announce()
	}
}
