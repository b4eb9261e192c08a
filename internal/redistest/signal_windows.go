package redistest

import "syscall"

// Windows has no signal that pauses a process; sending these fails the test.
const (
	sigStop = syscall.Signal(0x13)
	sigCont = syscall.Signal(0x12)
)
