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

// RefreshConfig is the share of refreshes.
type RefreshConfig struct {
	// GoneAfter is how many refreshes in a row must say that a name or its
	// picture is not there before it is taken away. Default 2.
	GoneAfter int `mapstructure:"gone_after"`
}

// Validate reports every problem by its key.
func (c RefreshConfig) Validate() error {
	if c.GoneAfter < 1 || c.GoneAfter > 1000 {
		return fmt.Errorf("refresh.gone_after is %d: give 1 to 1000", c.GoneAfter)
	}
	return nil
}

// Enqueuer adds names to batches. It is safe for concurrent use.
type Enqueuer struct {
	cfg       Config
	db        *results.DB
	client    Client
	namespace string
	bound     Bound
	room      func(ctx context.Context, bytes int64) error
	reopened  func(names int)
}

// New returns an Enqueuer that writes to db and client.
func New(cfg Config, db *results.DB, client Client, namespace string) *Enqueuer {
	return &Enqueuer{cfg: cfg, db: db, client: client, namespace: namespace, room: func(context.Context, int64) error { return nil }}
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

// WhileRoom makes e add names only while room returns nil, and returns e. room
// is told how many bytes of Redis are promised to names that are on their way.
// The names that were read before get their tasks; then the call ends with
// room's error. It is asked once for 500 names.
func (e *Enqueuer) WhileRoom(room func(ctx context.Context, bytes int64) error) *Enqueuer {
	e.room = room
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
	// Params of the provider that are not its defaults. nil: those that the
	// batch has.
	Params results.Params
	// Label says where the names come from: a path, or "-" for standard
	// input. The same label again completes what was interrupted.
	Label string
	Names Source
	// MaxPictures bounds the pictures of each name, for the whole life of the
	// batch. 0: what the batch has, and the provider's bound in a new one.
	MaxPictures int
	// RetryFailed opens names that are failed or partial again.
	RetryFailed bool
	// Refresh asks settled names again, nil for none. See [results.Refresh].
	Refresh *Refresh
	// Bad is called with every line that is no name.
	Bad func(*names.BadLine)
	// Progress, if set, is called with the figures so far about five times a
	// second.
	Progress func(Report)
}

// Refresh says which settled names a job asks again.
type Refresh struct {
	// MaxAge of a good answer that is left alone. 0: none is.
	MaxAge time.Duration
	// GoneAfter is [RefreshConfig]'s.
	GoneAfter int
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
	// Again counts the known names that are asked again.
	Again int64 `json:"again"`
	// Restored counts the known names whose task was missing.
	Restored int64 `json:"restored"`
	// Duplicates stood in the input more than once.
	Duplicates int64 `json:"duplicates"`
	// Other names were there with other columns, which stay: in the batch, or
	// on an earlier row of the input.
	Other int64 `json:"other_columns,omitempty"`
	// OtherNames are the first few of them.
	OtherNames []string `json:"other_columns_names,omitempty"`
	// Alike names of the input differ from others by case or Unicode form
	// alone, and are names of their own.
	Alike int64 `json:"alike,omitempty"`
	// AlikeNames are the first few groups of them.
	AlikeNames [][]string `json:"alike_names,omitempty"`
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
	// bytesEach is what a name without columns and its task take in Redis, at
	// most.
	bytesEach = 1000
)

// Enqueue adds all names of the job to its batch and enqueues what is to be
// done for them. It is safe to repeat, and to do twice at once: names that
// are settled are left alone unless the job asks them again, open ones get
// their task back. If it ends with
// an error the batch stays interrupted until the same job reaches its end.
func (e *Enqueuer) Enqueue(ctx context.Context, job Job) (Report, error) {
	if job.MaxPictures > 0 {
		// Refused before the batch is opened: it would be interrupted else.
		if err := e.db.CheckMaxPictures(ctx, job.Batch, job.MaxPictures); err != nil {
			return Report{}, err
		}
	}
	batch, err := e.openBatch(ctx, job)
	if err != nil {
		return Report{}, err
	}
	t := newTally(batch, job.Progress)
	if _, known := job.Names.(*Known); !known {
		t.alike = newAlike()
	}
	if err = batch.BindMaxPictures(ctx, job.MaxPictures, job.MaxPictures == 0); err == nil {
		err = e.fill(ctx, batch, job, t)
	}
	// The lease is given back, or marked as broken, even when ctx is over.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if cerr := batch.Close(end, err == nil); err == nil {
		err = cerr
	}
	if errors.Is(err, results.ErrNoBatch) || errors.Is(err, results.ErrCancelled) {
		err = ErrStopped
	}
	if seen, ok := job.Names.(*Seen); ok && err == nil {
		seen.ended, seen.opens = true, batch.Opens
	}
	r := t.report()
	if t.alike != nil && err == nil {
		err = t.alike.tell(ctx, e.db, job.Batch, &r)
	}
	return r, err
}

func (e *Enqueuer) openBatch(ctx context.Context, job Job) (*results.Enqueuing, error) {
	if job.Params == nil {
		return e.db.Open(ctx, job.Batch, job.Provider, job.Label, e.cfg.Shards)
	}
	return e.db.OpenWith(ctx, job.Batch, job.Provider, job.Label, e.cfg.Shards, job.Params)
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

	again := results.Again{Failed: job.RetryFailed}
	if job.Refresh != nil {
		r, err := e.db.NewRefresh(ctx, job.Refresh.MaxAge, job.Refresh.GoneAfter)
		if err != nil {
			return err
		}
		again.Refresh = &r
	}
	chunks := make(chan chunk, adders)
	refs := make(chan pushed, queued)
	// A read of a terminal or a pipe cannot be interrupted, so the end of ctx
	// does not wait for the next line.
	ended := make(chan error, 1)
	go func() {
		defer close(chunks)
		ended <- e.read(ctx, job, batch.Shards(), chunks, t)
	}()
	var full *noRoom
	g.Go(func() error {
		select {
		case err := <-ended:
			// What was read before goes its way.
			if errors.As(err, &full) {
				return nil
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g.Go(func() error {
		defer close(refs)
		return add(ctx, batch, again, chunks, refs, t)
	})
	for range pushers {
		g.Go(func() error { return e.push(ctx, job.Provider, refs, t) })
	}
	err := g.Wait()
	if cause := context.Cause(held); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	if err == nil && full != nil {
		return full.err
	}
	return err
}

// noRoom ends the reading of names, and not the way of those that were read.
type noRoom struct{ err error }

func (n *noRoom) Error() string { return n.err.Error() }

func (n *noRoom) Unwrap() error { return n.err }

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
		if err := e.room(ctx, bytesEach*(t.onWay.Load()+int64(len(c.lines)))); err != nil {
			return &noRoom{err}
		}
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
		if t.alike != nil {
			t.alike.add(line.Name)
		}
		s := tasks.Shard(line.Name, shards)
		if open[s] == nil {
			open[s] = make([]results.Line, 0, chunkSize)
		}
		if open[s] = append(open[s], lineOf(line)); len(open[s]) == chunkSize {
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

func lineOf(l names.Line) results.Line {
	r := results.Line{Number: l.Number, Name: l.Name, ColumnsTruncated: l.Truncated}
	if len(l.Columns) > 0 {
		r.Columns = make([]results.Attribute, len(l.Columns))
	}
	for i, c := range l.Columns {
		r.Columns[i] = results.Attribute(c)
	}
	return r
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

func add(ctx context.Context, batch *results.Enqueuing, again results.Again, in <-chan chunk, out chan<- pushed, t *tally) error {
	g, ctx := errgroup.WithContext(ctx)
	for range adders {
		g.Go(func() error {
			for {
				select {
				case c, ok := <-in:
					if !ok {
						return nil
					}
					if err := addChunk(ctx, batch, again, c, out, t); err != nil {
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

func addChunk(ctx context.Context, batch *results.Enqueuing, again results.Again, c chunk, out chan<- pushed, t *tally) error {
	added, err := batch.AddAgain(ctx, c.shard, c.lines, again)
	if err != nil {
		return err
	}
	// Counted whether or not their tasks follow: they are in the batch.
	for _, a := range added {
		t.added(a)
	}
	for _, a := range added {
		if !a.State.Open() || a.Duplicate && a.Was == "" {
			t.onWay.Add(-1)
			continue
		}
		select {
		case out <- pushed{a.Ref, !a.New && a.Was == ""}:
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
