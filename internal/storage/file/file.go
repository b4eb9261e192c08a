// Package file is a storage.Store in a folder, local or on a shared file
// system.
//
// A picture becomes visible by a rename, when its bytes are on the disk, and
// counts as stored when its name is too. Unfinished files stand in .tmp at the
// top of the store, named with the process that writes them. Everything goes
// through os.Root, or through a folder that was opened by it and still stands
// at its path: a link that somebody planted in the store never leads out of
// it. (A mount inside the store would; a rename into one fails.)
package file

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/storage"
)

var _ storage.Store = (*Store)(nil)

// Store is a folder of pictures. It is safe for concurrent use; any number of
// processes may share one folder.
type Store struct {
	dir   string
	owner string
	id    string

	// temps and the count of files so far name temporary files.
	temps string
	made  atomic.Uint64

	// mu guards mount, which is replaced when the folder is mounted anew, and
	// when it was last seen at its path.
	mu     sync.Mutex
	mount  *mount
	looked time.Time
}

// lookEvery is how long a folder that was at its path is taken to be there
// still: about as long as a picture is in writing, after which nobody looks
// either.
const lookEvery = 10 * time.Millisecond

// New returns the store in dir and makes dir if it is missing. It proves by
// doing it that files can be made there, and gives a new store its ID.
//
// owner names this process in temporary files, as [Store.RemoveTemps] sees
// them: 1 to 64 characters of letters, digits, dot, hyphen and underscore,
// different for every process that uses the folder at one time.
//
// Every error names the path; one about the folder is ReasonStore and Hold.
func New(dir, owner string) (*Store, error) {
	if !isOwner(owner) {
		return nil, fmt.Errorf("owner %q of temporary files: want 1 to 64 of A-Z a-z 0-9 . _ -", owner)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("picture store %q: %w", dir, err)
	}
	s := &Store{dir: dir, owner: owner, temps: owner + tempMark + rand.Text()}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, s.fail("make", ".", err)
	}
	if s.mount, err = openMount(dir); err != nil {
		return nil, s.fail("open", ".", err)
	}
	if err := s.begin(); err != nil {
		s.mount.close()
		return nil, err
	}
	return s, nil
}

// Open is [New] for a store that is there: it makes none and writes nothing,
// so that files can be removed where none can be written any more. A folder
// that is missing or no store is an error that is fs.ErrNotExist.
func Open(dir, owner string) (*Store, error) {
	if !isOwner(owner) {
		return nil, fmt.Errorf("owner %q of temporary files: want 1 to 64 of A-Z a-z 0-9 . _ -", owner)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("picture store %q: %w", dir, err)
	}
	s := &Store{dir: dir, owner: owner, temps: owner + tempMark + rand.Text()}
	if s.mount, err = openMount(dir); err != nil {
		return nil, s.fail("open", ".", err)
	}
	if s.id, err = readID(s.mount.root); err != nil {
		s.mount.close()
		return nil, s.fail("read", idFile, err)
	}
	return s, nil
}

// begin learns the folder's ID and proves that it can be written.
func (s *Store) begin() error {
	var err error
	s.id, err = s.takeID(s.mount)
	if err != nil {
		return err
	}
	return s.probe(s.mount)
}

// Probe implements storage.Store.
func (s *Store) Probe(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m, err := s.current()
	if err != nil {
		return err
	}
	return s.probe(m)
}

func (s *Store) probe(m *mount) error {
	t, err := s.createTemp(m)
	if err != nil {
		return err
	}
	defer m.release(t.folder)
	// More than some file systems keep beside the name, who have room for a
	// few bytes when they have none for a picture.
	_, err = t.Write(probeBytes[:])
	err = cmp.Or(err, t.Sync(), t.Close())
	// Another process that begins may have cleared it away as a leftover.
	if rerr := m.root.Remove(t.path()); err == nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = rerr
	}
	if err != nil {
		return s.fail("write to", t.path(), err)
	}
	return nil
}

// probeBytes are what a probe writes.
var probeBytes [64 << 10]byte

// Close lets go of the folder. Writers that are still open fail.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mount.close()
	return nil
}

// ID implements storage.Store.
func (s *Store) ID(ctx context.Context) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if _, err := s.current(); err != nil {
		return "", err
	}
	return s.id, nil
}

// Create implements storage.Store. The first 256 KiB of a file stay in
// memory, so that a small picture is made, written and synced in one go.
func (s *Store) Create(ctx context.Context) (storage.Writer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m, err := s.current()
	if err != nil {
		return nil, err
	}
	return newWriter(s, m), nil
}

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key string) (storage.Info, error) {
	_, info, err := s.stat(ctx, key)
	return info, err
}

// Open implements storage.Store. What it returns is an *os.File, so that it
// can also be served in ranges.
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	m, _, err := s.stat(ctx, key)
	if err != nil {
		return nil, storage.Info{}, err
	}
	f, err := m.root.Open(filepath.FromSlash(key))
	if err != nil {
		return nil, storage.Info{}, s.fail("open", key, err)
	}
	// Another file may have been committed there since it was looked at.
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, storage.Info{}, s.fail("read", key, err)
	}
	return f, storage.Info{Size: fi.Size(), ModTime: fi.ModTime()}, nil
}

// stat looks a regular file up, in the folder as it is now.
func (s *Store) stat(ctx context.Context, key string) (*mount, storage.Info, error) {
	m, err := s.at(ctx, key)
	if err != nil {
		return nil, storage.Info{}, err
	}
	fi, err := m.root.Lstat(filepath.FromSlash(key))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, storage.Info{}, fmt.Errorf("no file %s: %w", s.path(key), fs.ErrNotExist)
	case err != nil:
		return nil, storage.Info{}, s.fail("read", key, err)
	case !fi.Mode().IsRegular():
		return nil, storage.Info{}, failure.Newf(failure.ReasonStore, failure.Temporary,
			"%s is no regular file; remove it", s.path(key))
	}
	return m, storage.Info{Size: fi.Size(), ModTime: fi.ModTime()}, nil
}

// Delete implements storage.Store. A folder that it empties goes too.
func (s *Store) Delete(ctx context.Context, key string) error {
	m, err := s.at(ctx, key)
	if err != nil {
		return err
	}
	err = m.root.Remove(filepath.FromSlash(key))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail("remove", key, err)
	}
	for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
		// Forgotten first: whoever finds it again makes it durable again.
		m.dropAt(dir)
		if err := m.root.Remove(filepath.FromSlash(dir)); err != nil {
			break // it holds other files
		}
	}
	return nil //nolint:nilerr // the key is gone; folders are tidied as far as that goes
}

// at begins a call about key.
func (s *Store) at(ctx context.Context, key string) (*mount, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	return s.current()
}

// current returns the folder that stands at the store's path now. A share
// that went away and came back is opened anew; what stands there without our
// ID, such as the bare mount point, is refused. It is looked at once in
// [lookEvery].
func (s *Store) current() (*mount, error) {
	s.mu.Lock()
	m, fresh := s.mount, time.Since(s.looked) < lookEvery
	s.mu.Unlock()
	if fresh {
		return m, nil
	}
	fi, err := os.Stat(s.dir)
	if err != nil {
		return nil, s.fail("find", ".", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if os.SameFile(fi, s.mount.info) {
		s.looked = time.Now()
		return s.mount, nil
	}
	m, err = openMount(s.dir)
	if err != nil {
		return nil, s.fail("open", ".", err)
	}
	id, err := readID(m.root)
	if err == nil && id != s.id {
		err = fmt.Errorf("store ID %s, not %s", id, s.id)
	}
	if err != nil {
		m.close()
		return nil, failure.Newf(failure.ReasonStore, failure.Hold,
			"picture store %s is not the one that this process began with (%w); mount it again", s.dir, err)
	}
	s.mount.close() // of a folder that is gone
	s.mount = m
	return m, nil
}

// Path returns where the file at key is. What is there was not looked at; what
// [Store.Open] returns is the store's own.
func (s *Store) Path(key string) string { return s.path(key) }

// path returns where key is, for messages.
func (s *Store) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }
