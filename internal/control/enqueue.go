package control

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
)

// List is names for one batch.
type List struct {
	Batch string
	// Provider of the batch; empty: the one that it has, or the default.
	Provider string
	// Label says where the names come from; the same again completes what was
	// interrupted.
	Label string
	Names enqueuer.Source
	// Bad, if set, is called with every line that is no name.
	Bad func(*names.BadLine)
}

// Enqueued says what became of a list. Its JSON is that of `enqueue --json`.
type Enqueued struct {
	Batch    string `json:"batch"`
	Provider string `json:"provider"`
	enqueuer.Report
	// Workers is how many are alive; without one the names wait.
	Workers int `json:"workers"`
}

// Enqueue adds the names to their batch, which is made where there is none,
// and enqueues what is to be done for them. It is safe to repeat.
func (c *Control) Enqueue(ctx context.Context, l List) (Enqueued, error) {
	provider, err := c.destination(ctx, l)
	if err != nil {
		return Enqueued{}, err
	}
	bad := l.Bad
	if bad == nil {
		bad = func(*names.BadLine) {}
	}
	e := Enqueued{Batch: l.Batch, Provider: provider}
	e.Report, err = c.enq.Enqueue(ctx, enqueuer.Job{Batch: l.Batch, Provider: provider, Label: l.Label, Names: l.Names, Bad: bad})
	if err != nil {
		return e, err
	}
	e.Workers, err = c.db.Workers(ctx)
	return e, err
}

// Preview says what a list holds and changes nothing.
type Preview struct {
	Batch    string `json:"batch"`
	Provider string `json:"provider"`
	// Exists: the batch is there already.
	Exists bool `json:"exists"`
	// Names counts the good lines, Bad the others; doubles are not found.
	Names int64 `json:"names"`
	Bad   int64 `json:"bad"`
}

// Preview reads a list as [Control.Enqueue] would, and adds nothing.
func (c *Control) Preview(ctx context.Context, l List) (Preview, error) {
	provider, err := c.destination(ctx, l)
	if err != nil {
		return Preview{}, err
	}
	p := Preview{Batch: l.Batch, Provider: provider}
	if _, err := c.db.Batch(ctx, l.Batch); err == nil {
		p.Exists = true
	} else if !isGone(err) {
		return Preview{}, err
	}
	for {
		_, err := l.Names.Next()
		if bad, ok := errors.AsType[*names.BadLine](err); ok {
			p.Bad++
			if l.Bad != nil {
				l.Bad(bad)
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return Preview{}, err
		}
		p.Names++
	}
}

// destination checks the batch's name and finds its provider.
func (c *Control) destination(ctx context.Context, l List) (string, error) {
	if err := names.CheckBatch(l.Batch); err != nil {
		return "", &InvalidError{err.Error()}
	}
	if err := c.Alive(ctx); err != nil {
		return "", err
	}
	b, err := c.db.Batch(ctx, l.Batch)
	switch {
	case err != nil && !isGone(err):
		return "", err
	case err == nil && l.Provider != "" && l.Provider != b.Provider:
		return "", &results.ProviderError{Batch: l.Batch, Has: b.Provider, Wanted: l.Provider}
	case err == nil:
		return b.Provider, nil
	}
	provider := cmp.Or(l.Provider, c.provider)
	if provider == "" {
		return "", invalidf("batch %q is new: give the provider that is to be asked, such as provider=wikipedia", l.Batch)
	}
	if err := c.checkProvider(provider); err != nil {
		return "", &InvalidError{err.Error()}
	}
	return provider, nil
}
