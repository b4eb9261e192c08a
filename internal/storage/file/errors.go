package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/picharvest/picharvest/internal/failure"
)

// fail turns an error of the file system about key, or another place inside
// the store, into words with path and cure.
func (s *Store) fail(doing, key string, err error) error {
	if _, ok := errors.AsType[*failure.Error](err); ok {
		return err
	}
	kind, cure := diagnose(err)
	// The path stands in front; the error's own would only repeat it.
	cause := err
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		cause = pe.Err
	} else if le, ok := errors.AsType[*os.LinkError](err); ok {
		cause = le.Err
	}
	return failure.New(failure.ReasonStore, kind, fmt.Errorf("picture store: %s %s: %w; %s", doing, s.path(key), cause, cure))
}

// diagnose says who is to blame, the store as a whole or one place in it, and
// what helps.
func diagnose(err error) (failure.Kind, string) {
	is := func(errnos ...syscall.Errno) bool {
		for _, e := range errnos {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case is(full...):
		return failure.Hold, "make room; it goes on by itself"
	case is(syscall.EDQUOT):
		return failure.Hold, "raise the quota or make room; it goes on by itself"
	case is(syscall.EROFS):
		return failure.Hold, "the file system is read-only: mount it for writing"
	case errors.Is(err, fs.ErrPermission):
		return failure.Hold, "let this user write there"
	case errors.Is(err, fs.ErrNotExist):
		return failure.Hold, "the folder is missing: mount it or make it again"
	case is(syscall.EMFILE, syscall.ENFILE):
		return failure.Hold, "raise the limit of open files"
	case is(syscall.EIO, syscall.ENODEV, syscall.ENXIO, syscall.ETIMEDOUT, stale), errors.Is(err, os.ErrClosed):
		return failure.Hold, "look at the disk or share behind it"
	case is(syscall.EXDEV):
		return failure.Temporary, "another file system is mounted inside the store: move it out"
	}
	return failure.Temporary, "look at what stands there"
}
