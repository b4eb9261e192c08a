package sweep

import "github.com/redis/go-redis/v9"

// This file holds every key and script of the package.
//
//	harvest:sweeper    string: the process that sweeps, with a TTL
//	harvest:lookout    string: the process that looks at leases, with a TTL
//	harvest:aside      list: messages that were moved aside, the latest first,
//	                   as JSON, see Aside
//
// With a namespace N the prefix is harvest:N: instead of harvest:. Scripts on
// a queue take the keys of that queue only, all in one hash slot.

func prefix(namespace string) string {
	if namespace == "" {
		return "harvest:"
	}
	return "harvest:" + namespace + ":"
}

// queueKeys are asynq's keys of a queue.
type queueKeys struct{ prefix string }

func keysOf(queue string) queueKeys { return queueKeys{"asynq:{" + queue + "}:"} }

func (k queueKeys) pending() string       { return k.prefix + "pending" }
func (k queueKeys) active() string        { return k.prefix + "active" }
func (k queueKeys) lease() string         { return k.prefix + "lease" }
func (k queueKeys) scheduled() string     { return k.prefix + "scheduled" }
func (k queueKeys) retry() string         { return k.prefix + "retry" }
func (k queueKeys) archived() string      { return k.prefix + "archived" }
func (k queueKeys) completed() string     { return k.prefix + "completed" }
func (k queueKeys) task(id string) string { return k.prefix + "t:" + id }
func (k queueKeys) tasks() string         { return k.prefix + "t:" }

var (
	// turnScript gives a turn (sweeper, lookout) to a process, or leaves it there.
	//
	//	KEYS  turn
	//	ARGV  process, ttl ms (0: it gives the turn back)
	//	reply 1: it has the turn | 0
	turnScript = redis.NewScript(`
local has = redis.call('GET', KEYS[1])
if has and has ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
	redis.call('DEL', KEYS[1])
	return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

	// handScript looks for what is in hand (active) and may be in nobody's: its
	// lease ran out or is missing, or its message is. A lease ends in unix
	// seconds of the worker's clock.
	//
	//	KEYS  active, lease
	//	ARGV  what the keys of tasks begin with, at most so many
	//	reply {{id, lease or "", message or ""}…}, {ids that have a lease that ran
	//	      out over a minute ago, and are not in hand…}
	handScript = redis.NewScript(`
local now, found, dead, hand = tonumber(redis.call('TIME')[1]), {}, {}, {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
	hand[id] = true
	if #found < tonumber(ARGV[2]) then
		local lease = redis.call('ZSCORE', KEYS[2], id)
		if not lease or tonumber(lease) <= now then
			found[#found + 1] = {id, lease or '', redis.call('HGET', ARGV[1] .. id, 'msg') or ''}
		end
	end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - 60, 'LIMIT', 0, ARGV[2])) do
	if not hand[id] then dead[#dead + 1] = id end
end
return {found, dead}
`)

	// lendScript gives a task in hand without a lease one that ends now. A
	// worker that has the task prolongs it within 5 s; otherwise asynq finds it
	// half a minute later and counts a run that never came back.
	//
	//	KEYS  active, lease
	//	ARGV  id
	//	reply 1 | 0: it is not in hand any more, or has a lease
	lendScript = redis.NewScript(`
if not redis.call('LPOS', KEYS[1], ARGV[1]) or redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
return redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
`)

	// takeBackScript puts a task in hand back to where the next worker takes it
	// first, if its lease and its message are still those that were seen.
	//
	//	KEYS  task, active, lease, pending
	//	ARGV  id, lease, message, message from now on
	//	reply 1 | 0
	takeBackScript = redis.NewScript(`
local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not lease or tonumber(lease) ~= tonumber(ARGV[2]) then return 0 end
if redis.call('HGET', KEYS[1], 'msg') ~= ARGV[3] then return 0 end
if redis.call('LREM', KEYS[2], 0, ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('RPUSH', KEYS[4], ARGV[1])
redis.call('HSET', KEYS[1], 'msg', ARGV[4], 'state', 'pending')
return 1
`)

	// dropScript forgets a task whose message was found to be of no use.
	//
	//	KEYS  active, lease, task
	//	ARGV  id, message as it was read, or "" where there is none
	//	reply 1 | 0: the message is another by now
	dropScript = redis.NewScript(`
if (redis.call('HGET', KEYS[3], 'msg') or '') ~= ARGV[2] then return 0 end
redis.call('LREM', KEYS[1], 0, ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
`)

	// endLeaseScript forgets a lease of a task that is not in hand.
	//
	//	KEYS  active, lease
	//	ARGV  id
	//	reply 1 | 0
	endLeaseScript = redis.NewScript(`
if redis.call('LPOS', KEYS[1], ARGV[1]) then return 0 end
return redis.call('ZREM', KEYS[2], ARGV[1])
`)

	// lostScript reports whether a task will never run, and, where it is asked
	// to, removes what is left of it, so that it can be enqueued again. A
	// task in the archive was put there by hand, or because its payload was
	// unreadable: a failure would have settled its name.
	//
	//	KEYS  task, pending, active, scheduled, retry, archived, completed
	//	ARGV  id, remove 0|1
	//	reply 1 | 0: it is about to run
	lostScript = redis.NewScript(`
local id, st = ARGV[1], redis.call('HGET', KEYS[1], 'state')
if st == 'pending' and redis.call('LPOS', KEYS[2], id) then return 0 end
if st == 'active' and redis.call('LPOS', KEYS[3], id) then return 0 end
if st == 'scheduled' and redis.call('ZSCORE', KEYS[4], id) then return 0 end
if st == 'retry' and redis.call('ZSCORE', KEYS[5], id) then return 0 end
if ARGV[2] == '1' then
	for i = 4, 7 do redis.call('ZREM', KEYS[i], id) end
	redis.call('DEL', KEYS[1])
end
return 1
`)

	// trimScript removes the oldest tasks of an archive, a few at a time.
	//
	//	KEYS  archived
	//	ARGV  what the keys of tasks begin with, tasks to keep, remove what was
	//	      archived before (unix s), at most so many
	//	reply number of tasks removed
	trimScript = redis.NewScript(`
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'LIMIT', 0, ARGV[4])
if #old == 0 then
	local extra = math.min(redis.call('ZCARD', KEYS[1]) - ARGV[2], ARGV[4])
	if extra > 0 then old = redis.call('ZRANGE', KEYS[1], 0, extra - 1) end
end
for _, id in ipairs(old) do
	redis.call('DEL', ARGV[1] .. id)
	redis.call('ZREM', KEYS[1], id)
end
return #old
`)
)
