package ui

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/results"
)

// homeView is the list of batches, the newest first.
type homeView struct {
	Place   string
	Batches []control.Batch
}

func (p *pages) home(w http.ResponseWriter, r *http.Request) {
	batches, err := p.Control.Batches(r.Context())
	if err != nil {
		p.fail(w, r, err)
		return
	}
	slices.Reverse(batches)
	p.show(w, r, http.StatusOK, "home", view{
		Title: "Batches", Told: told(r), Page: homeView{Place: p.Control.Place(), Batches: batches},
	})
}

// batchView is how far one batch is.
type batchView struct {
	States    []stateCount
	Hosts     control.Hosts
	MoreHosts bool
	Actions   []action
	Tiles     []tile
	// Marks are those that names have beside their states.
	Marks []stateCount
	// Unreadable is the number of names whose record is none.
	Unreadable int64
}

// stateCount is a state with its number of names and its share of the bar.
type stateCount struct {
	State results.State
	Names int64
	// From and Width in percent.
	From, Width float64
}

// barView is a batch with its bar.
type barView struct {
	Batch  control.Batch
	States []stateCount
}

// maxHosts bounds the hosts that a page shows.
const maxHosts = 100

// latest is how many pictures the page of a batch shows.
const latest = 16

func (p *pages) batch(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("batch")
	b, err := p.Control.Batch(r.Context(), name)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	if b.Error != "" {
		p.show(w, r, http.StatusOK, "broken", view{Title: name, Tab: "overview", Batch: &b})
		return
	}
	v := batchView{States: shares(b), Actions: actions(b), Unreadable: b.States[results.Unreadable]}
	for _, m := range []stateCount{{State: results.Refreshing, Names: b.Refreshing}, {State: results.Stale, Names: b.Stale}} {
		if m.Names > 0 {
			v.Marks = append(v.Marks, m)
		}
	}
	if b.Failed() > 0 {
		if v.Hosts, err = p.Control.Hosts(r.Context(), name, maxHosts); err != nil {
			p.fail(w, r, err)
			return
		}
		v.MoreHosts = len(v.Hosts) == maxHosts
	}
	pictures, err := readFilter(nil, false)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	found, err := p.list(r.Context(), name, pictures, latest)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v.Tiles = found.tiles(name)
	p.show(w, r, http.StatusOK, "batch", view{Title: name, Tab: "overview", Batch: &b, Told: told(r), Page: v})
}

// barOrder is the order of states in the bar: what is settled comes first, and
// what went well first of that.
var barOrder = []results.State{
	results.Done, results.Partial, results.NoPicture, results.NotFound, results.Failed, results.Unreadable, results.Cancelled, results.Found,
	results.Queued,
}

// shares returns the states of a batch as they stand in its bar.
func shares(b control.Batch) []stateCount {
	list := make([]stateCount, 0, len(barOrder))
	from := 0.0
	for _, st := range barOrder {
		s := stateCount{State: st, Names: b.States[st], From: from}
		if b.Names > 0 {
			s.Width = 100 * float64(s.Names) / float64(b.Names)
		}
		from += s.Width
		list = append(list, s)
	}
	return list
}

// mark is what a page knew of a batch when it was made. app.js writes it
// likewise, and loads the page anew where it is another.
func mark(b control.Batch) string {
	var s strings.Builder
	for _, st := range barOrder {
		fmt.Fprintf(&s, "%d ", b.States[st])
	}
	fmt.Fprintf(&s, "%d %d ", b.Refreshing, b.Stale)
	return s.String() + b.State
}

// action is a change that makes sense for a batch as it is.
type action struct {
	Action control.Action
	// Label of its button, "" for a retry, whose number moves.
	Label string
	// Likely: most readers look for it.
	Likely bool
	// Danger: what it does cannot be undone.
	Danger bool
}

// actions lists what can be done with a batch now.
func actions(b control.Batch) []action {
	var list []action
	open := b.Open() > 0 || !b.Sealed
	if b.Failed() > 0 {
		list = append(list, action{Action: control.Retry, Likely: true})
	}
	switch {
	case b.Status == results.Paused:
		list = append(list, action{Action: control.Resume, Label: "Resume", Likely: true})
	case b.Status == results.Running && open:
		list = append(list, action{Action: control.Pause, Label: "Pause"})
	}
	if open && b.Status != results.Stopped && b.Status != results.Deleting {
		list = append(list, action{Action: control.Cancel, Label: "Cancel", Danger: true})
	}
	return append(list, action{Action: control.Delete, Label: "Delete", Danger: true})
}

// told says what a change that led here has done.
func told(r *http.Request) string {
	n, err := strconv.ParseInt(r.FormValue("names"), 10, 64)
	if err != nil || n < 0 {
		return ""
	}
	switch control.Action(r.FormValue("did")) {
	case control.Retry:
		return plural(n, "name") + " will be tried again."
	case control.Pause:
		return "Paused. " + plural(n, "name") + " wait until the batch is resumed."
	case control.Resume:
		return "Resumed. " + plural(n, "name") + " go on."
	case control.Cancel:
		return "Cancelled. " + plural(n, "name") + " were given up."
	case control.Delete:
		if r.FormValue("pictures") == "" {
			return "Deleted with " + plural(n, "record") + ". The pictures are where they were."
		}
		return "Deleted with " + plural(n, "record") + " and " + toldPictures(r) + "."
	case control.Forget:
		return "Forgotten: " + plural(n, "name") + " with " + toldPictures(r) + "."
	}
	return ""
}

// toldPictures says which pictures went.
func toldPictures(r *http.Request) string {
	number := func(key string) int64 {
		n, err := strconv.ParseInt(r.FormValue(key), 10, 64)
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	text := plural(number("pictures"), "picture")
	if shared := number("shared"); shared > 0 {
		text += "; " + plural(shared, "picture") + " stayed for other names"
	}
	return text
}
