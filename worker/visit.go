package worker

import (
	"context"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// visit is a request's stay at the hosts that its URL leads to. At each it
// has been let in by robots.txt and by the gate.
type visit struct {
	hosts    *hosts
	provider *Provider
	// name of the provider.
	name    string
	leaving context.Context
	// rules fetches robots.txt. Nil: it is not asked for.
	rules Fetcher
	// host is where it is, or was sent away from.
	host string
	done func() // gives the place there back; nil: it has none
}

// visit waits until a picture may be asked for. The visit is never nil, and
// there is nothing to end where there was an error.
func (h *hosts) visit(ctx, leaving context.Context, name string, p *Provider, rawURL string, express bool) (*visit, error) {
	v := &visit{hosts: h, provider: p, name: name, leaving: leaving, rules: p.Robots, host: hostOf(rawURL)}
	if err := v.permit(ctx, rawURL); err != nil {
		return v, err
	}
	ask := h.picture(name, p, v.host)
	ask.Express = express
	return v, v.enter(ctx, ask)
}

// express reports whether a name travels in the express lane.
func express(b results.Begun) bool { return b.Record.Lane == tasks.Express }

func (v *visit) enter(ctx context.Context, a gate.Ask) error {
	done, err := v.hosts.enter(ctx, v.leaving, tasks.Pictures, a)
	if err == nil {
		v.done = done
	}
	return err
}

// end gives the place back; calling it again does nothing.
func (v *visit) end() {
	if v.done != nil {
		v.done()
		v.done = nil
	}
}

// redirect moves to where the host sends us: another host has its own limits,
// holds and rules. It is a fetch.Request's OnRedirect.
func (v *visit) redirect(ctx context.Context, rawURL string) error {
	next := hostOf(rawURL)
	if next == v.host {
		return v.permit(ctx, rawURL)
	}
	v.end()
	v.host = next
	if err := v.permit(ctx, rawURL); err != nil {
		return err
	}
	// It stood in line already: sent away, it would ask the first host again.
	ask := v.hosts.picture(v.name, v.provider, next)
	ask.Express, ask.Crowd = true, 0
	return v.enter(ctx, ask)
}

// permit asks the rules of a picture's host, where they count.
func (v *visit) permit(ctx context.Context, rawURL string) error {
	if v.rules == nil || !v.hosts.honours(v.host) {
		return nil
	}
	return v.hosts.robots.Check(ctx, rawURL, v.robots)
}

// robots fetches a robots.txt through the gate: one request for all that wait
// for it.
func (v *visit) robots(ctx context.Context, robotsURL string) (*fetch.Response, func(), error) {
	trip := &visit{hosts: v.hosts, provider: v.provider, name: v.name, leaving: v.leaving, host: v.host}
	if v.done == nil { // else the place that it has serves: the host may have no other
		ask := v.hosts.picture(v.name, v.provider, hostOf(robotsURL))
		ask.Express = true
		if err := trip.enter(ctx, ask); err != nil {
			return nil, nil, err
		}
	}
	resp, err := v.rules.Do(ctx, fetch.Request{URL: robotsURL, OnRedirect: trip.redirect})
	if err != nil {
		trip.end()
		return nil, nil, err
	}
	return resp, trip.end, nil
}

// permitLookup asks the rules of the lookup's host, where they count.
func (h *hosts) permitLookup(ctx, leaving context.Context, p *Provider, q lookup.Query) error {
	if p.LookupRobots == nil {
		return nil
	}
	rawURL, err := p.LookupURL(q)
	if err != nil {
		return err
	}
	v := &visit{hosts: h, provider: p, leaving: leaving, rules: p.LookupRobots, host: p.Host}
	return h.robots.Check(ctx, rawURL, v.robots)
}

// answered returns what an answer's status and X-Robots-Tag say against it.
func (v *visit) answered(resp *fetch.Response) error {
	if e := fetch.StatusError(resp, time.Now()); e != nil {
		return e
	}
	if word := v.hosts.tags.Refused(resp.Header); word != "" {
		return failure.Newf(failure.ReasonRobots, failure.Final, "%s answered with X-Robots-Tag: %s", v.host, word)
	}
	return nil
}
