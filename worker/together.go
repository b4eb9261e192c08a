package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/tasks"
)

const (
	// gatherWithin is how long the first of some lookups waits for others to
	// share its request. While that waits for its turn more may come.
	gatherWithin = 20 * time.Millisecond
	// maxGathered bounds the lookups of one provider in this process: each is
	// a task in hand.
	maxGathered = 1000
)

// Together asks about several names in one request. A [*lookup.Client] whose
// definition has a batch is one.
type Together interface {
	// Together is how many names one request may ask about.
	Together() int
	// Fit reports whether one request may ask about all of qs. It is called
	// with one more each time, and waits for nothing.
	Fit(qs []lookup.Query) bool
	// LookupMany asks about all of qs. Its error is every name's.
	LookupMany(ctx context.Context, qs []lookup.Query) ([]lookup.Result, error)
}

// lookupsAtOnce is how many lookups of p run at once: worker.lookups counts
// requests. Where names share them, so many names may wait together as fill
// those that are in flight and one more.
func (c Config) lookupsAtOnce(p *Provider) int {
	n := c.LookupSlots()
	if p.Together == nil {
		return n
	}
	if at := p.LookupLimits.InFlight; at > 0 {
		n = min(n, at)
	}
	each := p.Together.Together()
	return max(each, min((n+1)*each, maxGathered))
}

// lookupsInHand is how many lookup tasks of one queue of p are in hand at once,
// those included whose pictures are being fetched: where names come by many
// from one request, as many again.
func (c Config) lookupsInHand(p *Provider) int {
	n := c.lookupsAtOnce(p)
	if c.Only == "" {
		if p.Together != nil {
			n *= 2
		}
		n += c.PictureSlots()
	}
	return inHand(n)
}

// gathering is where lookups of one provider find others to share a request
// with.
type gathering struct {
	name     string
	provider *Provider
	hosts    *hosts
	observer Observer
	log      *slog.Logger
	// goes runs what a party does; the worker waits for its end.
	goes func(func())

	mu   sync.Mutex
	open []*party // those that take more in
}

// party is some lookups that share a request: one turn at the host for all of
// them, and for each its own answer.
type party struct {
	*gathering
	leaving context.Context
	// ctx is over when nobody is left.
	ctx  context.Context
	over context.CancelFunc
	// full is closed when nobody is let in any more, let when the turn has
	// come or, with err, will not.
	full, let chan struct{}
	err       error
	end       func() // ends the turn
	asking    sync.Once
	answered  chan struct{}

	// Under the gathering's lock.
	seats   []*seat
	present int
	closed  bool
	asked   bool
}

// seat is one lookup's place in a party.
type seat struct {
	party          *party
	query          lookup.Query
	express, first bool
	// Once the party was answered:
	result lookup.Result
	err    error
}

// join takes a seat in a party and waits for its turn. The returned function
// leaves the party.
func (g *gathering) join(ctx, leaving context.Context, s *seat) (leave func(), err error) {
	p := g.sit(leaving, s)
	select {
	case <-p.let:
		err = p.err
	case <-leaving.Done():
		err = errLeaving
	case <-ctx.Done():
		err = ctx.Err()
	}
	leave = sync.OnceFunc(func() { p.leave(s) })
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// sit finds a party with room for s, or begins one.
func (g *gathering) sit(leaving context.Context, s *seat) *party {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.open {
		if g.provider.Together.Fit(append(p.queries(p.seats), s.query)) {
			p.take(s)
			return p
		}
	}
	p := &party{
		gathering: g, leaving: leaving,
		full: make(chan struct{}), let: make(chan struct{}), answered: make(chan struct{}), end: func() {},
	}
	p.ctx, p.over = context.WithCancel(context.Background())
	g.open = append(g.open, p)
	p.take(s)
	g.goes(p.run)
	return p
}

func (p *party) take(s *seat) {
	s.party = p
	p.seats = append(p.seats, s)
	p.present++
	if len(p.seats) >= p.provider.Together.Together() {
		p.close()
	}
}

// close lets nobody in any more. The gathering is locked.
func (p *party) close() {
	if p.closed {
		return
	}
	p.closed = true
	close(p.full)
	p.open = slices.DeleteFunc(p.open, func(o *party) bool { return o == p })
}

func (p *party) leave(s *seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked {
		p.seats = slices.DeleteFunc(p.seats, func(o *seat) bool { return o == s })
	}
	if p.present--; p.present == 0 {
		p.close()
		p.over()
	}
}

func (*party) queries(seats []*seat) []lookup.Query {
	qs := make([]lookup.Query, len(seats), len(seats)+1)
	for i, s := range seats {
		qs[i] = s.query
	}
	return qs
}

// run waits for the party's turn, and ends it when everybody has left.
func (p *party) run() {
	timer := time.NewTimer(gatherWithin)
	select {
	case <-timer.C:
	case <-p.full:
	case <-p.ctx.Done():
	}
	timer.Stop()
	end, err := p.turn()
	p.mu.Lock()
	p.close()
	p.mu.Unlock()
	if err == nil {
		p.end = end
	}
	p.err = err
	close(p.let)
	<-p.ctx.Done()
	p.end()
}

// turn waits until a request for the party may begin.
func (p *party) turn() (end func(), err error) {
	return p.hosts.enter(p.ctx, p.leaving, tasks.Lookups, p.ask())
}

func (p *party) ask() gate.Ask {
	ask := p.hosts.lookup(p.name, p.provider)
	p.mu.Lock()
	defer p.mu.Unlock()
	ask.Express = slices.ContainsFunc(p.seats, func(s *seat) bool { return s.express })
	return ask
}

// answer returns what became of the seat's name. Whoever asks first lets the
// request begin.
func (s *seat) answer(ctx context.Context) (lookup.Answer, error) {
	p := s.party
	p.asking.Do(func() { p.goes(p.request) })
	select {
	case <-p.answered:
	case <-ctx.Done():
		return lookup.Answer{}, ctx.Err()
	}
	if s.err != nil {
		return lookup.Answer{}, s.err
	}
	return s.result.Answer, s.result.Err
}

// request asks about all who are there.
func (p *party) request() {
	p.mu.Lock()
	p.asked = true
	seats := slices.Clone(p.seats)
	p.mu.Unlock()
	defer close(p.answered)
	p.exchange(seats, p.end)
}

// exchange asks about seats, whose turn it ends. A final refusal of many names
// at once says nothing about any of them: they are asked in halves, each at
// its own turn, until it is clear whose it is.
func (p *party) exchange(seats []*seat, end func()) {
	err := p.once(seats)
	end()
	if e, ok := errors.AsType[*failure.Error](err); len(seats) > 1 && ok && e.Kind == failure.Final {
		half := len(seats) / 2
		for _, some := range [][]*seat{seats[:half], seats[half:]} {
			if end, err = p.turn(); err == nil {
				p.exchange(some, end)
				continue
			}
			for _, s := range some {
				s.err = err
			}
		}
		return
	}
	for _, s := range seats {
		s.err = err
	}
}

// once makes one request, and tells the observer, the gate and the breaker of
// it as of one.
func (p *party) once(seats []*seat) (err error) {
	w := watch(p.observer, tasks.Lookups, p.provider.Host)
	defer w.end()
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("a lookup panicked", "provider", p.name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = failure.Newf(failure.ReasonInternal, failure.Temporary, "internal error: %v", r)
		}
	}()
	results, err := p.provider.Together.LookupMany(p.ctx, p.queries(seats))
	if err != nil {
		w.failed(err, p.ctx.Err() != nil)
	} else {
		w.answeredMany(results)
	}
	p.hosts.heed(p.ctx, p.provider.Host, err)
	fresh := slices.ContainsFunc(seats, func(s *seat) bool { return s.first })
	if err := p.hosts.judge(p.ctx, p.ask(), err, fresh); err != nil {
		return err
	}
	for i, s := range seats {
		s.result = results[i]
	}
	return nil
}
