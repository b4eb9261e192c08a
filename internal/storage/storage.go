// Package storage is the contract for places that keep pictures, and the
// names that pictures have there. Implementations stand in their own
// packages; storagetest holds all of them to this contract.
//
// It does not know what a picture is, and keeps no index: which key belongs
// to which name stands in the records.
package storage

import (
	"context"
	"io"
	"iter"
	"time"
)

// Store keeps files by key. Its methods are safe for concurrent use, by many
// processes on many machines where they share one store.
//
// A key is made by [Key] or [ContentKey] or at least passes [CheckKey]. A
// store never writes, reads or deletes anything outside itself, whatever the
// key and whatever a stranger planted inside.
//
// A store that cannot be used returns a *failure.Error with ReasonStore whose
// words name the place and the cure. Its kind is Hold where no name is to
// blame (full, read-only, missing, not permitted): the same call will succeed
// once somebody acted. It is Temporary where this one file is in the way. A
// context that ended comes back as its plain cause.
type Store interface {
	// ID returns the random word that the store was given at its first use
	// and has carried since. Two stores never have the same; every process
	// that reaches this store sees this one, those at its first use too.
	ID(ctx context.Context) (string, error)

	// Create returns a Writer for one new file. It has no key yet, since the
	// extension is known when the bytes are.
	Create(ctx context.Context) (Writer, error)

	// Stat returns what is known of the file at key. A key without a file is
	// an error that is fs.ErrNotExist.
	Stat(ctx context.Context, key string) (Info, error)

	// Open returns the bytes at key, from the first. A reader that was
	// opened goes on reading the same file though it is replaced meanwhile.
	// A key without a file is an error that is fs.ErrNotExist.
	Open(ctx context.Context, key string) (io.ReadCloser, Info, error)

	// Delete removes the file at key. No file is no error. It is not
	// promised that the file is still gone after a power cut.
	Delete(ctx context.Context, key string) error

	// List returns the files whose keys begin with prefix, which is "" or
	// ends with a slash, in no promised order and in bounded memory. A file
	// that is there from the beginning to the end is returned once; one that
	// comes, goes or is replaced meanwhile may be or not. What is no file of
	// the store (its own marks, links, unfinished files) is left out. An error
	// ends the listing and comes with an empty Entry.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]

	// Probe makes sure that a file can be written, by writing a small one
	// under no key and removing it. Its error is the one that Commit would
	// return.
	Probe(ctx context.Context) error

	// Close lets go of the store. Writers that are still open may fail.
	Close() error
}

// Writer takes the bytes of one file. It is used by one goroutine and ends
// with one Commit or Abort; Write and Commit after that return an error.
// Until Commit nothing is seen under any key.
type Writer interface {
	// Write takes all of p or returns an error; after one only Abort helps.
	io.Writer

	// Commit puts the bytes under key and ends the Writer, with an error
	// too. When it returns nil the file is whole and durable: it survives
	// the end of the process and a power cut (data, name and folder are on
	// stable storage, as far as the hardware tells the truth). A reader sees
	// the old file, or none, or the new one, never a part. A file at key is
	// replaced; of several Commits with one key at once, one wins whole.
	//
	// After an error the key holds what it held before, or, where the error
	// came at the last step, the new file whole; nothing else is left
	// behind. Committing the same bytes again is safe and right.
	Commit(ctx context.Context, key string) error

	// Abort drops the bytes and ends the Writer. After Commit or Abort it
	// does nothing, so that it can be deferred.
	Abort() error
}

// Entry is one file of a listing.
type Entry struct {
	Key string
	Info
}

// Info is what a store knows of a file.
type Info struct {
	Size    int64
	ModTime time.Time
}
