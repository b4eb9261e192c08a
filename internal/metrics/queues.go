package metrics

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/tasks"
)

// Queue is how one asynq queue stands.
type Queue struct {
	Name string
	// Tasks by asynq's states, in the order of queueStates.
	Tasks  [len(queueStates)]int64
	Paused bool
	// Latency is the age of the oldest pending task.
	Latency time.Duration
	// Bytes of Redis that the queue and its tasks take, estimated from some.
	Bytes int64
	// Processed and Failed count tasks since the queue exists.
	Processed, Failed int64
}

// queueStates are asynq's words, which are those of its keys too. Groups are
// not used.
var queueStates = [...]string{"pending", "active", "scheduled", "retry", "archived", "completed"}

// sampleSize is how many tasks of each state are looked at for their size.
const sampleSize = 5

// queueScript reads a queue of asynq's, all in one, as asynq's own inspector
// does in three.
//
//	KEYS  pending, active (lists), scheduled, retry, archived, completed
//	      (sorted sets), processed, failed (numbers), paused
//	ARGV  what the keys of tasks begin with, how many to look at
//	reply size of each state (6), processed, failed, paused 0 | 1,
//	      oldest pending task's since in ns, bytes
const queueScript = `
local function bytes(key)
  local n = redis.pcall('MEMORY', 'USAGE', key)
  if type(n) == 'number' then return n end
  return 0
end
local reply, total = {}, 0
for i = 1, 6 do
  local n, ids
  if i <= 2 then
    n, ids = redis.call('LLEN', KEYS[i]), redis.call('LRANGE', KEYS[i], 0, ARGV[2] - 1)
  else
    n, ids = redis.call('ZCARD', KEYS[i]), redis.call('ZRANGE', KEYS[i], 0, ARGV[2] - 1)
  end
  reply[i] = n
  local sum = 0
  for _, id in ipairs(ids) do sum = sum + bytes(ARGV[1] .. id) end
  if #ids > 0 then total = total + bytes(KEYS[i]) + sum / #ids * n end
end
reply[7] = tonumber(redis.call('GET', KEYS[7]) or 0)
reply[8] = tonumber(redis.call('GET', KEYS[8]) or 0)
reply[9] = redis.call('EXISTS', KEYS[9])
local oldest = redis.call('LRANGE', KEYS[1], -1, -1)[1]
reply[10] = oldest and redis.call('HGET', ARGV[1] .. oldest, 'pending_since') or '0'
reply[11] = math.floor(total)
return reply
`

// readQueues reads the queues of a namespace in two trips to Redis.
func readQueues(ctx context.Context, rdb redis.UniversalClient, namespace string) ([]Queue, error) {
	names, err := rdb.SMembers(ctx, "asynq:queues").Result()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		q, ok := tasks.ParseQueue(name)
		return !ok || q.Namespace != namespace
	})
	if len(names) == 0 {
		return nil, nil
	}
	slices.Sort(names)
	pipe := rdb.Pipeline()
	replies := make([]*redis.Cmd, len(names))
	for i, name := range names {
		prefix := "asynq:{" + name + "}:"
		var keys []string
		for _, key := range slices.Concat(queueStates[:], []string{"processed", "failed", "paused"}) {
			keys = append(keys, prefix+key)
		}
		replies[i] = pipe.Eval(ctx, queueScript, keys, prefix+"t:", sampleSize)
	}
	if _, err := pipe.Exec(ctx); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, fmt.Errorf("read the queues: %w", err)
	}
	var queues []Queue
	for i, reply := range replies {
		values, err := reply.Slice()
		if err != nil || len(values) != 11 {
			continue // another program's keys in the place of a queue's
		}
		queues = append(queues, parseQueue(names[i], values))
	}
	return queues, nil
}

func parseQueue(name string, values []any) Queue {
	number := func(i int) int64 {
		switch v := values[i].(type) {
		case int64:
			return v
		case string:
			n, _ := strconv.ParseInt(v, 10, 64) // a word where asynq writes none is 0
			return n
		}
		return 0
	}
	q := Queue{Name: name, Processed: number(6), Failed: number(7), Paused: number(8) > 0, Bytes: number(10)}
	for i := range q.Tasks {
		q.Tasks[i] = number(i)
	}
	if since := number(9); since > 0 {
		q.Latency = max(0, time.Since(time.Unix(0, since)))
	}
	return q
}
