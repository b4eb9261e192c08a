package enqueuer

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picharvest/picharvest/internal/results"
)

// tally counts what becomes of the lines of one job.
type tally struct {
	// onWay counts the lines that were read and are not yet dealt with.
	onWay atomic.Int64
	// alike is the reader's until it has ended, nil where nobody asks.
	alike *alike

	mu       sync.Mutex
	r        Report
	progress func(Report)
	shown    time.Time
}

func newTally(b *results.Enqueuing, progress func(Report)) *tally {
	return &tally{r: Report{Created: b.New, Status: b.Status, Known: make(results.Counts)}, progress: progress}
}

func (t *tally) added(a results.Added) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case a.New:
		t.r.New++
	case a.Was != "":
		t.r.Again++
		t.r.Known[a.Was]++
	case a.Duplicate:
		t.r.Duplicates++
	default:
		t.r.Known[a.State]++
	}
	if a.Other {
		t.r.Other++
		if len(t.r.OtherNames) < maxExamples {
			t.r.OtherNames = append(t.r.OtherNames, a.Ref.Name)
		}
	}
	if t.progress != nil && time.Since(t.shown) >= 200*time.Millisecond {
		t.shown = time.Now()
		t.progress(t.copy())
	}
}

func (t *tally) restored() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Restored++
}

func (t *tally) bad() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Bad++
}

func (t *tally) report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.copy()
}

func (t *tally) copy() Report {
	r := t.r
	r.Known, r.OtherNames = maps.Clone(r.Known), slices.Clone(r.OtherNames)
	return r
}
