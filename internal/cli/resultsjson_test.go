package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// everyState takes names to every state that there is, by the scripts that
// workers use.
func everyState(t *testing.T, db *results.DB) {
	t.Helper()
	ctx := t.Context()
	must := func(ok bool, err error) {
		t.Helper()
		if err != nil || !ok {
			t.Fatalf("commit: %v %v", ok, err)
		}
	}
	e, err := db.OpenWith(ctx, "b", "people", "b.txt", 2, results.Params{"lang": "de"})
	if err != nil {
		t.Fatal(err)
	}
	refs := make(map[string]tasks.Ref)
	// Cancelled names have nothing to be done for them, so they come before
	// the others: a cancellation is for the whole batch.
	add := func(again results.Again, names ...string) {
		for _, n := range names {
			added, err := e.AddAgain(ctx, tasks.Shard(n, 2), []results.Line{{
				Number: int64(len(refs) + 1), Name: n, ColumnsTruncated: len(refs)%2 == 0,
				Columns: []results.Attribute{{Name: "url", Value: "http://a.test/<1>"}, {Name: "a note", Value: "two\nlines \"ü\""}},
			}}, again)
			if err != nil {
				t.Fatal(err)
			}
			refs[n] = added[0].Ref
		}
	}
	add(results.Again{}, "given up", "given up late")
	l := results.Lookup{
		Attributes: []results.Attribute{{Name: "zip", Value: "<&>\u2028\"ü"}, {Name: "age", Value: ""}}, Truncated: true,
		Pictures: [][]string{{"http://a.test/1", "http://b.test/1", "http://b.test/1"}, {"http://a.test/2"}},
		Licence:  "CC0", Attribution: "me", Source: "http://a.test/", Validator: `W/"<1>"`,
	}
	slow := failure.Newf(failure.ReasonTimeout, failure.Temporary, "slow <host>")
	gone := failure.Newf(failure.ReasonMissing, failure.Final, "404")
	pic := func(name string, rank int) results.Picture {
		return results.Picture{
			Kind: "png", Bytes: 7, Width: 3, Height: 4, Candidate: 2 * (2 - rank), SHA256: fmt.Sprintf("%042d%s", rank, "A"),
			Key: storage.Key("b", name, rank, "png"), Validator: fmt.Sprintf(`"%d"`, rank),
		}
	}
	must(db.CommitLookup(ctx, refs["given up late"], results.Found, l))
	must(db.CommitPicture(ctx, refs["given up late"], 2, pic("given up late", 2)))
	b, err := db.Batch(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := db.Cancel(ctx, b); n != 2 || err != nil {
		t.Fatalf("cancelled %d (%v), want 2", n, err)
	}
	if e, err = db.Open(ctx, "b", "people", "b.txt", 2); err != nil {
		t.Fatal(err)
	}
	add(results.Again{}, "queued", "found", "done", "partial", "failed", "lookup failed", "absent", "bare", "stale", "stale at a picture",
		"stale and partial", "renewed", "refreshing")
	for _, n := range []string{"found", "done", "partial", "failed", "stale", "stale at a picture", "stale and partial", "renewed", "refreshing"} {
		must(db.CommitLookup(ctx, refs[n], results.Found, l))
	}
	for try := range results.MaxHistory + 1 {
		if _, _, ok, err := db.CountTry(ctx, refs["done"], 2, fmt.Sprint("run", try), slow); !ok || err != nil {
			t.Fatalf("count a try: %v %v", ok, err)
		}
	}
	if err := db.NoteDeath(ctx, refs["done"], 2, "0.1"); err != nil {
		t.Fatal(err)
	}
	must(db.CommitPicture(ctx, refs["done"], 2, pic("done", 2)))
	must(db.CommitPicture(ctx, refs["done"], 1, pic("done", 1)))
	must(db.CommitPicture(ctx, refs["partial"], 1, pic("partial", 1)))
	must(db.FailPicture(ctx, refs["partial"], 2, gone, "a.test", false))
	must(db.FailPicture(ctx, refs["failed"], 2, slow, "a.test", true))
	must(db.FailPicture(ctx, refs["failed"], 1, gone, "b.test", false))
	must(db.FailPicture(ctx, refs["found"], 2, slow, "b.test", true))
	must(db.FailLookup(ctx, refs["lookup failed"], slow, "c.test", true))
	must(db.CommitLookup(ctx, refs["absent"], results.NotFound, results.Lookup{}))
	must(db.CommitLookup(ctx, refs["bare"], results.NoPicture, results.Lookup{Source: "http://a.test"}))
	for _, n := range []string{"stale", "stale at a picture", "stale and partial", "renewed", "refreshing"} {
		must(db.CommitPicture(ctx, refs[n], 1, pic(n, 1)))
		if n == "stale and partial" {
			must(db.FailPicture(ctx, refs[n], 2, gone, "a.test", false))
			continue
		}
		must(db.CommitPicture(ctx, refs[n], 2, pic(n, 2)))
	}
	refresh, err := db.NewRefresh(ctx, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	add(results.Again{Refresh: &refresh}, "stale", "stale at a picture", "stale and partial", "renewed", "refreshing")
	must(db.CommitLookup(ctx, refs["stale"], results.NotFound, results.Lookup{}))
	must(db.FailLookup(ctx, refs["stale and partial"], slow, "c.test", true))
	for _, n := range []string{"stale at a picture", "renewed", "refreshing"} {
		must(db.CommitLookup(ctx, refs[n], results.Found, l))
	}
	must(db.FailPicture(ctx, refs["stale at a picture"], 1, gone, "a.test", false))
	must(db.CommitPicture(ctx, refs["stale at a picture"], 2, pic("stale at a picture", 2)))
	other := pic("renewed", 1)
	other.SHA256, other.Key = fmt.Sprintf("%042d%s", 7, "A"), storage.RenewedKey(other.Key, refs["renewed"].Generation)
	must(db.CommitPicture(ctx, refs["renewed"], 1, other))
	must(db.CommitPicture(ctx, refs["renewed"], 2, pic("renewed", 2)))
	// Tried again, what is stale is so until that has ended well.
	if b, err = db.Batch(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	n, err := db.Retry(ctx, b, results.Query{State: results.Partial, Name: "stale and partial"},
		func(context.Context, []results.OpenName) error { return nil })
	if n != 1 || err != nil {
		t.Fatalf("tried %d again (%v), want 1", n, err)
	}
	if err := e.Close(ctx, true); err != nil {
		t.Fatal(err)
	}
}

func records(t *testing.T, db *results.DB) []results.Record {
	t.Helper()
	b, err := db.Batch(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	var all []results.Record
	for r, err := range db.Each(t.Context(), b, results.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		r.Last = 0
		all = append(all, r)
	}
	return all
}

// A line of results --json holds all that a record does, whatever its state.
func TestAnExportMakesTheSameRecords(t *testing.T) {
	t.Parallel()
	from, to := results.New(redistest.Start(t).Client(), ""), results.New(redistest.Start(t).Client(), "")
	everyState(t, from)
	b, err := from.Batch(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	want := records(t, from)
	e, err := to.Open(t.Context(), "b", "people", "b.jsonl", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []results.Imported{results.ImportNew, results.ImportSame} {
		for _, r := range want {
			var line bytes.Buffer
			if err := json.NewEncoder(&line).Encode(describe(b, r, "pictures")); err != nil {
				t.Fatal(err)
			}
			_, read, err := parseLine(line.Bytes())
			if err != nil {
				t.Errorf("%s: %v\n%s", r.Name, err, line.Bytes())
				continue
			}
			got, err := e.Import(t.Context(), 0, []results.Record{read})
			if err != nil || got[0] != again {
				t.Errorf("%s: became %v (%v), want %v", r.Name, got, err, again)
			}
		}
	}
	for i := range want {
		// An export has the last good answer; nothing would go on with the
		// next one.
		want[i].Refresh = nil
	}
	if diff := cmp.Diff(want, records(t, to)); diff != "" {
		t.Errorf("records differ (-exported +imported):\n%s", diff)
	}
	bt, err := to.Batch(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	for what, of := range map[string]func(*results.DB, results.Batch) (any, error){
		"counts": func(db *results.DB, b results.Batch) (any, error) {
			c, err := db.Counts(t.Context(), b)
			delete(c, results.Refreshing)
			return c, err
		},
		"reasons": func(db *results.DB, b results.Batch) (any, error) { return db.Reasons(t.Context(), b) },
		"hosts":   func(db *results.DB, b results.Batch) (any, error) { return db.Hosts(t.Context(), b, 100) },
	} {
		w, err1 := of(from, b)
		g, err2 := of(to, bt)
		if diff := cmp.Diff(w, g); diff != "" || err1 != nil || err2 != nil {
			t.Errorf("%s differ (%v, %v; -exported +imported):\n%s", what, err1, err2, diff)
		}
	}
	// What is there and differs stays.
	changed := want[2]
	changed.Updated = changed.Updated.Add(time.Second)
	if got, err := e.Import(t.Context(), 0, []results.Record{changed}); err != nil || got[0] != results.ImportOther {
		t.Errorf("another record became %v (%v), want it refused", got, err)
	}
}

// FuzzImportLine: whatever stands in a file is a record that this program
// could have made, or is refused.
func FuzzImportLine(f *testing.F) {
	f.Add([]byte(`{"batch":"b","provider":"p","name":"n","line":1,"lane":"bulk","state":"queued","generation":1,"updated":"2026-11-22T21:44:13Z"}`))
	f.Add([]byte(`{"batch":"b","name":"n","line":1,"state":"done","generation":1,"updated":"2026-11-22T21:44:13Z","pictures":[{"rank":1,"url":"u","key":"b/n~l.png","kind":"png","sha256":"f2c608996cc4dda9f7dfeb351cf52007a1bd2f408f3e62987f0d267745def4b9"}]}`))
	f.Add([]byte(`{"name":"n","state":"failed","reason":"timeout","kind":"final","attributes":{"a":1}}`))
	f.Add([]byte(`{"name":"n","state":"done","pictures":[{"rank":1,"candidate":-1,"key":"../../x"}]}`))
	f.Add([]byte(`{"batch":"b","provider":"p","name":"N","names":"{batch}/{column.team}/{name}.{ext}","line":1,"state":"done","generation":1,"updated":"2026-11-22T21:44:13Z","pictures":[{"rank":1,"url":"u","key":"b/Sales/N.png","kind":"png","sha256":"f2c608996cc4dda9f7dfeb351cf52007a1bd2f408f3e62987f0d267745def4b9"}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, line []byte) {
		j, r, err := parseLine(line)
		if err != nil {
			return
		}
		b := results.Batch{Name: "b", Provider: "p", Names: j.Names}
		naming, err := b.Naming()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Stored() {
			if err := storage.CheckKey(p.Key); err != nil {
				t.Errorf("a key that no store takes: %v", err)
			}
		}
		if err := r.Check(naming); err != nil {
			t.Errorf("a record that is none: %v", err)
		}
		out, err := json.Marshal(describe(b, r, "s"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := parseLine(out); err != nil {
			t.Errorf("written anew it is refused: %v\n%s", err, out)
		}
	})
}
