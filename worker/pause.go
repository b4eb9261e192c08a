package worker

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/tasks"
)

// pauseFrom is from what time on a provider's queues are paused: shorter
// waits are spent in the slots.
const pauseFrom = 2 * time.Second

// A queue is paused by asynq's own key, so that every asynq server heeds it
// and asynqmon shows it. asynq writes the second at which somebody paused the
// queue, and no end. Ours is in µs, by which it is told from an operator's,
// which we leave alone, and it ends by itself when it is due, whoever dies.
var (
	// pauseScript pauses a queue.
	//
	//	KEYS  the queue's pause
	//	ARGV  now, µs; for how long, ms
	//	reply 1 | 0: an operator paused it
	pauseScript = redis.NewScript(`
local v = redis.call('GET', KEYS[1])
if v and #v < 15 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

	// resumeScript ends a pause of ours.
	//
	//	KEYS  the queue's pause
	//	ARGV  -
	//	reply 1 | 0: there was none
	resumeScript = redis.NewScript(`
local v = redis.call('GET', KEYS[1])
if not v or #v < 15 then return 0 end
return redis.call('DEL', KEYS[1])
`)
)

func pauseKey(queue string) string { return "asynq:{" + queue + "}:paused" }

// pauseQueues pauses the lookup queues of every provider that cannot be asked
// for a while, and resumes those that can be asked before their time.
func (w *Worker) pauseQueues(ctx context.Context) {
	for _, name := range w.Serves() {
		q, ok := tasks.ParseQueue(name)
		if !ok || q.Kind != tasks.Lookups {
			continue
		}
		until, why := w.hosts.gate.Blocked(w.hosts.lookup(q.Provider, w.deps.Providers[q.Provider]))
		paused := w.paused[name]
		var err error
		switch left := time.Until(until); {
		case left > pauseFrom && !until.Equal(paused):
			err = pauseScript.Run(ctx, w.deps.Redis, []string{pauseKey(name)}, time.Now().UnixMicro(), left.Milliseconds()).Err()
			if err == nil {
				w.paused[name] = until
				w.log.Info("lookups are held back", "queue", name, "provider", q.Provider, "reason", why, "until", until.Round(time.Second))
			}
		case until.IsZero() && time.Until(paused) > 0:
			err = resumeScript.Run(ctx, w.deps.Redis, []string{pauseKey(name)}).Err()
			if err == nil {
				delete(w.paused, name)
			}
		}
		if err != nil && ctx.Err() == nil {
			w.log.Debug("pause a queue", "queue", name, "error", err)
		}
	}
}
