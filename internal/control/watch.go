package control

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pollEvery is how often a batch that is watched is looked at.
	pollEvery = 500 * time.Millisecond
	// pollShare bounds the load of looking: after a look that took long, the
	// next one waits so many times as long.
	pollShare = 10
	// pollWithin bounds one look.
	pollWithin = 5 * time.Second
)

// Watch follows one batch, or all. However many watches there are, each batch
// is read once for all of them. A Watch is used by one goroutine.
type Watch struct {
	c     *Control
	name  string
	topic *topic
	seen  uint64
}

// Snapshot is what watchers see at one moment.
type Snapshot struct {
	// Version grows with every change that this process sees.
	Version uint64
	// Batches as they were last seen, the oldest first.
	Batches []Seen
	// Err says why nothing newer is known, nil while all is well.
	Err error
}

// Seen is a batch with the version of the last change of it.
type Seen struct {
	Version uint64
	// Name of the batch.
	Name string
	// Gone: the batch was deleted; then there is no more than its name.
	Gone  bool
	Batch Batch
	// JSON of Batch.
	JSON []byte
}

// Watch follows the batch, or all where batch is "". The caller closes it. A
// batch that does not exist is seen as Gone.
func (c *Control) Watch(batch string) *Watch {
	return &Watch{c: c, name: batch, topic: c.live.join(c, batch)}
}

// Next returns the newest snapshot as soon as it is another than the last one
// that Next returned. It leaves out those in between, so a slow caller costs
// nobody anything. Its only error is that of ctx.
func (w *Watch) Next(ctx context.Context) (Snapshot, error) {
	for {
		s, changed := w.topic.look()
		if s.Version > w.seen {
			w.seen = s.Version
			return s, nil
		}
		select {
		case <-ctx.Done():
			return Snapshot{}, ctx.Err()
		case <-changed:
		}
	}
}

// Close ends the watch.
func (w *Watch) Close() { w.c.live.leave(w.name) }

// Wait returns when nothing is watched any more and nothing is read for it.
// Every Watch must have been closed.
func (c *Control) Wait() { c.live.polls.Wait() }

// live is the topics that are watched, by batch.
type live struct {
	mu     sync.Mutex
	topics map[string]*topic
	// version is that of the last change. It is one for all topics, since a
	// topic that is watched again begins anew.
	version atomic.Uint64
	polls   sync.WaitGroup
}

type topic struct {
	watchers int
	stop     context.CancelFunc

	mu      sync.Mutex
	now     Snapshot
	changed chan struct{}
}

func (l *live) join(c *Control, name string) *topic {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[name]
	if t == nil {
		ctx, stop := context.WithCancel(context.Background())
		t = &topic{stop: stop, changed: make(chan struct{})}
		l.topics[name] = t
		l.polls.Go(func() { t.poll(ctx, c, name) })
	}
	t.watchers++
	return t
}

// leave ends the polling of a topic with its last watcher.
func (l *live) leave(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[name]
	if t.watchers--; t.watchers == 0 {
		t.stop()
		delete(l.topics, name)
	}
}

func (t *topic) look() (Snapshot, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now, t.changed
}

// poll looks at the topic's batches until ctx ends.
func (t *topic) poll(ctx context.Context, c *Control, name string) {
	for {
		began := time.Now()
		batches, err := c.watched(ctx, name)
		if ctx.Err() != nil {
			return
		}
		t.publish(name, batches, err, &c.live.version)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause(time.Since(began), err)):
		}
	}
}

// pause returns how long to wait after a look that took so long. After one
// that failed it is short: what took time was the waiting for an answer.
func pause(took time.Duration, err error) time.Duration {
	if err != nil {
		return pollEvery
	}
	return max(pollEvery, pollShare*took)
}

// watched returns the batches of a topic; one that is gone is no error.
func (c *Control) watched(ctx context.Context, name string) ([]Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, pollWithin)
	defer cancel()
	ctx, stop := c.WhileAlive(ctx)
	defer stop()
	if name == "" {
		return c.Batches(ctx)
	}
	if err := c.Alive(ctx); err != nil {
		return nil, err
	}
	v, err := c.Batch(ctx, name)
	if isGone(err) {
		return nil, nil
	}
	return []Batch{v}, err
}

// publish makes a new snapshot where something changed.
func (t *topic) publish(name string, batches []Batch, err error, version *atomic.Uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := Snapshot{Version: version.Add(1), Batches: t.now.Batches, Err: err}
	changed := t.now.Version == 0 || (err == nil) != (t.now.Err == nil)
	if err == nil {
		var other bool
		next.Batches, other = seen(t.now.Batches, name, batches, next.Version)
		changed = changed || other
	}
	if !changed {
		return
	}
	t.now = next
	close(t.changed)
	t.changed = make(chan struct{})
}

// seen returns what is seen when batches follow before, and whether that is
// something else.
func seen(before []Seen, name string, batches []Batch, version uint64) ([]Seen, bool) {
	old := make(map[string]Seen, len(before))
	for _, s := range before {
		old[s.Name] = s
	}
	changed := false
	all := make([]Seen, 0, len(batches))
	for _, b := range batches {
		data, err := json.Marshal(b)
		if err != nil {
			continue // of numbers and words alone; it cannot be
		}
		s := Seen{Version: version, Name: b.Name, Batch: b, JSON: data}
		if was, ok := old[b.Name]; ok && !was.Gone && string(was.JSON) == string(data) {
			s.Version = was.Version
		} else {
			changed = true
		}
		delete(old, b.Name)
		all = append(all, s)
	}
	// A batch by name that is not there is told as well.
	if len(batches) == 0 && name != "" && len(old) == 0 {
		old[name] = Seen{Name: name}
	}
	var gone []Seen
	for _, s := range old {
		if !s.Gone {
			s = Seen{Version: version, Name: s.Name, Gone: true}
			changed = true
		}
		gone = append(gone, s)
	}
	slices.SortFunc(gone, func(a, b Seen) int { return strings.Compare(a.Name, b.Name) })
	return append(all, gone...), changed
}
