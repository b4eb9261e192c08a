// Package sweep finds what got lost between the records and the queue, and
// puts it right: open names whose tasks are in no queue, tasks in hand that
// nobody holds, messages that nobody can read, temporary files and lists that
// nobody clears away.
//
// It is needed because the two are changed one after the other, and because
// asynq stops looking for dead workers' tasks at the first message that it
// cannot decode, never finds a task in hand without a lease, and takes a task
// that is in no list, but whose hash is there, for one that will run.
//
// One worker sweeps at a time, over all processes of an installation; see
// [Sweeper.Run]. `harvest doctor` looks and repairs by the same code, see
// [Sweeper.Once]. Each repair is one script that looks again before it
// changes anything, or an enqueueing that task IDs make safe to repeat, so
// that two sweepers at once would do no harm.
//
// The package reads asynq's keys as asynq v0.26 lays them out, and neither
// makes tasks nor runs them.
package sweep
