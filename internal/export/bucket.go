package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/picharvest/picharvest/internal/storage"
)

// Objects is a place for exports that is no folder on this machine. Its
// methods are [storage.Store]'s.
type Objects interface {
	Create(ctx context.Context) (storage.Writer, error)
	Stat(ctx context.Context, key string) (storage.Info, error)
	List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error]
	Delete(ctx context.Context, key string) error
}

// Bucket is a target among objects. Each appears when it is whole; of many,
// [Manifest] is the last, and without it an export is none.
type Bucket struct {
	objects Objects
	// name of the one object, or "" for many.
	name string
	// begun: there may be objects of this export.
	begun bool
}

var _ Target = (*Bucket)(nil)

// NewBucket returns the target at objects: the object name, which force
// replaces, or where name is "" all that is there, which must be nothing.
func NewBucket(ctx context.Context, objects Objects, name string, force bool) (*Bucket, error) {
	b := &Bucket{objects: objects, name: name}
	if name != "" {
		_, err := objects.Stat(ctx, name)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && force:
			return b, nil
		case err != nil:
			return nil, err
		}
		return nil, &ExistsError{name, "give --force to replace it, or another name"}
	}
	for e, err := range objects.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		return nil, &ExistsError{e.Key, "give a prefix that has no objects, or remove them"}
	}
	return b, nil
}

// Create implements Target.
func (b *Bucket) Create(ctx context.Context) (storage.Writer, error) {
	w, err := b.objects.Create(ctx)
	if err != nil {
		return nil, err
	}
	b.begun = true
	return &named{w, b.name}, nil
}

// Finish implements Target: the last object was committed.
func (b *Bucket) Finish(context.Context) error { return nil }

// discardWithin is how long it may take to remove what was uploaded.
const discardWithin = 5 * time.Minute

// Discard implements Target. Where there are to be many objects there was none
// before, so all are the export's.
func (b *Bucket) Discard() error {
	if b.name != "" || !b.begun {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), discardWithin)
	defer cancel()
	for e, err := range b.objects.List(ctx, "") {
		if err == nil {
			err = b.objects.Delete(ctx, e.Key)
		}
		if err != nil {
			return fmt.Errorf("objects without %s stay there and are no whole export; remove them: %w", Manifest, err)
		}
	}
	return nil
}

// named is an object that may have its name from the target.
type named struct {
	storage.Writer
	name string
}

// Commit implements storage.Writer.
func (n *named) Commit(ctx context.Context, name string) error {
	if n.name != "" {
		name = n.name
	}
	return n.Writer.Commit(ctx, name)
}
