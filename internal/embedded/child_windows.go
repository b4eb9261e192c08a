package embedded

import (
	"io/fs"
	"syscall"
)

// serverPrograms is empty: there is no current server for Windows.
var serverPrograms []string

func ownedByUs(fs.FileInfo) bool { return false }

func running(int) bool { return false }

func childAttributes() *syscall.SysProcAttr { return nil }
