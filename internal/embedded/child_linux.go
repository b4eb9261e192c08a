package embedded

import "syscall"

// childAttributes gives the server a process group of its own, so that the
// interrupt key does not reach it, and ends it with the thread that starts it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
