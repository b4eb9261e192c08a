package results_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// keys lists every key in Redis.
func keys(t *testing.T, rdb redis.UniversalClient) []string {
	t.Helper()
	var all []string
	it := rdb.Scan(t.Context(), 0, "*", 1000).Iterator()
	for it.Next(t.Context()) {
		all = append(all, it.Val())
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// keyEnding returns the one key that ends so.
func keyEnding(t *testing.T, rdb redis.UniversalClient, end string) string {
	t.Helper()
	for _, k := range keys(t, rdb) {
		if strings.HasSuffix(k, end) {
			return k
		}
	}
	t.Fatalf("no key ends with %s", end)
	return ""
}

// expireLeases lets the time of every lease of the batch run out.
func expireLeases(t *testing.T, rdb redis.UniversalClient, batch string) {
	t.Helper()
	key := keyEnding(t, rdb, "{"+batch+".0}:leases")
	for _, l := range rdb.ZRange(t.Context(), key, 0, -1).Val() {
		if err := rdb.ZAdd(t.Context(), key, redis.Z{Score: 1, Member: l}).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func enqueuing(t *testing.T, db *results.DB, batch, source string) *results.Enqueuing {
	t.Helper()
	e, err := db.Open(t.Context(), batch, "people", source, 1)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestABatchIsSealedByItsEnqueuers(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		expect := func(when string, enqueuing int, sealed bool, interrupted ...string) {
			t.Helper()
			b, err := db.Batch(ctx, "names")
			if err != nil || b.Enqueuing != enqueuing || b.Sealed != sealed || !slices.Equal(b.Interrupted, interrupted) {
				t.Errorf("%s: %d enqueuing, sealed %v, interrupted %q, %v; want %d, %v, %q",
					when, b.Enqueuing, b.Sealed, b.Interrupted, err, enqueuing, sealed, interrupted)
			}
		}
		a := enqueuing(t, db, "names", "/my files/a.txt")
		b := enqueuing(t, db, "names", "b.txt")
		if !a.New || b.New {
			t.Errorf("new are %v and %v; want the first only", a.New, b.New)
		}
		expect("two at work", 2, false)
		noError(t, a.Close(ctx, true))
		expect("one at its end", 1, false)
		noError(t, b.Close(ctx, true))
		expect("both at their end", 0, true)
		noError(t, b.Close(ctx, true))
		expect("closed twice", 0, true)

		a = enqueuing(t, db, "names", "/my files/a.txt")
		expect("opened anew", 1, false)
		expireLeases(t, rdb, "names")
		expect("killed", 0, false, "/my files/a.txt")
		b = enqueuing(t, db, "names", "b.txt")
		noError(t, b.Close(ctx, true))
		expect("another at its end", 0, false, "/my files/a.txt")
		c := enqueuing(t, db, "names", "/my files/a.txt")
		expect("the same again", 1, false)
		noError(t, c.Close(ctx, false))
		expect("given up", 0, false, "/my files/a.txt")
		c = enqueuing(t, db, "names", "/my files/a.txt")
		noError(t, c.Close(ctx, true))
		expect("the same at its end", 0, true)

		dead := enqueuing(t, db, "names", "names.txt")
		c = enqueuing(t, db, "names", "names.txt")
		noError(t, c.Close(ctx, true))
		expect("a dead one's lease runs", 1, false)
		expireLeases(t, rdb, "names")
		expect("a dead one whose source another has ended since", 0, true)
		noError(t, dead.Close(ctx, false))
		expect("that one given up", 0, false, "names.txt")
		c = enqueuing(t, db, "names", "names.txt")
		noError(t, c.Close(ctx, true))
		expect("its source ended once more", 0, true)

		if st, err := a.Renew(ctx); st != results.Running || err != nil {
			t.Errorf("the one that was frozen renews: %v, %v", st, err)
		}
		expect("a frozen one woke", 1, false)
		noError(t, a.Close(ctx, true))
		expect("a frozen one at its end", 0, true)
	})
}

func TestBreakLeases(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		for _, batch := range []string{"a", "b"} {
			enqueuing(t, db, batch, "names.txt")
		}
		noError(t, enqueuing(t, db, "ended", "names.txt").Close(ctx, true))
		noError(t, db.BreakLeases(ctx))
		for batch, want := range map[string]bool{"a": true, "b": true, "ended": false} {
			b, err := db.Batch(ctx, batch)
			if got := len(b.Interrupted) == 1; err != nil || got != want || b.Enqueuing != 0 {
				t.Errorf("batch %s: interrupted %v, %d enqueuing, %v; want %v, 0", batch, got, b.Enqueuing, err, want)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		open(t, db, "names", 4, "a")
		_, err := db.Open(ctx, "names", "wikipedia", "names.txt", 4)
		var other *results.ProviderError
		if !errors.As(err, &other) || other.Has != "people" || !strings.Contains(err.Error(), "--batch names-wikipedia") {
			t.Errorf("another provider: %v", err)
		}
		e := enqueuing(t, db, "names", "names.txt")
		if e.Shards() != 4 {
			t.Errorf("%d shards; want the 4 that the batch has", e.Shards())
		}
		// A deletion that was cut off.
		rdb.HSet(ctx, keyEnding(t, rdb, "{names.0}:batch"), "status", "deleting")
		if _, err := db.Open(ctx, "names", "people", "names.txt", 1); !errors.Is(err, results.ErrDeleting) {
			t.Errorf("while it is deleted: %v", err)
		}
		for what, err := range map[string]error{"pause": db.Pause(ctx, "names"), "resume": db.Resume(ctx, "names")} {
			if !errors.Is(err, results.ErrNoBatch) {
				t.Errorf("%s while it is deleted: %v", what, err)
			}
		}
	})
}

func TestADeletedBatchStaysDeleted(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		old := open(t, db, "names", 4, "a", "b", "c", "d")
		b, _ := counts(t, db, "names")
		late := enqueuing(t, db, "names", "late.txt")
		must(t)(db.CommitLookup(ctx, old["b"], results.Found, twoPictures))
		noError(t, db.Delete(ctx, "names"))
		lateCalls := func() {
			t.Helper()
			if ok, err := db.CommitLookup(ctx, old["a"], results.Found, twoPictures); ok || err != nil {
				t.Errorf("commit lookup: %v, %v", ok, err)
			}
			if ok, err := db.CommitPicture(ctx, old["b"], 1, picture("k")); ok || err != nil {
				t.Errorf("commit picture: %v, %v", ok, err)
			}
			if _, _, ok, err := db.CountTry(ctx, old["a"], 0, "run", errSlow); ok || err != nil {
				t.Errorf("count: %v, %v", ok, err)
			}
			noError(t, db.Mark(ctx, old["a"], 0, "run", true))
			noError(t, db.NoteDeath(ctx, old["a"], 0, "1"))
			if begun, err := db.Begin(ctx, old["a"], 0); !begun.Void || err != nil {
				t.Errorf("begin: %+v, %v", begun, err)
			}
			if _, err := late.Renew(ctx); !errors.Is(err, results.ErrNoBatch) {
				t.Errorf("renew: %v", err)
			}
			if _, err := late.Add(ctx, 0, []results.Line{{Number: 1, Name: "z"}}); !errors.Is(err, results.ErrNoBatch) {
				t.Errorf("add: %v", err)
			}
			if err := late.Close(ctx, true); !errors.Is(err, results.ErrNoBatch) {
				t.Errorf("close: %v", err)
			}
			if _, err := db.Bind(ctx, "names", b.Birth, results.Binding{Store: "store"}); !errors.Is(err, results.ErrNoBatch) {
				t.Errorf("bind: %v", err)
			}
		}
		lateCalls()
		if left := keys(t, rdb); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		if err := db.Delete(ctx, "names"); !errors.Is(err, results.ErrNoBatch) {
			t.Errorf("deleted twice: %v", err)
		}

		open(t, db, "names", 4, "a", "b")
		lateCalls()
		if _, err := db.Retry(ctx, b, results.Query{}, nil); err != nil {
			t.Errorf("retry of the old one selects names of the new: %v", err)
		}
		if n, err := db.Cancel(ctx, b); n != 0 || !errors.Is(err, results.ErrNoBatch) {
			t.Errorf("cancel of the old one: %d, %v", n, err)
		}
		if _, c := counts(t, db, "names"); c[results.Queued] != 2 || c.Total() != 2 {
			t.Errorf("counts of the new one are %v", c)
		}
	})
}

func TestABatchKeepsItsStore(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		open(t, db, "names", 1, "a")
		b, _ := counts(t, db, "names")
		if n, err := b.Naming(); err != nil || n.String() != storage.NamesReadable {
			t.Errorf("named as %s, %v, before anything is stored", n, err)
		}
		const template = "{batch}/{attr.team}/{name}.{ext}"
		for _, step := range []struct{ wanted, has results.Binding }{
			{results.Binding{Names: template}, results.Binding{Names: template}},
			{results.Binding{Store: "first", Names: "content"}, results.Binding{Store: "first", Names: template}},
			{results.Binding{Store: "second", Sidecars: true}, results.Binding{Store: "first", Names: template, Sidecars: true}},
			{results.Binding{Store: "second", Names: "readable"}, results.Binding{Store: "first", Names: template, Sidecars: true}},
		} {
			if has, err := db.Bind(ctx, "names", b.Birth, step.wanted); has != step.has || err != nil {
				t.Errorf("%+v: bound as %+v, %v; want %+v", step.wanted, has, err, step.has)
			}
		}
		b, _ = counts(t, db, "names")
		if n, err := b.Naming(); b.Store != "first" || !b.Sidecars || err != nil || n.String() != template {
			t.Errorf("batch is %+v, named as %s, %v", b, n, err)
		}
		b.Names = "{batch}/{moon}.{ext}"
		if _, err := b.Naming(); err == nil || !strings.Contains(err.Error(), "use the version that began it") {
			t.Errorf("a naming of another version: %v", err)
		}
	})
}

func TestTheFirstNamesGoExpress(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		for _, shards := range []int{1, 4} {
			e, err := db.Open(t.Context(), fmt.Sprint("names", shards), "people", "names.txt", shards)
			noError(t, err)
			byShard := make(map[int][]results.Line)
			for i := range 1200 {
				name := fmt.Sprint("name ", i)
				s := tasks.Shard(name, shards)
				byShard[s] = append(byShard[s], results.Line{Number: int64(i), Name: name})
			}
			for s, lines := range byShard {
				express, shard := 0, tasks.ExpressNames/shards
				for range 2 {
					express = 0
					added, err := e.Add(t.Context(), s, lines)
					noError(t, err)
					for _, a := range added {
						if a.Ref.Lane == tasks.Express {
							express++
						}
					}
				}
				if want := min(shard, len(lines)); express != want {
					t.Errorf("%d shards: %d express names in one; want %d", shards, express, want)
				}
			}
		}
	})
}

func TestAddTellsWhatIsThere(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "a", "b", "broken")["b"]
		must(t)(db.CommitLookup(ctx, ref, results.NotFound, results.Lookup{}))
		rdb.HSet(ctx, keyEnding(t, rdb, ":records"), "broken", "\x00")
		added, err := enqueuing(t, db, "names", "names.txt").Add(ctx, 0, []results.Line{
			{Number: 1, Name: "a"}, {Number: 2, Name: "b"}, {Number: 3, Name: "broken"}, {Number: 10, Name: "c"}, {Number: 11, Name: "c"},
		})
		noError(t, err)
		type what struct {
			New, Duplicate bool
			State          results.State
		}
		var got []what
		for _, a := range added {
			got = append(got, what{a.New, a.Duplicate, a.State})
		}
		want := []what{
			{false, false, results.Queued}, {false, false, results.NotFound}, {false, false, results.Failed},
			{true, false, results.Queued}, {false, true, results.Queued},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("added (-want +got):\n%s", diff)
		}
	})
}

func TestBatchesComeByAge(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		other := results.New(rdb, "other")
		for _, b := range []string{"c", "a", "b"} {
			open(t, db, b, 1, "x")
			open(t, other, b+"-other", 1, "y")
		}
		noError(t, db.Delete(ctx, "c"))
		open(t, db, "c", 1, "x")
		for want, db := range map[string]*results.DB{"a b c": db, "c-other a-other b-other": other} {
			batches, err := db.Batches(ctx)
			noError(t, err)
			var got []string
			for _, b := range batches {
				got = append(got, b.Name)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("batches are %v; want %s", got, want)
			}
		}
		if _, err := other.Batch(ctx, "a"); !errors.Is(err, results.ErrNoBatch) {
			t.Errorf("a batch of another namespace: %v", err)
		}
		noError(t, other.Delete(ctx, "a-other"))
		if _, c := counts(t, db, "a"); c.Total() != 1 {
			t.Errorf("counts are %v after a deletion in another namespace", c)
		}
	})
}

func TestPauseAndResumeVoidTasks(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "a")["a"]
		before, _ := counts(t, db, "names")
		noError(t, db.Pause(ctx, "names"))
		if begun, err := db.Begin(ctx, ref, 0); !begun.Void || err != nil {
			t.Errorf("begun while paused: %+v, %v", begun, err)
		}
		must(t)(db.CommitLookup(ctx, ref, results.Found, twoPictures)) // it was in flight
		noError(t, db.Resume(ctx, "names"))
		if begun, err := db.Begin(ctx, ref, 0); !begun.Void || err != nil {
			t.Errorf("begun by a task made before: %+v, %v", begun, err)
		}
		var open []results.OpenName
		noError(t, db.OpenNames(ctx, before, func(_ context.Context, o []results.OpenName) error {
			open = append(open, o...)
			return nil
		}))
		ref.Epoch++
		want := []results.OpenName{{Ref: ref, State: results.Found, Missing: []int{1, 2}}}
		if diff := cmp.Diff(want, open, cmpopts.IgnoreFields(results.OpenName{}, "Since")); diff != "" {
			t.Errorf("open by an older view of the batch (-want +got):\n%s", diff)
		}
		if begun, err := db.Begin(ctx, ref, 1); begun.Void || err != nil {
			t.Errorf("begun by a task made since: %+v, %v", begun, err)
		}
	})
}

func TestACancelledBatchTakesNothingIn(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		refs := open(t, db, "names", 1, "a", "b", "c")
		must(t)(db.CommitLookup(ctx, refs["b"], results.Found, twoPictures))
		must(t)(db.FailLookup(ctx, refs["c"], errGone, "h", false))
		if _, _, ok, err := db.CountTry(ctx, refs["b"], 2, "run", errSlow); !ok || err != nil {
			t.Errorf("count: %v, %v", ok, err)
		}
		e := enqueuing(t, db, "names", "more.txt")
		running, _ := counts(t, db, "names")
		if n, err := db.Cancel(ctx, running); n != 2 || err != nil {
			t.Errorf("cancelled %d, %v; want 2", n, err)
		}
		b, c := counts(t, db, "names")
		if diff := cmp.Diff(results.Counts{results.Cancelled: 2, results.Failed: 1}, c); diff != "" || !b.Finished(c) {
			t.Errorf("finished %v, counts differ:\n%s", b.Finished(c), diff)
		}
		if _, err := e.Add(ctx, 0, []results.Line{{Number: 4, Name: "d"}}); !errors.Is(err, results.ErrCancelled) {
			t.Errorf("add: %v", err)
		}
		if ok, err := db.CommitPicture(ctx, refs["b"], 1, picture("k")); ok || err != nil {
			t.Errorf("commit: %v, %v", ok, err)
		}
		nothing := func(context.Context, []results.OpenName) error { return nil }
		if n, err := db.Retry(ctx, b, results.Query{State: results.Cancelled}, nothing); n != 2 || err != nil {
			t.Errorf("retried %d, %v; want 2", n, err)
		}
		b, c = counts(t, db, "names")
		if diff := cmp.Diff(results.Counts{results.Queued: 1, results.Found: 1, results.Failed: 1}, c); diff != "" || b.Status != results.Running {
			t.Errorf("%s, counts differ:\n%s", b.Status, diff)
		}
		if begun, err := db.Begin(ctx, tasks.Ref{Batch: "names", Epoch: b.Epoch, Name: "b", Generation: 2}, 2); err != nil || begun.Void || begun.Tries != 0 {
			t.Errorf("begun %+v, %v; want no tries", begun, err)
		}
		// An older view of the batch must not undo a pause.
		noError(t, db.Pause(ctx, "names"))
		b.Status = results.Running
		if _, err := db.Retry(ctx, b, results.Query{Reason: failure.ReasonMissing}, nothing); err != nil {
			t.Error(err)
		}
		if b, _ := counts(t, db, "names"); b.Status != results.Paused {
			t.Errorf("%s after a retry; want it paused", b.Status)
		}
		if _, err := db.Retry(ctx, b, results.Query{State: results.Queued}, nothing); err == nil {
			t.Error("names that are queued were retried")
		}
	})
}

// A full Redis takes no mark of a deletion, and a deletion is what helps it.
func TestDeleteOnAFullRedis(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client()
	db := results.New(rdb, "")
	ctx := t.Context()
	open(t, db, "names", 3, "ada", "bob", "cyd", "dan", "eve")
	open(t, db, "others", 1, "ada")
	if err := rdb.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Set(ctx, "k", "v", 0).Err(); err == nil {
		t.Fatal("Redis is not full")
	}
	for range 2 { // the second finds nothing
		if err := db.Delete(ctx, "names"); err != nil && !errors.Is(err, results.ErrNoBatch) {
			t.Fatal(err)
		}
	}
	if left := rdb.Keys(ctx, "harvest:{names.*").Val(); len(left) > 0 {
		t.Errorf("left of it: %q", left)
	}
	if all, err := db.Batches(ctx); err != nil || len(all) != 1 || all[0].Name != "others" {
		t.Errorf("batches: %+v, %v; want others alone", all, err)
	}
}
