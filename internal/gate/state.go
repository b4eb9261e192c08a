package gate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/failure"
)

// listedFor is how long a host is listed after its last use: as long as it
// may have a quota that is used up.
const listedFor = 25 * time.Hour

// listEvery is how often a process that uses a host says so.
const listEvery = time.Minute

// HostState is how a host stands, over all processes.
type HostState struct {
	Host string
	// InFlight counts requests to hosts that limit them; Waiting those that
	// wait in line for a place among them.
	InFlight, Waiting int
	// MaxInFlight is the limit of InFlight. 0: none.
	MaxInFlight int
	// NotBefore is until when the host is left alone, and LastLimited when
	// it asked for that last. Zero: not at all.
	NotBefore, LastLimited time.Time
	Quotas                 []Quota
	Breakers               []BreakerState
}

// Quota is one of a host's rates.
type Quota struct {
	Window time.Duration
	// Used is how many requests were let in within the last Window, and
	// Left how many more fit into it.
	Limit, Used, Left int
}

// Word names the window as the settings do: second, minute, hour or day.
func (q Quota) Word() string {
	switch q.Window {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	}
	return "day"
}

// BreakerState is a breaker that is not closed.
type BreakerState struct {
	Name string
	// Open says that no request is let in until the time Until; otherwise
	// some are, to see how they go.
	Open   bool
	Until  time.Time
	Reason failure.Reason
}

// Quotas returns the hosts that were used within the last day and allow so
// many requests an hour or a day, by name.
func (g *Gate) Quotas(ctx context.Context) ([]HostState, error) {
	listed, err := g.rdb.HGetAll(ctx, g.keys.hosts()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the hosts: %w", err)
	}
	var states []HostState
	for _, host := range slices.Sorted(maps.Keys(listed)) {
		used, limits := parseListed(listed[host])
		if time.Since(used) > listedFor || limits.PerHour == 0 && limits.PerDay == 0 {
			continue
		}
		s, err := g.state(ctx, host, limits)
		if err != nil {
			return nil, err
		}
		states = append(states, s)
	}
	return states, nil
}

// State returns the hosts that were used within the last day or have an open
// breaker, by name.
func (g *Gate) State(ctx context.Context) ([]HostState, error) {
	listed, err := g.rdb.HGetAll(ctx, g.keys.hosts()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the hosts: %w", err)
	}
	open, err := g.rdb.SMembers(ctx, g.keys.breakers()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the breakers: %w", err)
	}
	slices.Sort(open)
	breakers := make(map[string][]BreakerState)
	for _, entry := range open {
		host, name, _ := strings.Cut(entry, " ")
		b, err := g.readBreaker(ctx, breakerKey{host, name})
		if err != nil {
			return nil, err
		}
		if b.state == stateClosed {
			continue
		}
		breakers[host] = append(breakers[host], BreakerState{Name: name, Open: b.state == stateOpen, Until: b.until, Reason: b.reason})
		if _, ok := listed[host]; !ok {
			listed[host] = ""
		}
	}
	var (
		mu     sync.Mutex
		states []HostState
		old    []string
	)
	// Side by side, so that the client sends them as one.
	ask, asking := errgroup.WithContext(ctx)
	ask.SetLimit(batchSize)
	for host, entry := range listed {
		used, limits := parseListed(entry)
		if time.Since(used) > listedFor && breakers[host] == nil {
			old = append(old, host)
			continue
		}
		ask.Go(func() error {
			s, err := g.state(asking, host, limits)
			if err != nil {
				return err
			}
			s.Breakers = breakers[host]
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
			return nil
		})
	}
	if err := ask.Wait(); err != nil {
		return nil, err
	}
	if len(old) > 0 {
		if err := g.rdb.HDel(ctx, g.keys.hosts(), old...).Err(); err != nil {
			return nil, fmt.Errorf("forget hosts that were not used: %w", err)
		}
	}
	slices.SortFunc(states, func(a, b HostState) int { return strings.Compare(a.Host, b.Host) })
	return states, nil
}

func (g *Gate) state(ctx context.Context, host string, limits Limits) (HostState, error) {
	keys := append([]string{g.keys.host(host), g.keys.places(host), g.keys.line(host)}, g.keys.logs(host)...)
	var args []any
	for _, w := range windows {
		args = append(args, w.length.Microseconds())
	}
	reply, err := stateScript.Run(ctx, g.rdb, keys, args...).StringSlice()
	if err != nil {
		return HostState{}, fmt.Errorf("read the state of %s: %w", host, err)
	}
	n := make([]int64, len(reply))
	for i, s := range reply {
		n[i] = micros(s)
	}
	s := HostState{Host: host, InFlight: int(n[3]), Waiting: int(n[4]), MaxInFlight: limits.InFlight}
	if n[1] > n[0] {
		s.NotBefore = time.UnixMicro(n[1])
	}
	if n[2] > 0 {
		s.LastLimited = time.UnixMicro(n[2])
	}
	s.Quotas = limits.quotas([len(windows)]int{int(n[5]), int(n[6]), int(n[7]), int(n[8])})
	return s, nil
}

// note lists a host for State, now and then.
func (g *Gate) note(host string, l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.closed || now.Sub(g.listed[host]) < listEvery {
		return
	}
	if l != (Limits{}) {
		g.listed[host] = now
	}
	if len(g.listed) > 10_000 {
		clear(g.listed)
	}
	g.wg.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, scriptTime)
		defer cancel()
		entry := fmt.Sprint(now.Unix(), l.PerSecond, l.PerMinute, l.PerHour, l.PerDay, l.InFlight)
		var err error
		if l == (Limits{}) {
			err = g.rdb.HSetNX(ctx, g.keys.hosts(), host, entry).Err()
		} else {
			err = g.rdb.HSet(ctx, g.keys.hosts(), host, entry).Err()
		}
		if err != nil && g.ctx.Err() == nil {
			g.log.Debug("list a host", "host", host, "error", err)
		}
	})
}

func parseListed(entry string) (used time.Time, l Limits) {
	var seconds int64
	// An entry that cannot be read is one without limits.
	_, _ = fmt.Sscan(entry, &seconds, &l.PerSecond, &l.PerMinute, &l.PerHour, &l.PerDay, &l.InFlight)
	return time.Unix(seconds, 0), l
}
