//go:build unix

package app

import "golang.org/x/sys/unix"

// openFiles returns how many files this process may have open at once, and
// whether the system says so.
func openFiles() (uint64, bool) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Cur), true //nolint:unconvert // other systems have it signed
}

// freeRoom returns the bytes that this user may still write to the file system
// of a folder, and whether the system says so.
func freeRoom(dir string) (uint64, bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, false
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), true //nolint:unconvert // other systems have other types
}
