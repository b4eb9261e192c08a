package worker

import "runtime"

// stackOfTask is what a lookup with its picture needs of a stack, and a bit.
const stackOfTask = 12 << 10

// growStack makes room for a whole task on the goroutine that asynq has just
// begun for it. Grown now, there is next to nothing to move; grown in the
// three steps in which the runtime does it on the way down, moving frames
// was 5 % of a worker's CPU.
//
//go:noinline
func growStack() {
	var room [stackOfTask]byte
	runtime.KeepAlive(&room)
}
