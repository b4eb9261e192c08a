package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/picharvest/picharvest/internal/storage"
)

// listPage is how many names of a folder are held at once.
const listPage = 1000

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		if err := storage.CheckPrefix(prefix); err != nil {
			yield(storage.Entry{}, err)
			return
		}
		m, err := s.current()
		if err != nil {
			yield(storage.Entry{}, err)
			return
		}
		walk(ctx, m.root, path.Clean(prefix), s.fail, yield)
	}
}

// List is [storage.Store]'s. A folder that is not there has no files.
func (r *Reader) List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		if err := storage.CheckPrefix(prefix); err != nil {
			yield(storage.Entry{}, err)
			return
		}
		root, err := os.OpenRoot(r.dir)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		fail := (&Store{dir: r.dir}).fail
		if err != nil {
			yield(storage.Entry{}, fail("open", ".", err))
			return
		}
		defer root.Close()
		walk(ctx, root, path.Clean(prefix), fail, yield)
	}
}

// walk yields the files below dir and reports whether it may go on. A folder
// that goes meanwhile has no files.
func walk(ctx context.Context, root *os.Root, dir string, fail func(doing, key string, err error) error,
	yield func(storage.Entry, error) bool,
) bool {
	f, err := root.Open(filepath.FromSlash(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		yield(storage.Entry{}, fail("open", dir, err))
		return false
	}
	defer f.Close()
	for {
		if ctx.Err() != nil {
			yield(storage.Entry{}, context.Cause(ctx))
			return false
		}
		page, err := f.ReadDir(listPage)
		for _, e := range page {
			if !listed(ctx, root, path.Join(dir, e.Name()), e, fail, yield) {
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, fs.ErrNotExist):
			return true // at its end, or emptied and removed meanwhile
		case err != nil:
			yield(storage.Entry{}, fail("list", dir, err))
			return false
		}
	}
}

// listed yields one entry of a folder, or what is below it.
func listed(ctx context.Context, root *os.Root, key string, e fs.DirEntry, fail func(doing, key string, err error) error,
	yield func(storage.Entry, error) bool,
) bool {
	if strings.HasPrefix(e.Name(), ".") || storage.CheckKey(key) != nil {
		return true
	}
	if e.IsDir() {
		return walk(ctx, root, key, fail, yield)
	}
	if !e.Type().IsRegular() {
		return true
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		yield(storage.Entry{}, fail("read", key, err))
		return false
	}
	return yield(storage.Entry{Key: key, Info: storage.Info{Size: info.Size(), ModTime: info.ModTime()}}, nil)
}
