package redisconn

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// gatherClient sends asynq's enqueueing script for many tasks at once: of the
// 15 µs that each run of it costs a server, two thirds are the call. Concurrent
// callers share one script, which does for each task what asynq's does, and
// each gets its own answer.
type gatherClient struct {
	redis.UniversalClient

	mu    sync.Mutex
	lines map[string]*line // by queue
}

func newGatherClient(rdb redis.UniversalClient) *gatherClient {
	return &gatherClient{UniversalClient: rdb, lines: make(map[string]*line)}
}

const (
	// gatherTrips is how many scripts of one queue are under way at once: the
	// callers prepare the second while the server works on the first.
	gatherTrips = 2
	// gatherMost bounds the tasks of one script, so that it holds a server up
	// for less than a millisecond.
	gatherMost = 128
)

// line is who waits for a place in a script for one queue. Nobody waits while
// fewer than gatherTrips are under way.
type line struct {
	waiting []*gathered
	trips   int
}

// gathered is one call of asynq's script.
type gathered struct {
	task string // key
	args []any  // message, ID, time
	// turn gets one message: the calls to send a script for, this one among
	// them, or nil when another caller has sent it.
	turn  chan []*gathered
	added int64
	err   error
}

// EvalSha recognises the script by its keys (the task, the pending list) and
// its three arguments.
func (c *gatherClient) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	if len(keys) != 2 || len(args) != 3 || !isPending(keys[1]) || !strings.HasPrefix(keys[0], strings.TrimSuffix(keys[1], "pending")+"t:") {
		return c.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	}
	g := &gathered{task: keys[0], args: args, turn: make(chan []*gathered, 1)}
	c.do(ctx, keys[1], g)
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(g.added)
	cmd.SetErr(g.err)
	return cmd
}

func isPending(key string) bool {
	return strings.HasPrefix(key, "asynq:{") && strings.HasSuffix(key, "}:pending")
}

// do returns when g is answered. It is not cut short by ctx: the script may
// have others' tasks, and the client bounds its tries.
func (c *gatherClient) do(ctx context.Context, pending string, g *gathered) {
	c.mu.Lock()
	l := c.lines[pending]
	if l == nil {
		l = new(line)
		c.lines[pending] = l
	}
	if l.trips < gatherTrips { // then nobody waits
		l.trips++
		g.turn <- []*gathered{g}
	} else {
		l.waiting = append(l.waiting, g)
	}
	c.mu.Unlock()
	these := <-g.turn
	if these == nil {
		return
	}
	c.send(context.WithoutCancel(ctx), pending, these)
	c.mu.Lock()
	c.next(pending, l)
	c.mu.Unlock()
	for _, other := range these[1:] {
		other.turn <- nil
	}
}

// next has the first of those who wait send the next script. c is locked.
func (c *gatherClient) next(pending string, l *line) {
	n := min(len(l.waiting), gatherMost)
	if n == 0 {
		if l.trips--; l.trips == 0 {
			delete(c.lines, pending)
		}
		return
	}
	these := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	these[0].turn <- these
}

// gatherScript does for each task what asynq's own script does for one.
//
//	KEYS  pending, task…
//	ARGV  message, ID, nanoseconds of each task
//	reply for each task 1, or 0: there is one of that ID
var gatherScript = redis.NewScript(`
local added, ids = {}, {}
for i = 2, #KEYS do
	local at = 3 * (i - 2) + 1
	if redis.call('EXISTS', KEYS[i]) == 1 then
		added[i - 1] = 0
	else
		redis.call('HSET', KEYS[i], 'msg', ARGV[at], 'state', 'pending', 'pending_since', ARGV[at + 2])
		ids[#ids + 1] = ARGV[at + 1]
		added[i - 1] = 1
	end
end
if #ids > 0 then redis.call('LPUSH', KEYS[1], unpack(ids)) end
return added
`)

func (c *gatherClient) send(ctx context.Context, pending string, these []*gathered) {
	keys := make([]string, 1, 1+len(these))
	keys[0] = pending
	args := make([]any, 0, 3*len(these))
	for _, g := range these {
		keys = append(keys, g.task)
		args = append(args, g.args...)
	}
	added, err := gatherScript.Run(ctx, c.UniversalClient, keys, args...).Int64Slice()
	for i, g := range these {
		if g.err = err; err == nil {
			g.added = added[i]
		}
	}
}
