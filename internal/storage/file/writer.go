package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
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
	mount *mount
	buf   *[bufferSize]byte // nil when the writer has ended
	used  int
	temp  *temp // nil until the file is there, and when it has its key
	open  bool  // temp is
	err   error // of a Write
}

func newWriter(s *Store, m *mount) *writer {
	return &writer{store: s, mount: m, buf: buffers.Get().(*[bufferSize]byte)}
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
	if w.temp == nil {
		var err error
		if w.temp, err = w.store.createTemp(w.mount); err != nil {
			return err
		}
		w.open = true
	}
	_, err := w.temp.Write(w.buf[:w.used])
	w.used = 0
	if err != nil {
		return w.store.fail("write to", w.temp.path(), err)
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
	if err := w.temp.Sync(); err != nil {
		return w.store.fail("sync", w.temp.path(), err)
	}
	w.open = false
	if err := w.temp.Close(); err != nil {
		return w.store.fail("close", w.temp.path(), err)
	}
	folder, err := w.store.publish(w.mount, w.temp, key)
	if err != nil {
		return err
	}
	defer w.mount.release(folder)
	w.mount.release(w.temp.folder)
	w.temp = nil
	return w.store.settle(w.mount, folder)
}

// Abort implements storage.Writer.
func (w *writer) Abort() error {
	if w.buf == nil {
		return nil
	}
	buffers.Put(w.buf)
	w.buf = nil
	if w.temp == nil {
		return nil
	}
	defer w.mount.release(w.temp.folder)
	if w.open {
		// What the file holds is dropped, and so is what closing it says.
		_ = w.temp.Close()
	}
	if err := w.mount.root.Remove(w.temp.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w.store.fail("remove", w.temp.path(), err)
	}
	return nil
}

// publish renames a finished temporary file to its key, and makes the folder
// for it where there is none. It returns that folder, to be released.
func (s *Store) publish(m *mount, t *temp, key string) (*folder, error) {
	// Again, since the folder may be removed after it was looked at.
	const tries = 3
	for try := 1; ; try++ {
		to, err := m.take(path.Dir(key))
		if err == nil {
			if err = m.rename(t, to, path.Base(key)); err == nil {
				return to, nil
			}
			m.drop(to)
			m.release(to)
		}
		if try == tries || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, stale) {
			return nil, s.fail("rename a temporary file to", key, err)
		}
	}
}
