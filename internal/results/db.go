package results

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// DB reads and writes results. Its methods may be called at any time by any
// number of processes. Errors that wrap no error of this package come from
// Redis.
type DB struct {
	rdb  redis.UniversalClient
	keys keyspace
}

// New returns the DB in rdb, in a namespace that is usually empty.
func New(rdb redis.UniversalClient, namespace string) *DB {
	return &DB{rdb: rdb, keys: newKeyspace(namespace)}
}

var (
	// ErrNoBatch: there is no such batch, or it was deleted meanwhile.
	ErrNoBatch = errors.New("no such batch")
	// ErrNoName: the batch has no such name.
	ErrNoName = errors.New("no such name")
	// ErrCancelled: the batch was cancelled meanwhile and takes nothing in.
	ErrCancelled = errors.New("the batch was cancelled")
	// ErrDeleting: the batch is being deleted.
	ErrDeleting = errors.New("the batch is being deleted")
)

// ProviderError says that a batch belongs to another provider.
type ProviderError struct{ Batch, Has, Wanted string }

// Error names the cure.
func (e *ProviderError) Error() string {
	return fmt.Sprintf("batch %q belongs to provider %q, not %q: give the names another batch, e.g. --batch %s-%s",
		e.Batch, e.Has, e.Wanted, e.Batch, e.Wanted)
}

// MaxPicturesError says that a batch began with another bound of pictures, 0
// for none of its own.
type MaxPicturesError struct {
	Batch       string
	Has, Wanted int
}

// Error names the cure.
func (e *MaxPicturesError) Error() string {
	has, cure := "the provider's own bound of pictures", "leave --max-pictures out"
	if e.Has > 0 {
		has = fmt.Sprintf("--max-pictures %d", e.Has)
		cure = "give that"
	}
	return fmt.Sprintf("batch %q began with %s, not --max-pictures %d: %s, or give the names another batch, e.g. --batch %s-%d",
		e.Batch, has, e.Wanted, cure, e.Batch, e.Wanted)
}

// noBatch turns the scripts' nil into ErrNoBatch.
func noBatch(batch string, err error) error {
	if errors.Is(err, redis.Nil) {
		return fmt.Errorf("%w: %q", ErrNoBatch, batch)
	}
	return err
}
