package results_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// onBoth runs test on a real Redis and on miniredis: the scripts must do the
// same on both.
func onBoth(t *testing.T, test func(t *testing.T, db *results.DB, rdb redis.UniversalClient)) {
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		rdb := redistest.Start(t).Client()
		test(t, results.New(rdb, ""), rdb)
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
		t.Cleanup(func() { rdb.Close() })
		test(t, results.New(rdb, "two"), rdb)
	})
}

// open makes batch b with names on lines 1, 2, … and returns their tasks' refs.
func open(t *testing.T, db *results.DB, b string, shards int, names ...string) map[string]tasks.Ref {
	t.Helper()
	ctx := t.Context()
	e, err := db.Open(ctx, b, "people", "names.txt", shards)
	if err != nil {
		t.Fatal(err)
	}
	refs := make(map[string]tasks.Ref)
	for i, n := range names {
		added, err := e.Add(ctx, tasks.Shard(n, e.Shards()), []results.Line{{Number: int64(i + 1), Name: n}})
		if err != nil {
			t.Fatal(err)
		}
		refs[n] = added[0].Ref
	}
	if err := e.Close(ctx, true); err != nil {
		t.Fatal(err)
	}
	return refs
}

func counts(t *testing.T, db *results.DB, batch string) (results.Batch, results.Counts) {
	t.Helper()
	b, err := db.Batch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Counts(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for st, n := range c {
		if n == 0 {
			delete(c, st)
		}
	}
	return b, c
}

func must(t *testing.T) func(ok bool, err error) {
	return func(ok bool, err error) {
		t.Helper()
		if err != nil || !ok {
			t.Fatalf("got %v, %v; want it recorded", ok, err)
		}
	}
}

var twoPictures = results.Lookup{
	Attributes: []results.Attribute{{Name: "age", Value: "30"}},
	Pictures:   [][]string{{"http://a.test/1.png", "http://a.test/1s.png"}, {"http://b.test/2.png"}},
	Licence:    "CC0-1.0",
}

func picture(key string) results.Picture {
	return results.Picture{Kind: "png", Bytes: 9, Width: 3, Height: 3, SHA256: "x", Key: key}
}

func TestANameWalksToDone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "Brus Lee")["Brus Lee"]
		must(t)(db.CommitLookup(ctx, ref, results.Found, twoPictures))
		must(t)(db.CommitPicture(ctx, ref, 2, picture("k2")))
		b, c := counts(t, db, "names")
		if diff := cmp.Diff(results.Counts{results.Found: 1}, c); diff != "" || b.Finished(c) {
			t.Errorf("half-way counts differ, finished %v:\n%s", b.Finished(c), diff)
		}
		must(t)(db.CommitPicture(ctx, ref, 1, picture("k1")))
		b, c = counts(t, db, "names")
		if diff := cmp.Diff(results.Counts{results.Done: 1}, c); diff != "" || !b.Finished(c) {
			t.Errorf("counts differ, finished %v:\n%s", b.Finished(c), diff)
		}
		got, err := db.Get(ctx, b, "Brus Lee")
		if err != nil {
			t.Fatal(err)
		}
		k1, k2 := picture("k1"), picture("k2")
		want := results.Record{
			Name: "Brus Lee", State: results.Done, Generation: 1, Line: 1, Lane: tasks.Express, Lookup: &twoPictures,
			Outcomes: map[int]results.Outcome{1: {Picture: &k1}, 2: {Picture: &k2}}, Last: 1,
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(results.Record{}, "Updated")); diff != "" || got.Updated.IsZero() {
			t.Errorf("record differs (-want +got):\n%s", diff)
		}
	})
}

func TestOutcomesAreSetOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "Brus Lee")["Brus Lee"]
		for range 3 {
			must(t)(db.CommitLookup(ctx, ref, results.Found, twoPictures))
		}
		if ok, err := db.CommitLookup(ctx, ref, results.NotFound, results.Lookup{}); ok || err != nil {
			t.Errorf("a second, other outcome was taken: %v, %v", ok, err)
		}
		for range 3 {
			must(t)(db.CommitPicture(ctx, ref, 1, picture("k1")))
		}
		must(t)(db.FailPicture(ctx, ref, 2, failure.New(failure.ReasonMissing, failure.Final, errors.New("404")), "b.test", false))
		if ok, err := db.CommitPicture(ctx, ref, 2, picture("late")); ok || err != nil {
			t.Errorf("a picture was taken for one that had failed: %v, %v", ok, err)
		}
		b, c := counts(t, db, "names")
		if diff := cmp.Diff(results.Counts{results.Partial: 1}, c); diff != "" {
			t.Errorf("counts differ:\n%s", diff)
		}
		r, err := db.Get(ctx, b, "Brus Lee")
		if err != nil {
			t.Fatal(err)
		}
		if r.Reason != failure.ReasonMissing || r.Host != "b.test" || r.Outcomes[2].Picture != nil || r.FailedTries != 1 {
			t.Errorf("record is %+v", r)
		}
	})
}

func TestTriesCountOnceAndEndWithTheGeneration(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "Brus Lee")["Brus Lee"]
		for i, want := range []int{1, 1, 2} {
			tries, waits, ok, err := db.CountTry(ctx, ref, 0, fmt.Sprint("run", i/2), errSlow)
			if err != nil || !ok || tries != want || waits != 0 {
				t.Errorf("call %d: %d tries, %d waits, %v, %v; want %d tries", i, tries, waits, ok, err, want)
			}
		}
		if _, waits, _, err := db.CountTry(ctx, ref, 0, "run9", errWait); waits != 1 || err != nil {
			t.Errorf("%d waits, %v; want 1", waits, err)
		}
		begun, err := db.Begin(ctx, ref, 0)
		if err != nil || begun.Tries != 2 {
			t.Fatalf("begun with %d tries, %v; want 2", begun.Tries, err)
		}
		must(t)(db.FailLookup(ctx, ref, failure.New(failure.ReasonTimeout, failure.Temporary, errors.New("slow")), "a.test", true))
		b, _ := counts(t, db, "names")
		if r, err := db.Get(ctx, b, "Brus Lee"); err != nil || r.FailedTries != 2 || r.Failure == nil || !r.Failure.Exhausted {
			t.Errorf("record %+v, %v; want the 2 failed tries that were counted, exhausted", r, err)
		}
		n, err := db.Retry(ctx, b, results.Query{}, func(_ context.Context, open []results.OpenName) error {
			ref = open[0].Ref
			return nil
		})
		if n != 1 || err != nil || ref.Generation != 2 {
			t.Fatalf("retried %d, %v, generation %d; want 1 in generation 2", n, err, ref.Generation)
		}
		if begun, err := db.Begin(ctx, ref, 0); err != nil || begun.Void || begun.Tries != 0 {
			t.Errorf("begun %+v, %v; want no tries", begun, err)
		}
	})
}

func TestRetryFetchesFailedRanksOnly(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "Brus Lee")["Brus Lee"]
		must(t)(db.CommitLookup(ctx, ref, results.Found, twoPictures))
		must(t)(db.CommitPicture(ctx, ref, 1, picture("k1")))
		must(t)(db.FailPicture(ctx, ref, 2, failure.New(failure.ReasonMissing, failure.Final, errors.New("404")), "b.test", false))
		b, _ := counts(t, db, "names")
		var again []results.OpenName
		n, err := db.Retry(ctx, b, results.Query{Reason: failure.ReasonMissing}, func(_ context.Context, open []results.OpenName) error {
			again = append(again, open...)
			return nil
		})
		if err != nil || n != 1 {
			t.Fatalf("retried %d, %v; want 1", n, err)
		}
		ref.Generation = 2
		want := []results.OpenName{{Ref: ref, State: results.Found, Missing: []int{2}}}
		if diff := cmp.Diff(want, again, cmpopts.IgnoreFields(results.OpenName{}, "Since")); diff != "" {
			t.Errorf("open again (-want +got):\n%s", diff)
		}
		if reasons, err := db.Reasons(ctx, b); len(reasons) != 0 || err != nil {
			t.Errorf("reasons are %v, %v; want none", reasons, err)
		}
		must(t)(db.CommitPicture(ctx, ref, 2, picture("k2")))
		if _, c := counts(t, db, "names"); c[results.Done] != 1 {
			t.Errorf("counts are %v; want it done", c)
		}
	})
}
