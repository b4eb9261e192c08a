package embedded

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// reclaimScript puts a queue's active tasks back, in the shape in which
// asynq's Requeue leaves one. asynq adds to the left of both lists and takes
// from the right, so this keeps the order in which the tasks were begun. An
// entry without its task is dropped.
//
// KEYS[1] asynq:{q}:active
// KEYS[2] asynq:{q}:lease
// KEYS[3] asynq:{q}:pending
// ARGV[1] asynq:{q}:t:
// Result: the IDs put back.
var reclaimScript = redis.NewScript(`
local moved = {}
for _, id in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
	local task = ARGV[1] .. id
	if redis.call("EXISTS", task) == 1 then
		redis.call("RPUSH", KEYS[3], id)
		redis.call("HSET", task, "state", "pending")
		table.insert(moved, id)
	end
	redis.call("ZREM", KEYS[2], id)
end
redis.call("DEL", KEYS[1])
return moved`)

// ReclaimActive puts the tasks that were running when their worker died back
// to where the next worker takes them first, and returns their IDs by queue.
// It is for the moment after Open, before any asynq server runs, and only
// where Redis.Alone holds: the tasks of a worker that lives would run twice.
// Without queues it goes through all that asynq knows.
func ReclaimActive(ctx context.Context, client redis.UniversalClient, queues []string) (map[string][]string, error) {
	if queues == nil {
		var err error
		if queues, err = client.SMembers(ctx, "asynq:queues").Result(); err != nil {
			return nil, fmt.Errorf("list queues: %w", err)
		}
	}
	moved := make(map[string][]string)
	for _, q := range queues {
		prefix := "asynq:{" + q + "}:"
		keys := []string{prefix + "active", prefix + "lease", prefix + "pending"}
		ids, err := reclaimScript.Run(ctx, client, keys, prefix+"t:").StringSlice()
		if err != nil {
			return moved, fmt.Errorf("put active tasks of queue %s back: %w", q, err)
		}
		if len(ids) > 0 {
			moved[q] = ids
		}
	}
	return moved, nil
}
