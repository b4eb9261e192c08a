package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/robots"
	"github.com/picharvest/picharvest/tasks"
)

const (
	// lookupWait is how long a lookup waits in its provider's own slot.
	lookupWait = time.Minute
	// pictureWait is how long a picture keeps a slot that other hosts could use.
	pictureWait = 2 * time.Second
)

// hosts lets requests begin when their hosts' turn has come, over all
// processes.
type hosts struct {
	gate *gate.Gate
	// limits are what a picture host allows, besides what providers say.
	limits func(host string) gate.Limits
	// robots are the rules of the hosts where honours says that they count;
	// tags are the answers' own.
	robots   *robots.Cache
	honours  func(host string) bool
	tags     robots.Config
	log      *slog.Logger
	observer Observer
}

// lookup is the request for a name at provider name.
func (h *hosts) lookup(name string, p *Provider) gate.Ask {
	return gate.Ask{
		Host: p.Host, Limits: gate.Limits(p.LookupLimits), Breaker: name, Version: p.Version, Wait: lookupWait,
	}
}

// picture is the request for a picture of provider name at a host. At the
// lookup's own the lookup's limits and breaker hold too: it is one host.
func (h *hosts) picture(name string, p *Provider, host string) gate.Ask {
	limits := gate.Limits(p.PictureLimits).Stricter(h.limits(host))
	a := gate.Ask{Host: host, Wait: pictureWait}
	if strings.EqualFold(host, p.Host) {
		limits = limits.Stricter(gate.Limits(p.LookupLimits))
		a.Breaker, a.Version = name, p.Version
	}
	crowd := limits.InFlight
	if crowd > 0 {
		// asynq brings those that come back once a second, all at once: fewer
		// would leave the host idle for the rest of it.
		crowd = max(crowd, limits.PerSecond)
	}
	a.Limits, a.Crowd = limits, crowd
	return a
}

// enter waits for the request's turn, and returns what ends it. It gives up
// when ctx or leaving is over.
func (h *hosts) enter(ctx, leaving context.Context, kind tasks.Kind, a gate.Ask) (func(), error) {
	if h.gate.Open(a) {
		h.observer.Waited(kind, 0, true)
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(leaving, cancel)
	defer stop()
	began := time.Now()
	done, err := h.gate.Acquire(ctx, a)
	h.observer.Waited(kind, time.Since(began), err == nil)
	switch {
	case err == nil:
		return done, nil
	case leaving.Err() != nil:
		return nil, errLeaving
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if l, ok := errors.AsType[*gate.LaterError](err); ok {
		return nil, &again{err: l, delay: l.After}
	}
	return nil, failure.New(failure.ReasonInternal, failure.Hold, err)
}

// heed passes on what an answer asks for, or that there was a good one.
func (h *hosts) heed(ctx context.Context, host string, err error) {
	if err == nil {
		if err := h.gate.Served(ctx, host); err != nil {
			h.log.Debug("tell others that a host answers again", "host", host, "error", err)
		}
		return
	}
	e, ok := errors.AsType[*failure.Error](err)
	if !ok {
		return
	}
	late, cancel := detached(ctx)
	defer cancel()
	switch {
	case e.Kind == failure.Hold && asked(e):
		err = h.gate.Hold(late, host, pause(e))
	case e.Kind == failure.Temporary && e.Reason == failure.ReasonRateLimited:
		err = h.gate.Slow(late, host)
	default:
		return
	}
	if err != nil {
		h.log.Warn("other workers may not know that a host asked to wait", "host", host, "error", err)
	}
}

// judge tells the provider's breaker how a lookup went. first says that the
// name has not failed before. It returns err, or a hold where the service is
// down or was not reached at all: then the name is not to blame.
func (h *hosts) judge(ctx context.Context, a gate.Ask, err error, first bool) error {
	if ctx.Err() != nil {
		return err // cut off by ourselves
	}
	e := failure.From(err)
	reason, unreached := failure.Reason(""), false
	if e != nil {
		reason, unreached = e.Reason, e.Unreached
	}
	held, gerr := h.gate.Report(ctx, a, reason, first || unreached)
	if gerr != nil {
		h.log.Warn("other workers may not know that a service is down", "provider", a.Breaker, "error", gerr)
	}
	switch {
	case held > 0:
		err = fmt.Errorf("%s is held back: %w", a.Breaker, e)
	case !unreached:
		return err
	}
	return &failure.Error{Reason: e.Reason, Kind: failure.Hold, RetryAfter: max(held, e.RetryAfter), Status: e.Status, Err: err}
}

// judgePicture does so for a picture at the lookup's own host. Only a failure
// of the host as a whole counts there: that a picture is refused says nothing
// about the service.
func (h *hosts) judgePicture(ctx context.Context, name string, p *Provider, host string, err error, first bool) error {
	if !strings.EqualFold(host, p.Host) {
		return err
	}
	if e, ok := errors.AsType[*failure.Error](err); err != nil && (!ok || !ofTheHost(e.Reason)) {
		return err
	}
	return h.judge(ctx, h.lookup(name, p), err, first)
}

// ofTheHost reports whether a failure is of a host rather than of what it was
// asked for.
func ofTheHost(r failure.Reason) bool {
	return r == failure.ReasonUnavailable || r == failure.ReasonTimeout || r == failure.ReasonNetwork || r == failure.ReasonDNS
}

// hostOf returns the host of a URL as limits know it: without the port that
// the scheme has anyway.
func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	if port := u.Port(); (u.Scheme == "http" && port == "80") || (u.Scheme == "https" && port == "443") {
		return strings.TrimSuffix(u.Host, ":"+port)
	}
	return u.Host
}
