package worker_test

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// kept lists the keys in the store.
func (r *rig) kept() []string {
	r.t.Helper()
	var keys []string
	for e, err := range r.store.List(r.t.Context(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	slices.Sort(keys)
	return keys
}

// keeps waits until the store has these keys and no others.
func (r *rig) keeps(want ...string) {
	r.t.Helper()
	r.until("the store has "+strings.Join(want, ", "), func() bool { return slices.Equal(r.kept(), want) })
}

// told reads a sidecar.
func (r *rig) told(key string) (j recordjson.Name) {
	r.t.Helper()
	f, _, err := r.store.Open(r.t.Context(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	if err != nil {
		r.t.Fatalf("%s: %v", key, err)
	}
	return j
}

// refresh asks a name again.
func (r *rig) refresh(name string) {
	r.t.Helper()
	ctx := r.t.Context()
	e, err := r.db.Open(ctx, "names", "people", "names.txt", 1)
	if err != nil {
		r.t.Fatal(err)
	}
	again, err := r.db.NewRefresh(ctx, 0, 2)
	if err != nil {
		r.t.Fatal(err)
	}
	added, err := e.AddAgain(ctx, 0, []results.Line{{Number: 1, Name: name}}, results.Again{Refresh: &again})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := e.Close(ctx, true); err != nil {
		r.t.Fatal(err)
	}
	r.lookupTask("people", added[0].Ref)
	r.finished("names")
}

// A batch keeps the names and sidecars that it began with, and both follow a
// name through refreshes until it is forgotten.
func TestTemplatesAndSidecars(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		d := newDirectory(t)
		r.provide("people", nil).Service = d
		r.naming, r.sidecars = "{batch}/{attr.age}/{name}{-rank}.{ext}", true
		r.enqueue("names", "people", "Ada")
		stop := r.start()
		r.finished("names")
		r.keeps("names/30/Ada.png", "names/30/Ada.png.json")
		j := r.told("names/30/Ada.png.json")
		rec := r.record("names", "Ada")
		b, err := r.db.Batch(t.Context(), "names")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(recordjson.Of(b, rec), j); diff != "" {
			t.Errorf("the sidecar is not the record (-want +got):\n%s", diff)
		}
		stop()

		// Another worker's settings change nothing for a batch that has begun.
		r.naming, r.sidecars = "readable", false
		r.start()
		d.set(func() { d.age = "31" })
		r.refresh("Ada")
		r.until("the sidecar tells the new age", func() bool { return r.told("names/30/Ada.png.json").Attributes[0].Value == "31" })
		r.keeps("names/30/Ada.png", "names/30/Ada.png.json")

		d.set(func() { d.picture, d.tag = pixels(9), `"two"` })
		r.refresh("Ada")
		r.keeps("names/31/Ada.png", "names/31/Ada.png.json")
		d.set(func() { d.picture, d.tag = pixels(10), `"three"` })
		r.refresh("Ada")
		renewed := storage.RenewedKey("names/31/Ada.png", 4)
		r.keeps(renewed, renewed+".json")

		r.enqueue("names", "people", "Bob")
		r.finished("names")
		r.keeps(renewed, renewed+".json", "names/31/Bob.png", "names/31/Bob.png.json")

		remover := removal.New(removal.Deps{DB: r.db, Store: r.store, Namespace: r.namespace})
		if b, err = r.db.Batch(t.Context(), "names"); err != nil {
			t.Fatal(err)
		}
		rep, err := remover.Name(t.Context(), b, "Ada")
		if err != nil || rep.Pictures != 1 {
			t.Errorf("forgotten: %+v, %v; want 1 picture", rep, err)
		}
		r.keeps("names/31/Bob.png", "names/31/Bob.png.json")
	})
}

// jsonless is a store that refuses sidecars for a while.
type jsonless struct {
	storage.Store
	away    atomic.Bool
	refused atomic.Int64
}

func (s *jsonless) Create(ctx context.Context) (storage.Writer, error) {
	w, err := s.Store.Create(ctx)
	return &jsonlessWriter{w, s}, err
}

type jsonlessWriter struct {
	storage.Writer
	s *jsonless
}

func (w *jsonlessWriter) Commit(ctx context.Context, key string) error {
	if strings.HasSuffix(key, ".json") && w.s.away.Load() {
		w.s.refused.Add(1)
		return failure.Newf(failure.ReasonStore, failure.Temporary, "%s is a folder; remove it", key)
	}
	return w.Writer.Commit(ctx, key)
}

// A name is done when its pictures are; its task comes again until the
// sidecars are there too, also to another worker.
func TestASidecarThatCannotBeWrittenComesLater(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	store := &jsonless{Store: r.store}
	store.away.Store(true)
	r.store, r.sidecars = store, true
	r.enqueue("names", "people", "Ada", "Bob")
	r.hurry()
	stop := r.start()
	if diff := cmp.Diff(results.Counts{results.Done: 2}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	r.until("refusals", func() bool { return store.refused.Load() > 1 })
	stop()
	r.keeps("names/Ada.png", "names/Bob.png")
	store.away.Store(false)
	r.sidecars = false
	r.start()
	r.keeps("names/Ada.png", "names/Ada.png.json", "names/Bob.png", "names/Bob.png.json")
	if rec := r.record("names", "Ada"); rec.FailedTries != 0 {
		t.Errorf("%d failed tries, want 0", rec.FailedTries)
	}
}
