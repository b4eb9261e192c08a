//go:build unix

package embedded

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// serverPrograms are the servers to look for, the preferred first.
var serverPrograms = []string{EngineRedis, EngineValkey}

func ownedByUs(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Getuid()
}

// running reports whether there is a process of that ID, dead ones included
// that nobody has waited for.
func running(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
