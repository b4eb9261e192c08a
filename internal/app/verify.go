package app

import (
	"context"
	"errors"
	"io/fs"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/sidecar"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/verify"
)

// checkers is how many files are read at a time where nobody says.
const checkers = 16

// Verifier returns what compares batches with the store, and a function that
// closes the store. It refuses where the store is not the batch's.
func (a *App) Verifier(ctx context.Context, b results.Batch) (verify.Checker, func() error, error) {
	store, err := a.storeOfBatch(ctx, b)
	if err != nil {
		return verify.Checker{}, nil, err
	}
	return verify.Checker{DB: a.DB, Pictures: store, AtOnce: checkers, Sidecars: a.hasSidecars(b)}, store.Close, nil
}

// hasSidecars reports whether the batch's pictures have sidecars, or are to have
// them from now on.
func (a *App) hasSidecars(b results.Batch) bool {
	return b.Sidecars || a.Settings.Storage.Sidecar && b.Names != storage.NamesContent
}

// Sidecars returns what brings the sidecars of a name of the batch up to date,
// which has them from then on, and a function that closes the store.
func (a *App) Sidecars(ctx context.Context, b results.Batch) (write func(ctx context.Context, name string) error, closeStore func() error, err error) {
	store, err := a.storeOfBatch(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	if !b.Sidecars {
		if _, err := a.DB.Bind(ctx, b.Name, b.Birth, results.Binding{Sidecars: true}); err != nil {
			return nil, nil, errors.Join(err, store.Close())
		}
		b.Sidecars = true
	}
	return func(ctx context.Context, name string) error { return sidecar.Write(ctx, a.DB, store, b, name) }, store.Close, nil
}

// storeOfBatch opens the store that the batch is bound to, to read from it and
// to remove.
func (a *App) storeOfBatch(ctx context.Context, b results.Batch) (storage.Store, error) {
	place := a.Settings.PicturesFolder()
	store, err := openStore(ctx, a.Settings)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.Newf(failure.ReasonStore, failure.Hold,
			"%s is no picture store: give the --storage that batch %[2]s began with, or mount it. If what was there is gone for good, or came back as a copy without its ID: harvest verify %[2]s --rebind", place, b.Name)
	}
	if err != nil {
		return nil, err
	}
	id, err := store.ID(ctx)
	if err == nil && b.Store != "" && b.Store != id {
		err = failure.Newf(failure.ReasonStore, failure.Hold,
			"%s is not the store of batch %s: give the --storage that it began with, or mount it; if it was replaced by this one: harvest verify %s --rebind",
			place, b.Name, b.Name)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// Rebind binds the batch to the store of the settings, which is made where it
// is missing.
func (a *App) Rebind(ctx context.Context, b results.Batch) error {
	id, err := CheckStore(ctx, a.Settings)
	if err != nil {
		return err
	}
	return a.DB.Rebind(ctx, b.Name, b.Birth, id)
}

// PicturesGone reports whether pictures of the batch that are done are not in
// the store any more, as far as the first few tell. Where its store is not
// here, nothing is known and the answer is no.
func (a *App) PicturesGone(ctx context.Context, b results.Batch) (bool, error) {
	if b.Store == "" {
		return false, nil
	}
	store, err := a.storeOfBatch(ctx, b)
	if err != nil {
		return false, nil
	}
	defer store.Close()
	const few = 3
	missing := 0
	for r, err := range a.DB.Each(ctx, b, results.Query{State: results.Done}) {
		if results.IsRecordError(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		stored := r.Stored()
		if len(stored) == 0 {
			continue
		}
		if _, err := store.Stat(ctx, stored[0].Key); !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if missing++; missing == few {
			break
		}
	}
	return missing > 0, nil
}
