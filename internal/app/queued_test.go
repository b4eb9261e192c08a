package app

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/tasks"
)

// The tasks of a batch go from every list of a queue, and those of others stay
// in their order.
func TestDeleteBatch(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t, "--appendonly", "no").Client()
	client := asynq.NewClientFromRedisClient(rdb)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	const n = 3*clearPage + 7
	var queue string
	kept := make([]string, 0, n/2)
	for i := range n {
		ref := tasks.Ref{Batch: []string{"mine", "other"}[i%2], Epoch: 1, Name: fmt.Sprint("n", i), Generation: 1, Lane: tasks.Bulk}
		task, err := tasks.NewLookupTask("", "people", ref)
		if err != nil {
			t.Fatal(err)
		}
		var opts []asynq.Option
		if i >= n-20 {
			opts = append(opts, asynq.ProcessIn(time.Hour))
		}
		info, err := client.EnqueueContext(t.Context(), task, opts...)
		if err != nil {
			t.Fatal(err)
		}
		queue = info.Queue
		if i%2 == 1 && i < n-20 {
			kept = append(kept, info.ID)
		}
	}
	got, err := queued{rdb: rdb}.DeleteBatch(t.Context(), "mine")
	if err != nil || got != n/2+1 {
		t.Errorf("removed %d tasks (%v), want %d", got, err, n/2+1)
	}
	left, err := rdb.LRange(t.Context(), "asynq:{"+queue+"}:pending", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(left)
	if !slices.Equal(left, kept) {
		t.Errorf("%d tasks of the other batch wait, want %d in their order", len(left), len(kept))
	}
	later, err := inspector.ListScheduledTasks(queue, asynq.PageSize(100))
	if err != nil || len(later) != 10 {
		t.Errorf("%d tasks are scheduled (%v), want the 10 of the other batch", len(later), err)
	}
	if keys := rdb.Keys(t.Context(), "asynq:*:t:*").Val(); len(keys) != n/2 {
		t.Errorf("%d tasks are kept, want %d", len(keys), n/2)
	}
	gone, err := queued{rdb: rdb}.Delete(t.Context(), queue, []string{"nobody", kept[0], later[0].ID})
	if err != nil || gone != 2 {
		t.Errorf("removed %d tasks by ID (%v), want 2", gone, err)
	}
}
