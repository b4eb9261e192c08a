// Package control is what people ask of batches and do with them through the
// web: how far each is, its names page by page, its progress as it goes, and
// retry, pause, resume, cancel, delete and forget with the number of names that
// each touches. The HTTP API and the pages speak through it, so that both say the
// same in the same words. It knows no HTTP, and how a change is made safely is
// the business of packages results and enqueuer.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/nearest"
	"github.com/picharvest/picharvest/internal/results"
)

// Enqueuer is what the package asks of package enqueuer.
type Enqueuer interface {
	Enqueue(ctx context.Context, job enqueuer.Job) (enqueuer.Report, error)
	Retry(ctx context.Context, b results.Batch, q results.Query) (int64, error)
	Resume(ctx context.Context, batch string) (int64, error)
}

var _ Enqueuer = (*enqueuer.Enqueuer)(nil)

// Deps are the parts that a Control works with.
type Deps struct {
	DB       *results.DB
	Enqueuer Enqueuer
	Remover  Remover
	// Ping asks Redis for a sign of life.
	Ping func(context.Context) error
	// Provider is that of new batches for which none is named, or "".
	Provider string
	// CheckProvider reports an unknown provider, or one that lacks something.
	CheckProvider func(name string) error
	// Place says in words which Redis is looked at.
	Place  string
	Logger *slog.Logger
}

// Control answers and acts. It is safe for concurrent use. Its errors are
// [*UnknownError], [*InvalidError], [*RefusedError], those of package results,
// and else Redis's.
type Control struct {
	db    *results.DB
	enq   Enqueuer
	place string
	log   *slog.Logger
	rates rates
	live  live
	pulse pulse

	remover Remover

	provider      string
	checkProvider func(name string) error
}

// New returns a Control.
func New(d Deps) *Control {
	c := &Control{db: d.DB, enq: d.Enqueuer, remover: d.Remover, place: d.Place, log: d.Logger,
		provider: d.Provider, checkProvider: d.CheckProvider}
	c.pulse.ping = d.Ping
	c.live.topics = make(map[string]*topic)
	return c
}

// Place says in words which Redis is looked at.
func (c *Control) Place() string { return c.place }

// UnknownError says that there is no such batch or name.
type UnknownError struct {
	// What is "batch" or "name".
	What string
	Word string
	// Batch in which the name was looked for.
	Batch string
	// Near are the names most like it, the nearest first.
	Near []string
}

// Error offers the nearest.
func (e *UnknownError) Error() string {
	text := fmt.Sprintf("there is no %s %q", e.What, e.Word)
	if e.Batch != "" {
		text += fmt.Sprintf(" in batch %q", e.Batch)
	}
	if len(e.Near) > 0 {
		text += "; did you mean " + strings.Join(e.Near, " or ") + "?"
	}
	return text
}

// Is makes it the error of package results that it stands for.
func (e *UnknownError) Is(target error) bool {
	return e.What == "batch" && target == results.ErrNoBatch || e.What == "name" && target == results.ErrNoName
}

// InvalidError says that a question or a change makes no sense, in words for
// who asked.
type InvalidError struct{ Text string }

// Error returns the words.
func (e *InvalidError) Error() string { return e.Text }

// RefusedError says why a change cannot be made as things stand, and what to
// do.
type RefusedError struct{ Text string }

// Error returns the words.
func (e *RefusedError) Error() string { return e.Text }

func invalidf(format string, args ...any) error {
	return &InvalidError{fmt.Sprintf(format, args...)}
}

// maxNear is how many near names an UnknownError offers.
const maxNear = 5

// batch returns the batch as results has it, or an UnknownError.
func (c *Control) batch(ctx context.Context, name string) (results.Batch, error) {
	if err := c.Alive(ctx); err != nil {
		return results.Batch{}, err
	}
	b, err := c.db.Batch(ctx, name)
	if !errors.Is(err, results.ErrNoBatch) {
		return b, err
	}
	all, err := c.db.Batches(ctx)
	if err != nil {
		return results.Batch{}, err
	}
	known := make([]string, len(all))
	for i, b := range all {
		known[i] = b.Name
	}
	return results.Batch{}, &UnknownError{What: "batch", Word: name, Near: first(nearest.Words(name, known), maxNear)}
}

// batches returns all batches as results has them, the oldest first.
func (c *Control) batches(ctx context.Context) ([]results.Batch, error) {
	if err := c.Alive(ctx); err != nil {
		return nil, err
	}
	return c.db.Batches(ctx)
}

func first[T any](list []T, n int) []T { return list[:min(n, len(list))] }
