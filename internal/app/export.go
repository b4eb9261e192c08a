package app

import (
	"context"

	"github.com/picharvest/picharvest/internal/export"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/s3"
)

// PicturesFor returns what reads the pictures of a batch, and a function that
// closes it. It refuses where they are not here: every one of them would be
// missing. Nothing is written there.
func (a *App) PicturesFor(ctx context.Context, b results.Batch) (export.Pictures, func() error, error) {
	store, closeStore, err := a.storeOf(ctx, []results.Batch{b})
	if err != nil {
		return nil, nil, err
	}
	if _, none := store.(noStore); none {
		// An imported batch belongs to no store.
		pictures, err := PicturesOf(a.Settings)
		return pictures, closeStore, err
	}
	return store, closeStore, nil
}

// Objects returns the place of an export in a bucket. Nothing is asked yet.
func Objects(at storage.Location) (export.Objects, error) {
	return s3.NewFolder(s3.Config{Location: at})
}
