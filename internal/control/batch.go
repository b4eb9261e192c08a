package control

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/results"
)

// Batch is how far a batch is. Its JSON is that of `harvest status --json`.
type Batch struct {
	Name     string         `json:"batch"`
	Provider string         `json:"provider"`
	Status   results.Status `json:"status"`
	// State is the batch's standing in a word: running, enqueuing,
	// interrupted, finished, or the status where that is not running; broken
	// where it has an Error.
	State   string    `json:"state"`
	Created time.Time `json:"created"`
	// Source is the names file, or "-".
	Source string `json:"source"`
	Shards int    `json:"shards"`
	// MaxPictures bounds the pictures of each name; 0: the provider's bound.
	MaxPictures int `json:"max_pictures,omitempty"`
	Enqueuing   int `json:"enqueuing"`
	// Interrupted are the sources of enqueuers that died before their end.
	Interrupted []string `json:"interrupted,omitempty"`
	Sealed      bool     `json:"sealed"`
	Finished    bool     `json:"finished"`
	Names       int64    `json:"names"`
	// States is the number of names in each state; those with a mark are
	// counted by their state, and beside it.
	States     results.Counts `json:"states"`
	Refreshing int64          `json:"refreshing"`
	Stale      int64          `json:"stale"`
	// Refresh is what came of the newest refresh, nil where there was none.
	Refresh *results.Refreshed `json:"refresh,omitempty"`
	// Reasons is the number of failed and partial names by reason, the most
	// frequent first.
	Reasons Reasons `json:"reasons,omitempty"`
	// PerSecond is names settled a second and ETASeconds what is left at that
	// rate; 0 while unknown, or when there is nothing to come.
	PerSecond  float64 `json:"per_second,omitempty"`
	ETASeconds float64 `json:"eta_seconds,omitempty"`
	// Limited: it is paused by a limit and not by command.
	Limited bool `json:"limited,omitempty"`
	// Error says which keys in Redis hold what is not ours, and what to do;
	// then nothing is counted.
	Error string `json:"error,omitempty"`

	// Birth tells the batch from a deleted one of the same name.
	Birth int64 `json:"-"`
}

// Open is the number of names with work to come.
func (b Batch) Open() int64 {
	return b.States[results.Queued] + b.States[results.Found] + b.Refreshing
}

// Settled is the number of names without work to come.
func (b Batch) Settled() int64 { return b.Names - b.Open() }

// Failed is the number of names that failed, in whole or in part.
func (b Batch) Failed() int64 { return b.States[results.Failed] + b.States[results.Partial] }

// Batches returns how far every batch is, the oldest first.
func (c *Control) Batches(ctx context.Context) ([]Batch, error) {
	all, err := c.batches(ctx)
	if err != nil {
		return nil, err
	}
	return c.describeAll(ctx, all)
}

// BatchPage returns how far batches are, the oldest first, at most limit of
// them (1 to MaxPage) behind cursor, and the cursor of the next page: both are
// "" where there is none.
func (c *Control) BatchPage(ctx context.Context, cursor string, limit int) ([]Batch, string, error) {
	if limit < 1 || limit > MaxPage {
		return nil, "", invalidf("limit is %d: give 1 to %d", limit, MaxPage)
	}
	after, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	all, err := c.batches(ctx)
	if err != nil {
		return nil, "", err
	}
	// Births are microseconds, and those of two batches may be equal.
	slices.SortFunc(all, func(a, b results.Batch) int {
		return cmp.Or(cmp.Compare(a.Birth, b.Birth), cmp.Compare(a.Name, b.Name))
	})
	all = slices.DeleteFunc(all, func(b results.Batch) bool {
		return cmp.Or(cmp.Compare(b.Birth, after.Line), cmp.Compare(b.Name, after.Name)) <= 0
	})
	next := ""
	if len(all) > limit {
		all = all[:limit]
		last := all[limit-1]
		next = formatCursor(results.Position{Line: last.Birth, Name: last.Name})
	}
	batches, err := c.describeAll(ctx, all)
	return batches, next, err
}

// describers is how many batches are read at once; their commands go out
// together.
const describers = 32

func (c *Control) describeAll(ctx context.Context, all []results.Batch) ([]Batch, error) {
	batches := make([]Batch, len(all))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(describers)
	for i, b := range all {
		g.Go(func() error {
			var err error
			batches[i], err = c.describe(ctx, b)
			return err
		})
	}
	return batches, g.Wait()
}

// Batch returns how far one batch is, or an [*UnknownError].
func (c *Control) Batch(ctx context.Context, name string) (Batch, error) {
	b, err := c.batch(ctx, name)
	if isKeyError(err) {
		return broken(results.Batch{Name: name}, err), nil
	}
	if err != nil {
		return Batch{}, err
	}
	return c.describe(ctx, b)
}

// Hosts returns the hosts at which names of a batch failed, those with the most
// first, of the first limit by name; or an [*UnknownError].
func (c *Control) Hosts(ctx context.Context, batch string, limit int) (Hosts, error) {
	b, err := c.batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	return c.db.Hosts(ctx, b, limit)
}

func (c *Control) describe(ctx context.Context, b results.Batch) (Batch, error) {
	err := b.Broken
	if err == nil {
		err = c.db.CheckKeys(ctx, b)
	}
	if isKeyError(err) {
		return broken(b, err), nil
	}
	if err != nil {
		return Batch{}, err
	}
	counts, err := c.db.Counts(ctx, b)
	if err != nil {
		return Batch{}, err
	}
	v := Batch{
		Name: b.Name, Provider: b.Provider, Status: b.Status, State: b.Phase(counts), Created: b.Created, Source: b.Source, MaxPictures: b.MaxPictures,
		Shards: b.Shards, Enqueuing: b.Enqueuing, Interrupted: b.Interrupted, Sealed: b.Sealed, Finished: b.Finished(counts),
		Names: counts.Total(), States: counts.ByState(), Refreshing: counts[results.Refreshing], Stale: counts[results.Stale],
		Limited: b.Limited && b.Status == results.Paused, Birth: b.Birth,
	}
	if v.Failed() > 0 {
		if v.Reasons, err = c.db.Reasons(ctx, b); err != nil {
			return Batch{}, err
		}
	}
	refreshed, err := c.db.Refreshed(ctx, b)
	if err != nil {
		return Batch{}, err
	}
	if !refreshed.Began.IsZero() {
		v.Refresh = &refreshed
	}
	v.PerSecond = c.rates.observe(b, counts, time.Now())
	if v.PerSecond > 0 && b.Sealed {
		v.ETASeconds = float64(v.Open()) / v.PerSecond
	}
	return v, nil
}

// broken describes a batch of which keys in Redis hold what is not ours.
func broken(b results.Batch, err error) Batch {
	return Batch{
		Name: b.Name, Provider: b.Provider, Status: b.Status, State: "broken", Created: b.Created, Source: b.Source,
		Shards: b.Shards, States: results.Counts{}, Error: err.Error(), Birth: b.Birth,
	}
}

// rates remembers how many names were settled when, to tell how many are a
// second. The zero value is ready.
type rates struct {
	mu      sync.Mutex
	batches map[string]*rate
}

// rate is the samples of one batch, the oldest first.
type rate struct {
	birth   int64
	samples []sample
}

type sample struct {
	at      time.Time
	settled int64
}

const (
	// rateOver is the time that a rate is an average of.
	rateOver = 20 * time.Second
	// rateStep is the least time between two samples.
	rateStep = 500 * time.Millisecond
	// rateForgotten is how long samples are kept without a further one.
	rateForgotten = 5 * time.Minute
)

// observe notes what c says of b and returns the names settled a second, 0
// where that is not known yet or nothing is to come.
func (r *rates) observe(b results.Batch, c results.Counts, now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Open() == 0 {
		delete(r.batches, b.Name)
		return 0
	}
	if r.batches == nil {
		r.batches = make(map[string]*rate)
	}
	for name, other := range r.batches {
		if now.Sub(other.samples[len(other.samples)-1].at) > rateForgotten {
			delete(r.batches, name) // nobody asks any more, or it was deleted
		}
	}
	seen := r.batches[b.Name]
	settled := c.Settled()
	// Fewer than before: names were retried.
	if seen == nil || seen.birth != b.Birth || seen.samples[len(seen.samples)-1].settled > settled {
		r.batches[b.Name] = &rate{b.Birth, []sample{{now, settled}}}
		return 0
	}
	for len(seen.samples) > 1 && now.Sub(seen.samples[0].at) > rateOver {
		seen.samples = seen.samples[1:]
	}
	oldest, newest := seen.samples[0], seen.samples[len(seen.samples)-1]
	if now.Sub(newest.at) >= rateStep {
		seen.samples = append(seen.samples, sample{now, settled})
	}
	if took := now.Sub(oldest.at); took >= rateStep && settled > oldest.settled {
		return float64(settled-oldest.settled) / took.Seconds()
	}
	return 0
}

func isGone(err error) bool { return errors.Is(err, results.ErrNoBatch) }

// isKeyError reports whether err is about keys of one batch only.
func isKeyError(err error) bool {
	_, ok := errors.AsType[*results.KeyError](err)
	return ok
}
