package ui

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// nameView is one name with all that is known of it.
type nameView struct {
	recordjson.Name
	// Retry is the state that it can be tried again from, "" for none.
	Retry results.State
	// Stored and Missing count its pictures.
	Stored, Missing int
}

// happened says in words what an event of a name's history was.
func happened(e recordjson.Event) string {
	step := "the lookup"
	if e.Rank != results.LookupRank {
		step = fmt.Sprintf("picture %d", e.Rank)
	}
	switch e.What {
	case results.TrySucceeded:
		return step + " came"
	case results.WorkerDied:
		return step + " was cut off: its worker died"
	}
	why := step + " failed: " + explain(e.Reason).Title
	if e.Status > 0 {
		why += fmt.Sprintf(", answered %d", e.Status)
	}
	return why
}

func (p *pages) name(w http.ResponseWriter, r *http.Request) {
	batch := r.PathValue("batch")
	b, err := p.Control.Batch(r.Context(), batch)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	n, err := p.Control.Name(r.Context(), batch, r.FormValue("name"))
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v := nameView{Name: n}
	switch {
	case n.Refreshing: // it is
	case n.Stale != nil:
		v.Retry = results.Stale
	case slices.Contains(results.Retryable(), n.State):
		v.Retry = n.State
	}
	for _, pic := range n.Pictures {
		if pic.Stored() {
			v.Stored++
		} else {
			v.Missing++
		}
	}
	p.show(w, r, http.StatusOK, "name", view{Title: n.Name, Batch: &b, Page: v})
}
