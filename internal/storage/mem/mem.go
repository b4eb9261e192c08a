// Package mem is a storage.Store in the memory of one process, for tests and
// trials. It is gone with the process.
package mem

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/storage"
)

var (
	_ storage.Store  = (*Store)(nil)
	_ storage.Writer = (*writer)(nil)
	_ io.ReadSeeker  = (*reader)(nil)
)

// Store keeps files in memory. It is made by [New] or [Named].
type Store struct {
	id string

	mu    sync.RWMutex
	files map[string]stored
}

// stored is a file. Its bytes are never changed.
type stored struct {
	data []byte
	at   time.Time
}

// New returns an empty store.
func New() *Store { return &Store{id: rand.Text(), files: make(map[string]stored)} }

var (
	namedMu sync.Mutex
	named   = make(map[string]*Store)
)

// Named returns the process's store of that name, so that all who open one
// URL meet in one store.
func Named(name string) *Store {
	namedMu.Lock()
	defer namedMu.Unlock()
	if named[name] == nil {
		named[name] = New()
	}
	return named[name]
}

// ID implements storage.Store.
func (s *Store) ID(ctx context.Context) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return s.id, nil
}

// Create implements storage.Store.
func (s *Store) Create(ctx context.Context) (storage.Writer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return &writer{store: s}, nil
}

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key string) (storage.Info, error) {
	_, info, err := s.find(ctx, key)
	return info, err
}

// Open implements storage.Store.
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	data, info, err := s.find(ctx, key)
	if err != nil {
		return nil, storage.Info{}, err
	}
	return &reader{bytes.NewReader(data)}, info, nil
}

// reader reads one file, in ranges too.
type reader struct{ *bytes.Reader }

// Close implements io.Closer.
func (*reader) Close() error { return nil }

func (s *Store) find(ctx context.Context, key string) ([]byte, storage.Info, error) {
	if err := check(ctx, key); err != nil {
		return nil, storage.Info{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, ok := s.files[key]
	if !ok {
		return nil, storage.Info{}, fmt.Errorf("no file %s in memory: %w", key, fs.ErrNotExist)
	}
	return f.data, f.info(), nil
}

func (f stored) info() storage.Info { return storage.Info{Size: int64(len(f.data)), ModTime: f.at} }

func check(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return storage.CheckKey(key)
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, key)
	return nil
}

// List implements storage.Store. It lists what is there when it begins.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		if err := storage.CheckPrefix(prefix); err != nil {
			yield(storage.Entry{}, err)
			return
		}
		s.mu.RLock()
		keys := slices.Collect(maps.Keys(s.files))
		s.mu.RUnlock()
		for _, key := range keys {
			if ctx.Err() != nil {
				yield(storage.Entry{}, context.Cause(ctx))
				return
			}
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			_, info, err := s.find(ctx, key)
			if err == nil && !yield(storage.Entry{Key: key, Info: info}, nil) {
				return
			}
		}
	}
}

// Probe implements storage.Store.
func (s *Store) Probe(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Close implements storage.Store. What is in the store stays.
func (s *Store) Close() error { return nil }

var errEnded = errors.New("writer was committed or aborted before")

type writer struct {
	store *Store // nil when the writer has ended
	buf   bytes.Buffer
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.store == nil {
		return 0, errEnded
	}
	return w.buf.Write(p)
}

// Commit implements storage.Writer.
func (w *writer) Commit(ctx context.Context, key string) error {
	s := w.store
	if s == nil {
		return errEnded
	}
	w.store = nil
	if err := check(ctx, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key] = stored{w.buf.Bytes(), time.Now()}
	return nil
}

// Abort implements storage.Writer.
func (w *writer) Abort() error {
	w.store = nil
	return nil
}
