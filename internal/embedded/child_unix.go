//go:build unix

package embedded

import (
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
