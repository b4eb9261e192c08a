package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/netguard"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// lookupHandler asks a provider about a name and goes on with its pictures.
type lookupHandler struct {
	db        *results.DB
	attempts  *attempts
	queue     Enqueuer
	namespace string
	providers *roster
	hosts     *hosts
	// gatherings are those of the providers that take several names in one
	// request.
	gatherings map[string]*gathering
	observer   Observer
	// bounds are the batches' own bounds of pictures.
	bounds bounds
	// slots bound the lookups of each provider.
	slots map[string]*slots
	// pictures, if set, fetches pictures in the lookup's own run, as far as
	// there are slots for them.
	pictures *pictureHandler
}

// step returns the lookup of one name as a step.
func (h *lookupHandler) step(r tasks.Ref) step {
	return &lookupStep{lookupHandler: h, ref: r}
}

type lookupStep struct {
	*lookupHandler
	ref tasks.Ref
	// refused is why robots.txt keeps us from asking.
	refused error
	// seat is the place among names that share a request, nil for a name that
	// is asked alone.
	seat *seat
	// end ends the turn at the host of a name that is asked alone.
	end func()
	// most bounds the pictures of the name, 0 where its batch has no bound.
	most int
}

func (s *lookupStep) due(ctx context.Context, b results.Begun) (bool, error) {
	if b.Record.State == results.Found {
		// An earlier run recorded the answer and perhaps no more than that.
		return false, s.handOver(ctx, b, b.Record.Missing())
	}
	_, err := s.providers.of(b)
	return b.Record.State == results.Queued, err
}

// wait takes a slot, then waits for the host. Names whose record is read
// already stand in line for the slots, so that none is idle for as long as
// Redis takes to answer.
func (s *lookupStep) wait(ctx, leaving context.Context, b results.Begun) (func(), error) {
	slots := s.slots[b.Provider]
	if err := slots.acquire(ctx, leaving, s.ref.Lane == tasks.Express); err != nil {
		return nil, err
	}
	free := sync.OnceFunc(slots.release)
	entered := false
	defer func() {
		if !entered {
			free() // after a panic too
		}
	}()
	end, err := s.enter(ctx, leaving, b)
	if err != nil {
		return nil, err
	}
	entered = true
	return func() { end(); free() }, nil
}

// enter waits for the host's turn.
func (s *lookupStep) enter(ctx, leaving context.Context, b results.Begun) (func(), error) {
	p := s.providers.must(b)
	if p.Host == "" {
		s.end = func() {}
		return s.end, nil
	}
	if s.refused = s.hosts.permitLookup(ctx, leaving, p, s.query(p, b)); s.refused != nil {
		if _, ok := errors.AsType[*failure.Error](s.refused); ok {
			return func() {}, nil // work says so, with the host
		}
		return nil, s.refused
	}
	var err error
	if s.most, err = s.bounds.of(ctx, s.db, bornBatch{s.ref.Batch, b.Birth}); err != nil {
		return nil, failure.New(failure.ReasonInternal, failure.Hold, err)
	}
	// A suspect runs alone, and so does its request; names whose batch has
	// params share theirs with nobody.
	if g := s.gatherings[b.Provider]; g != nil && !b.Suspect && b.Params == "" {
		s.seat = &seat{query: s.query(p, b), express: express(b), first: b.Tries == 0}
		return g.join(ctx, leaving, s.seat)
	}
	s.end, err = s.turn(ctx, leaving, p, b)
	return func() { s.end() }, err
}

func (s *lookupStep) turn(ctx, leaving context.Context, p *Provider, b results.Begun) (end func(), err error) {
	ask := s.hosts.lookup(b.Provider, p)
	ask.Express = express(b)
	return s.hosts.enter(ctx, leaving, tasks.Lookups, ask)
}

// query is what is asked about the name.
func (s *lookupStep) query(p *Provider, b results.Begun) lookup.Query {
	return lookup.Query{
		Name: s.ref.Name, MaxPictures: s.most, Columns: columnsOf(b.Record), ColumnsTruncated: b.Record.ColumnsTruncated,
		Turn: func(ctx context.Context) error { return s.nextTurn(ctx, p, b) },
	}
}

func columnsOf(r results.Record) []lookup.Attribute {
	columns := make([]lookup.Attribute, len(r.Columns))
	for i, c := range r.Columns {
		columns[i] = lookup.Attribute(c)
	}
	return columns
}

// nextTurn ends the turn and waits for another, for a further page of the same
// lookup. It gives up with ctx or the worker alone: the pages that are there
// would be asked for again.
func (s *lookupStep) nextTurn(ctx context.Context, p *Provider, b results.Begun) error {
	s.end()
	leaving := s.attempts.leaving
	for {
		end, err := s.turn(ctx, leaving, p, b)
		if err == nil {
			s.end = end
			return nil
		}
		later, ok := errors.AsType[*again](err)
		if !ok {
			return err
		}
		timer := time.NewTimer(later.delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-leaving.Done():
		}
		timer.Stop()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case leaving.Err() != nil:
			return errLeaving
		}
	}
}

func (s *lookupStep) work(ctx context.Context, b results.Begun, leave func()) (string, error) {
	p := s.providers.must(b)
	if s.refused != nil {
		s.hosts.heed(ctx, p.Host, s.refused)
		if failure.From(s.refused).Unreached {
			return p.Host, s.hosts.judge(ctx, s.hosts.lookup(b.Provider, p), s.refused, true)
		}
		return p.Host, s.refused
	}
	record, state, err := s.ask(ctx, p, b)
	if err != nil {
		return p.Host, err
	}
	if state == results.Found {
		leave()
		return p.Host, s.goOn(ctx, b, record)
	}
	if err := s.commit(ctx, state, record); err != nil {
		return p.Host, err
	}
	s.attempts.tell(ctx, s.ref, results.LookupRank)
	return p.Host, nil
}

// bounds keeps how many pictures the names of each batch may have.
type bounds struct {
	mu   sync.Mutex
	most map[bornBatch]int
}

func (b *bounds) of(ctx context.Context, db *results.DB, batch bornBatch) (int, error) {
	b.mu.Lock()
	most, ok := b.most[batch]
	b.mu.Unlock()
	if ok {
		return most, nil
	}
	most, err := db.MaxPictures(ctx, batch.name, batch.birth)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.most == nil {
		b.most = make(map[bornBatch]int)
	}
	b.most[batch] = most
	return most, nil
}

// commit records the answer, and what is stored of its pictures.
func (s *lookupStep) commit(ctx context.Context, state results.State, l results.Lookup, have ...results.Stored) error {
	// A good answer is kept though the task's time is over.
	late, cancel := detached(ctx)
	defer cancel()
	ok, err := s.db.CommitLookup(late, s.ref, state, l, have...)
	if err != nil {
		return failure.New(failure.ReasonInternal, failure.Hold, err)
	}
	if !ok {
		// Another run was first, perhaps with another answer: the next one
		// reads what is left to do.
		return failure.New(failure.ReasonInternal, failure.Hold, errOtherwise)
	}
	for _, h := range have {
		s.pictures.stored(s.ref, h.Bytes)
	}
	return nil
}

// errOtherwise says that what this run has to record is not wanted any more.
var errOtherwise = errors.New("recorded otherwise meanwhile")

// ask asks about the name, alone or with others. Where it was asked before and
// the service says that nothing has changed, what it said holds.
func (s *lookupStep) ask(ctx context.Context, p *Provider, b results.Begun) (results.Lookup, results.State, error) {
	if s.seat != nil {
		answer, err := s.seat.answer(ctx)
		if err != nil {
			return results.Lookup{}, "", err
		}
		l, state := recorded(answer)
		return l, state, nil
	}
	l, state, err := s.askAlone(ctx, p, b)
	if p.Host == "" {
		return l, state, err
	}
	s.hosts.heed(ctx, p.Host, err)
	return l, state, s.hosts.judge(ctx, s.hosts.lookup(b.Provider, p), err, b.Tries == 0)
}

// askAlone asks about the name in a request of its own and tells the observer.
func (s *lookupStep) askAlone(ctx context.Context, p *Provider, b results.Begun) (results.Lookup, results.State, error) {
	w := watch(s.observer, tasks.Lookups, p.Host)
	defer w.end()
	good := b.Good
	validator := ""
	if good != nil && good.Lookup != nil {
		validator = good.Lookup.Validator
	}
	answer, unchanged, err := p.Service.Revalidate(ctx, s.query(p, b), validator)
	switch {
	case err != nil:
		w.failed(err, ctx.Err() != nil)
		return results.Lookup{}, "", err
	case !unchanged:
		w.answered(answer.Verdict)
		l, state := recorded(answer)
		return l, state, nil
	case len(good.Lookup.Pictures) == 0:
		w.answered(lookup.NoPicture)
		return *good.Lookup, results.NoPicture, nil
	}
	w.answered(lookup.Found)
	return *good.Lookup, results.Found, nil
}

func (s *lookupStep) fail(ctx context.Context, e *failure.Error, host string, exhausted bool) (bool, error) {
	return s.db.FailLookup(ctx, s.ref, e, host, exhausted)
}

// recorded turns an answer into what is kept of it.
func recorded(a lookup.Answer) (results.Lookup, results.State) {
	l := results.Lookup{
		Truncated: a.Truncated, Licence: a.Licence, Attribution: a.Attribution, Source: a.Source,
		Validator: a.Validator,
	}
	for _, attr := range a.Attributes {
		l.Attributes = append(l.Attributes, results.Attribute(attr))
	}
	for _, p := range a.Pictures {
		// A password is never kept, and its URL never asked.
		urls := make([]string, len(p.Candidates))
		for i, u := range p.Candidates {
			urls[i] = netguard.HideUserinfo(u)
		}
		l.Pictures = append(l.Pictures, urls)
	}
	switch a.Verdict {
	case lookup.Found:
		return l, results.Found
	case lookup.NotFound:
		return results.Lookup{}, results.NotFound
	default:
		return l, results.NoPicture
	}
}
