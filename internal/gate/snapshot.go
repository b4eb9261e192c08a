package gate

import (
	"slices"
	"strings"
	"time"
)

// maxKnown bounds the hosts that are remembered for [Gate.Snapshot].
const maxKnown = 10_000

// known is what this process has learnt of a host.
type known struct {
	limits  Limits
	logged  [len(windows)]int
	limited time.Time
}

// remember changes what is known of a host.
func (g *Gate) remember(host string, change func(*known)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k, ok := g.known[host]
	if !ok {
		if len(g.known) >= maxKnown {
			clear(g.known)
		}
		k = &known{}
		g.known[host] = k
	}
	change(k)
}

// Snapshot returns how the hosts that have limits, asked to wait, or have a
// breaker that is not closed stand, as this process knows it, by name. It asks
// nothing of Redis, so that metrics can be read from it at any time. What
// differs from [Gate.State]: InFlight and Waiting are those of this process;
// quotas are as of its last request, and Used may count a few that are older
// than the window; hosts that only other processes asked are not there.
func (g *Gate) Snapshot() []HostState {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	byHost := make(map[string]*HostState)
	of := func(host string) *HostState {
		s, ok := byHost[host]
		if !ok {
			s = &HostState{Host: host}
			byHost[host] = s
		}
		return s
	}
	for host, k := range g.known {
		s := of(host)
		s.LastLimited, s.MaxInFlight = k.limited, k.limits.InFlight
		s.Quotas = k.limits.quotas(k.logged)
	}
	for key, l := range g.lines {
		s := of(key.host)
		s.Waiting += len(l.waiting)
		s.InFlight += len(l.held)
	}
	for host, until := range g.holds {
		if until.After(now) {
			of(host).NotBefore = until
		}
	}
	for key, b := range g.breakers {
		if b.state != stateClosed {
			s := of(key.host)
			s.Breakers = append(s.Breakers, BreakerState{Name: key.name, Open: b.state == stateOpen, Until: b.until, Reason: b.reason})
		}
	}
	states := make([]HostState, 0, len(byHost))
	for _, s := range byHost {
		slices.SortFunc(s.Breakers, func(a, b BreakerState) int { return strings.Compare(a.Name, b.Name) })
		states = append(states, *s)
	}
	slices.SortFunc(states, func(a, b HostState) int { return strings.Compare(a.Host, b.Host) })
	return states
}

// quotas returns the limits with what is used of each.
func (l Limits) quotas(used [len(windows)]int) []Quota {
	var quotas []Quota
	for i, limit := range l.rates() {
		if limit > 0 {
			quotas = append(quotas, Quota{Window: windows[i].length, Limit: limit, Used: used[i], Left: max(0, limit-used[i])})
		}
	}
	return quotas
}
