package app

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/internal/storage/mem"
	"github.com/picharvest/picharvest/internal/storage/s3"
)

// newStore opens the picture store of the settings, gives it its ID where it
// has none, and proves that it can be written.
func newStore(ctx context.Context, s configs.Settings) (storage.Store, error) {
	l, err := s.PicturesLocation()
	if err != nil {
		return nil, err
	}
	switch l.Scheme {
	case storage.SchemeS3:
		return opened(s3.New(ctx, s3.Config{Location: l}, owner()))
	case storage.SchemeMem:
		return mem.Named(l.Folder), nil
	}
	return opened(file.New(l.Folder, owner()))
}

// openStore opens the picture store of the settings as it is: it makes none and
// writes nothing. Where there is none the error is fs.ErrNotExist.
func openStore(ctx context.Context, s configs.Settings) (storage.Store, error) {
	l, err := s.PicturesLocation()
	if err != nil {
		return nil, err
	}
	switch l.Scheme {
	case storage.SchemeS3:
		return opened(s3.Open(ctx, s3.Config{Location: l}, owner()))
	case storage.SchemeMem:
		return mem.Named(l.Folder), nil
	}
	return opened(file.Open(l.Folder, owner()))
}

// opened keeps a nil pointer from becoming a Store.
func opened[S storage.Store](s S, err error) (storage.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Pictures reads stored pictures.
type Pictures interface {
	Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)
	List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error]
}

// PicturesOf returns what reads the pictures of the settings' store. It asks
// nobody, and the store need not be there.
func PicturesOf(s configs.Settings) (Pictures, error) {
	l, err := s.PicturesLocation()
	if err != nil {
		return nil, err
	}
	switch l.Scheme {
	case storage.SchemeS3:
		return s3.NewReader(s3.Config{Location: l})
	case storage.SchemeMem:
		return mem.Named(l.Folder), nil
	}
	return file.NewReader(l.Folder), nil
}

// CheckStore makes sure that pictures can be stored where the settings say, by
// storing something there, and returns the store's ID. It is asked before
// anything else is made.
func CheckStore(ctx context.Context, s configs.Settings) (string, error) {
	store, err := newStore(ctx, s)
	if err != nil {
		return "", err
	}
	id, err := store.ID(ctx)
	return id, errors.Join(err, store.Close())
}

// isStore reports whether there is a store where the settings say.
func isStore(ctx context.Context, s configs.Settings) (bool, error) {
	store, err := openStore(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, store.Close()
}

// PicturePath returns where a stored picture lies: a URL where the store is
// one, or a path, relative to the working folder where that is shorter.
func PicturePath(store, key string) string {
	if strings.Contains(store, "://") {
		return strings.TrimSuffix(store, "/") + "/" + key
	}
	path := filepath.Join(store, filepath.FromSlash(key))
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}
