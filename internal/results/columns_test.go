package results_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

func columns(pairs ...string) []results.Attribute {
	var all []results.Attribute
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, results.Attribute{Name: pairs[i], Value: pairs[i+1]})
	}
	return all
}

// Columns stay with their name whatever becomes of it, and others take their
// place only where it is asked again from its lookup on.
func TestColumnsStay(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		one, two := columns("url", "https://x/1", "note", "says \"hi\",\nF1 {}"), columns("url", "https://x/2")
		names := []string{"asked", "fetched", "lost", "given up", "refreshed", "stale"}
		add := func(cols []results.Attribute, again results.Again, some ...string) map[string]results.Added {
			t.Helper()
			e := enqueuing(t, db, "b", "names.csv")
			var lines []results.Line
			for _, n := range some {
				lines = append(lines, results.Line{Number: int64(slices.Index(names, n) + 1), Name: n, Columns: cols, ColumnsTruncated: len(cols) == 2})
			}
			added, err := e.AddAgain(ctx, 0, lines, again)
			noError(t, err)
			noError(t, e.Close(ctx, true))
			all := make(map[string]results.Added)
			for _, a := range added {
				all[a.Ref.Name] = a
			}
			return all
		}
		holds := func(name string, state results.State, want []results.Attribute) results.Record {
			t.Helper()
			r, err := db.Record(ctx, "b", 0, name)
			noError(t, err)
			if diff := cmp.Diff(want, r.Columns); diff != "" || r.State != state || r.ColumnsTruncated != (len(want) == 2) {
				t.Errorf("%s is %s, truncated %v; columns (-want +got):\n%s", name, r.State, r.ColumnsTruncated, diff)
			}
			return r
		}
		added := add(one, results.Again{}, names...)
		for n, a := range added {
			if !a.New || a.Other {
				t.Errorf("%s: %+v, want it new and with no other columns", n, a)
			}
			holds(n, results.Queued, one)
		}
		b, err := db.Begin(ctx, added["asked"].Ref, results.LookupRank)
		noError(t, err)
		if diff := cmp.Diff(one, b.Record.Columns); diff != "" {
			t.Errorf("a task finds columns (-want +got):\n%s", diff)
		}

		l := results.Lookup{Pictures: [][]string{{"https://x/p"}}}
		for _, n := range []string{"asked", "fetched", "lost", "refreshed", "stale"} {
			must(t)(db.CommitLookup(ctx, added[n].Ref, results.Found, l))
		}
		for _, n := range []string{"fetched", "refreshed", "stale"} {
			must(t)(db.CommitPicture(ctx, added[n].Ref, 1, stored(n)))
			holds(n, results.Done, one)
		}
		gone := failure.Newf(failure.ReasonMissing, failure.Final, "gone")
		must(t)(db.FailPicture(ctx, added["lost"].Ref, 1, gone, "x", false))
		must(t)(db.FailLookup(ctx, added["given up"].Ref, gone, "x", false))
		holds("asked", results.Found, one)
		holds("lost", results.Failed, one)
		holds("given up", results.Failed, one)

		// The same file, and one with other columns: nothing is taken over, and
		// it is told.
		for n, a := range add(one, results.Again{}, names...) {
			if a.Other {
				t.Errorf("%s has other columns, want the same", n)
			}
		}
		for n, a := range add(two, results.Again{}, names...) {
			if !a.Other {
				t.Errorf("%s has the same columns, want others", n)
			}
		}
		// What failed is asked again by the new ones.
		for n, a := range add(two, results.Again{Failed: true}, "lost", "given up") {
			if a.Other || a.State != results.Queued {
				t.Errorf("%s is %s, other columns %v; want it queued with these", n, a.State, a.Other)
			}
			holds(n, results.Queued, two)
		}
		// A refresh that ends well takes them over, one that fails does not.
		refresh, err := db.NewRefresh(ctx, 0, 1)
		noError(t, err)
		asked := add(two, results.Again{Refresh: &refresh}, "refreshed", "stale")
		b, err = db.Begin(ctx, asked["refreshed"].Ref, results.LookupRank)
		noError(t, err)
		if diff := cmp.Diff(two, b.Record.Columns); diff != "" {
			t.Errorf("a refresh asks with (-want +got):\n%s", diff)
		}
		holds("refreshed", results.Done, one)
		must(t)(db.CommitLookup(ctx, asked["refreshed"].Ref, results.Found, l))
		must(t)(db.CommitPicture(ctx, asked["refreshed"].Ref, 1, stored("other")))
		must(t)(db.FailLookup(ctx, asked["stale"].Ref, gone, "x", false))
		holds("refreshed", results.Done, two)
		holds("stale", results.Done, one)
		// A refresh of names alone keeps what they have.
		refresh, err = db.NewRefresh(ctx, 0, 1)
		noError(t, err)
		known := add(nil, results.Again{Refresh: &refresh}, "fetched")
		must(t)(db.CommitLookup(ctx, known["fetched"].Ref, results.Found, l, results.Stored{Rank: 1, Picture: stored("fetched")}))
		holds("fetched", results.Done, one)
	})
}

func stored(content string) results.Picture {
	return results.Picture{Kind: "png", Bytes: 3, Width: 1, Height: 1, SHA256: content, Key: "b/" + content + ".png"}
}

// Params are fixed when a batch is made; a shard tells them to every task.
func TestParamsAreTheBatchs(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		german := results.Params{"lang": "de", "a": "1"}
		e, err := db.OpenWith(ctx, "b", "people", "names.txt", 2, german)
		noError(t, err)
		added, err := e.Add(ctx, tasks.Shard("Ada", 2), []results.Line{{Number: 1, Name: "Ada"}})
		noError(t, err)
		noError(t, e.Close(ctx, true))
		tell := func() {
			t.Helper()
			begun, err := db.Begin(ctx, added[0].Ref, results.LookupRank)
			noError(t, err)
			b, err := db.Batch(ctx, "b")
			noError(t, err)
			if diff := cmp.Diff(german, results.DecodeParams(begun.Params)); diff != "" {
				t.Errorf("params of a task (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(german, b.Params); diff != "" {
				t.Errorf("params of the batch (-want +got):\n%s", diff)
			}
		}
		tell()
		for name, p := range map[string]results.Params{"others": {"lang": "fr", "a": "1"}, "fewer": {"lang": "de"}, "none": {}} {
			_, err := db.OpenWith(ctx, "b", "people", "names.txt", 2, p)
			if other, ok := errors.AsType[*results.ParamsError](err); !ok || other.Has["lang"] != "de" {
				t.Errorf("%s: got %v, want a ParamsError with what the batch has", name, err)
			}
		}
		e, err = db.Open(ctx, "b", "people", "names.txt", 2)
		noError(t, err)
		if diff := cmp.Diff(german, e.Params); diff != "" {
			t.Errorf("params of who joins (-want +got):\n%s", diff)
		}
		noError(t, e.Close(ctx, true))
		noError(t, db.Pause(ctx, "b"))
		noError(t, db.Resume(ctx, "b"))
		b, err := db.Batch(ctx, "b")
		noError(t, err)
		added[0].Ref.Epoch = b.Epoch
		tell()
	})
}
