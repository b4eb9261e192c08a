package worker_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
)

// A name is forgotten while its picture is on the way: neither record nor
// file come back.
func TestNoFileIsLeftOfANameThatIsForgottenInFlight(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		remover := removal.New(removal.Deps{DB: r.db, Store: r.store, Namespace: r.namespace})
		r.remover = remover
		r.provide("people", func(ctx context.Context, name string) (lookup.Answer, error) {
			if name == "Ada" {
				b, err := r.db.Batch(ctx, "names")
				if err != nil {
					return lookup.Answer{}, err
				}
				// Her answer is about to be given.
				if _, err := remover.Name(ctx, b, name); err != nil {
					return lookup.Answer{}, err
				}
			}
			return found([]string{r.site.url(name)}), nil
		})
		r.enqueue("names", "people", "Ada", "Bob")
		stop := r.start()
		r.finished("names")
		r.empty()
		stop()
		b, err := r.db.Batch(t.Context(), "names")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.db.Get(t.Context(), b, "Ada"); !errors.Is(err, results.ErrNoName) {
			t.Errorf("the name is back: %v", err)
		}
		if _, err := r.store.Stat(t.Context(), "names/Ada.png"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("her picture is there: %v", err)
		}
		if _, err := r.store.Stat(t.Context(), "names/Bob.png"); err != nil {
			t.Errorf("Bob's picture is not there: %v", err)
		}
	})
}
