package worker

import (
	"errors"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// Observer is told how the work goes, for metrics. It is called by many
// goroutines for every request: it must neither wait nor ask anybody.
type Observer interface {
	// Waited says how long a request waited for its host's turn, and whether
	// the turn came; otherwise the task went back to its queue.
	Waited(kind tasks.Kind, took time.Duration, came bool)
	// Begun says that a request begins. Ended follows in any case.
	Begun(kind tasks.Kind)
	// Ended says how it went.
	Ended(Request)
	// Crashed says that a name whose earlier run never came back runs alone,
	// or, where final, that it is given up for it.
	Crashed(kind tasks.Kind, final bool)
	// StoreHeld says that no pictures are fetched because the store takes
	// none, or that they are again.
	StoreHeld(held bool)
}

// The statuses of a Request.
const (
	StatusFound     = "found"      // a record with pictures
	StatusNotFound  = "not_found"  // the service does not know the name
	StatusNoPicture = "no_picture" // a record without pictures
	StatusStored    = "stored"     // the picture is stored
	StatusFailed    = "failed"     // a failed try, for its Reason
	StatusHeld      = "held"       // no try: its Reason is not the name's fault
	StatusCutOff    = "cut_off"    // ended by this worker, which stops
)

// Request is one request to a host, with what was made of its answer.
type Request struct {
	Kind tasks.Kind
	// Host as limits know it: without the port that the scheme has anyway.
	// For pictures a stranger chose it.
	Host   string
	Status string
	// Reason of StatusFailed and StatusHeld, else "".
	Reason failure.Reason
	// Bytes of a stored picture.
	Bytes int64
	Took  time.Duration
}

// nobody is the Observer of a worker that has none.
type nobody struct{}

var _ Observer = nobody{}

func (nobody) Waited(tasks.Kind, time.Duration, bool) {}
func (nobody) Begun(tasks.Kind)                       {}
func (nobody) Ended(Request)                          {}
func (nobody) Crashed(tasks.Kind, bool)               {}
func (nobody) StoreHeld(bool)                         {}

// watched tells an observer about one request, from here until end is called.
// What ends without a status panicked.
type watched struct {
	to    Observer
	req   Request
	began time.Time
}

func watch(to Observer, kind tasks.Kind, host string) *watched {
	to.Begun(kind)
	return &watched{to, Request{Kind: kind, Host: host, Status: StatusFailed, Reason: failure.ReasonInternal}, time.Now()}
}

func (w *watched) end() {
	w.req.Took = time.Since(w.began)
	w.to.Ended(w.req)
}

func (w *watched) answered(v lookup.Verdict) {
	w.req.Reason = ""
	switch v {
	case lookup.Found:
		w.req.Status = StatusFound
	case lookup.NotFound:
		w.req.Status = StatusNotFound
	default:
		w.req.Status = StatusNoPicture
	}
}

// answeredMany takes in what a request about several names brought: it counts
// by the best of them.
func (w *watched) answeredMany(results []lookup.Result) {
	best := lookup.NotFound
	for _, r := range results {
		switch v := r.Answer.Verdict; {
		case r.Err != nil:
		case v == lookup.Found, v == lookup.NoPicture && best == lookup.NotFound:
			best = v
		}
	}
	w.answered(best)
}

func (w *watched) stored(p results.Picture) {
	w.req.Status, w.req.Reason, w.req.Bytes = StatusStored, "", p.Bytes
}

// failed takes in why there is no answer. over says that the task's own
// context has ended.
func (w *watched) failed(err error, over bool) {
	_, later := errors.AsType[*again](err)
	e := failure.From(err)
	switch {
	case over || later || errors.Is(err, errLeaving):
		w.req.Status, w.req.Reason = StatusCutOff, ""
	case e.Kind == failure.Hold:
		w.req.Status, w.req.Reason = StatusHeld, e.Reason
	default:
		w.req.Reason = e.Reason
	}
}

// kindOf is the kind of the step that a rank stands for.
func kindOf(rank int) tasks.Kind {
	if rank == results.LookupRank {
		return tasks.Lookups
	}
	return tasks.Pictures
}
