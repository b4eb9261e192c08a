package results

import (
	"strconv"

	"github.com/redis/go-redis/v9"
)

// This file holds every key and every script of the package. A script
// touches one hash slot only: the batch's own, or one shard's. Each may be
// sent twice (a reply can be lost on the way) and then changes nothing more.
//
//	harvest:batches                 sorted set: batch names by birth
//	harvest:workers                 sorted set: worker processes by end of presence, ms
//	harvest:{B.0}:batch             hash: the batch, see below
//	harvest:{B.0}:leases            sorted set: enqueuers by end of lease, ms
//	harvest:{B.S}:meta              hash: what shard S knows of the batch
//	harvest:{B.S}:records           hash: name -> record
//	harvest:{B.S}:tries             hash: rank:name -> failed tries of open steps
//	harvest:{B.S}:crashes           hash: rank:name -> marks of runs alone
//	harvest:{B.S}:state:STATE       sorted set: names by line
//	harvest:{B.S}:reasons           sorted set, all 0: "REASON LINE NAME" of failures
//	harvest:{B.S}:hosts             sorted set, all 0: "HOST LINE NAME" of failures
//
// The batch hash: birth (µs, Redis's clock: tells this batch from a deleted
// one of the same name), epoch (birth, and 1 more with each resume), rev (1
// more with each change of status), status (running, paused, cancelled,
// deleting), provider, shards, source, store (bound by the first worker),
// ended (1 when an enqueuer reached its end since the last one opened), told
// (1 when all shards were brought into being).
// Each shard's meta repeats birth, epoch, rev, status and provider. Its tried
// and marked are 1 once the shard had an entry in tries, or in crashes: until
// then, which is mostly for ever, nobody looks there. A call from a script
// costs about as much as the rest of the script.
//
// With a namespace N the prefix is harvest:N: instead of harvest:.
type keyspace struct{ prefix string }

func newKeyspace(namespace string) keyspace {
	if namespace == "" {
		return keyspace{"harvest:"}
	}
	return keyspace{"harvest:" + namespace + ":"}
}

func (k keyspace) batches() string { return k.prefix + "batches" }

func (k keyspace) workers() string { return k.prefix + "workers" }

func (k keyspace) batch(b string) string { return k.shard(b, 0) + "batch" }

func (k keyspace) leases(b string) string { return k.shard(b, 0) + "leases" }

func (k keyspace) shard(b string, s int) string {
	return k.prefix + "{" + b + "." + strconv.Itoa(s) + "}:"
}

func (k keyspace) meta(b string, s int) string    { return k.shard(b, s) + "meta" }
func (k keyspace) records(b string, s int) string { return k.shard(b, s) + "records" }
func (k keyspace) tries(b string, s int) string   { return k.shard(b, s) + "tries" }
func (k keyspace) crashes(b string, s int) string { return k.shard(b, s) + "crashes" }
func (k keyspace) reasons(b string, s int) string { return k.shard(b, s) + "reasons" }
func (k keyspace) hosts(b string, s int) string   { return k.shard(b, s) + "hosts" }

func (k keyspace) state(b string, s int, st State) string {
	return k.shard(b, s) + "state:" + string(st)
}

// data lists every key of a shard but its meta.
func (k keyspace) data(b string, s int) []string {
	keys := []string{k.records(b, s), k.tries(b, s), k.crashes(b, s), k.reasons(b, s), k.hosts(b, s)}
	for _, st := range States() {
		keys = append(keys, k.state(b, s, st))
	}
	return keys
}

// field is a step's field in tries and crashes; rank 0 is the lookup.
func field(name string, rank int) string { return strconv.Itoa(rank) + ":" + name }

// prelude is common to the scripts that read records.
//
//	live(meta, epoch): whether a task made in epoch belongs to the batch that is there now,
//	      and whether any step of the shard was tried, or marked
//	head(v): the twelve words of a record's first line but the version
//	now(): seconds
//	pictures(v, left): how many pictures the name has
//	open(v, generation, rank): whether that step is still to come
//	index/unindex: a failure in the lists by reason and host
const prelude = `
local function live(meta, epoch)
	local m = redis.call('HMGET', meta, 'birth', 'tried', 'marked')
	return m[1] and tonumber(epoch) >= tonumber(m[1]), m[2], m[3]
end
local function head(v)
	return string.match(v, '^1 (%d+) (%S+) (%d+) (%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)')
end
local function body(v)
	local at = string.find(v, '\n', 1, true)
	return at and string.sub(v, at) or ''
end
local function pictures(v, left)
	local _, outcomes = string.gsub(v, '\n[PF]%d+ ', '')
	return left + outcomes
end
local function open(v, generation, rank)
	local gen, st, _, _, left = head(v)
	if gen ~= generation then return false end
	if rank == '0' then return st == 'queued' end
	return st == 'found' and (tonumber(rank) <= tonumber(left) or tonumber(rank) <= pictures(v, left)) and
		not string.find(v, '\nP' .. rank .. ' ', 1, true) and not string.find(v, '\nF' .. rank .. ' ', 1, true)
end
local function now()
	return redis.call('TIME')[1]
end
local function member(key, line, name)
	return key .. ' ' .. string.format('%012d', line) .. ' ' .. name
end
local function index(reasons, hosts, reason, host, line, name)
	redis.call('ZADD', reasons, 0, member(reason, line, name))
	redis.call('ZADD', hosts, 0, member(host, line, name))
end
local function unindex(reasons, hosts, reason, host, line, name)
	redis.call('ZREM', reasons, member(reason, line, name))
	redis.call('ZREM', hosts, member(host, line, name))
end
`

var (
	// presentScript notes that a worker is alive, and forgets those that are not.
	//
	//	KEYS  workers
	//	ARGV  worker, ttl ms (0: it is leaving)
	//	reply number of workers alive
	presentScript = redis.NewScript(`
local ms = redis.call('TIME')[1] * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
if tonumber(ARGV[2]) > 0 then
	redis.call('ZADD', KEYS[1], string.format('%.0f', ms + ARGV[2]), ARGV[1])
else
	redis.call('ZREM', KEYS[1], ARGV[1])
end
return redis.call('ZCARD', KEYS[1])
`)

	// openScript creates the batch or joins it.
	//
	//	KEYS  batch, leases
	//	ARGV  provider, shards, source, lease, ttl ms
	//	reply {"ok", birth, epoch, rev, status, shards, new 0|1, told 0|1, now ms}
	//	      {"provider", its provider} | {"deleting"}
	openScript = redis.NewScript(`
local t = redis.call('TIME')
local birth = string.format('%.0f', t[1] * 1000000 + t[2])
local ms = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local b = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'rev', 'status', 'shards', 'provider', 'told')
local new = 0
if not b[1] then
	new = 1
	b = {birth, birth, '1', 'running', ARGV[2], ARGV[1]}
	redis.call('HSET', KEYS[1], 'birth', birth, 'epoch', birth, 'rev', 1, 'status', 'running',
		'shards', ARGV[2], 'provider', ARGV[1], 'source', ARGV[3])
elseif b[4] == 'deleting' then
	return {'deleting'}
elseif b[6] ~= ARGV[1] then
	return {'provider', b[6]}
elseif b[4] == 'cancelled' then
	b[3] = tostring(b[3] + 1)
	b[4] = 'running'
	redis.call('HSET', KEYS[1], 'rev', b[3], 'status', 'running')
end
redis.call('HSET', KEYS[1], 'ended', 0)
redis.call('HDEL', KEYS[1], 'ended ' .. ARGV[3])
for _, l in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms)) do
	if string.sub(l, string.find(l, ' ', 1, true) + 1) == ARGV[3] then
		redis.call('ZREM', KEYS[2], l)
	end
end
redis.call('ZADD', KEYS[2], string.format('%.0f', ms + ARGV[5]), ARGV[4] .. ' ' .. ARGV[3])
return {'ok', b[1], b[2], b[3], b[4], b[5], new, b[7] or '0', ms}
`)

	// toldScript notes that every shard of a new batch knows of it.
	//
	//	KEYS  batch
	//	ARGV  birth
	//	reply 1 | 0: the batch was deleted meanwhile
	toldScript = redis.NewScript(`
local b = redis.call('HMGET', KEYS[1], 'birth', 'status')
if b[1] ~= ARGV[1] or b[2] == 'deleting' then
	return 0
end
redis.call('HSET', KEYS[1], 'told', 1)
return 1
`)

	// renewScript prolongs an enqueuer's lease.
	//
	//	KEYS  batch, leases
	//	ARGV  birth, lease with source, ttl ms
	//	reply the batch's status | nil: the batch was deleted
	renewScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then
	return false
end
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'deleting' then
	local t = redis.call('TIME')
	redis.call('ZADD', KEYS[2], string.format('%.0f', t[1] * 1000 + ARGV[3]), ARGV[2])
end
return status
`)

	// closeScript ends an enqueuer's lease: given back at the end of the
	// input, or left behind as expired, which marks the batch interrupted.
	//
	//	KEYS  batch, leases
	//	ARGV  birth, lease with source, source, reached the end 0|1
	//	reply 1 | 0: the batch was deleted
	closeScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then
	return 0
end
if ARGV[4] == '1' then
	local t = redis.call('TIME')
	redis.call('ZREM', KEYS[2], ARGV[2])
	redis.call('HSET', KEYS[1], 'ended', 1, 'ended ' .. ARGV[3], string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)))
else
	redis.call('ZADD', KEYS[2], 0, ARGV[2])
	redis.call('HDEL', KEYS[1], 'ended ' .. ARGV[3])
end
return 1
`)

	// describeScript reads a batch. An enqueuer that died is made good by
	// another that has reached the end of the same source since it was last
	// heard of.
	//
	//	KEYS  batch, leases
	//	ARGV  ttl ms
	//	reply {fields and values…}, living leases, {sources of expired leases…}
	describeScript = redis.NewScript(`
local t = redis.call('TIME')
local ms = string.format('%.0f', t[1] * 1000)
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms, 'WITHSCORES')
local broken = {}
for i = 1, #expired, 2 do
	local source = string.sub(expired[i], string.find(expired[i], ' ', 1, true) + 1)
	local ended = redis.call('HGET', KEYS[1], 'ended ' .. source)
	if not ended or expired[i + 1] - ARGV[1] > tonumber(ended) then
		table.insert(broken, source)
	end
end
return {redis.call('HGETALL', KEYS[1]), redis.call('ZCOUNT', KEYS[2], '(' .. ms, '+inf'), broken}
`)

	// statusScript changes a batch's status.
	//
	//	KEYS  batch
	//	ARGV  status, raise the epoch 0|1, only from this status or ""
	//	reply {birth, epoch, rev, shards, provider, status now} | nil: there is none, or it is being deleted
	statusScript = redis.NewScript(`
local b = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'rev', 'status', 'shards', 'provider')
if not b[1] or (b[4] == 'deleting' and ARGV[1] ~= 'deleting') then
	return false
end
if ARGV[3] ~= '' and ARGV[3] ~= b[4] then
	ARGV[1] = b[4]
elseif b[4] ~= ARGV[1] or ARGV[2] == '1' then
	b[3] = string.format('%.0f', b[3] + 1)
	b[2] = string.format('%.0f', b[2] + ARGV[2])
	redis.call('HSET', KEYS[1], 'epoch', b[2], 'rev', b[3], 'status', ARGV[1])
end
return {b[1], b[2], b[3], b[5], b[6], ARGV[1]}
`)

	// bindScript remembers the store of a batch, the first time.
	//
	//	KEYS  batch
	//	ARGV  birth, store ID
	//	reply the store ID that the batch has | nil: the batch was deleted
	bindScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then
	return false
end
redis.call('HSETNX', KEYS[1], 'store', ARGV[2])
return redis.call('HGET', KEYS[1], 'store')
`)

	// dropScript removes a batch or one of its shards, unless another batch
	// of the same name is there by now.
	//
	//	KEYS  batch or meta, the keys that go with it…
	//	ARGV  birth
	//	reply 1 | 0: left alone
	dropScript = redis.NewScript(`
local birth = redis.call('HGET', KEYS[1], 'birth')
if birth and birth ~= ARGV[1] then
	return 0
end
for _, k in ipairs(KEYS) do
	redis.call('UNLINK', k)
end
return 1
`)

	// unlistScript takes a batch off the list, unless it was listed anew.
	//
	//	KEYS  batches
	//	ARGV  batch, the score that it had
	//	reply 1 | 0
	unlistScript = redis.NewScript(`
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
	return 0
end
return redis.call('ZREM', KEYS[1], ARGV[1])
`)

	// shardScript tells a shard what its batch is. What an older batch of
	// the same name left there goes. Only who opens a batch that is not told
	// may bring a shard into being: any other may come after its deletion.
	//
	//	KEYS  meta, every other key of the shard…
	//	ARGV  birth, epoch, rev, status, provider, may create 0|1
	//	reply 1 | 0: the shard knows something later, or nothing
	shardScript = redis.NewScript(`
local m = redis.call('HMGET', KEYS[1], 'birth', 'rev')
if (m[1] and tonumber(m[1]) > tonumber(ARGV[1])) or (not m[1] and ARGV[6] == '0') then
	return 0
end
if m[1] ~= ARGV[1] then
	for _, k in ipairs(KEYS) do
		redis.call('UNLINK', k)
	end
elseif tonumber(m[2]) >= tonumber(ARGV[3]) then
	return 0
end
redis.call('HSET', KEYS[1], 'birth', ARGV[1], 'epoch', ARGV[2], 'rev', ARGV[3], 'status', ARGV[4], 'provider', ARGV[5])
return 1
`)

	// addScript adds names.
	//
	//	KEYS  meta, records, state:queued
	//	ARGV  birth, names in the express lane of this shard, then line, name, line, name…
	//	reply {epoch, answer…} | {"cancelled"} | nil: the batch was deleted
	//	      answer: "new LANE" or the first line of the record that is there
	addScript = redis.NewScript(`
local m = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'status')
if m[1] ~= ARGV[1] then
	return false
end
if m[3] == 'cancelled' then
	return {'cancelled'}
end
local n = redis.call('HLEN', KEYS[2])
local t = redis.call('TIME')[1]
local express = tonumber(ARGV[2])
local reply = {m[2]}
for i = 3, #ARGV, 2 do
	local line, name = ARGV[i], ARGV[i + 1]
	local lane = n < express and 'express' or 'bulk'
	if redis.call('HSETNX', KEYS[2], name, '1 1 queued ' .. line .. ' ' .. lane .. ' 0 0 0 ' .. t .. ' - - -') == 1 then
		redis.call('ZADD', KEYS[3], line, name)
		n = n + 1
		reply[#reply + 1] = 'new ' .. lane
	else
		reply[#reply + 1] = string.match(redis.call('HGET', KEYS[2], name), '^[^\n]*')
	end
end
return reply
`)

	// beginScript reads what a task needs to know before it does anything.
	//
	//	KEYS  meta, records, tries, crashes
	//	ARGV  name, field
	//	reply {birth, epoch, status, provider, record, tries, crashes} | nil: the batch was deleted
	beginScript = redis.NewScript(`
local m = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'status', 'provider', 'tried', 'marked')
if not m[1] then
	return false
end
return {m[1], m[2], m[3], m[4], redis.call('HGET', KEYS[2], ARGV[1]) or '',
	m[5] and redis.call('HGET', KEYS[3], ARGV[2]) or '', m[6] and redis.call('HGET', KEYS[4], ARGV[2]) or ''}
`)

	// lookupScript moves a name out of queued, once.
	//
	//	KEYS  meta, records, tries, crashes, state:queued, state:TO, reasons, hosts
	//	ARGV  name, generation, epoch, TO, left, line for the record, reason, host, tries to add
	//	reply "ok": the record says so | the state that the name has | "stale" | "gone"
	lookupScript = redis.NewScript(prelude + `
local alive, tried, marked = live(KEYS[1], ARGV[3])
if not alive then return 'gone' end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if not v then return 'gone' end
local gen, st, line, lane, _, _, failed = head(v)
if gen ~= ARGV[2] then return 'stale' end
if st ~= 'queued' then
	if st == ARGV[4] and string.find(v, '\n' .. ARGV[6], 1, true) then return 'ok' end
	return st
end
local f = '0:' .. ARGV[1]
local tries = tried and redis.call('HGET', KEYS[3], f)
if tries then
	local g, n = string.match(tries, '^(%d+) (%d+)')
	if g == gen then failed = failed + n end
	redis.call('HDEL', KEYS[3], f)
end
if marked then redis.call('HDEL', KEYS[4], f) end
local to, rank = ARGV[4], '-'
if to == 'failed' then
	rank = '0'
	failed = failed + ARGV[9]
	index(KEYS[7], KEYS[8], ARGV[7], ARGV[8], line, ARGV[1])
end
redis.call('HSET', KEYS[2], ARGV[1], table.concat({'1', gen, to, line, lane, ARGV[5], '0',
	string.format('%d', failed), now(), rank, ARGV[7], ARGV[8]}, ' ') .. '\n' .. ARGV[6])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZADD', KEYS[6], line, ARGV[1])
return 'ok'
`)

	// pictureScript writes the outcome of one picture, once; the last one
	// moves the name out of found.
	//
	//	KEYS  meta, records, tries, crashes, state:found, state:done, state:partial, state:failed, reasons, hosts
	//	ARGV  name, generation, epoch, rank, line for the record, reason, host ("-" when it is stored), tries to add
	//	reply "ok" | the state that the name has | "stale" | "gone"
	pictureScript = redis.NewScript(prelude + `
local alive, tried, marked = live(KEYS[1], ARGV[3])
if not alive then return 'gone' end
local name, rank = ARGV[1], ARGV[4]
local v = redis.call('HGET', KEYS[2], name)
if not v then return 'gone' end
local gen, st, line, lane, left, stored, failed, updated, worst, reason, host = head(v)
if gen ~= ARGV[2] then return 'stale' end
if not open(v, gen, rank) then
	return st == 'found' and tonumber(rank) > pictures(v, left) and 'stale' or st
end
local f = rank .. ':' .. name
local tries = tried and redis.call('HGET', KEYS[3], f)
if tries then
	local g, n = string.match(tries, '^(%d+) (%d+)')
	if g == gen then failed = failed + n end
	redis.call('HDEL', KEYS[3], f)
end
if marked then redis.call('HDEL', KEYS[4], f) end
left = left - 1
if ARGV[6] == '-' then
	stored = stored + 1
else
	failed = failed + ARGV[8]
	if worst == '-' or tonumber(rank) < tonumber(worst) then
		worst, reason, host = rank, ARGV[6], ARGV[7]
	end
end
local to, key = 'found', nil
if left <= 0 then
	if worst == '-' then to, key = 'done', KEYS[6]
	elseif tonumber(stored) > 0 then to, key = 'partial', KEYS[7]
	else to, key = 'failed', KEYS[8] end
	redis.call('ZREM', KEYS[5], name)
	redis.call('ZADD', key, line, name)
	if worst ~= '-' then index(KEYS[9], KEYS[10], reason, host, line, name) end
	updated = now()
end
redis.call('HSET', KEYS[2], name, table.concat({'1', gen, to, line, lane, string.format('%d', left),
	string.format('%d', stored), string.format('%d', failed), updated, worst, reason, host}, ' ')
	.. body(v) .. '\n' .. ARGV[5])
return 'ok'
`)

	// tryScript counts a try that failed, or a wait that the other side asked for.
	//
	//	KEYS  meta, records, tries
	//	ARGV  name, generation, epoch, rank, token of this run, tries to add, waits to add
	//	reply {tries, waits} so far in this generation | nil: nothing to count any more
	tryScript = redis.NewScript(prelude + `
if not live(KEYS[1], ARGV[3]) then return false end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if not v then return false end
local gen, f = ARGV[2], ARGV[4] .. ':' .. ARGV[1]
if not open(v, gen, ARGV[4]) then return false end
local tries, waits, token = 0, 0, ''
local t = redis.call('HGET', KEYS[3], f)
if t then
	local g, n, w, tok = string.match(t, '^(%d+) (%d+) (%d+) (%S+)')
	if g == gen then tries, waits, token = tonumber(n), tonumber(w), tok end
end
if token ~= ARGV[5] then
	tries, waits = tries + ARGV[6], waits + ARGV[7]
	redis.call('HSET', KEYS[1], 'tried', 1)
	redis.call('HSET', KEYS[3], f, table.concat({gen, string.format('%d', tries), string.format('%d', waits), ARGV[5]}, ' '))
end
return {tries, waits}
`)

	// markScript keeps a mark while a step runs alone; a mark that stays is a crash.
	//
	//	KEYS  meta, records, crashes
	//	ARGV  name, generation, epoch, rank, token, set 1|0
	//	reply marks in this generation | nil: nothing to mark any more
	markScript = redis.NewScript(prelude + `
if not live(KEYS[1], ARGV[3]) then return false end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if not v or not open(v, ARGV[2], ARGV[4]) then return false end
local gen, f, marks = ARGV[2], ARGV[4] .. ':' .. ARGV[1], {}
for m in string.gmatch(redis.call('HGET', KEYS[3], f) or '', '%S+') do
	if m ~= gen .. ':' .. ARGV[5] and string.sub(m, 1, #gen + 1) == gen .. ':' then
		marks[#marks + 1] = m
	end
end
if ARGV[6] == '1' then marks[#marks + 1] = gen .. ':' .. ARGV[5] end
if #marks == 0 then
	redis.call('HDEL', KEYS[3], f)
else
	redis.call('HSET', KEYS[1], 'marked', 1)
	redis.call('HSET', KEYS[3], f, table.concat(marks, ' '))
end
return #marks
`)

	// retryScript raises the generation of settled names: to found where only
	// pictures are missing, else to queued.
	//
	//	KEYS  meta, records, state:FROM, state:queued, state:found, reasons, hosts
	//	ARGV  birth, FROM, name…
	//	reply the batch's status: nothing is changed if it is cancelled | nil: the batch was deleted
	retryScript = redis.NewScript(prelude + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'status')
if m[1] ~= ARGV[1] then return false end
if m[2] == 'cancelled' then return m[2] end
for i = 3, #ARGV do
	local name = ARGV[i]
	local v = redis.call('HGET', KEYS[2], name)
	local gen, st, line, lane, left, stored, failed, _, worst, reason, host = head(v or '')
	if gen and st == ARGV[2] then
		if worst ~= '-' then unindex(KEYS[6], KEYS[7], reason, host, line, name) end
		local rest, again = string.gsub(body(v), '\nF%d+ [^\n]*', '')
		left = left + again
		local to, key = 'found', KEYS[5]
		if left == 0 or not string.find(rest, '\nL ', 1, true) then
			to, key, left, stored, rest = 'queued', KEYS[4], 0, '0', ''
		end
		redis.call('HSET', KEYS[2], name, table.concat({'1', string.format('%d', gen + 1), to, line, lane,
			string.format('%d', left), stored, failed, now(), '-', '-', '-'}, ' ') .. rest)
		redis.call('ZREM', KEYS[3], name)
		redis.call('ZADD', key, line, name)
	end
end
return m[2]
`)

	// cancelScript gives names up that are not settled, unless the batch runs
	// again by now.
	//
	//	KEYS  meta, records, tries, crashes, state:queued, state:found, state:cancelled
	//	ARGV  birth, name…
	//	reply number of names changed | nil: the batch was deleted
	cancelScript = redis.NewScript(prelude + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'status')
if m[1] ~= ARGV[1] then return false end
if m[2] ~= 'cancelled' then return 0 end
local n = 0
for i = 2, #ARGV do
	local name = ARGV[i]
	local v = redis.call('HGET', KEYS[2], name)
	local gen, st, line, lane, left, stored, failed, _, worst, reason, host = head(v or '')
	if st == 'queued' or st == 'found' then
		redis.call('HSET', KEYS[2], name, table.concat({'1', gen, 'cancelled', line, lane, left, stored, failed,
			now(), '-', '-', '-'}, ' ') .. body(v))
		for rank = 0, pictures(v, left) do
			redis.call('HDEL', KEYS[3], rank .. ':' .. name)
			redis.call('HDEL', KEYS[4], rank .. ':' .. name)
		end
		redis.call('ZREM', st == 'queued' and KEYS[5] or KEYS[6], name)
		redis.call('ZADD', KEYS[7], line, name)
		n = n + 1
	end
end
return n
`)
)
