package results_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

var errDown = &failure.Error{Reason: failure.ReasonUnavailable, Kind: failure.Temporary, Status: 503, Err: errors.New("down")}

// told writes a history without its times, an event a word.
func told(r results.Record) string {
	events, earlier := r.Past()
	words := []string{fmt.Sprint(earlier)}
	for _, e := range events {
		w := fmt.Sprintf("%d/%d %s", e.Generation, e.Rank, e.What)
		if e.Reason != "" {
			w += fmt.Sprintf(" %s %d", e.Reason, e.Status)
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

func historyOf(t *testing.T, db *results.DB, r tasks.Ref) string {
	t.Helper()
	rec, err := db.Record(t.Context(), r.Batch, r.Shard, r.Name)
	noError(t, err)
	return told(rec)
}

// tryTwice counts a try and says so again, as after a reply that was lost.
func tryTwice(t *testing.T, db *results.DB, r tasks.Ref, rank int, token string, e *failure.Error) {
	t.Helper()
	for range 2 {
		if _, _, ok, err := db.CountTry(t.Context(), r, rank, token, e); !ok || err != nil {
			t.Fatalf("count a try: %v, %v", ok, err)
		}
	}
}

func TestHistoryTellsOfTrouble(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		refs := open(t, db, "names", 1, "a", "b")
		began := time.Now().Add(-time.Minute)
		a := refs["a"]
		tryTwice(t, db, a, 0, "run1", errDown)
		tryTwice(t, db, a, 0, "run2", errWait) // no try
		for range 2 {
			noError(t, db.NoteDeath(ctx, a, 0, "0.1"))
		}
		noError(t, db.NoteDeath(ctx, a, 0, "0.2"))
		must(t)(db.CommitLookup(ctx, a, results.Found, twoPictures))
		must(t)(db.CommitLookup(ctx, a, results.Found, twoPictures))
		tryTwice(t, db, a, 1, "run1", errSlow)
		must(t)(db.CommitPicture(ctx, a, 1, picture("k")))
		must(t)(db.FailPicture(ctx, a, 2, errGone, "b", false))
		must(t)(db.FailPicture(ctx, a, 2, errGone, "b", false))
		const want = "0, 1/0 failed unavailable 503, 1/0 died, 1/0 died, 1/0 succeeded, 1/1 failed timeout 0, 1/1 succeeded, 1/2 failed missing 0"
		if got := historyOf(t, db, a); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		rec, err := db.Record(ctx, a.Batch, a.Shard, a.Name)
		noError(t, err)
		for _, e := range rec.History {
			if e.At.Before(began) || e.At.After(time.Now().Add(time.Minute)) {
				t.Errorf("it was at %s, and began at %s", e.At, began)
			}
		}

		// A crash that ends a name is told once, an exhausted one by its last try.
		b := refs["b"]
		must(t)(db.FailLookup(ctx, b, failure.Newf(failure.ReasonCrashed, failure.Final, "three times"), "", true))
		if got := historyOf(t, db, b); got != "0, 1/0 failed crashed 0" {
			t.Errorf("a name that kills workers: got %s", got)
		}
	})
}

func TestHistoryCostsNothingWhereAllGoesWell(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		refs := open(t, db, "names", 1, "a", "b")
		must(t)(db.CommitLookup(ctx, refs["a"], results.Found, twoPictures))
		tryTwice(t, db, refs["a"], 1, "run", errWait)
		must(t)(db.CommitPicture(ctx, refs["a"], 1, picture("k1")))
		must(t)(db.CommitPicture(ctx, refs["a"], 2, picture("k2")))
		must(t)(db.CommitLookup(ctx, refs["b"], results.NotFound, results.Lookup{}))
		for name, record := range rdb.HGetAll(ctx, keyEnding(t, rdb, ":records")).Val() {
			if strings.Contains(record, "\nH ") {
				t.Errorf("%s had no trouble and has a history:\n%s", name, record)
			}
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ref := open(t, db, "names", 1, "a")["a"]
		for i := range results.MaxHistory + 3 {
			tryTwice(t, db, ref, 0, fmt.Sprint("run", i), &failure.Error{Reason: failure.ReasonUnavailable, Kind: failure.Temporary, Status: 500 + i})
		}
		rec, err := db.Record(t.Context(), ref.Batch, ref.Shard, ref.Name)
		noError(t, err)
		if n := len(rec.History); rec.EarlierEvents != 3 || n != results.MaxHistory || rec.History[0].Status != 503 || rec.History[n-1].Status != 510 {
			t.Errorf("got %d earlier and %+v", rec.EarlierEvents, rec.History)
		}
	})
}

// A history goes on through retries and refreshes, whatever becomes of them.
func TestHistoryLasts(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		refs := open(t, db, "names", 1, "lookup", "picture", "stale", "renewed", "given up")
		must(t)(db.FailLookup(ctx, refs["lookup"], errGone, "h", false))
		for _, n := range []string{"picture", "stale", "renewed", "given up"} {
			must(t)(db.CommitLookup(ctx, refs[n], results.Found, twoPictures))
			must(t)(db.CommitPicture(ctx, refs[n], 1, picture("k1")))
		}
		must(t)(db.FailPicture(ctx, refs["picture"], 2, errGone, "h", false))
		b, err := db.Batch(ctx, "names")
		noError(t, err)
		_, err = db.Retry(ctx, b, results.Query{}, func(_ context.Context, open []results.OpenName) error {
			for _, n := range open {
				refs[n.Ref.Name] = n.Ref
			}
			return nil
		})
		noError(t, err)
		must(t)(db.FailLookup(ctx, refs["lookup"], errDown, "h", false))
		tryTwice(t, db, refs["picture"], 2, "run", errSlow)
		must(t)(db.CommitPicture(ctx, refs["picture"], 2, picture("k2")))

		// They had trouble in their first generation, and have in a refresh.
		for _, n := range []string{"stale", "renewed", "given up"} {
			tryTwice(t, db, refs[n], 2, "run", errSlow)
			must(t)(db.CommitPicture(ctx, refs[n], 2, picture("k2")))
		}
		for _, a := range again(t, db, "names", 0, 0, "stale", "renewed", "given up") {
			refs[a.Ref.Name] = a.Ref
			tryTwice(t, db, a.Ref, 0, "run", errDown)
			noError(t, db.NoteDeath(ctx, a.Ref, 0, "0.1"))
		}
		must(t)(db.FailLookup(ctx, refs["stale"], errDown, "h", true))
		must(t)(db.CommitLookup(ctx, refs["renewed"], results.Found, twoPictures))
		must(t)(db.CommitPicture(ctx, refs["renewed"], 1, picture("k1")))
		if got := historyOf(t, db, refs["renewed"]); !strings.HasSuffix(got, "2/0 succeeded") {
			t.Errorf("under way: got %s", got)
		}
		must(t)(db.CommitPicture(ctx, refs["renewed"], 2, picture("k2")))
		b, err = db.Batch(ctx, "names")
		noError(t, err)
		_, err = db.Cancel(ctx, b)
		noError(t, err)

		const before = "0, 1/2 failed timeout 0, 1/2 succeeded, 2/0 failed unavailable 503, 2/0 died"
		got := make(map[string]string)
		for _, ref := range refs {
			got[ref.Name] = historyOf(t, db, ref)
		}
		want := map[string]string{
			"lookup":   "0, 1/0 failed missing 0, 2/0 failed unavailable 503",
			"picture":  "0, 1/2 failed missing 0, 2/2 failed timeout 0, 2/2 succeeded",
			"stale":    before,
			"renewed":  before + ", 2/0 succeeded",
			"given up": before,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("histories (-want +got):\n%s", diff)
		}
	})
}
