// Package tasks is the wire format between the enqueuer and the workers: the
// task types, their payloads, their IDs and the names of their queues. What
// it writes is data at rest in Redis, read by workers of other versions: a
// type or a field is added, drained and removed, never renamed. The package
// imports nothing of ours and knows nothing about what the tasks do.
package tasks
