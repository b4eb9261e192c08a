package ui

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// anyState is the choice of every name, with pictures or without; no choice
// is names with pictures.
const anyState = "any"

const (
	// galleryPage is how many tiles a page has, and tablePage how many rows.
	galleryPage = 120
	tablePage   = 100
)

// filter is what the forms of gallery and failures select.
type filter struct {
	// State and Reason are words with commas between them.
	State, Reason, Host string
	// Where are attribute=value as `harvest results --where` takes them. No
	// form asks for them.
	Where []string
	// Text is searched for in names, without regard to case.
	Text string
	Kind string
	// MinSide and MaxSide bound the shorter side of a picture, 0 not.
	MinSide, MaxSide int
	// Attribute has Value, without regard to case; or any where that is "".
	Attribute, Value string
	After            string
	// query is State, Reason, Host and Where, and what stands for no state.
	query results.Query
}

// readFilter reads a filter from an address, or says what is wrong with it. A
// filter of failures has failed and partial names where no state is chosen.
func readFilter(q url.Values, failures bool) (filter, error) {
	f := filter{
		State: q.Get("state"), Reason: q.Get("reason"), Host: strings.TrimSpace(q.Get("host")), Text: strings.TrimSpace(q.Get("q")),
		Kind: q.Get("kind"), Attribute: strings.TrimSpace(q.Get("attribute")), Value: strings.TrimSpace(q.Get("value")), After: q.Get("after"),
		Where: q["where"],
	}
	asked := url.Values{"state": {f.State}, "reason": {f.Reason}, "host": {f.Host}, "where": f.Where}
	if f.State == anyState {
		asked.Del("state")
	}
	var err error
	if f.query, err = control.Selection(asked); err != nil {
		return filter{}, err
	}
	switch {
	case f.State != "", f.Reason != "", f.Host != "":
		// What has a reason or a host is failed or partial.
	case failures:
		f.query.States = []results.State{results.Failed, results.Partial}
	default:
		f.query.States = []results.State{results.Done, results.Partial}
	}
	if f.Kind != "" && !slices.Contains(pictureKinds, picture.Kind(f.Kind)) {
		return filter{}, &control.InvalidError{Text: fmt.Sprintf("there is no kind %.40q of picture; there are %v", f.Kind, pictureKinds)}
	}
	for _, side := range []struct {
		key string
		to  *int
	}{{"min_side", &f.MinSide}, {"max_side", &f.MaxSide}} {
		text := strings.TrimSpace(q.Get(side.key))
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return filter{}, &control.InvalidError{Text: fmt.Sprintf("give %s as a number of pixels, not %.40q", side.key, text)}
		}
		*side.to = n
	}
	return f, nil
}

var pictureKinds = []picture.Kind{picture.JPEG, picture.PNG, picture.GIF, picture.WebP}

// pairs is the filter as keys and values of an address.
func (f filter) pairs() []string {
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	return append(f.selection(), "q", f.Text, "kind", f.Kind, "min_side", number(f.MinSide), "max_side", number(f.MaxSide),
		"attribute", f.Attribute, "value", f.Value, "after", f.After)
}

// selection is what of it the commands take as well.
func (f filter) selection() []string {
	pairs := []string{"state", f.State, "reason", f.Reason, "host", f.Host}
	for _, w := range f.Where {
		pairs = append(pairs, "where", w)
	}
	return pairs
}

// Empty reports whether the reader chose nothing.
func (f filter) Empty() bool {
	f.After = ""
	return query(f.pairs()) == ""
}

// More reports whether the reader chose something of the second row.
func (f filter) More() bool {
	return f.Host != "" || f.Kind != "" || f.MinSide != 0 || f.MaxSide != 0 || f.Attribute != "" || f.Value != ""
}

// ofPicture reports whether the filter asks something of pictures.
func (f filter) ofPicture() bool { return f.Kind != "" || f.MinSide > 0 || f.MaxSide > 0 }

// searches reports whether the filter asks what no command is asked.
func (f filter) searches() bool {
	return f.Text != "" || f.Attribute != "" || f.Value != "" || f.ofPicture()
}

// fold makes texts that people take for the same equal.
func fold(s string) string { return cases.Fold().String(norm.NFKC.String(s)) }

// selects reports whether n is selected, and by which of its pictures: -1 for
// none.
func (f filter) selects(n recordjson.Name) (best int, ok bool) {
	best = -1
	if f.Text != "" && !strings.Contains(fold(n.Name), fold(f.Text)) {
		return best, false
	}
	if (f.Attribute != "" || f.Value != "") && !slices.ContainsFunc(n.Attributes, func(a results.Attribute) bool {
		return (f.Attribute == "" || fold(a.Name) == fold(f.Attribute)) && (f.Value == "" || fold(a.Value) == fold(f.Value))
	}) {
		return best, false
	}
	best = slices.IndexFunc(n.Pictures, func(p recordjson.Picture) bool {
		short := min(p.Width, p.Height)
		return p.Stored() && (f.Kind == "" || p.Kind == f.Kind) && short >= f.MinSide && (f.MaxSide == 0 || short <= f.MaxSide)
	})
	return best, best >= 0 || !f.ofPicture()
}

// found is a page of names.
type found struct {
	control.Page
	best []int // the index of the picture that shows each, -1 for none
}

// list returns at most limit names that f selects.
func (p *pages) list(ctx context.Context, batch string, f filter, limit int) (found, error) {
	var r found
	var err error
	r.Page, err = p.Control.Search(ctx, batch, f.query, func(n recordjson.Name) bool {
		best, ok := f.selects(n)
		if ok {
			r.best = append(r.best, best)
		}
		return ok
	}, f.After, limit)
	return r, err
}

// tile is a name in the grid.
type tile struct {
	Batch string
	recordjson.Name
	// Picture that shows it, nil for none.
	Picture *recordjson.Picture
	// Stored is how many of its pictures are there.
	Stored int
}

func (r found) tiles(batch string) []tile {
	tiles := make([]tile, 0, len(r.Names))
	for i, n := range r.Names {
		t := tile{Batch: batch, Name: n}
		if r.best[i] >= 0 {
			t.Picture = &n.Pictures[r.best[i]]
		}
		for _, pic := range n.Pictures {
			if pic.Stored() {
				t.Stored++
			}
		}
		tiles = append(tiles, t)
	}
	return tiles
}

// Initials stand where there is no picture.
func (t tile) Initials() string {
	var initials []rune
	for _, word := range strings.FieldsFunc(t.Name.Name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if initials = append(initials, unicode.ToUpper([]rune(word)[0])); len(initials) == 2 {
			break
		}
	}
	return string(initials)
}

// Said is what a screen reader is told of the picture: the name stands beside
// it already, so alt is what the name does not say.
func (t tile) Said() string {
	if t.Picture == nil {
		return ""
	}
	return "Picture of " + t.Name.Name
}

// listView is a page of gallery or failures.
type listView struct {
	Filter filter
	// Total is how many names are selected, -1 where only a search would tell.
	Total int64
	Tiles []tile
	Names []recordjson.Name
	// Next is the address of the next page, First that of the first one where
	// this is not it.
	Next, First string
	// Searched, Cut and Warning as in control.Page.
	Searched int64
	Cut      bool
	Warning  string
	// Retry is the address that tries all of these again, "" where they cannot
	// be.
	Retry string
	// For the choices of the form.
	States     []results.State
	Reasons    control.Reasons
	Hosts      control.Hosts
	Kinds      []picture.Kind
	Attributes []string
	// All is the address without a filter.
	All string
}

func (p *pages) gallery(w http.ResponseWriter, r *http.Request) {
	p.listing(w, r, "gallery", galleryPage)
}

func (p *pages) failures(w http.ResponseWriter, r *http.Request) {
	p.listing(w, r, "failures", tablePage)
}

// listing shows the page of that name.
func (p *pages) listing(w http.ResponseWriter, r *http.Request, page string, limit int) {
	ctx, batch := r.Context(), r.PathValue("batch")
	b, err := p.Control.Batch(ctx, batch)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	f, err := readFilter(r.URL.Query(), page == "failures")
	if err != nil {
		p.fail(w, r, err)
		return
	}
	result, err := p.list(ctx, batch, f, limit)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v := listView{
		Filter: f, Total: -1, Names: result.Names, Tiles: result.tiles(batch), Searched: int64(result.Searched), Cut: result.Cut,
		Warning: result.Warning, Retry: retryPath(batch, f, page == "failures"),
		States: append(results.States(), results.Marks()...), Reasons: b.Reasons, Kinds: pictureKinds, Attributes: attributes(result.Names),
		All: batchPath(batch) + "/" + page,
	}
	if v.Total, err = p.total(ctx, b, f); err != nil {
		p.fail(w, r, err)
		return
	}
	if b.Failed() > 0 {
		if v.Hosts, err = p.Control.Hosts(ctx, batch, maxHosts); err != nil {
			p.fail(w, r, err)
			return
		}
	}
	if result.Next != "" {
		next := f
		next.After = result.Next
		v.Next = v.All + query(next.pairs())
	}
	if f.After != "" {
		begin := f
		begin.After = ""
		v.First = v.All + query(begin.pairs())
	}
	p.show(w, r, http.StatusOK, page, view{Title: words(page) + " of " + batch, Tab: page, Batch: &b, Page: v})
}

// retryPath is where all names that f selects are tried again, "" where there
// is nothing to try, or where the reader looks at a choice that a retry cannot
// make.
func retryPath(batch string, f filter, failures bool) string {
	chosen := failures || f.State != "" || f.Reason != "" || f.Host != ""
	if _, err := f.query.ForRetry(); err != nil || !chosen || f.searches() || f.State == anyState {
		return ""
	}
	return changePath(batch, string(control.Retry), f.selection()...)
}

// total is how many names f selects where an index tells, else -1.
func (p *pages) total(ctx context.Context, b control.Batch, f filter) (int64, error) {
	several := 0
	for _, chosen := range []bool{f.State != "" && f.State != anyState, f.Reason != "", f.Host != ""} {
		if chosen {
			several++
		}
	}
	if f.searches() || len(f.Where) > 0 || several > 1 || b.Error != "" {
		return -1, nil
	}
	return p.Control.Count(ctx, b.Name, f.query)
}

// attributes lists the attributes that names have, to choose from.
func attributes(names []recordjson.Name) []string {
	seen := make(map[string]bool)
	var list []string
	for _, n := range names {
		for _, a := range n.Attributes {
			if !seen[a.Name] {
				seen[a.Name] = true
				list = append(list, a.Name)
			}
		}
	}
	slices.Sort(list)
	return list
}
