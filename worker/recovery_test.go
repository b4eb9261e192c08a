package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/sweep"
	"github.com/picharvest/picharvest/tasks"
)

// One message that asynq cannot decode keeps it from every task of a dead
// worker in its queue; one without a lease it never looks at. After a sweep all
// names are done, and each was looked up once.
func TestASweepMendsAsynqsRecovery(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Start(t).Client(), "")
	ctx := t.Context()
	refs := r.enqueue("names", "people", "poisoned", "beside", "unleased")
	queue := r.queue(tasks.Lookups, "people")
	key := func(what string) string { return "asynq:{" + queue + "}:" + what }
	id := func(i int) string { return tasks.ID(refs[i], tasks.Lookups, 0) }
	do := func(args ...any) {
		t.Helper()
		if err := r.rdb.Do(ctx, args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	// A worker took all three and died two minutes ago.
	for i, ref := range refs {
		do("LREM", key("pending"), 0, id(i))
		do("LPUSH", key("active"), id(i))
		do("HSET", key("t:"+id(i)), "state", "active")
		do("ZADD", key("lease"), time.Now().Add(-2*time.Minute).Unix(), id(i))
		r.queuedFor(ref, time.Hour)
	}
	do("HSET", key("t:"+id(0)), "msg", "no message")
	do("ZREM", key("lease"), id(2))

	// asynq looks for such tasks when its servers start.
	r.enqueue("other", "people", "healthy")
	stop := r.start()
	r.finished("other")
	stop()
	if got := r.info(queue).Active; got != 3 {
		t.Errorf("%d tasks are in hand while a message cannot be decoded, want all 3", got)
	}

	sweeper := sweep.New(sweep.Deps{
		Redis: r.rdb, DB: r.db, Logger: slog.New(r.log), ID: "test",
		Restore: func(_ context.Context, provider string, names []results.OpenName) error {
			for _, n := range names {
				r.lookupTask(provider, n.Ref)
			}
			return nil
		},
	})
	if err := sweeper.Once(ctx, 1000, true).Err(); err != nil {
		t.Fatal(err)
	}
	// Half a minute later.
	do("ZINCRBY", key("lease"), -60, id(2))
	r.start()
	r.hurry()
	if diff := cmp.Diff(results.Counts{results.Done: 3}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	r.empty()
	for _, ref := range refs {
		if got := r.site.count(ref.Name); got != 1 {
			t.Errorf("the picture of %s was fetched %d times, want once", ref.Name, got)
		}
	}
}

// queuedFor makes it so long since a name was queued.
func (r *rig) queuedFor(ref tasks.Ref, age time.Duration) {
	r.t.Helper()
	const key = "harvest:{names.0}:records"
	v, err := r.rdb.HGet(r.t.Context(), key, ref.Name).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	words := strings.Fields(v)
	words[8] = fmt.Sprint(time.Now().Add(-age).Unix())
	if err := r.rdb.HSet(r.t.Context(), key, ref.Name, strings.Join(words, " ")).Err(); err != nil {
		r.t.Fatal(err)
	}
}
