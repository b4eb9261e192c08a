package app

import (
	"context"
	"errors"
	"io/fs"
	"iter"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// Remover returns what removes names of the batches with their pictures, and
// a function that closes its store. It refuses where the pictures of one of
// them are not here: they would stay and nobody would know.
func (a *App) Remover(ctx context.Context, batches ...results.Batch) (*removal.Remover, func() error, error) {
	store, closeStore, err := a.storeOf(ctx, batches)
	if err != nil {
		return nil, nil, err
	}
	return a.remover(store), closeStore, nil
}

func (a *App) remover(store storage.Store) *removal.Remover {
	return removal.New(removal.Deps{
		Thumbnails: a.thumbnails(),
		DB:         a.DB, Store: store, Tasks: queued{a.Conn.Plain, a.Conn.Namespace}, Namespace: a.Conn.Namespace,
	})
}

// ForgetName removes one name of the batch with its pictures and says what
// went; [results.ErrNoName] where there is none. It refuses where the pictures
// are not here; cut off, it is simply called again.
func (a *App) ForgetName(ctx context.Context, b results.Batch, name string) (removal.Report, error) {
	r, closeStore, err := a.Remover(ctx, b)
	if err != nil {
		return removal.Report{}, err
	}
	report, err := r.Name(ctx, b, name)
	return report, errors.Join(err, closeStore())
}

// storeOf opens the picture store for batches that are bound to it. One that
// none of them is bound to is not made.
func (a *App) storeOf(ctx context.Context, batches []results.Batch) (storage.Store, func() error, error) {
	folder := a.Settings.PicturesFolder()
	store, err := openStore(ctx, a.Settings)
	if errors.Is(err, fs.ErrNotExist) {
		for _, b := range batches {
			if b.Store != "" {
				return nil, nil, notHere(folder, b.Name)
			}
		}
		return noStore{}, func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, err
	}
	id, err := store.ID(ctx)
	for _, b := range batches {
		if err == nil && b.Store != "" && b.Store != id {
			err = notHere(folder, b.Name)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, store.Close, nil
}

func notHere(folder, batch string) error {
	return failure.Newf(failure.ReasonStore, failure.Hold,
		"%s is not the picture store of batch %s: not mounted? Do it where its pictures are, or give the --storage that it began with", folder, batch)
}

// noStore stands where nothing was ever stored.
type noStore struct{ storage.Store }

func (noStore) Delete(context.Context, string) error { return nil }

func (noStore) List(context.Context, string) iter.Seq2[storage.Entry, error] {
	return func(func(storage.Entry, error) bool) {}
}
