package control

import (
	"context"
	"errors"
	"reflect"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
)

// Action is what can be done with a batch.
type Action string

// The actions; each is what `harvest ACTION` does.
const (
	Retry  Action = "retry"
	Pause  Action = "pause"
	Resume Action = "resume"
	Cancel Action = "cancel"
	Delete Action = "delete"
	// Forget removes one name of the batch, with its pictures.
	Forget Action = "forget"
)

// Actions lists every action in the order in which users see them.
func Actions() []Action { return []Action{Retry, Pause, Resume, Cancel, Delete, Forget} }

// Change is an action on one batch.
type Change struct {
	Action Action
	Batch  string
	// Query selects the names of a Retry, the failed and partial ones where it
	// gives no state; and the one Name of a Forget. Every other action is for
	// the whole batch.
	Query results.Query
	// Pictures makes a Delete remove the batch's pictures too.
	Pictures bool
}

// Done says what a change touched.
type Done struct {
	// Names is how many it touched.
	Names int64 `json:"names"`
	// Pictures and Bytes were removed from the store; Shared stayed there,
	// since other names have the same content.
	Pictures int64 `json:"pictures,omitempty"`
	Bytes    int64 `json:"bytes,omitempty"`
	Shared   int64 `json:"shared,omitempty"`
}

func removed(r removal.Report) Done {
	return Done{Names: r.Names, Pictures: r.Pictures, Bytes: r.Bytes, Shared: r.Shared}
}

// Remover takes things away with their pictures. An error of type
// [*failure.Error] says why it refuses.
type Remover interface {
	DeletePictures(ctx context.Context, b results.Batch) (removal.Report, error)
	// ForgetName is [results.ErrNoName] where the batch has none of that name.
	ForgetName(ctx context.Context, b results.Batch, name string) (removal.Report, error)
}

// Affected returns how many names the change would touch now, and changes
// nothing: the names selected for a retry, those not settled yet for pause,
// resume and cancel, all of them for delete, one for forget.
func (c *Control) Affected(ctx context.Context, ch Change) (int64, error) {
	ch, b, err := c.checked(ctx, ch)
	if err != nil {
		return 0, err
	}
	return c.affected(ctx, b, ch)
}

// Do makes the change and says what it touched. Each is safe to repeat, and
// one that was interrupted is simply made again. A [*RefusedError] says why it
// cannot be made here.
func (c *Control) Do(ctx context.Context, ch Change) (Done, error) {
	ch, b, err := c.checked(ctx, ch)
	if err != nil {
		return Done{}, err
	}
	done, err := c.do(ctx, b, ch)
	if refused, ok := errors.AsType[*failure.Error](err); ok {
		return done, &RefusedError{refused.Error()}
	}
	return done, err
}

func (c *Control) do(ctx context.Context, b results.Batch, ch Change) (Done, error) {
	switch ch.Action {
	case Retry:
		n, err := c.enq.Retry(ctx, b, ch.Query)
		return Done{Names: n}, err
	case Resume:
		n, err := c.enq.Resume(ctx, b.Name)
		return Done{Names: n}, err
	case Cancel:
		counts, err := c.db.Counts(ctx, b)
		if err != nil || b.Finished(counts) {
			return Done{}, err // it stays finished
		}
		n, err := c.db.Cancel(ctx, b)
		return Done{Names: n}, err
	case Forget:
		r, err := c.remover.ForgetName(ctx, b, ch.Query.Name)
		if errors.Is(err, results.ErrNoName) {
			return Done{}, c.unknownName(ctx, b, ch.Query.Name)
		}
		return removed(r), err
	case Delete:
		if ch.Pictures {
			r, err := c.remover.DeletePictures(ctx, b)
			return removed(r), err
		}
	}
	n, err := c.affected(ctx, b, ch)
	if err != nil {
		return Done{}, err
	}
	if ch.Action == Pause {
		return Done{Names: n}, c.db.Pause(ctx, b.Name)
	}
	return Done{Names: n}, c.db.Delete(ctx, b.Name)
}

// checked returns a change that makes sense, and its batch.
func (c *Control) checked(ctx context.Context, ch Change) (Change, results.Batch, error) {
	switch ch.Action {
	case Retry:
		var err error
		if ch.Query, err = ch.Query.ForRetry(); err != nil {
			return ch, results.Batch{}, &InvalidError{err.Error()}
		}
	case Forget:
		if !reflect.DeepEqual(ch.Query, results.Query{Name: ch.Query.Name}) || ch.Query.Name == "" {
			return ch, results.Batch{}, invalidf("forget is for one name: give it, and nothing else")
		}
	case Pause, Resume, Cancel, Delete:
		if !reflect.ValueOf(ch.Query).IsZero() {
			return ch, results.Batch{}, invalidf("%s is for the whole batch: give no selection of names", ch.Action)
		}
	default:
		return ch, results.Batch{}, invalidf("%q is no action: there are %v", ch.Action, Actions())
	}
	b, err := c.batch(ctx, ch.Batch)
	return ch, b, err
}

func (c *Control) affected(ctx context.Context, b results.Batch, ch Change) (int64, error) {
	switch ch.Action {
	case Retry:
		return c.db.Count(ctx, b, ch.Query)
	case Forget:
		_, err := c.db.Get(ctx, b, ch.Query.Name)
		switch {
		case errors.Is(err, results.ErrNoName):
			return 0, c.unknownName(ctx, b, ch.Query.Name)
		case err != nil && !results.IsRecordError(err):
			return 0, err
		}
		return 1, nil
	}
	counts, err := c.db.Counts(ctx, b)
	if ch.Action == Delete {
		return counts.Total(), err
	}
	return counts.Open(), err
}
