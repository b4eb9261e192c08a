//go:build unix

package file

import (
	"errors"
	"os"
	"syscall"
)

const stale = syscall.ESTALE

// onlyFolder opens folders alone: a pipe would wait for its other end.
const onlyFolder = syscall.O_DIRECTORY

// full are the errors of a disk without room.
var full = []syscall.Errno{syscall.ENOSPC}

// syncDir puts the names in a folder on the disk. File systems that cannot do
// so say EINVAL or ENOTSUP, and have nothing better to offer.
func syncDir(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
