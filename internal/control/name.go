package control

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/nearest"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// MaxPage is the most names on one page.
const MaxPage = 1000

const (
	// searchAtMost and searchFor bound what one page looks through where no
	// index helps.
	searchAtMost = 20_000
	searchFor    = 3 * time.Second
	// searchStep is how many names are looked through between two looks at the
	// clock.
	searchStep = 500
)

// Page is some names of a batch in the order of their lines.
type Page struct {
	Names []recordjson.Name
	// Next continues behind this page as a cursor, "" at the end.
	Next string
	// Searched is how many names were looked through. Cut says that they were
	// so many that the page ends before it is full: Next goes on from there.
	Searched int
	Cut      bool
	// Warning says that names are missing, and why: keys in Redis hold what is
	// not ours.
	Warning string
}

// Names returns the names of a batch that q selects, at most limit of them (1
// to MaxPage), behind cursor, which is a Page.Next or "". A record that cannot
// be read is a name with its Error. q.Batch and q.After are ignored.
func (c *Control) Names(ctx context.Context, batch string, q results.Query, cursor string, limit int) (Page, error) {
	return c.Search(ctx, batch, q, func(recordjson.Name) bool { return true }, cursor, limit)
}

// Search is Names of which keep selects some.
func (c *Control) Search(ctx context.Context, batch string, q results.Query, keep func(recordjson.Name) bool, cursor string, limit int) (Page, error) {
	if limit < 1 || limit > MaxPage {
		return Page{}, invalidf("limit is %d: give 1 to %d", limit, MaxPage)
	}
	b, err := c.batch(ctx, batch)
	if err != nil {
		return Page{}, err
	}
	if q.After, err = parseCursor(cursor); err != nil {
		return Page{}, err
	}
	where := q.Where
	q.Batch, q.Where = batch, nil
	var p Page
	last := q.After
	began := time.Now()
	for r, err := range c.db.Each(ctx, b, q) {
		if isKeyError(err) {
			p.Warning = err.Error() // it comes last
			break
		}
		if err != nil && !results.IsRecordError(err) {
			return Page{}, err
		}
		// Names that are kept make a page that ends by itself.
		p.Cut = p.Searched > len(p.Names) && p.Searched%searchStep == 0 && (p.Searched >= searchAtMost || time.Since(began) > searchFor)
		if p.Cut || len(p.Names) == limit {
			p.Next = formatCursor(last)
			break
		}
		last = results.Position{Line: r.Line, Name: r.Name}
		p.Searched++
		if r.Forgotten || len(where) > 0 && (err != nil || !r.Has(where)) {
			continue
		}
		if n := describeName(b, r, err); keep(n) {
			p.Names = append(p.Names, n)
		}
	}
	return p, nil
}

// Each calls do with every name of a batch that q selects, in the order of
// their lines and in bounded memory, until do returns an error. Where keys in
// Redis hold what is not ours a [*results.KeyError] comes when all other names
// were done.
func (c *Control) Each(ctx context.Context, batch string, q results.Query, do func(recordjson.Name) error) error {
	b, err := c.batch(ctx, batch)
	if err != nil {
		return err
	}
	q.Batch = batch
	for r, err := range c.db.Each(ctx, b, q) {
		switch {
		case err != nil && !results.IsRecordError(err):
			return err
		case r.Forgotten, err != nil && len(q.Where) > 0:
			continue
		}
		if err := do(describeName(b, r, err)); err != nil {
			return err
		}
	}
	return nil
}

// describeName describes a record, or one that err says cannot be read.
func describeName(b results.Batch, r results.Record, err error) recordjson.Name {
	if err != nil {
		return recordjson.Unreadable(b, r, err)
	}
	return recordjson.Of(b, r)
}

// Name returns one name of a batch, or an [*UnknownError].
func (c *Control) Name(ctx context.Context, batch, name string) (recordjson.Name, error) {
	b, err := c.batch(ctx, batch)
	if err != nil {
		return recordjson.Name{}, err
	}
	r, err := c.db.Get(ctx, b, name)
	switch {
	case errors.Is(err, results.ErrNoName), r.Forgotten:
		return recordjson.Name{}, c.unknownName(ctx, b, name)
	case results.IsRecordError(err):
		return recordjson.Unreadable(b, results.Record{Name: name}, err), nil
	case err != nil:
		return recordjson.Name{}, err
	}
	return recordjson.Of(b, r), nil
}

// Count returns how many names of a batch q selects. It looks a number up for
// at most one of state, reason and host, and walks over a list for more.
func (c *Control) Count(ctx context.Context, batch string, q results.Query) (int64, error) {
	b, err := c.batch(ctx, batch)
	if err != nil {
		return 0, err
	}
	return c.db.Count(ctx, b, q)
}

// searched bounds the names among which near ones are looked for.
const searched = 5000

func (c *Control) unknownName(ctx context.Context, b results.Batch, name string) error {
	var known []string
	for r, err := range c.db.Each(ctx, b, results.Query{}) {
		if err != nil && !results.IsRecordError(err) {
			return err
		}
		if known = append(known, r.Name); len(known) == searched {
			break
		}
	}
	return &UnknownError{What: "name", Word: name, Batch: b.Name, Near: first(nearest.Words(name, known), maxNear)}
}

// A cursor is the position of the last name of a page.

// Cursor continues a listing behind a name.
func Cursor(n recordjson.Name) string {
	return formatCursor(results.Position{Line: n.Line, Name: n.Name})
}

func formatCursor(p results.Position) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", p.Line, p.Name))
}

func parseCursor(s string) (results.Position, error) {
	if s == "" {
		return results.Position{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	line, name, ok := strings.Cut(string(text), " ")
	n, numErr := strconv.ParseInt(line, 10, 64)
	if err != nil || numErr != nil || !ok || n < 0 {
		return results.Position{}, invalidf("the cursor is none: give that of the page before, or none to begin")
	}
	return results.Position{Line: n, Name: name}, nil
}

// Find returns a name of the newest batch that has it, settled ones before
// those that are still to come; with a batch, of that one alone. An
// [*UnknownError] says that none has it.
func (c *Control) Find(ctx context.Context, batch, name string) (recordjson.Name, error) {
	if batch != "" {
		return c.Name(ctx, batch, name)
	}
	all, err := c.batches(ctx)
	if err != nil {
		return recordjson.Name{}, err
	}
	var open *recordjson.Name
	for _, b := range slices.Backward(all) {
		if b.Broken != nil {
			continue
		}
		r, err := c.db.Get(ctx, b, name)
		if errors.Is(err, results.ErrNoName) || results.IsRecordError(err) || isKeyError(err) || r.Forgotten {
			continue
		}
		if err != nil {
			return recordjson.Name{}, err
		}
		n := recordjson.Of(b, r)
		if !r.State.Open() && r.State != results.Cancelled {
			return n, nil
		}
		if open == nil && r.State.Open() {
			open = &n
		}
	}
	if open != nil {
		return *open, nil
	}
	return recordjson.Name{}, &UnknownError{What: "name", Word: name}
}
