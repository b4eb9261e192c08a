// Package results keeps in Redis what became of every name: batches, records,
// outcomes, counts, and the questions about them. Every change is one script
// that compares before it sets, so that it may run twice, late, or beside
// another and the record is still true. It knows nothing about queues: who
// changes a record enqueues the tasks that follow from it.
//
// # Names
//
// A name is [Queued], [Found], or settled, see [State]. Within a generation
// it never goes back; a retry raises the generation. Whoever settles a step
// says for which generation and epoch it worked, and is told when that is
// over. An outcome must be durable (the bytes in the store) before it is
// written here.
//
// # Batches
//
// Each enqueuer holds a lease on its batch. The batch is sealed when an
// enqueuer reached the end of its input and no lease is left, and finished
// when it is sealed and has no open name. A lease that ran out leaves the
// batch interrupted, until an enqueuer of the same source has reached its end.
package results
