package file

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/picharvest/picharvest/internal/storage"
)

// Reader reads the pictures of a store and writes nothing, so that the folder
// may be read-only, or not there yet. It is safe for concurrent use.
type Reader struct{ dir string }

// NewReader returns a Reader of the store in dir.
func NewReader(dir string) *Reader { return &Reader{dir} }

// Open is [storage.Store]'s. A folder that is not there has no files.
func (r *Reader) Open(_ context.Context, key string) (io.ReadCloser, storage.Info, error) {
	if err := storage.CheckKey(key); err != nil {
		return nil, storage.Info{}, err
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, storage.Info{}, fmt.Errorf("picture store: %w", err)
	}
	defer root.Close()
	// A pipe that somebody put there would not open before it is written to.
	name := filepath.FromSlash(key)
	info, err := root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file: %w", key, fs.ErrNotExist)
	}
	if err != nil {
		return nil, storage.Info{}, fmt.Errorf("picture store %s: %w", r.dir, err)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, storage.Info{}, fmt.Errorf("picture store %s: %w", r.dir, err)
	}
	// Another file may have been committed there since it was looked at.
	if info, err = f.Stat(); err != nil {
		_ = f.Close()
		return nil, storage.Info{}, fmt.Errorf("picture store %s: %w", r.dir, err)
	}
	return f, storage.Info{Size: info.Size(), ModTime: info.ModTime()}, nil
}
