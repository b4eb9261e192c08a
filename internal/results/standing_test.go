package results_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/results"
)

func TestStanding(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 2, "ada", "bob")["ada"]
		expect := func(what string, runs bool) {
			t.Helper()
			s, err := db.Standing(ctx, "names", ref.Epoch, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Runs(ref.Epoch); got != runs {
				t.Errorf("%s: a task runs on: %v, want %v (%+v)", what, got, runs, s)
			}
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		expect("running", true)
		do(db.Pause(ctx, "names"))
		expect("paused", false)
		do(db.Resume(ctx, "names"))
		expect("resumed", false)
		ref.Epoch++
		expect("resumed, new task", true)
		_, err := db.Condemn(ctx, "names")
		do(err)
		expect("to be deleted", false)
		do(db.Delete(ctx, "names"))
		expect("deleted", false)
		open(t, db, "names", 1, "ada")
		expect("made anew", false)
	})
}

func TestBytesAreAddedToTheirOwnBatch(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		old := open(t, db, "names", 1, "ada")["ada"]
		for range 2 {
			if _, err := db.Standing(ctx, "names", old.Epoch, 100); err != nil {
				t.Fatal(err)
			}
		}
		if b, _ := counts(t, db, "names"); b.Bytes != 200 {
			t.Errorf("%d bytes, want 200", b.Bytes)
		}
		if err := db.Delete(ctx, "names"); err != nil {
			t.Fatal(err)
		}
		open(t, db, "names", 1, "ada")
		if _, err := db.Standing(ctx, "names", old.Epoch, 100); err != nil {
			t.Fatal(err)
		}
		if b, _ := counts(t, db, "names"); b.Bytes != 0 {
			t.Errorf("a batch has %d bytes of an older one of its name, want 0", b.Bytes)
		}
	})
}

// A pause by a limit is told from one by command, and gives way to it.
func TestWhoPausedABatch(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		open(t, db, "names", 1, "ada")
		type standing struct {
			Status  results.Status
			Limited bool
		}
		for _, step := range []struct {
			what string
			do   func(context.Context, string) error
			want standing
		}{
			{"limit", db.Limit, standing{results.Paused, true}},
			{"limit again", db.Limit, standing{results.Paused, true}},
			{"resume", db.Resume, standing{results.Running, false}},
			{"pause", db.Pause, standing{results.Paused, false}},
			{"limit a paused batch", db.Limit, standing{results.Paused, false}},
			{"resume again", db.Resume, standing{results.Running, false}},
			{"limit once more", db.Limit, standing{results.Paused, true}},
			{"pause what a limit paused", db.Pause, standing{results.Paused, false}},
		} {
			if err := step.do(t.Context(), "names"); err != nil {
				t.Fatalf("%s: %v", step.what, err)
			}
			b, _ := counts(t, db, "names")
			if diff := cmp.Diff(step.want, standing{b.Status, b.Limited}); diff != "" {
				t.Errorf("after %s (-want +got):\n%s", step.what, diff)
			}
		}
	})
}

// Tries outlast a resumption; those that asynq's new task has counted begin
// at none. What an older version wrote counts whole.
func TestTriesOfAnEpoch(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "ada")["ada"]
		try := func(token string) {
			t.Helper()
			if _, _, ok, err := db.CountTry(ctx, ref, results.LookupRank, token, errSlow); !ok || err != nil {
				t.Fatalf("count a try: %v, %v", ok, err)
			}
		}
		expect := func(what string, tries, counted int) {
			t.Helper()
			b, err := db.Begin(ctx, ref, results.LookupRank)
			if err != nil {
				t.Fatal(err)
			}
			if b.Tries != tries || b.Counted != counted {
				t.Errorf("%s: %d tries, %d of them counted; want %d and %d", what, b.Tries, b.Counted, tries, counted)
			}
		}
		expect("at first", 0, 0)
		try("a")
		try("b")
		try("b")
		expect("after two", 2, 2)
		if err := db.Resume(ctx, "names"); err != nil {
			t.Fatal(err)
		}
		ref.Epoch++
		expect("resumed", 2, 0)
		try("c")
		expect("after another", 3, 1)

		prefix := "harvest:"
		if n, err := rdb.Exists(ctx, "harvest:two:batches").Result(); err == nil && n > 0 {
			prefix = "harvest:two:"
		}
		if err := rdb.HSet(ctx, prefix+"{names.0}:tries", "0:ada", "1 3 0 x").Err(); err != nil {
			t.Fatal(err)
		}
		expect("by an older version", 3, 3)
		try("d")
		expect("and one more", 4, 4)
	})
}
