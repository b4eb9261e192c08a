package file

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxOpen is how many folders stay open: a store by content has 256.
const maxOpen = 300

// output is a file that is written once, by its descriptor: an os.File would
// ask the kernel twice whether it can be polled.
type output int

func (o output) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		var n int
		err := untilDone(func() (err error) { n, err = unix.Write(int(o), p[written:]); return err })
		if err != nil {
			return written, err
		}
		if n == 0 {
			return written, io.ErrShortWrite
		}
		written += n
	}
	return written, nil
}

func (o output) Sync() error { return untilDone(func() error { return unix.Fsync(int(o)) }) }

// Close is not repeated: Linux frees the descriptor though it was interrupted.
func (o output) Close() error {
	if err := unix.Close(int(o)); err != nil && !errors.Is(err, syscall.EINTR) {
		return err
	}
	return nil
}

// create makes the new file called name in f.
func (m *mount) create(f *folder, name string) (output, error) {
	var fd int
	err := untilDone(func() (err error) {
		fd, err = unix.Openat(int(f.f.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		return err
	})
	return output(fd), err
}

// rename moves a temporary file to name in the folder to.
func (m *mount) rename(t *temp, to *folder, name string) error {
	return untilDone(func() error {
		return unix.Renameat(int(t.folder.f.Fd()), t.name, int(to.f.Fd()), name)
	})
}

// stands reports whether f is what stands at its path. It leads nowhere: what
// is a link is taken for another folder, which os.Root then looks at.
func (m *mount) stands(f *folder) bool {
	if f.dir == "." {
		return true
	}
	known, ok := f.info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	var now unix.Stat_t
	err := untilDone(func() error { return unix.Fstatat(int(m.top.Fd()), f.dir, &now, unix.AT_SYMLINK_NOFOLLOW) })
	return err == nil && now.Ino == known.Ino && now.Dev == known.Dev
}

// untilDone repeats a call that a signal interrupted.
func untilDone(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
