// Package worker does the tasks: it asks providers about names, fetches
// pictures, and records what became of them. It runs asynq servers of its own
// for every queue whose provider it knows, and may run beside any number of
// others like it.
//
// A lookup's run goes on with the pictures of its answer (goon.go); what it
// cannot fetch then is a task of its own.
//
// A handler reads the recorded outcome before it does anything, and records
// its own, durable one before asynq hears of it, so that a task may run twice,
// late, or beside itself. What an error means to asynq is said in one place,
// attempt.go. The package does not know where settings come from and makes no
// connections of its own.
package worker
