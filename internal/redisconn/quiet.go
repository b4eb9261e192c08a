package redisconn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// quietClient answers asynq's servers by itself while there is nothing for
// them: each of them asks every one of its queues for a task several times a
// second, and once a second for what is due, which adds up to hundreds of
// commands from a process that does nothing. What was found empty counts as
// empty until one look at all that is empty, shared by all servers of the
// process, says otherwise.
type quietClient struct {
	redis.UniversalClient
	quiet *quiet
}

func (c *quietClient) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	nothing, ok := emptyReply(keys)
	if !ok {
		return c.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	}
	if c.quiet.empty(ctx, keys[0]) {
		cmd := redis.NewCmd(ctx)
		nothing(cmd)
		return cmd
	}
	cmd := c.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	err := cmd.Err()
	n, isInt := cmd.Val().(int64)
	if errors.Is(err, redis.Nil) || err == nil && isInt && n == 0 {
		c.quiet.note(keys[0])
	}
	return cmd
}

// emptyReply recognises asynq's scripts that take what there is, by their
// keys, and returns what they answer when there is none: dequeue (pending,
// paused, active, lease), forward (scheduled or retry, pending) and the
// removal of expired results (completed).
func emptyReply(keys []string) (func(*redis.Cmd), bool) {
	if len(keys) == 0 || !strings.HasPrefix(keys[0], "asynq:{") {
		return nil, false
	}
	_, what, _ := strings.Cut(keys[0], "}:")
	switch {
	case what == "pending" && len(keys) == 4:
		return func(c *redis.Cmd) { c.SetErr(redis.Nil) }, true
	case (what == "scheduled" || what == "retry") && len(keys) == 2, what == "completed" && len(keys) == 1:
		return func(c *redis.Cmd) { c.SetVal(int64(0)) }, true
	}
	return nil, false
}

// lookScript tells which keys are there.
//
//	KEYS  any, of one slot
//	ARGV  -
//	reply 1 or 0 for each
var lookScript = redis.NewScript(`
local there = {}
for i, k in ipairs(KEYS) do there[i] = redis.call('EXISTS', k) end
return there
`)

// lookEach is the least time between two looks of a Cluster client for each
// empty key: there a look is a command for each queue, of up to four keys.
const lookEach = 5 * time.Millisecond

// quiet knows which keys were empty.
type quiet struct {
	rdb     redis.UniversalClient
	every   time.Duration
	cluster bool

	mu      sync.Mutex
	known   map[string]bool // keys that were found empty
	looked  time.Time
	looking bool
}

func newQuiet(rdb redis.UniversalClient, every time.Duration, cluster bool) *quiet {
	return &quiet{rdb: rdb, every: every, cluster: cluster, known: make(map[string]bool)}
}

// note remembers that nothing was found under key.
func (q *quiet) note(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.known[key] = true
}

// empty reports whether key was empty at the last look, and makes that look
// if it is due. While one caller looks the others take the last one's word.
func (q *quiet) empty(ctx context.Context, key string) bool {
	q.mu.Lock()
	if !q.known[key] {
		q.mu.Unlock()
		return false
	}
	every := q.every
	if q.cluster {
		every = max(every, time.Duration(len(q.known))*lookEach)
	}
	if q.looking || time.Since(q.looked) < every {
		q.mu.Unlock()
		return true
	}
	q.looking = true
	slots := q.slots()
	q.mu.Unlock()

	there, err := q.look(ctx, slots)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.looking, q.looked = false, time.Now()
	if err != nil {
		clear(q.known) // the servers ask for themselves, and say what is wrong
		return false
	}
	for _, k := range there {
		delete(q.known, k)
	}
	return q.known[key]
}

// slots returns the known keys, those together that may be asked together.
func (q *quiet) slots() [][]string {
	byQueue := make(map[string][]string)
	for k := range q.known {
		queue := ""
		if q.cluster {
			queue, _, _ = strings.Cut(k, "}")
		}
		byQueue[queue] = append(byQueue[queue], k)
	}
	all := make([][]string, 0, len(byQueue))
	for _, keys := range byQueue {
		all = append(all, keys)
	}
	return all
}

// look returns those of the keys that are there.
func (q *quiet) look(ctx context.Context, slots [][]string) ([]string, error) {
	var there []string
	for _, keys := range slots {
		reply, err := lookScript.Run(ctx, q.rdb, keys).Int64Slice()
		if err != nil {
			return nil, err
		}
		for i, n := range reply {
			if n > 0 {
				there = append(there, keys[i])
			}
		}
	}
	return there, nil
}
