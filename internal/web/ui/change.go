package ui

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/picharvest/picharvest/internal/control"
)

// changeView asks whether a change is meant.
type changeView struct {
	Batch string
	// Heading says what would be done, Text what follows from it, and Do is
	// on the button.
	Heading, Text, Do string
	Danger            bool
	// Where the form goes, and where the reader came from.
	Path, Back string
	// Fields select the names.
	Fields []field
	// AskPictures: the form asks whether pictures go too.
	AskPictures bool
}

type field struct{ Name, Value string }

// wanted reads a change from the address and the form of a request.
func wanted(r *http.Request) (control.Change, error) {
	if err := r.ParseForm(); err != nil {
		return control.Change{}, &control.InvalidError{Text: "the form cannot be read: " + err.Error()}
	}
	q, err := control.Selection(r.Form)
	return control.Change{
		Action: control.Action(r.PathValue("action")), Batch: r.PathValue("batch"), Query: q, Pictures: r.Form.Get("pictures") == "true",
	}, err
}

// ask shows what a change would touch, and a button that makes it.
func (p *pages) ask(w http.ResponseWriter, r *http.Request) {
	ch, err := wanted(r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	n, err := p.Control.Affected(r.Context(), ch)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v := describe(ch, n)
	for _, key := range control.SelectionKeys() {
		for _, value := range r.Form[key] {
			if value != "" {
				v.Fields = append(v.Fields, field{key, value})
			}
		}
	}
	p.show(w, r, http.StatusOK, "change", view{Title: v.Heading, Page: v})
}

// change makes the change.
func (p *pages) change(w http.ResponseWriter, r *http.Request) {
	ch, err := wanted(r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	done, err := p.Control.Do(r.Context(), ch)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	to := batchPath(ch.Batch)
	if ch.Action == control.Delete {
		to = "/"
	}
	told := url.Values{"did": {string(ch.Action)}, "names": {strconv.FormatInt(done.Names, 10)}}
	if ch.Pictures || ch.Action == control.Forget {
		told.Set("pictures", strconv.FormatInt(done.Pictures, 10))
		told.Set("shared", strconv.FormatInt(done.Shared, 10))
	}
	http.Redirect(w, r, to+"?"+told.Encode(), http.StatusSeeOther)
}

// describe puts a change into words.
func describe(ch control.Change, n int64) changeView {
	names := plural(n, "name")
	v := changeView{
		Batch: ch.Batch, Path: changePath(ch.Batch, string(ch.Action)), Back: batchPath(ch.Batch),
		Danger: ch.Action == control.Cancel || ch.Action == control.Delete || ch.Action == control.Forget,
	}
	switch ch.Action {
	case control.Retry:
		v.Heading = "Try " + names + " again?"
		v.Text = "Names whose lookup went well fetch only the pictures that are missing; the others are looked up anew."
		v.Do = "Try " + names + " again"
	case control.Pause:
		v.Heading = "Pause " + ch.Batch + "?"
		v.Text = "The " + names + " still to come wait until the batch is resumed. What is being fetched at this moment is fetched again then."
		v.Do = "Pause"
	case control.Resume:
		v.Heading = "Resume " + ch.Batch + "?"
		v.Text = "The " + names + " still to come go on."
		v.Do = "Resume"
	case control.Cancel:
		v.Heading = "Cancel " + ch.Batch + "?"
		v.Text = "The " + names + " still to come are given up. What is settled stays. They can be tried again later."
		v.Do = "Give up " + names
	case control.Delete:
		v.Heading = "Delete " + ch.Batch + "?"
		v.Text = "The records of " + names + " are removed for good, and this page with them. The pictures stay where they are unless you say otherwise."
		v.Do = "Delete " + plural(n, "record")
		v.AskPictures = true
	case control.Forget:
		v.Heading = "Forget " + ch.Query.Name + "?"
		v.Text = "The record of " + names + " in this batch, its pictures and what is queued for it are removed for good. A picture that other names share by content stays for them. The name comes back when a names file that has it is enqueued again."
		v.Do = "Forget " + names
		v.Back = namePath(ch.Batch, ch.Query.Name)
	}
	return v
}
