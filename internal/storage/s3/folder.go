package s3

import (
	"context"

	"github.com/picharvest/picharvest/internal/storage"
)

// Folder is a place in a bucket for files that are no store's: it has no ID,
// and nothing is written there but what it is given. It is safe for concurrent
// use.
type Folder struct{ *bucket }

// NewFolder returns the Folder at cfg's place. It asks nobody.
func NewFolder(cfg Config) (*Folder, error) {
	b, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	return &Folder{b}, nil
}

// Create is [storage.Store]'s.
func (f *Folder) Create(ctx context.Context) (storage.Writer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return newWriter(f.bucket), nil
}

// Delete is [storage.Store]'s.
func (f *Folder) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	return f.remove(ctx, key)
}
