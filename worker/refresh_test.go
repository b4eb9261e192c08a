package worker_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
)

// directory is a service and its pictures, both with validators.
type directory struct {
	url string

	mu      sync.Mutex
	age     string
	picture []byte
	tag     string // of the picture; "" is its Last-Modified
	down    bool
	// answers counts what was sent: the status of each picture, and lookups
	// that said that nothing has changed.
	pictures  map[int]int
	unchanged int
}

const modified = "Wed, 21 Oct 2015 07:28:00 GMT"

func newDirectory(t *testing.T) *directory {
	d := &directory{age: "30", picture: pixels(8), tag: `"one"`, pictures: make(map[int]int)}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	d.url = s.URL + "/photo.png"
	return d
}

func (d *directory) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	clear(d.pictures)
	d.unchanged = 0
}

func (d *directory) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	status := http.StatusOK
	switch {
	case d.down:
		status = http.StatusNotFound
	case d.tag != "" && q.Header.Get("If-None-Match") == d.tag, d.tag == "" && q.Header.Get("If-Modified-Since") == modified:
		status = http.StatusNotModified
	}
	d.pictures[status]++
	if d.tag != "" {
		w.Header().Set("ETag", d.tag)
	} else {
		w.Header().Set("Last-Modified", modified)
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = w.Write(d.picture) // who left has no use for it
	}
}

func (d *directory) Revalidate(_ context.Context, _ lookup.Query, validator string) (lookup.Answer, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if validator == "v"+d.age {
		d.unchanged++
		return lookup.Answer{}, true, nil
	}
	return lookup.Answer{
		Verdict: lookup.Found, Attributes: []lookup.Attribute{{Name: "age", Value: d.age}},
		Pictures: []lookup.Picture{{Candidates: []string{d.url}}}, Validator: "v" + d.age,
	}, false, nil
}

func (*directory) PictureRequest(url string) (fetch.Request, error) {
	return fetch.Request{URL: url}, nil
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		d := newDirectory(t)
		r.provide("people", nil).Service = d
		r.enqueue("names", "people", "Ada")
		r.start()
		r.finished("names")
		first := r.record("names", "Ada").Outcomes[1].Picture.Key

		refresh := func(what string, want results.Refreshed, wantPictures map[int]int, unchanged int) results.Record {
			t.Helper()
			e, err := r.db.Open(ctx, "names", "people", "names.txt", 1)
			if err != nil {
				t.Fatal(err)
			}
			again, err := r.db.NewRefresh(ctx, 0, 2)
			if err != nil {
				t.Fatal(err)
			}
			added, err := e.AddAgain(ctx, 0, []results.Line{{Number: 1, Name: "Ada"}}, results.Again{Refresh: &again})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(ctx, true); err != nil {
				t.Fatal(err)
			}
			r.lookupTask("people", added[0].Ref)
			r.finished("names")
			r.until("dropped pictures removed", func() bool {
				left, err := r.db.Dropped(ctx, "names", 0)
				return err == nil && len(left) == 0
			})
			b, err := r.db.Batch(ctx, "names")
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.db.Refreshed(ctx, b)
			want.Began = got.Began
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v, it ended otherwise (-want +got):\n%s", what, err, diff)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if diff := cmp.Diff(wantPictures, d.pictures); diff != "" || d.unchanged != unchanged {
				t.Errorf("%s: %d lookups unchanged, want %d; pictures sent differ (-want +got):\n%s", what, d.unchanged, unchanged, diff)
			}
			return r.record("names", "Ada")
		}
		holds := func(what string, rec results.Record, want []byte) {
			t.Helper()
			p := rec.Outcomes[1].Picture
			if p == nil {
				t.Fatalf("%s: no picture: %+v", what, rec)
			}
			f, _, err := r.store.Open(ctx, p.Key)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			defer f.Close()
			if b, err := io.ReadAll(f); err != nil || string(b) != string(want) {
				t.Errorf("%s: %s holds %d bytes, %v; want %d", what, p.Key, len(b), err, len(want))
			}
		}
		gone := func(key string) {
			t.Helper()
			if _, err := r.store.Stat(ctx, key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v, want it gone", key, err)
			}
		}
		one := map[int]int{http.StatusOK: 1}
		same := map[int]int{http.StatusNotModified: 1}

		d.set(func() {})
		holds("nothing new", refresh("nothing new", results.Refreshed{Unchanged: 1}, same, 1), pixels(8))
		d.set(func() { d.tag = "" })
		refresh("the same bytes by another validator", results.Refreshed{Unchanged: 1}, one, 1)
		d.set(func() {})
		refresh("by its date", results.Refreshed{Unchanged: 1}, same, 1)
		d.set(func() { d.age = "31" })
		rec := refresh("another age", results.Refreshed{Changed: 1}, same, 0)
		if rec.Lookup.Attributes[0].Value != "31" || rec.Outcomes[1].Picture.Key != first {
			t.Errorf("got %+v, want age 31 and the same picture", rec)
		}
		if err := r.store.Delete(ctx, first); err != nil {
			t.Fatal(err)
		}
		d.set(func() {})
		holds("a missing file", refresh("a missing file", results.Refreshed{Unchanged: 1}, one, 1), pixels(8))
		d.set(func() { d.picture, d.tag = pixels(9), `"two"` })
		rec = refresh("another picture", results.Refreshed{Changed: 1}, one, 1)
		holds("another picture", rec, pixels(9))
		gone(first)
		second := rec.Outcomes[1].Picture.Key
		d.set(func() { d.down = true })
		missing := map[int]int{http.StatusNotFound: 1}
		rec = refresh("not there", results.Refreshed{Failed: 1}, missing, 1)
		holds("not there", rec, pixels(9))
		if rec.Stale == nil || rec.State != results.Done {
			t.Errorf("got %+v, want it done and stale", rec)
		}
		d.set(func() {})
		rec = refresh("still not there", results.Refreshed{Gone: 1}, missing, 1)
		gone(second)
		if rec.State != results.Failed {
			t.Errorf("got %+v, want it failed", rec)
		}
	})
}
