package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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

// BreakerState is a breaker that is not closed.
type BreakerState struct {
	Name string
	// Open says that no request is let in until the time Until; otherwise
	// some are, to see how they go.
	Open   bool
	Until  time.Time
	Reason failure.Reason
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
	var states []HostState
	var old []string
	for host, entry := range listed {
		used, limits := parseListed(entry)
		if time.Since(used) > listedFor && breakers[host] == nil {
			old = append(old, host)
			continue
		}
		s, err := g.state(ctx, host, limits)
		if err != nil {
			return nil, err
		}
		s.Breakers = breakers[host]
		states = append(states, s)
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
	for i, limit := range limits.rates() {
		if limit > 0 {
			used := int(n[5+i])
			s.Quotas = append(s.Quotas, Quota{Window: windows[i].length, Limit: limit, Used: used, Left: max(0, limit-used)})
		}
	}
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
