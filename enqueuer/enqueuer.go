// Package enqueuer turns a stream of names into a batch and its tasks. It
// adds each name to the batch first and enqueues its lookup then, so that a
// name whose task is lost on the way is found again when the same names are
// enqueued once more. It does not read files and does not look names up.
package enqueuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// Client is what the package asks of asynq; [*asynq.Client] is one. An
// autopipelined connection below it makes the difference between 9,000 and
// 70,000 tasks a second.
type Client interface {
	EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Config is the enqueuer's share of the settings.
type Config struct {
	// Shards of a new batch. Default 1.
	Shards int `mapstructure:"shards"`
}

// Validate reports every problem by its key.
func (c Config) Validate() error { return tasks.CheckShards(c.Shards) }

// Enqueuer adds names to batches. It is safe for concurrent use.
type Enqueuer struct {
	cfg       Config
	db        *results.DB
	client    Client
	namespace string
	bound     Bound
}

// New returns an Enqueuer that writes to db and client.
func New(cfg Config, db *results.DB, client Client, namespace string) *Enqueuer {
	return &Enqueuer{cfg: cfg, db: db, client: client, namespace: namespace}
}

// Bound keeps the queues short, for a Redis that gets slow as they grow. The
// zero value bounds nothing.
type Bound struct {
	// MaxPending is how many tasks may wait in the queues that a job feeds
	// before it goes on reading names, 500 at a time.
	MaxPending int
	// Pending returns how many tasks wait in a queue.
	Pending func(ctx context.Context, queue string) (int, error)
}

// Bounded makes Enqueue keep b, and returns e. It is for a process that works
// on the queues as well: without a worker Enqueue would wait for ever. Retry
// and Resume are not bounded.
func (e *Enqueuer) Bounded(b Bound) *Enqueuer {
	e.bound = b
	return e
}

// Source is a stream of names: [*names.Reader], or anything like it.
type Source interface {
	// Next returns the next name, a [*names.BadLine] for a line that is none,
	// or io.EOF at the end.
	Next() (names.Line, error)
}

// Job is one input for one batch.
type Job struct {
	Batch    string
	Provider string
	// Label says where the names come from: a path, or "-" for standard
	// input. The same label again completes what was interrupted.
	Label string
	Names Source
	// Bad is called with every line that is no name.
	Bad func(*names.BadLine)
	// Progress, if set, is called with the figures so far about five times a
	// second.
	Progress func(Report)
}

// Report says what became of the lines of a job.
type Report struct {
	// Created: the batch is new.
	Created bool `json:"created"`
	// Status of the batch when it was opened.
	Status results.Status `json:"status"`
	// New names, now waiting for their lookup.
	New int64 `json:"new"`
	// Known names were in the batch before, by their state.
	Known results.Counts `json:"known"`
	// Restored counts the known names whose task was missing.
	Restored int64 `json:"restored"`
	// Duplicates stood in the input more than once.
	Duplicates int64 `json:"duplicates"`
	// Bad lines are no names.
	Bad int64 `json:"bad"`
}

// ErrStopped says that the batch was cancelled or deleted while names were
// being added.
var ErrStopped = errors.New("the batch was cancelled or deleted meanwhile")

const (
	chunkSize = 500
	// adders and pushers are how many requests to Redis are under way; an
	// autopipelined client gathers them into few writes.
	adders  = 4
	pushers = 256
	queued  = 4 * pushers
	// roomPoll is how often bounded queues are looked at for room.
	roomPoll = 50 * time.Millisecond
)

// Enqueue adds all names of the job to its batch and enqueues what is to be
// done for them. It is safe to repeat, and to do twice at once: names that
// are settled are left alone, open ones get their task back. If it ends with
// an error the batch stays interrupted until the same job reaches its end.
func (e *Enqueuer) Enqueue(ctx context.Context, job Job) (Report, error) {
	batch, err := e.db.Open(ctx, job.Batch, job.Provider, job.Label, e.cfg.Shards)
	if err != nil {
		return Report{}, err
	}
	t := newTally(batch, job.Progress)
	err = e.fill(ctx, batch, job, t)
	// The lease is given back, or marked as broken, even when ctx is over.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if cerr := batch.Close(end, err == nil); err == nil {
		err = cerr
	}
	if errors.Is(err, results.ErrNoBatch) || errors.Is(err, results.ErrCancelled) {
		err = ErrStopped
	}
	return t.report(), err
}

// fill runs the pipeline: one reader cuts the input into chunks by shard, a
// few adders write them to the batch, many pushers enqueue the tasks.
func (e *Enqueuer) fill(ctx context.Context, batch *results.Enqueuing, job Job, t *tally) error {
	held, release := context.WithCancelCause(ctx)
	defer release(nil)
	g, ctx := errgroup.WithContext(held)
	done := make(chan struct{})
	go hold(held, batch, release, done)
	defer func() { release(nil); <-done }()

	chunks := make(chan chunk, adders)
	refs := make(chan pushed, queued)
	// A read of a terminal or a pipe cannot be interrupted, so the end of ctx
	// does not wait for the next line.
	ended := make(chan error, 1)
	go func() {
		defer close(chunks)
		ended <- e.read(ctx, job, batch.Shards(), chunks, t)
	}()
	g.Go(func() error {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g.Go(func() error {
		defer close(refs)
		return add(ctx, batch, chunks, refs, t)
	})
	for range pushers {
		g.Go(func() error { return e.push(ctx, job.Provider, refs, t) })
	}
	err := g.Wait()
	if cause := context.Cause(held); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// hold renews the lease until ctx is over.
func hold(ctx context.Context, batch *results.Enqueuing, release context.CancelCauseFunc, done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(results.LeaseTime / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		status, err := batch.Renew(ctx)
		// Any other error shows where names are added, and is told from there.
		if errors.Is(err, results.ErrNoBatch) || status == results.Stopped || status == results.Deleting {
			release(ErrStopped)
			return
		}
	}
}

// chunk is some lines of one shard.
type chunk struct {
	shard int
	lines []results.Line
}

// pushed is a name whose task is to be enqueued.
type pushed struct {
	ref      tasks.Ref
	restored bool
}

func (e *Enqueuer) read(ctx context.Context, job Job, shards int, out chan<- chunk, t *tally) error {
	send := func(c chunk) error {
		if err := e.bound.wait(ctx, e.queues(job.Provider, c.shard), &t.onWay); err != nil {
			return err
		}
		t.onWay.Add(int64(len(c.lines)))
		select {
		case out <- c:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	open := make([][]results.Line, shards)
	for {
		// A slow or a hopeless source may not fill a chunk for long.
		if ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := job.Names.Next()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if bad, ok := errors.AsType[*names.BadLine](err); ok {
			t.bad()
			if job.Bad != nil {
				job.Bad(bad)
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		s := tasks.Shard(line.Name, shards)
		if open[s] == nil {
			open[s] = make([]results.Line, 0, chunkSize)
		}
		if open[s] = append(open[s], results.Line{Number: line.Number, Name: line.Name}); len(open[s]) == chunkSize {
			if err := send(chunk{s, open[s]}); err != nil {
				return err
			}
			open[s] = nil
		}
	}
	for s, lines := range open {
		if len(lines) > 0 {
			if err := send(chunk{s, lines}); err != nil {
				return err
			}
		}
	}
	return nil
}

// queues names those that the names of a shard pass through.
func (e *Enqueuer) queues(provider string, shard int) []string {
	var queues []string
	for _, lane := range []tasks.Lane{tasks.Express, tasks.Bulk} {
		queues = append(queues,
			tasks.Queue{Namespace: e.namespace, Kind: tasks.Lookups, Provider: provider, Lane: lane, Shard: shard}.String(),
			tasks.Queue{Namespace: e.namespace, Kind: tasks.Pictures, Lane: lane, Shard: shard}.String())
	}
	return queues
}

// wait returns when there is room for a chunk in the queues beside what is on
// its way there.
func (b Bound) wait(ctx context.Context, queues []string, onWay *atomic.Int64) error {
	if b.MaxPending == 0 {
		return nil
	}
	for {
		waiting := int(onWay.Load())
		for _, q := range queues {
			n, err := b.Pending(ctx, q)
			if err != nil {
				return err
			}
			waiting += n
		}
		if waiting+chunkSize <= max(b.MaxPending, chunkSize) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(roomPoll):
		}
	}
}

func add(ctx context.Context, batch *results.Enqueuing, in <-chan chunk, out chan<- pushed, t *tally) error {
	g, ctx := errgroup.WithContext(ctx)
	for range adders {
		g.Go(func() error {
			for {
				select {
				case c, ok := <-in:
					if !ok {
						return nil
					}
					if err := addChunk(ctx, batch, c, out, t); err != nil {
						return err
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	return g.Wait()
}

func addChunk(ctx context.Context, batch *results.Enqueuing, c chunk, out chan<- pushed, t *tally) error {
	added, err := batch.Add(ctx, c.shard, c.lines)
	if err != nil {
		return err
	}
	for _, a := range added {
		t.added(a)
		if !a.State.Open() || a.Duplicate {
			t.onWay.Add(-1)
			continue
		}
		select {
		case out <- pushed{a.Ref, !a.New}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (e *Enqueuer) push(ctx context.Context, provider string, in <-chan pushed, t *tally) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p, ok := <-in:
			if !ok {
				return nil
			}
			fresh, err := e.lookup(ctx, provider, p.ref)
			if err != nil {
				return err
			}
			t.onWay.Add(-1)
			if fresh && p.restored {
				t.restored()
			}
		}
	}
}

// lookup enqueues the lookup of a name and reports whether its task was not
// there yet. For a name that is found the handler enqueues the pictures that
// are missing.
func (e *Enqueuer) lookup(ctx context.Context, provider string, r tasks.Ref) (bool, error) {
	task, err := tasks.NewLookupTask(e.namespace, provider, r)
	if err != nil {
		return false, err
	}
	return e.enqueue(ctx, task)
}

func (e *Enqueuer) enqueue(ctx context.Context, task *asynq.Task) (bool, error) {
	_, err := e.client.EnqueueContext(ctx, task)
	// A conflict means that the task is there: by an earlier run, or by this
	// very command whose reply was lost.
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return false, nil
	}
	if err != nil && ctx.Err() != nil {
		// asynq keeps the words of an error and not the error.
		return false, ctx.Err()
	}
	if err != nil {
		return false, fmt.Errorf("enqueue: %w", err)
	}
	return true, nil
}
