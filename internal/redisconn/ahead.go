package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Ahead is a client for one of asynq's servers, which asks for one task in a
// round trip, whatever its concurrency: it takes as many in that trip as the
// server has room for, and answers the next questions by itself. What the
// server does not ask for goes back after a while, or by [Ahead.GiveBack].
type Ahead struct {
	redis.UniversalClient
	room func() int

	mu     sync.Mutex // held while tasks are taken, so that others wait for them
	ready  map[string][]takenTask
	count  int // of all queues
	tidy   *time.Timer
	closed bool
}

// takenTask is a task that is the server's, and that it has not asked for yet.
type takenTask struct {
	id, message string
	at          time.Time
}

const (
	// aheadMost bounds the tasks of one trip.
	aheadMost = 64
	// aheadFor is how long a task may wait for the server to ask for it, which
	// has less room than it told when tasks began in that moment. Nobody
	// prolongs its lease of 30 s, and other workers have room, perhaps.
	aheadFor = 2 * time.Second
)

// TakeAhead returns rdb for a server that has room for so many more tasks.
// room may tell more than there is while tasks are ending: the rest waits for
// them.
func TakeAhead(rdb redis.UniversalClient, room func() int) *Ahead {
	return &Ahead{UniversalClient: rdb, room: room, ready: make(map[string][]takenTask)}
}

// EvalSha recognises the script that takes a task by its keys and arguments.
func (a *Ahead) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	if len(keys) != 4 || len(args) != 2 || !strings.HasPrefix(keys[0], "asynq:{") || !strings.HasSuffix(keys[0], "}:pending") {
		return a.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	}
	cmd := redis.NewCmd(ctx)
	message, err := a.next(ctx, keys, args)
	cmd.SetVal(message)
	cmd.SetErr(err)
	return cmd
}

// takeScript does for so many tasks what asynq's does for one. It ends at a task
// whose key is of the wrong kind, which stays in hand without a lease, as asynq
// leaves it.
//
//	KEYS  pending, paused, active, lease
//	ARGV  end of the lease, prefix of task keys, how many
//	reply {ID, message, …} | nil: there is none | an error: the first one is of the wrong kind
var takeScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local taken = {}
for i = 1, tonumber(ARGV[3]) do
	local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[3])
	if not id then break end
	local key = ARGV[2] .. id
	local set = redis.pcall('HSET', key, 'state', 'active')
	if type(set) == 'table' then
		if #taken == 0 then return set end
		break
	end
	redis.call('HDEL', key, 'pending_since')
	redis.call('ZADD', KEYS[4], ARGV[1], id)
	local message = redis.call('HGET', key, 'msg')
	if message then
		taken[#taken + 1], taken[#taken + 2] = id, message
	end
end
return #taken > 0 and taken
`)

// next returns the message of the queue's next task, redis.Nil where there is
// none.
func (a *Ahead) next(ctx context.Context, keys []string, args []any) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return "", redis.Nil
	}
	queue := keys[0]
	if tasks := a.ready[queue]; len(tasks) > 0 {
		a.ready[queue] = tasks[1:]
		a.count--
		return tasks[0].message, nil
	}
	n := 1
	if a.count == 0 { // what another queue has ready has the room
		n = max(1, min(a.room(), aheadMost))
	}
	taken, err := takeScript.Run(ctx, a.UniversalClient, keys, args[0], args[1], n).StringSlice()
	if err != nil {
		return "", err
	}
	now := time.Now()
	for i := 2; i+1 < len(taken); i += 2 {
		a.ready[queue] = append(a.ready[queue], takenTask{id: taken[i], message: taken[i+1], at: now})
		a.count++
	}
	if a.count > 0 && a.tidy == nil {
		a.tidy = time.AfterFunc(aheadFor, a.giveBackOld)
	}
	return taken[1], nil
}

// giveBackOld gives back what nobody has asked for in its time, and looks again
// later while there is any.
func (a *Ahead) giveBackOld() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tidy = nil
	if a.closed || a.count == 0 {
		return
	}
	// What fails is tried again, and would come back by itself in the end.
	_ = a.giveBack(context.Background(), aheadFor)
	if a.count > 0 {
		a.tidy = time.AfterFunc(aheadFor/4, a.giveBackOld)
	}
}

// GiveBack puts what is ready back into its queues, in front, and has the
// server find nothing from now on. It is for a server that has stopped asking.
func (a *Ahead) GiveBack(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.tidy != nil {
		a.tidy.Stop()
	}
	return a.giveBack(ctx, 0)
}

// giveBackScript puts tasks back that nobody began.
//
//	KEYS  pending, active, lease
//	ARGV  prefix of task keys, nanoseconds, IDs, the last one first
//	reply how many were put back; the others were not in hand any more
var giveBackScript = redis.NewScript(`
local n = 0
for i = 3, #ARGV do
	local id = ARGV[i]
	if redis.call('LREM', KEYS[2], 0, id) > 0 then
		redis.call('ZREM', KEYS[3], id)
		redis.call('RPUSH', KEYS[1], id)
		redis.call('HSET', ARGV[1] .. id, 'state', 'pending', 'pending_since', ARGV[2])
		n = n + 1
	end
end
return n
`)

// giveBack does so with what has been ready for so long. a is locked.
func (a *Ahead) giveBack(ctx context.Context, age time.Duration) error {
	var errs []error
	now := time.Now()
	for pending, tasks := range a.ready {
		old := 0 // the oldest are in front
		for old < len(tasks) && now.Sub(tasks[old].at) >= age {
			old++
		}
		if old == 0 {
			continue
		}
		queue := strings.TrimSuffix(pending, "pending")
		args := []any{queue + "t:", now.UnixNano()}
		for _, t := range slices.Backward(tasks[:old]) {
			args = append(args, t.id)
		}
		if err := giveBackScript.Run(ctx, a.UniversalClient, []string{pending, queue + "active", queue + "lease"}, args...).Err(); err != nil {
			errs = append(errs, fmt.Errorf("give %d tasks of %s back: %w", old, queue, err))
			continue
		}
		a.count -= old
		a.ready[pending] = tasks[old:]
	}
	return errors.Join(errs...)
}
