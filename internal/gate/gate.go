package gate

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
)

const (
	// leaseTime is how long a place outlives its process; renewEvery leaves
	// room for two renewals to be lost.
	leaseTime  = 15 * time.Second
	renewEvery = 5 * time.Second
	// aheadTime is how far ahead of its time a request is let in. It bounds
	// how long a place is held by a request that has not begun.
	aheadTime = time.Second
	// askAgain is how long a line waits for a call before it asks again. In
	// Redis it counts as waiting for three times as long.
	askAgain = time.Second
	// comeBack is the least time after which who found no place comes back.
	comeBack = time.Second
	// horizon bounds how far off a turn can be.
	horizon = 15 * time.Minute
	// maxHold bounds what a host can ask for.
	maxHold = time.Hour
	// firstSlow and maxSlow bound the holds of a host that does not say for
	// how long; slowCounts is how long after its end the last one counts.
	firstSlow  = time.Second
	maxSlow    = 5 * time.Minute
	slowCounts = 10 * time.Minute
	// scriptTime bounds one script, with all that the client does to send it.
	scriptTime = 15 * time.Second
)

// Options are what a Gate can do without.
type Options struct {
	// Subscriber is the client for the subscription, where rdb is not fit
	// for one. Default: rdb.
	Subscriber redis.UniversalClient
	// Breaker says when breakers open and close. Default: DefaultBreaker().
	Breaker Breaker
	// Logger takes what nobody is left to be told. Default: none.
	Logger *slog.Logger
}

// Gate lets requests begin. Its methods may be called by any number of
// goroutines. It must be closed.
type Gate struct {
	rdb     redis.UniversalClient
	keys    keyspace
	id      string
	breaker Breaker
	log     *slog.Logger

	ctx    context.Context // over when the gate is closed
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	lines    map[lineKey]*line
	byID     map[string]*line
	numbered int
	renewing bool
	holds    map[string]time.Time
	breakers map[breakerKey]shut
	changed  chan struct{} // closed when a hold or breaker changes
	listed   map[string]time.Time
	slow     map[string]bool   // hosts whose last hold came from Slow
	known    map[string]*known // for Snapshot
}

// New returns the gate of an installation, in a namespace that is usually
// empty. It holds one connection for its subscription, and asks nothing of
// Redis while nobody asks anything of it.
func New(rdb redis.UniversalClient, namespace string, o Options) *Gate {
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gate{
		rdb: rdb, keys: newKeyspace(namespace), id: uuid.NewString()[:8], breaker: o.Breaker, log: o.Logger,
		ctx: ctx, cancel: cancel,
		lines: make(map[lineKey]*line), byID: make(map[string]*line),
		holds: make(map[string]time.Time), breakers: make(map[breakerKey]shut),
		changed: make(chan struct{}), listed: make(map[string]time.Time),
		slow: make(map[string]bool), known: make(map[string]*known),
	}
	if g.breaker == (Breaker{}) {
		g.breaker = DefaultBreaker()
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	sub := o.Subscriber
	if sub == nil {
		sub = rdb
	}
	g.wg.Go(func() { g.listen(sub) })
	return g
}

// Close ends the gate. Whoever waits gets an error; places that are still
// held are free when their leases end. Redis must still be open.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.wg.Wait()
}

// Ask is a request that wants to begin.
type Ask struct {
	// Host is the host's name, with its port where a URL would have one. Who
	// asks about the same host shares what Limits say of the same thing.
	Host   string
	Limits Limits
	// Breaker names the service that [Gate.Report] tells about; usually
	// empty. Each host may have several.
	Breaker string
	// Version, if set, returns a word for how the service is asked (its
	// definition, its secrets): where it changes, a service that refused it
	// is tried anew. It is called only while a breaker is not closed.
	Version func() string
	// Wait is how long the caller can wait. 0: not at all.
	Wait time.Duration
	// Crowd bounds how many callers of this process may wait for a place in
	// flight; the others are sent away at once. 0: any number.
	Crowd int
	// Express goes ahead of all who are not, in this process's line, between
	// processes where a place is free, and in the turns that are given out.
	Express bool
}

func (a Ask) version() string {
	if a.Version == nil {
		return ""
	}
	return a.Version()
}

// LaterError says that the request cannot begin while the caller can wait.
type LaterError struct {
	// Host, and what it lacks: "hold" (it asked to wait), "breaker" (its
	// service is down), "rate" or "place".
	Host, Why string
	// After is when to come back. Those that are sent away get times that
	// are as far apart as the host serves requests, with jitter.
	After time.Duration
}

// Error says when to come back.
func (e *LaterError) Error() string {
	why := map[string]string{
		"hold": "asked to wait", "breaker": "is down or refuses this client",
		"rate": "is asked as often as it allows", "place": "has as many requests in flight as it allows",
	}[e.Why]
	return fmt.Sprintf("%s %s: again in %s", e.Host, why, e.After.Round(time.Millisecond))
}

// Open reports whether [Gate.Acquire] would let the request begin at once and
// there were nothing to give back: its host has no limits and is not held up.
func (g *Gate) Open(a Ask) bool {
	if a.Limits != (Limits{}) {
		return false
	}
	a.Host = strings.ToLower(a.Host)
	until, _, shutOff, _ := g.blocked(a)
	return until.IsZero() && !shutOff
}

// Acquire waits until the request may begin, and returns a function to call
// once when it has ended; calling it again does nothing. Its errors are
// ctx's, a [*LaterError], or Redis's.
func (g *Gate) Acquire(ctx context.Context, a Ask) (release func(), err error) {
	a.Host = strings.ToLower(a.Host)
	deadline := time.Now().Add(a.Wait)
	for {
		until, why, shutOff, changed := g.blocked(a)
		switch {
		case until.After(deadline):
			return nil, &LaterError{Host: a.Host, Why: why, After: time.Until(until) + spread(time.Second)}
		case !until.IsZero():
			if err := g.sleep(ctx, until, changed); err != nil {
				return nil, err
			}
			continue
		case a.Limits == (Limits{}) && !shutOff:
			return func() {}, nil
		}
		p, err := g.stand(ctx, a, deadline)
		if err != nil {
			return nil, err
		}
		if err := g.sleep(ctx, p.at, nil); err != nil {
			p.release()
			return nil, err
		}
		// What was put off meanwhile must not begin.
		if until, _, _, _ := g.blocked(a); until.IsZero() {
			return sync.OnceFunc(p.release), nil
		}
		p.release()
	}
}

// blocked returns until when a is held back by what is known here, and
// whether a's breaker is anything but closed.
func (g *Gate) blocked(a Ask) (until time.Time, why string, shutOff bool, changed <-chan struct{}) {
	g.mu.Lock()
	now := time.Now()
	hold, held := g.holds[a.Host]
	if held && !hold.After(now) {
		delete(g.holds, a.Host)
		held = false
	}
	b, shutOff := g.breakers[breakerKey{a.Host, a.Breaker}]
	changed = g.changed
	g.mu.Unlock()

	if held {
		until, why = hold, "hold"
	}
	shutOff = shutOff && b.state != stateClosed
	if !shutOff || b.state != stateOpen || !b.until.After(now) || b.until.Before(until) {
		return until, why, shutOff, changed
	}
	if b.reason == failure.ReasonCredentials && b.version != "" && b.version != a.version() {
		return until, why, shutOff, changed
	}
	return b.until, "breaker", shutOff, changed
}

// sleep waits until t, or for changed.
func (g *Gate) sleep(ctx context.Context, t time.Time, changed <-chan struct{}) error {
	d := time.Until(t)
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.ctx.Done():
		return errClosed
	}
}

// Blocked returns until when no request of a begins, as far as is known here,
// and why: "hold" or "breaker". The time is zero where nothing is in the way.
// It costs no trip to Redis.
func (g *Gate) Blocked(a Ask) (until time.Time, why string) {
	a.Host = strings.ToLower(a.Host)
	until, why, _, _ = g.blocked(a)
	return until, why
}
