package results_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/results"
)

func TestOpenCounts(t *testing.T) {
	t.Parallel()
	onBoth(t, testOpenCounts)
}

func testOpenCounts(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
	ctx := t.Context()
	got, n, err := db.OpenCounts(ctx, 10)
	if err != nil || len(got) != 0 || n != 0 {
		t.Errorf("no batch: got %v of %d (%v)", got, n, err)
	}
	for _, batch := range []string{"old", "wide", "new"} {
		shards := 1
		if batch == "wide" {
			shards = 5
		}
		fill(t, db, batch, shards, 28)
	}
	// Another program's value must not hide the other batches.
	keys, err := rdb.Keys(ctx, "*{old.0}:state:queued").Result()
	noError(t, err)
	noError(t, rdb.Set(ctx, keys[0], "x", 0).Err())

	got, n, err = db.OpenCounts(ctx, 10)
	noError(t, err)
	// Of seven names one waits for its lookup and one for a picture.
	want := []results.OpenCount{{Batch: "new", Names: 8}, {Batch: "wide", Names: 8}, {Batch: "old", Names: 4}}
	if diff := cmp.Diff(want, got); diff != "" || n != 3 {
		t.Errorf("got %d batches, want 3 (-want +got):\n%s", n, diff)
	}
	got, n, err = db.OpenCounts(ctx, 1)
	noError(t, err)
	if diff := cmp.Diff(want[:1], got); diff != "" || n != 3 {
		t.Errorf("the newest: got %d batches, want 3 (-want +got):\n%s", n, diff)
	}
}
