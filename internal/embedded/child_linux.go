package embedded

import "syscall"

// childAttributes gives the server a process group of its own, so that the
// interrupt key does not reach it, and ends it with the thread that starts it.
// SIGTERM lets it write its file to the end; with SIGKILL up to 2 s of what it
// answered would be lost whenever the disk is slow to sync.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
