package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/picharvest/picharvest/internal/storage"
)

var _ storage.Writer = (*writer)(nil)

// bufferSize is what a Writer holds before it opens a file.
const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// errEnded is a Writer used after its Commit or Abort.
var errEnded = errors.New("writer was committed or aborted before")

// writer collects the bytes of one file in buf and, once they are more, in a
// temporary file.
type writer struct {
	store *Store
	root  *os.Root
	buf   *[bufferSize]byte // nil when the writer has ended
	used  int
	temp  string // empty until the file is there
	f     *os.File
	err   error // of a Write
}

func newWriter(s *Store, root *os.Root) *writer {
	return &writer{store: s, root: root, buf: buffers.Get().(*[bufferSize]byte)}
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.buf == nil {
		return 0, errEnded
	}
	written := 0
	for w.err == nil {
		n := copy(w.buf[w.used:], p[written:])
		w.used += n
		written += n
		if written == len(p) {
			return written, nil
		}
		w.err = w.flush()
	}
	return written, w.err
}

// flush empties the buffer into the temporary file.
func (w *writer) flush() error {
	if w.f == nil {
		var err error
		if w.temp, w.f, err = w.store.createTemp(w.root); err != nil {
			return err
		}
	}
	_, err := w.f.Write(w.buf[:w.used])
	w.used = 0
	if err != nil {
		return w.store.fail("write to", w.temp, err)
	}
	return nil
}

// Commit implements storage.Writer.
func (w *writer) Commit(ctx context.Context, key string) error {
	if w.buf == nil {
		return errEnded
	}
	err := w.commit(ctx, key)
	if abortErr := w.Abort(); err != nil && abortErr != nil {
		return fmt.Errorf("%w; and %w", err, abortErr)
	}
	return err
}

func (w *writer) commit(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w.err != nil {
		return w.err
	}
	if err := storage.CheckKey(key); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return w.store.fail("sync", w.temp, err)
	}
	f := w.f
	w.f = nil
	if err := f.Close(); err != nil {
		return w.store.fail("close", w.temp, err)
	}
	if err := w.store.publish(w.root, w.temp, key); err != nil {
		return err
	}
	w.temp = ""
	return w.store.settle(w.root, path.Dir(key))
}

// Abort implements storage.Writer.
func (w *writer) Abort() error {
	if w.buf == nil {
		return nil
	}
	buffers.Put(w.buf)
	w.buf = nil
	if w.f != nil {
		// What the file holds is dropped, and so is what closing it says.
		_ = w.f.Close()
	}
	if w.temp == "" {
		return nil
	}
	if err := w.root.Remove(w.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w.store.fail("remove", w.temp, err)
	}
	return nil
}

// publish renames a finished temporary file to its key, and makes the folder
// for it where there is none.
func (s *Store) publish(root *os.Root, temp, key string) error {
	to := filepath.FromSlash(key)
	err := root.Rename(temp, to)
	// Twice, since the folder may be emptied and removed in between.
	for range 2 {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir := path.Dir(key)
		s.forget(dir)
		if err = root.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
			return s.fail("make", dir, err)
		}
		err = root.Rename(temp, to)
	}
	if err != nil {
		return s.fail("rename a temporary file to", key, err)
	}
	return nil
}

// settle puts a change in dir on the disk, and, the first time that this
// process sees them, the names of dir and the folders above it.
func (s *Store) settle(root *os.Root, dir string) error {
	if err := s.syncFolder(root, dir); err != nil {
		return err
	}
	if dir == "." || s.knows(dir) {
		return nil
	}
	if err := s.settle(root, path.Dir(dir)); err != nil {
		return err
	}
	s.learn(root, dir)
	return nil
}

func (s *Store) knows(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[dir]
}

func (s *Store) learn(root *os.Root, dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == root {
		s.known[dir] = true
	}
}

func (s *Store) forget(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; dir != "."; dir = path.Dir(dir) {
		delete(s.known, dir)
	}
}
