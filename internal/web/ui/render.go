package ui

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/results"
)

//go:embed templates
var templateFiles embed.FS

// templates are the pages by name, each within layout.html.
type templates map[string]*template.Template

var pageNames = []string{"home", "batch", "broken", "gallery", "failures", "name", "change", "problem"}

func (p *pages) parseTemplates() (templates, error) {
	base, err := template.New("layout.html").Funcs(template.FuncMap{
		"asset":        func(name string) string { return p.assets[name].url },
		"count":        count,
		"plural":       plural,
		"size":         size,
		"pace":         pace,
		"left":         left,
		"moment":       moment,
		"instant":      instant,
		"machineTime":  machineTime,
		"happened":     happened,
		"words":        func(word any) string { return words(fmt.Sprint(word)) },
		"manyWords":    func(list string) string { return words(strings.ReplaceAll(list, ",", ", ")) },
		"explain":      explain,
		"marked":       marked,
		"batchPath":    batchPath,
		"galleryPath":  galleryPath,
		"failuresPath": failuresPath,
		"namePath":     namePath,
		"changePath":   changePath,
		"thumbnail":    thumbnailPath,
		"original":     originalPath,
		"webURL":       webURL,
		"mark":         mark,
		"bars":         func(b control.Batch) barView { return barView{b, shares(b)} },
		"long":         func(n int) int64 { return int64(n) },
		"less":         func(n int64) int64 { return n - 1 },
	}).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	all := make(templates)
	for _, name := range pageNames {
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if all[name], err = t.ParseFS(templateFiles, "templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// view is what layout.html shows around a page.
type view struct {
	// Title of the page, before the program's name.
	Title string
	// Tab of the batch that the page is, where it is one.
	Tab   string
	Batch *control.Batch
	// Told is what was just done.
	Told string
	// Again lets a browser that runs no script look again after so many
	// seconds, 0 not.
	Again int
	// Page is the page's own.
	Page any
}

// show writes a page whole, or not at all.
func (p *pages) show(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	var b bytes.Buffer
	if err := p.templates[name].Execute(&b, v); err != nil {
		p.Logger.Error("a page cannot be made: please report it", "path", r.URL.Path, "error", err)
		http.Error(w, "A defect of harvest. Its log has more.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that left is no concern of ours
}

// problemView is a page that says what is wrong and what to do.
type problemView struct {
	Heading, Text string
	// Near are the pages that were perhaps meant.
	Near []link
	// Hints are commands that help.
	Hints []string
}

type link struct{ Text, Path string }

// lookAgain is how many seconds a page waits for Redis to come back.
const lookAgain = 5

// fail shows what an error of package control means for the reader.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(context.Cause(r.Context()), context.Canceled) {
		return // the reader left
	}
	if cause := context.Cause(r.Context()); cause != nil {
		err = cause // what Redis said when it was looked at
	}
	var (
		unknown *control.UnknownError
		invalid *control.InvalidError
		refused *control.RefusedError
		keys    *results.KeyError
	)
	switch {
	case errors.As(err, &unknown):
		v := problemView{Heading: "There is no " + unknown.What + " “" + unknown.Word + "”"}
		if unknown.Batch != "" {
			v.Heading += " in batch " + unknown.Batch
		}
		for _, near := range unknown.Near {
			path := batchPath(near)
			if unknown.What == "name" {
				path = namePath(unknown.Batch, near)
			}
			v.Near = append(v.Near, link{near, path})
		}
		if unknown.What == "name" {
			v.Text = "Perhaps it was written otherwise, or is not in this batch’s file."
			v.Near = append(v.Near, link{"All names of batch " + unknown.Batch, galleryPath(unknown.Batch, "state", anyState)})
		} else {
			v.Text = "It may have been deleted, or is in another Redis: this is " + p.Control.Place() + "."
			v.Near = append(v.Near, link{"All batches", "/"})
		}
		p.problem(w, r, http.StatusNotFound, v, 0)
	case errors.Is(err, results.ErrNoBatch), errors.Is(err, results.ErrNoName):
		p.problem(w, r, http.StatusNotFound, problemView{Heading: "It was deleted meanwhile", Near: []link{{"All batches", "/"}}}, 0)
	case errors.As(err, &invalid):
		p.problem(w, r, http.StatusBadRequest, problemView{Heading: "This address cannot be answered", Text: sentence(invalid.Text)}, 0)
	case errors.As(err, &refused), errors.As(err, &keys):
		p.problem(w, r, http.StatusConflict, problemView{Heading: "This cannot be done now", Text: sentence(err.Error())}, 0)
	case errors.Is(err, results.ErrCancelled), errors.Is(err, results.ErrDeleting):
		p.problem(w, r, http.StatusConflict, problemView{Heading: "Somebody else was faster", Text: sentence(err.Error())}, 0)
	default:
		p.Logger.Warn("a page was not answered", "path", r.URL.Path, "error", err)
		again := lookAgain
		if r.Method == http.MethodPost {
			again = 0 // looking again would do it again
		}
		w.Header().Set("Retry-After", strconv.Itoa(lookAgain))
		p.problem(w, r, http.StatusServiceUnavailable, problemView{
			Heading: "Redis does not answer",
			Text:    sentence(p.Control.Place() + " cannot be reached. Nothing is lost: what workers hold goes on when it is back. This page looks again every few seconds"),
			Hints:   []string{"harvest status"},
		}, again)
	}
}

func (p *pages) problem(w http.ResponseWriter, r *http.Request, status int, v problemView, again int) {
	p.show(w, r, status, "problem", view{Title: v.Heading, Again: again, Page: v})
}

// nowhere answers for addresses that no page has.
func (p *pages) nowhere(w http.ResponseWriter, r *http.Request) {
	p.problem(w, r, http.StatusNotFound, problemView{
		Heading: "There is no such page", Near: []link{{"All batches", "/"}, {"Queues", "/queues/"}},
	}, 0)
}

// sentence makes a message of ours one.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return words(s[:1]) + s[1:] + "."
}

// The addresses of pages. pairs are keys and values of the query; those with
// an empty value are left out.

func batchPath(batch string) string { return "/batches/" + url.PathEscape(batch) }

func galleryPath(batch string, pairs ...string) string {
	return batchPath(batch) + "/gallery" + query(pairs)
}

func failuresPath(batch string, pairs ...string) string {
	return batchPath(batch) + "/failures" + query(pairs)
}

func namePath(batch, name string) string {
	return batchPath(batch) + "/name" + query([]string{"name", name})
}

func changePath(batch, action string, pairs ...string) string {
	return batchPath(batch) + "/change/" + url.PathEscape(action) + query(pairs)
}

func query(pairs []string) string {
	v := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Add(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// originalPath is where package web serves what was downloaded.
func originalPath(batch, name string, rank int) string {
	return "/pictures/" + url.PathEscape(batch) + query([]string{"name", name, "rank", strconv.Itoa(rank)})
}

// webURL returns u where a browser may be led there by a click, else "".
func webURL(u string) string {
	parsed, err := url.Parse(u)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return ""
	}
	return u
}
