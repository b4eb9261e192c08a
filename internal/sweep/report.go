package sweep

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Report is what a look found, and what was done about it.
type Report struct {
	Queues  []Queue
	Batches []Batch
	// Temps is how many temporary files of dead workers there were.
	Temps int
	// Errs are what could not be looked at or repaired.
	Errs []error
}

// Queue is what is wrong with one queue.
type Queue struct {
	Name string
	// Unreadable are messages in hand that asynq cannot decode: until they are
	// moved aside, tasks of dead workers in this queue do not come back.
	Unreadable []Aside
	// Unleased are the IDs of tasks in hand without a lease.
	Unleased []string
	// Empty are entries in hand without any message.
	Empty []string
	// Strays are leases without a task.
	Strays []string
	// Archived is how many tasks were taken out of asynq's archive.
	Archived int
	// Err says why the queue cannot be looked at or repaired.
	Err error
}

// Aside is a message that cannot be decoded, as it is kept aside. It is data
// at rest.
type Aside struct {
	Queue   string    `json:"queue"`
	ID      string    `json:"id"`
	Cause   string    `json:"cause"`
	At      time.Time `json:"at"`
	Message []byte    `json:"message"`
}

// Batch is what is wrong with one batch that runs.
type Batch struct {
	Name string
	// Lost are the names whose tasks are in no queue, up to some, and LostNames
	// how many there are.
	Lost      []string
	LostNames int
	// Looked is how many open names were looked at, and Whole whether the walk
	// has come to the end of the batch.
	Looked int
	Whole  bool
	// Err says why the batch cannot be looked at or repaired.
	Err error
}

// stuck returns the errors of queues that no later round will be spared: a key
// of the wrong kind, or a command that Redis does not let us give. A Redis
// that is away or full is another matter.
func (r Report) stuck() error {
	var errs []error
	for _, q := range r.Queues {
		if q.Err != nil && (strings.Contains(q.Err.Error(), "WRONGTYPE") || strings.Contains(q.Err.Error(), "NOPERM")) {
			errs = append(errs, fmt.Errorf("queue %s: tasks of dead workers do not come back: %w; see harvest doctor", q.Name, q.Err))
		}
	}
	return errors.Join(errs...)
}

// Err joins what could not be looked at or repaired.
func (r Report) Err() error {
	errs := append([]error(nil), r.Errs...)
	for _, q := range r.Queues {
		if q.Err != nil {
			errs = append(errs, fmt.Errorf("queue %s: %w", q.Name, q.Err))
		}
	}
	for _, b := range r.Batches {
		if b.Err != nil {
			errs = append(errs, fmt.Errorf("batch %s: %w", b.Name, b.Err))
		}
	}
	return errors.Join(errs...)
}
