package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/tasks"
)

// queued removes tasks that wait. asynq's own way takes three trips for a task,
// most of which never were, and goes through the whole list for each that
// waits: hours for a large batch.
type queued struct {
	rdb       redis.UniversalClient
	namespace string
}

var (
	// deleteScript removes tasks, in the shape in which asynq's DeleteTask
	// does. asynq takes from the right of the list: there is what waits longest.
	//
	//	KEYS  pending, scheduled, retry, archived, completed
	//	ARGV  what the keys of tasks begin with, id…
	//	reply number of tasks removed
	deleteScript = redis.NewScript(`
local lists, n = {scheduled = KEYS[2], retry = KEYS[3], archived = KEYS[4], completed = KEYS[5]}, 0
for i = 2, #ARGV do
	local id, key = ARGV[i], ARGV[1] .. ARGV[i]
	local state = redis.call('HGET', key, 'state')
	if state == 'pending' then
		redis.call('LREM', KEYS[1], -1, id)
	elseif state and lists[state] then
		redis.call('ZREM', lists[state], id)
	end
	if state and state ~= 'active' then n = n + redis.call('DEL', key) end
end
return n
`)

	// clearScript removes those of some tasks that wait within a part of the
	// list, in one pass over what lies to the right of it.
	//
	//	KEYS  pending
	//	ARGV  what the keys of tasks begin with, first and last place (from the right, negative), id…
	//	reply number of tasks removed
	clearScript = redis.NewScript(`
local gone, n = {}, 0
for i = 4, #ARGV do gone[ARGV[i]] = true end
for i, id in ipairs(redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[3])) do
	if gone[id] then
		-- Where the list is shorter by now, its first place is the list's own.
		local place = i - 1 + math.max(tonumber(ARGV[2]), -redis.call('LLEN', KEYS[1]))
		redis.call('LSET', KEYS[1], place, '')
		redis.call('DEL', ARGV[1] .. id)
		n = n + 1
	end
end
if n > 0 then redis.call('LREM', KEYS[1], -n, '') end
return n
`)
)

// Delete implements removal.Tasks.
func (q queued) Delete(ctx context.Context, queue string, ids []string) (int64, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	prefix := "asynq:{" + queue + "}:"
	keys := []string{prefix + "pending", prefix + "scheduled", prefix + "retry", prefix + "archived", prefix + "completed"}
	n, err := deleteScript.Run(ctx, q.rdb, keys, withIDs(ids, prefix+"t:")...).Int64()
	if err != nil {
		return 0, fmt.Errorf("remove tasks from %s: %w", queue, err)
	}
	return n, nil
}

func (q queued) clear(ctx context.Context, queue string, first, last int, ids []string) (int64, error) {
	prefix := "asynq:{" + queue + "}:"
	n, err := clearScript.Run(ctx, q.rdb, []string{prefix + "pending"}, withIDs(ids, prefix+"t:", first, last)...).Int64()
	if err != nil {
		return 0, fmt.Errorf("remove tasks from %s: %w", queue, err)
	}
	return n, nil
}

func withIDs(ids []string, args ...any) []any {
	for _, id := range ids {
		args = append(args, id)
	}
	return args
}

// clearPage is how many tasks are looked at, and removed, at a time.
const clearPage = 1000

// DeleteBatch implements removal.Tasks. It goes through the queues, since there
// may have been any number of tasks of each name.
func (q queued) DeleteBatch(ctx context.Context, batch string) (sum int64, err error) {
	inspector := asynq.NewInspectorFromRedisClient(q.rdb)
	queues, err := inspector.Queues()
	if err != nil {
		return 0, fmt.Errorf("list the queues: %w", err)
	}
	for _, queue := range queues {
		if parsed, ok := tasks.ParseQueue(queue); !ok || parsed.Namespace != q.namespace {
			continue
		}
		byID := func(ctx context.Context, _ int, ids []string) (int64, error) { return q.Delete(ctx, queue, ids) }
		inPlace := func(ctx context.Context, page int, ids []string) (int64, error) {
			return q.clear(ctx, queue, -page*clearPage, -(page-1)*clearPage-1, ids)
		}
		for _, lane := range []struct {
			list   func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)
			remove func(ctx context.Context, page int, ids []string) (int64, error)
		}{
			{inspector.ListPendingTasks, inPlace}, {inspector.ListScheduledTasks, byID},
			{inspector.ListRetryTasks, byID}, {inspector.ListArchivedTasks, byID},
		} {
			n, err := deletePages(ctx, batch, func(page int) ([]*asynq.TaskInfo, error) {
				return lane.list(queue, asynq.PageSize(clearPage), asynq.Page(page))
			}, lane.remove)
			sum += n
			if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
				return sum, err
			}
		}
	}
	return sum, nil
}

// deletePages removes the tasks of a batch from what list shows, page by page.
// What workers take meanwhile comes to nothing by itself.
func deletePages(
	ctx context.Context, batch string, list func(page int) ([]*asynq.TaskInfo, error),
	remove func(ctx context.Context, page int, ids []string) (int64, error),
) (sum int64, err error) {
	for page := 1; ; {
		if ctx.Err() != nil {
			return sum, ctx.Err()
		}
		all, err := list(page)
		if err != nil {
			return sum, fmt.Errorf("list what waits: %w", err)
		}
		var ids []string
		for _, info := range all {
			if ref, _, err := step(info); err == nil && ref.Batch == batch {
				ids = append(ids, info.ID)
			}
		}
		n := int64(0)
		if len(ids) > 0 {
			if n, err = remove(ctx, page, ids); err != nil {
				return sum, err
			}
			sum += n
		}
		switch {
		case n > 0: // others have moved up
		case len(all) < clearPage:
			return sum, nil
		default:
			page++
		}
	}
}
