//go:build unix && !linux

package embedded

import "syscall"

// childAttributes gives the server a process group of its own, so that the
// interrupt key does not reach it. It outlives an owner who is killed; the
// next owner ends it.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
