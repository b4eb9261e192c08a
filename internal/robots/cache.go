package robots

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/netguard"
)

const (
	// maxAge is how long rules are used at most (RFC 9309, section 2.4), and
	// minAge at least, whatever Cache-Control says.
	maxAge = 24 * time.Hour
	minAge = 10 * time.Minute
	// askAgain is after what time a file that could not be had is asked for
	// again.
	askAgain = 10 * time.Second
	// maxOrigins and maxSize, the bytes of all their rules, bound the memory.
	maxOrigins = 10_000
	maxSize    = 8 << 20
)

// Get fetches a robots.txt, following redirects. done, never nil where err is
// nil, is called when the answer was read.
type Get func(ctx context.Context, robotsURL string) (resp *fetch.Response, done func(), err error)

// Cache remembers the rules of origins. Each process has its own: a host is
// asked once a day by each. Its methods may be called by any number of
// goroutines, of which one asks for an origin and the others wait for it.
type Cache struct {
	mu      sync.Mutex
	entries map[string]*entry
	size    int
}

// entry is what is known of one origin.
type entry struct {
	known chan struct{} // closed when the rest can be read
	rules Rules
	err   error // nothing may be fetched for now
	until time.Time
}

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{entries: make(map[string]*entry)} }

// Check returns nil where robots.txt of the URL's origin allows it. A refusal
// is a [*failure.Error], robots and final. A file that cannot be had because
// its host fails (5xx, 429, no connection) refuses all that lies there for as
// long (RFC 9309, section 2.3.1.4): the error is that of the host, to be tried
// again. Any other status than success, too many redirects, or an address
// that may not be asked, means that there are no rules. Other errors are
// get's.
func (c *Cache) Check(ctx context.Context, rawURL string, get Get) error {
	u, err := url.Parse(rawURL)
	if err != nil || netguard.Origin(u) == "" {
		return nil //nolint:nilerr // the URL is refused for what it is, and never asked
	}
	rules, err := c.rules(ctx, netguard.Origin(u), get)
	if err != nil {
		return err
	}
	if ok, by := rules.Allowed(u.RequestURI()); !ok {
		return failure.Newf(failure.ReasonRobots, failure.Final, "%s: robots.txt of %s refuses it: %.200q",
			netguard.RedactURL(rawURL), u.Host, by)
	}
	return nil
}

func (c *Cache) rules(ctx context.Context, origin string, get Get) (Rules, error) {
	for {
		c.mu.Lock()
		e, ok := c.entries[origin]
		var old *entry
		if ok && e.over() {
			old, ok = e, false
		}
		if !ok {
			e = &entry{known: make(chan struct{})}
			c.entries[origin] = e
		}
		c.mu.Unlock()
		if !ok {
			c.read(ctx, origin, e, old, get)
			return e.rules, e.err
		}
		select {
		case <-e.known:
		case <-ctx.Done():
			return Rules{}, ctx.Err()
		}
		// What kept another one from asking need not keep us.
		if e.err == nil || !e.until.IsZero() {
			return e.rules, e.err
		}
	}
}

// over reports whether e is known and too old. The caller has the lock.
func (e *entry) over() bool {
	select {
	case <-e.known:
		return !time.Now().Before(e.until)
	default:
		return false
	}
}

// read fills e in.
func (c *Cache) read(ctx context.Context, origin string, e, old *entry, get Get) {
	rules, age, err := read(ctx, origin, get)
	_, theirs := errors.AsType[*failure.Error](err)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(e.known)
	switch {
	case err == nil:
		e.rules, e.until = rules, time.Now().Add(age)
	case !theirs: // never asked: who comes next does
		e.err = err
		if c.entries[origin] == e {
			delete(c.entries, origin)
		}
		return
	case old != nil && old.err == nil:
		// Old rules are better than none while the host fails.
		e.rules, e.until = old.rules, time.Now().Add(askAgain)
	default:
		e.err, e.until = err, time.Now().Add(askAgain)
	}
	if old != nil {
		c.size = max(0, c.size-old.rules.size)
	}
	c.size += e.rules.size
	if c.size > maxSize || len(c.entries) > maxOrigins {
		c.entries, c.size = map[string]*entry{origin: e}, e.rules.size
	}
}

// read fetches the rules of an origin, and says for how long they hold.
func read(ctx context.Context, origin string, get Get) (Rules, time.Duration, error) {
	resp, done, err := get(ctx, origin+"/robots.txt")
	if e, ok := errors.AsType[*failure.Error](err); ok {
		if e.Kind == failure.Final {
			return Rules{}, maxAge, nil
		}
		return Rules{}, 0, unreachable(origin, e)
	}
	if err != nil {
		return Rules{}, 0, err
	}
	defer done()
	defer resp.Body.Close()
	switch {
	case resp.Status == http.StatusTooManyRequests || resp.Status >= 500:
		return Rules{}, 0, unreachable(origin, fetch.StatusError(resp, time.Now()))
	case resp.Status < 200 || resp.Status >= 300:
		return Rules{}, maxAge, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBytes))
	if e, ok := errors.AsType[*failure.Error](err); ok {
		return Rules{}, 0, unreachable(origin, e)
	}
	if err != nil {
		return Rules{}, 0, err
	}
	return Parse(body, Product), age(resp.Header), nil
}

// unreachable is the error for all that lies at an origin whose file cannot
// be had.
func unreachable(origin string, e *failure.Error) *failure.Error {
	u := failure.Newf(e.Reason, failure.Temporary, "%s/robots.txt cannot be read, so nothing is fetched there for now: %w", origin, e)
	u.Unreached = e.Unreached
	if e.Kind == failure.Hold {
		u.Kind, u.RetryAfter = e.Kind, e.RetryAfter
	}
	return u
}

// age returns for how long an answer's rules hold: what Cache-Control says,
// within bounds.
func age(h http.Header) time.Duration {
	for word := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		seconds, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(word)), "max-age=")
		if n, err := strconv.ParseInt(seconds, 10, 32); ok && err == nil {
			return min(max(time.Duration(n)*time.Second, minAge), maxAge)
		}
	}
	return maxAge
}
