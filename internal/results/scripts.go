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
//	harvest:{B.S}:tries             hash: rank:name -> failed tries of open steps: generation, tries, waits,
//	                                token of the last run, and candidates refused for good, if any
//	harvest:{B.S}:crashes           hash: rank:name -> marks of runs alone
//	harvest:{B.S}:state:STATE       sorted set: names by line
//	harvest:{B.S}:reasons           sorted set, all 0: "REASON LINE NAME" of failures
//	harvest:{B.S}:hosts             sorted set, all 0: "HOST LINE NAME" of failures
//	harvest:{B.S}:refreshed         hash: the newest refresh and what came of it, see refreshScript
//	harvest:{B.S}:dropped           set: "NAME", line break, a record's line of a picture that it has no more
//	harvest:{content.X}:claims     sorted set: "HASH TOKEN" by end of claim, ms; see contents.go
//
// Beside their state names may have a mark, see [Refreshing] and [Stale]; its
// set is called as a state's.
//
// The batch hash: birth (µs, Redis's clock: tells this batch from a deleted
// one of the same name), epoch (birth, and 1 more with each resume), rev (1
// more with each change of status), status (running, paused, cancelled,
// deleting), provider, params (those that are not the provider's defaults, in
// JSON, where there are any), shards, source, store (bound by the first worker),
// ended (1 when an enqueuer reached its end since the last one opened), told
// (1 when all shards were brought into being), opens (how often an enqueuer
// has opened it), cause (limit: why it is paused, where that was not by
// command), bytes (stored so far, see standingScript), max_pictures (of each
// name, 0 for the provider's bound).
// Each shard's meta repeats birth, epoch, rev, status, provider and params. Its
// forgotten is the highest generation of a name that was forgotten there: a
// new name begins above it, so that no task of one that is gone is taken for
// its own. Its tried
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

func (k keyspace) refreshed(b string, s int) string { return k.shard(b, s) + "refreshed" }
func (k keyspace) dropped(b string, s int) string   { return k.shard(b, s) + "dropped" }

// claims is where who stores and who removes contents meet; prefix is the
// first letter of the hash.
func (k keyspace) claims(prefix string) string {
	return k.prefix + "{content." + prefix + "}:claims"
}

func (k keyspace) state(b string, s int, st State) string {
	return k.shard(b, s) + "state:" + string(st)
}

// states lists the sets of every state and mark.
func (k keyspace) states(b string, s int) []string {
	var keys []string
	for _, st := range append(States(), Marks()...) {
		keys = append(keys, k.state(b, s, st))
	}
	return keys
}

// data lists every key of a shard but its meta.
func (k keyspace) data(b string, s int) []string {
	keys := []string{
		k.records(b, s), k.tries(b, s), k.crashes(b, s), k.reasons(b, s), k.hosts(b, s), k.refreshed(b, s), k.dropped(b, s),
	}
	return append(keys, k.states(b, s)...)
}

// field is a step's field in tries and crashes; rank 0 is the lookup.
func field(name string, rank int) string { return strconv.Itoa(rank) + ":" + name }

// What scripts have in common. Each takes the functions that it calls, and
// those that they call: a function costs time in every run that defines it.
//
//	live(meta, epoch): whether a task made in epoch belongs to the batch that is there now,
//	      and whether any step of the shard was tried, or marked
//	head(v): the twelve words of a record's first line but the version
//	now(): seconds
//	columns(v), history(v): the line of a record that has the name's columns, or its history, with the
//	      break before it, or ""
//	note(b, event): the body b of a record with one more event in its history
//	inherit(b, v): the body b of a record with the history of the record v
//	parts(v): the settled record of a name that is asked again, nil for any other name, and the
//	      record under way
//	pictures(v, left): how many pictures the name has
//	open(v, generation, rank): whether that step is still to come
//	index/unindex: a failure in the lists by reason and host
//	drop(key, name, old, new): notes the pictures of old that new does not have
//	setAside(v, …): moves an open name to the unreadable ones, unless its
//	      record v is of a later version, which a newer worker can read
//	happened(records, name, v, event): notes an event in the record under way of v
//	setsOf(keys, first): the sets of states and marks, by state or mark, from KEYS[first] on
//
// An event of a history is as package constants say, see history.go.
const (
	maxHistory = "8"

	luaLive = `
local function live(meta, epoch)
	local m = redis.call('HMGET', meta, 'birth', 'tried', 'marked')
	return m[1] and tonumber(epoch) >= tonumber(m[1]), m[2], m[3]
end
`
	luaHead = `
local function head(v)
	return string.match(v, '^1 (%d+) (%S+) (%d+) (%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)')
end
`
	luaBody = `
local function body(v)
	local at = string.find(v, '\n', 1, true)
	return at and string.sub(v, at) or ''
end
`
	luaColumns = `
local function columns(v)
	return string.match(v, '\nC [^\n]*') or ''
end
`
	luaHistory = `
local function history(v)
	return string.match(v, '\nH [^\n]*') or ''
end
`
	luaNote = `
local function note(b, event)
	local from, to, earlier, events = string.find(b, '\nH (%d+) ([^\n]*)')
	if not from then return '\nH 0 ' .. event .. b end
	local _, blanks = string.gsub(events, ' ', '')
	if blanks + 1 >= ` + maxHistory + ` then
		earlier, events = earlier + 1, string.match(events, ' (.*)')
	end
	return string.sub(b, 1, from - 1) .. '\nH ' .. string.format('%d', earlier) .. ' ' .. events .. ' ' .. event ..
		string.sub(b, to + 1)
end
`
	luaInherit = `
local function inherit(b, v)
	local past = string.match(v, '\nH [^\n]*')
	if not past then return b end
	local from, to = string.find(b, '\nH [^\n]*')
	if from then b = string.sub(b, 1, from - 1) .. string.sub(b, to + 1) end
	return past .. b
end
`
	luaParts = `
local function parts(v)
	local at = string.find(v, '\n=\n', 1, true)
	if at then return string.sub(v, 1, at - 1), string.sub(v, at + 3) end
	return nil, v
end
`
	luaPictures = `
local function pictures(v, left)
	local _, outcomes = string.gsub(v, '\n[PF]%d+ ', '')
	return left + outcomes
end
`
	luaOpen = `
local function open(v, generation, rank)
	local _, v = parts(v)
	local gen, st, _, _, left = head(v)
	if gen ~= generation then return false end
	if rank == '0' then return st == 'queued' end
	return st == 'found' and (tonumber(rank) <= tonumber(left) or tonumber(rank) <= pictures(v, left)) and
		not string.find(v, '\nP' .. rank .. ' ', 1, true) and not string.find(v, '\nF' .. rank .. ' ', 1, true)
end
`
	luaNow = `
local function now()
	return redis.call('TIME')[1]
end
`
	luaMember = `
local function member(key, line, name)
	return key .. ' ' .. string.format('%012d', line) .. ' ' .. name
end
`
	luaIndex = `
local function index(reasons, hosts, reason, host, line, name)
	redis.call('ZADD', reasons, 0, member(reason, line, name))
	redis.call('ZADD', hosts, 0, member(host, line, name))
end
`
	luaSetAside = `
local function setAside(v, name, sets, reasons, hosts)
	local version = string.match(v or '', '^(%d+) ')
	if version and tonumber(version) > 1 then return 0 end
	for _, open in ipairs({'queued', 'found', 'refreshing'}) do
		local line = redis.call('ZSCORE', sets[open], name)
		if line then
			-- One that is asked again lies in the set of its state as well.
			for _, key in pairs(sets) do redis.call('ZREM', key, name) end
			local _, _, _, _, _, _, _, _, worst, reason, host = head(v or '')
			if worst and worst ~= '-' then unindex(reasons, hosts, reason, host, line, name) end
			redis.call('ZADD', sets.unreadable, line, name)
			return 1
		end
	end
	return 0
end
`
	luaSetsOf = `
local function setsOf(keys, first)
	local sets = {}
	for i = first, #keys do
		sets[string.match(keys[i], ':state:([a-z_]+)$')] = keys[i]
	end
	return sets
end
`
	luaHappened = `
local function happened(records, name, v, event)
	local good, under = parts(v)
	under = string.match(under, '^[^\n]*') .. note(body(under), event)
	redis.call('HSET', records, name, good and good .. '\n=\n' .. under or under)
end
`
	luaUnindex = `
local function unindex(reasons, hosts, reason, host, line, name)
	redis.call('ZREM', reasons, member(reason, line, name))
	redis.call('ZREM', hosts, member(host, line, name))
end
`
	luaDrop = `
local function drop(key, name, old, new)
	for l in string.gmatch(old, '\n(P%d+ [^\n]*)') do
		if not string.find(new, l, 1, true) then redis.call('SADD', key, name .. '\n' .. l) end
	end
end
`
)

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
	//	ARGV  provider, shards, source, lease, ttl ms, params, "" to take those that the batch has
	//	reply {"ok", birth, epoch, rev, status, shards, new 0|1, told 0|1, now ms, opens, params}
	//	      {"provider", its provider} | {"params", its params} | {"deleting"}
	openScript = redis.NewScript(`
local t = redis.call('TIME')
local birth = string.format('%.0f', t[1] * 1000000 + t[2])
local ms = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local b = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'rev', 'status', 'shards', 'provider', 'told', 'params')
local params = b[8] or ''
local new = 0
if not b[1] then
	new = 1
	b = {birth, birth, '1', 'running', ARGV[2], ARGV[1]}
	redis.call('HSET', KEYS[1], 'birth', birth, 'epoch', birth, 'rev', 1, 'status', 'running',
		'shards', ARGV[2], 'provider', ARGV[1], 'source', ARGV[3])
	params = ARGV[6]
	if params ~= '' then redis.call('HSET', KEYS[1], 'params', params) end
elseif b[4] == 'deleting' then
	return {'deleting'}
elseif b[6] ~= ARGV[1] then
	return {'provider', b[6]}
elseif ARGV[7] ~= '' and params ~= ARGV[6] then
	return {'params', params}
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
return {'ok', b[1], b[2], b[3], b[4], b[5], new, b[7] or '0', ms, redis.call('HINCRBY', KEYS[1], 'opens', 1), params}
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

	// standingScript reads what a worker that has tasks of the batch under way
	// must know, and adds up what it stored since it last asked. A reply that
	// is lost adds twice: the sum is near enough for a limit, and no promise.
	//
	//	KEYS  batch
	//	ARGV  epoch of the tasks, bytes
	//	reply {epoch, status} | nil: the batch was deleted
	standingScript = redis.NewScript(`
local b = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'status')
if not b[1] then
	return false
end
if ARGV[2] ~= '0' and tonumber(ARGV[1]) >= tonumber(b[1]) then
	redis.call('HINCRBY', KEYS[1], 'bytes', ARGV[2])
end
return {b[2], b[3]}
`)

	// maxPicturesScript remembers the bound of pictures of a batch, the first
	// time.
	//
	//	KEYS  batch
	//	ARGV  birth, bound
	//	reply the bound that the batch has | nil: the batch was deleted
	maxPicturesScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then
	return false
end
redis.call('HSETNX', KEYS[1], 'max_pictures', ARGV[2])
return tonumber(redis.call('HGET', KEYS[1], 'max_pictures'))
`)

	// statusScript changes a batch's status.
	//
	//	KEYS  batch
	//	ARGV  status, raise the epoch 0|1, only from this status or "", cause or ""
	//	reply {birth, epoch, rev, shards, provider, status now, params} | nil: there is none, or it is being deleted
	statusScript = redis.NewScript(`
local b = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'rev', 'status', 'shards', 'provider', 'params')
if not b[1] or (b[4] == 'deleting' and ARGV[1] ~= 'deleting') then
	return false
end
if ARGV[3] ~= '' and ARGV[3] ~= b[4] then
	ARGV[1] = b[4]
elseif b[4] ~= ARGV[1] or ARGV[2] == '1' then
	b[3] = string.format('%.0f', b[3] + 1)
	b[2] = string.format('%.0f', b[2] + ARGV[2])
	redis.call('HSET', KEYS[1], 'epoch', b[2], 'rev', b[3], 'status', ARGV[1])
	redis.call('HDEL', KEYS[1], 'cause')
	if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'cause', ARGV[4]) end
elseif ARGV[4] == '' then
	redis.call('HDEL', KEYS[1], 'cause')
end
return {b[1], b[2], b[3], b[5], b[6], ARGV[1], b[7] or ''}
`)

	// bindScript remembers the store of a batch and the naming of its pictures,
	// the first time, and that they have sidecars.
	//
	//	KEYS  batch
	//	ARGV  birth, store ID or "", naming or "", sidecars 0|1
	//	reply {store ID, naming, sidecars} that the batch has | nil: the batch was deleted
	bindScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then
	return false
end
for i, field in ipairs({'store', 'names'}) do
	if ARGV[i + 1] ~= '' then
		redis.call('HSETNX', KEYS[1], field, ARGV[i + 1])
	end
end
if ARGV[4] == '1' then
	redis.call('HSET', KEYS[1], 'sidecars', 1)
end
return redis.call('HMGET', KEYS[1], 'store', 'names', 'sidecars')
`)

	// rebindScript gives a batch another store.
	//
	//	KEYS  batch
	//	ARGV  birth, store ID
	//	reply 1 | nil: the batch was deleted
	rebindScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then
	return false
end
redis.call('HSET', KEYS[1], 'store', ARGV[2])
return 1
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
	//	ARGV  birth, epoch, rev, status, provider, may create 0|1, params
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
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'params', ARGV[7]) end
return 1
`)

	// addScript adds names.
	//
	//	KEYS  meta, records, state:queued
	//	ARGV  birth, names in the express lane of this shard, then line, name, columns, line, name, columns…
	//	reply {epoch, answer…} | {"cancelled"} | nil: the batch was deleted
	//	      columns: a record's line of them, or ""
	//	      answer: "new LANE GENERATION", or the first line of the record that is there and, for a name that
	//	      came with columns, its line of columns: of a name that is asked again, those of the record under way
	addScript = redis.NewScript(luaColumns + luaParts + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'status', 'forgotten')
if m[1] ~= ARGV[1] then
	return false
end
if m[3] == 'cancelled' then
	return {'cancelled'}
end
local n = redis.call('HLEN', KEYS[2])
local t = redis.call('TIME')[1]
local express = tonumber(ARGV[2])
local generation = string.format('%d', (m[4] or 0) + 1)
local reply = {m[2]}
for i = 3, #ARGV, 3 do
	local line, name, given = ARGV[i], ARGV[i + 1], ARGV[i + 2]
	local lane = n < express and 'express' or 'bulk'
	local record = '1 ' .. generation .. ' queued ' .. line .. ' ' .. lane .. ' 0 0 0 ' .. t .. ' - - -'
	if given ~= '' then record = record .. '\n' .. given end
	if redis.call('HSETNX', KEYS[2], name, record) == 1 then
		redis.call('ZADD', KEYS[3], line, name)
		n = n + 1
		reply[#reply + 1] = 'new ' .. lane .. ' ' .. generation
	else
		local _, v = parts(redis.call('HGET', KEYS[2], name))
		reply[#reply + 1] = string.match(v, '^[^\n]*') .. (given ~= '' and columns(v) or '')
	end
end
return reply
`)

	// beginScript reads what a task needs to know before it does anything.
	//
	//	KEYS  meta, records, tries, crashes
	//	ARGV  name, field
	//	reply {birth, epoch, status, provider, record, tries, crashes, params} | nil: the batch was deleted
	beginScript = redis.NewScript(`
local m = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'status', 'provider', 'tried', 'marked', 'params')
if not m[1] then
	return false
end
return {m[1], m[2], m[3], m[4], redis.call('HGET', KEYS[2], ARGV[1]) or '',
	m[5] and redis.call('HGET', KEYS[3], ARGV[2]) or '', m[6] and redis.call('HGET', KEYS[4], ARGV[2]) or '', m[7] or ''}
`)

	// lookupScript moves a name out of queued, once: by its answer alone, or
	// with the pictures that were stored in the same run.
	//
	//	KEYS  meta, records, tries, crashes, state:queued, state:TO, reasons, hosts
	//	ARGV  name, generation, epoch, TO, left, stored, lines for the record, reason, host, the try that failed
	//	      and is not counted yet in a history's word, or ""
	//	reply "ok": the record says so | the state that the name has | "stale" | "gone" |
	//	      "refresh RECORD": nothing is changed, for the name is asked again, see refreshScript
	lookupScript = redis.NewScript(luaLive + luaHead + luaColumns + luaHistory + luaNote + luaNow + luaMember + luaIndex + `
local alive, tried, marked = live(KEYS[1], ARGV[3])
if not alive then return 'gone' end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if not v then return 'gone' end
if string.find(v, '\n=\n', 1, true) then return 'refresh ' .. v end
local gen, st, line, lane, _, _, failed = head(v)
if gen ~= ARGV[2] then return 'stale' end
if st ~= 'queued' then
	if st == ARGV[4] and string.find(v, '\n' .. ARGV[7], 1, true) then return 'ok' end
	return st
end
local f = '0:' .. ARGV[1]
local to, rank, t, past = ARGV[4], '-', now(), history(v)
local tries = tried and redis.call('HGET', KEYS[3], f)
if tries then
	local g, n = string.match(tries, '^(%d+) (%d+)')
	if g == gen then
		failed = failed + n
		if to ~= 'failed' and tonumber(n) > 0 then past = note(past, gen .. ':0:' .. t .. ':ok') end
	end
	redis.call('HDEL', KEYS[3], f)
end
if marked then redis.call('HDEL', KEYS[4], f) end
if to == 'failed' then
	rank = '0'
	if ARGV[10] ~= '' then
		failed = failed + 1
		past = note(past, gen .. ':0:' .. t .. ':' .. ARGV[10])
	end
	index(KEYS[7], KEYS[8], ARGV[8], ARGV[9], line, ARGV[1])
end
redis.call('HSET', KEYS[2], ARGV[1], table.concat({'1', gen, to, line, lane, ARGV[5], ARGV[6],
	string.format('%d', failed), t, rank, ARGV[8], ARGV[9]}, ' ') .. columns(v) .. past .. '\n' .. ARGV[7])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZADD', KEYS[6], line, ARGV[1])
return 'ok'
`)

	// pictureScript writes the outcome of one picture, once; the last one
	// moves the name out of found.
	//
	//	KEYS  meta, records, tries, crashes, state:found, state:done, state:partial, state:failed, reasons, hosts
	//	ARGV  name, generation, epoch, rank, line for the record, reason, host ("-" when it is stored), the try that
	//	      failed and is not counted yet, as above
	//	reply "ok": the record says so, or said so | the state that the name has | "stale" | "gone" |
	//	      "refresh RECORD", as above
	pictureScript = redis.NewScript(luaLive + luaHead + luaBody + luaNote + luaParts + luaPictures + luaOpen + luaNow + luaMember + luaIndex + `
local alive, tried, marked = live(KEYS[1], ARGV[3])
if not alive then return 'gone' end
local name, rank = ARGV[1], ARGV[4]
local v = redis.call('HGET', KEYS[2], name)
if not v then return 'gone' end
if string.find(v, '\n=\n', 1, true) then return 'refresh ' .. v end
local gen, st, line, lane, left, stored, failed, updated, worst, reason, host = head(v)
if gen ~= ARGV[2] then return 'stale' end
if not open(v, gen, rank) then
	if string.find(v, '\n' .. ARGV[5], 1, true) then return 'ok' end
	return st == 'found' and tonumber(rank) > pictures(v, left) and 'stale' or st
end
local f, lines = rank .. ':' .. name, body(v)
local tries = tried and redis.call('HGET', KEYS[3], f)
if tries then
	local g, n = string.match(tries, '^(%d+) (%d+)')
	if g == gen then
		failed = failed + n
		if ARGV[6] == '-' and tonumber(n) > 0 then lines = note(lines, gen .. ':' .. rank .. ':' .. now() .. ':ok') end
	end
	redis.call('HDEL', KEYS[3], f)
end
if marked then redis.call('HDEL', KEYS[4], f) end
left = left - 1
if ARGV[6] == '-' then
	stored = stored + 1
else
	if ARGV[8] ~= '' then
		failed = failed + 1
		lines = note(lines, gen .. ':' .. rank .. ':' .. now() .. ':' .. ARGV[8])
	end
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
	.. lines .. '\n' .. ARGV[5])
return 'ok'
`)

	// tryScript counts a try that failed, or a wait that the other side asked
	// for. An entry is "GENERATION TRIES WAITS TOKEN REFUSED EPOCH N": so many
	// candidates of a picture were refused for good, and N of the tries were
	// made by the tasks of that epoch. The end may be missing; without an
	// epoch all tries count as such.
	//
	//	KEYS  meta, records, tries
	//	ARGV  name, generation, epoch, rank, token of this run, tries to add, waits to add, the try in a history's word
	//	reply {tries, waits} so far in this generation | nil: nothing to count any more
	tryScript = redis.NewScript(luaLive + luaHead + luaBody + luaNote + luaParts + luaPictures + luaOpen + luaNow + luaHappened + `
if not live(KEYS[1], ARGV[3]) then return false end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if not v then return false end
local gen, f = ARGV[2], ARGV[4] .. ':' .. ARGV[1]
if not open(v, gen, ARGV[4]) then return false end
local tries, waits, token, refused, here = 0, 0, '', '0', 0
local t = redis.call('HGET', KEYS[3], f)
if t then
	local g, n, w, tok, rest = string.match(t, '^(%d+) (%d+) (%d+) (%S+)(.*)')
	if g == gen then
		tries, waits, token = tonumber(n), tonumber(w), tok
		refused = string.match(rest, '^ (%d+)') or '0'
		local epoch, k = string.match(rest, '^ %d+ (%d+) (%d+)')
		if not epoch then here = tries elseif epoch == ARGV[3] then here = tonumber(k) end
	end
end
if token ~= ARGV[5] then
	tries, waits, here = tries + ARGV[6], waits + ARGV[7], here + ARGV[6]
	redis.call('HSET', KEYS[1], 'tried', 1)
	redis.call('HSET', KEYS[3], f, table.concat({gen, string.format('%d', tries), string.format('%d', waits), ARGV[5],
		refused, ARGV[3], string.format('%d', here)}, ' '))
	if ARGV[6] ~= '0' then happened(KEYS[2], ARGV[1], v, gen .. ':' .. ARGV[4] .. ':' .. now() .. ':' .. ARGV[8]) end
end
return {tries, waits}
`)

	// refuseScript notes how many candidates of a picture were refused for good.
	//
	//	KEYS  meta, records, tries
	//	ARGV  name, generation, epoch, rank, how many
	//	reply 1 | nil: nothing to note any more
	refuseScript = redis.NewScript(luaLive + luaHead + luaParts + luaPictures + luaOpen + `
if not live(KEYS[1], ARGV[3]) then return false end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if not v then return false end
local gen, f = ARGV[2], ARGV[4] .. ':' .. ARGV[1]
if not open(v, gen, ARGV[4]) then return false end
local tries, more = gen .. ' 0 0 -', ''
local t = redis.call('HGET', KEYS[3], f)
if t then
	local old, rest = string.match(t, '^(%d+ %d+ %d+ %S+)(.*)')
	if old and string.match(old, '^%d+') == gen then
		tries, more = old, string.match(rest, '^ %d+( .*)') or ''
	end
end
redis.call('HSET', KEYS[1], 'tried', 1)
redis.call('HSET', KEYS[3], f, tries .. ' ' .. ARGV[5] .. more)
return 1
`)

	// markScript keeps a mark while a step runs alone; a mark that stays is a crash.
	//
	//	KEYS  meta, records, crashes
	//	ARGV  name, generation, epoch, rank, token, set 1|0
	//	reply marks in this generation | nil: nothing to mark any more
	markScript = redis.NewScript(luaLive + luaHead + luaParts + luaPictures + luaOpen + `
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

	// deathScript notes, once for a token, that a step's worker died.
	//
	//	KEYS  meta, records
	//	ARGV  name, generation, epoch, rank, token
	//	reply 1 | nil: nothing to note any more
	deathScript = redis.NewScript(luaLive + luaHead + luaBody + luaHistory + luaNote + luaParts + luaPictures + luaOpen + luaNow + luaHappened + `
if not live(KEYS[1], ARGV[3]) then return false end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if not v or not open(v, ARGV[2], ARGV[4]) then return false end
local step, death = ARGV[2] .. ':' .. ARGV[4] .. ':', ':died:' .. ARGV[5]
local _, under = parts(v)
for event in string.gmatch(history(under), '%S+') do
	if string.sub(event, 1, #step) == step and string.sub(event, -#death) == death then return 1 end
end
happened(KEYS[2], ARGV[1], v, step .. now() .. death)
return 1
`)

	// retryScript raises the generation of settled names: to found where only
	// pictures are missing, else to queued. Names that are asked again anyway
	// stay as they are. What was unreadable begins anew, in a generation that
	// no task of it can have had: the second it is. One that failed and comes
	// with other columns than it has is asked with these, from its lookup on.
	//
	//	KEYS  meta, records, state:FROM, state:queued, state:found, reasons, hosts, state:stale
	//	ARGV  birth, FROM, name, columns, name, columns… (as addScript has them)
	//	reply the batch's status: nothing is changed if it is cancelled | nil: the batch was deleted
	retryScript = redis.NewScript(luaHead + luaBody + luaColumns + luaHistory + luaParts + luaNow + luaMember + luaUnindex + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'status')
if m[1] ~= ARGV[1] then return false end
if m[2] == 'cancelled' then return m[2] end
for i = 3, #ARGV, 2 do
	local name, given = ARGV[i], ARGV[i + 1]
	local v = redis.call('HGET', KEYS[2], name)
	local gen, st, line, lane, left, stored, failed, _, worst, reason, host = head(v or '')
	local aside = ARGV[2] == 'unreadable' and redis.call('ZSCORE', KEYS[3], name)
	if aside then
		redis.call('HSET', KEYS[2], name, table.concat({'1', now(), 'queued', string.format('%d', aside), 'bulk',
			'0', '0', '0', now(), '-', '-', '-'}, ' '))
		redis.call('ZREM', KEYS[3], name)
		redis.call('ZADD', KEYS[4], aside, name)
	elseif gen and st == ARGV[2] and not parts(v) and reason ~= 'forgotten' then
		if worst ~= '-' then unindex(KEYS[6], KEYS[7], reason, host, line, name) end
		local rest, again = string.gsub(body(v), '\nF%d+ [^\n]*', '')
		left = left + again
		local to, key = 'found', KEYS[5]
		given = given == '' and columns(v) or '\n' .. given
		if left == 0 or not string.find(rest, '\nL ', 1, true) or (st == 'failed' and given ~= columns(v)) then
			to, key, left, stored, rest = 'queued', KEYS[4], 0, '0', given .. history(v)
			redis.call('ZREM', KEYS[8], name)
		end
		redis.call('HSET', KEYS[2], name, table.concat({'1', string.format('%d', gen + 1), to, line, lane,
			string.format('%d', left), stored, failed, now(), '-', '-', '-'}, ' ') .. rest)
		redis.call('ZREM', KEYS[3], name)
		redis.call('ZADD', key, line, name)
	end
end
return m[2]
`)

	// lostScript opens names again whose pictures were lost, if they are
	// settled and as they were read.
	//
	//	KEYS  meta, records, state:done, state:partial, state:found, reasons, hosts
	//	ARGV  birth, then name, generation, state, lost ranks as ",1,3," of each
	//	reply the batch's status | nil: the batch was deleted
	lostScript = redis.NewScript(luaHead + luaBody + luaParts + luaNow + luaMember + luaUnindex + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'status')
if m[1] ~= ARGV[1] then return false end
if m[2] == 'cancelled' then return m[2] end
for i = 2, #ARGV, 4 do
	local name, ranks = ARGV[i], ARGV[i + 3]
	local v = redis.call('HGET', KEYS[2], name)
	local gen, st, line, lane, left, stored, failed, _, worst, reason, host = head(v or '')
	if gen == ARGV[i + 1] and st == ARGV[i + 2] and (st == 'done' or st == 'partial') and not parts(v) then
		if worst ~= '-' then unindex(KEYS[6], KEYS[7], reason, host, line, name) end
		local lost = 0
		local rest = string.gsub(body(v), '\nP(%d+) [^\n]*', function(rank)
			if not string.find(ranks, ',' .. rank .. ',', 1, true) then return nil end
			lost = lost + 1
			return ''
		end)
		if lost > 0 then
			local again
			rest, again = string.gsub(rest, '\nF%d+ [^\n]*', '')
			redis.call('HSET', KEYS[2], name, table.concat({'1', string.format('%d', gen + 1), 'found', line, lane,
				string.format('%d', left + lost + again), string.format('%d', stored - lost), failed, now(), '-', '-', '-'}, ' ') .. rest)
			redis.call('ZREM', st == 'done' and KEYS[3] or KEYS[4], name)
			redis.call('ZADD', KEYS[5], line, name)
		end
	end
end
return m[2]
`)

	// cancelScript gives names up that are not settled, unless the batch runs
	// again by now. A name that was asked again stays what it was.
	//
	//	KEYS  meta, records, tries, crashes, reasons, hosts, dropped, state:STATE of every state and mark
	//	ARGV  birth, name…
	//	reply number of names changed | nil: the batch was deleted
	cancelScript = redis.NewScript(luaHead + luaBody + luaInherit + luaParts + luaPictures + luaNow + luaDrop + luaMember + luaUnindex +
		luaSetAside + luaSetsOf + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'status')
if m[1] ~= ARGV[1] then return false end
if m[2] ~= 'cancelled' then return 0 end
local n, sets = 0, setsOf(KEYS, 8)
for i = 2, #ARGV do
	local name = ARGV[i]
	local good, v = parts(redis.call('HGET', KEYS[2], name) or '')
	local gen, st, line, lane, left, stored, failed, _, worst, reason, host = head(v)
	if st == 'queued' or st == 'found' then
		if good then
			redis.call('HSET', KEYS[2], name, '1 ' .. gen .. string.match(good, '^1 %d+([^\n]*)') .. inherit(body(good), v))
			redis.call('ZREM', sets.refreshing, name)
			drop(KEYS[7], name, v, good)
		else
			redis.call('HSET', KEYS[2], name, table.concat({'1', gen, 'cancelled', line, lane, left, stored, failed,
				now(), '-', '-', '-'}, ' ') .. body(v))
			redis.call('ZREM', sets[st], name)
			redis.call('ZADD', sets.cancelled, line, name)
		end
		for rank = 0, pictures(v, left) do
			redis.call('HDEL', KEYS[3], rank .. ':' .. name)
			redis.call('HDEL', KEYS[4], rank .. ':' .. name)
		end
		n = n + 1
	elseif not st then
		setAside(good or v, name, sets, KEYS[5], KEYS[6])
	end
end
return n
`)

	// askScript begins a refresh: it puts a record under way behind those of
	// settled names, each once in a refresh, and forgets what came of an
	// earlier one.
	//
	//	KEYS  meta, records, refreshed, state:refreshing
	//	ARGV  birth, refresh, gone after (0: as the one before), age in seconds that a good answer must have, then
	//	      name, columns, name, columns… (as addScript has them, "" for those that the name has)
	//	reply the batch's status: nothing is changed if it is cancelled | nil: the batch was deleted
	askScript = redis.NewScript(luaHead + luaColumns + luaHistory + luaParts + luaNow + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'status')
if m[1] ~= ARGV[1] then return false end
if m[2] == 'cancelled' then return m[2] end
local id = tonumber(ARGV[2])
if tonumber(redis.call('HGET', KEYS[3], 'refresh') or 0) < id then
	local after = ARGV[3] == '0' and redis.call('HGET', KEYS[3], 'after') or ARGV[3]
	redis.call('DEL', KEYS[3])
	redis.call('HSET', KEYS[3], 'refresh', ARGV[2], 'after', after)
end
local t = now()
for i = 5, #ARGV, 2 do
	local name, given = ARGV[i], ARGV[i + 1]
	local good, v = parts(redis.call('HGET', KEYS[2], name) or '')
	local gen, st, line, lane, _, _, failed, updated, _, reason = head(v)
	if gen and not good and st ~= 'queued' and st ~= 'found' and reason ~= 'forgotten' then
		local asked = string.match(v, '\nR (%d+)')
		local old = st == 'failed' or st == 'cancelled' or t - updated >= tonumber(ARGV[4])
		if old and (not asked or tonumber(asked) < id) then
			redis.call('HSET', KEYS[2], name, v .. '\n=\n' .. table.concat({'1', string.format('%d', gen + 1), 'queued',
				line, lane, '0', '0', failed, t, '-', '-', '-'}, ' ') .. '\nR ' .. ARGV[2] .. ' 0 0' ..
				(given == '' and columns(v) or '\n' .. given) .. history(v))
			redis.call('ZADD', KEYS[4], line, name)
		end
	end
end
return m[2]
`)

	// refreshScript settles a step of a name that is asked again, once. The
	// last step decides: where the record under way ended as well as the
	// settled one it takes its place; where it lost a picture, or the lookup
	// failed, the settled one stays and is stale. Only an answer that the name
	// or its picture is not there, as often in a row as the refresh says,
	// takes something away.
	//
	// A record under way has the line "R REFRESH CHANGED LOST": LOST is 1
	// where a picture was not there any more, 2 where one failed otherwise.
	// The hash refreshed has the refresh, its after, and how many names ended
	// unchanged, changed, gone and failed.
	//
	//	KEYS  meta, records, tries, crashes, reasons, hosts, refreshed, dropped, state:refreshing, state:stale,
	//	      state:done, state:partial, state:failed, state:not_found, state:no_picture, state:cancelled
	//	ARGV  name, generation, epoch, rank, TO of the lookup, left, stored, lines for the record, reason, host, the try
	//	      that failed and is not counted yet, as above, differs from the settled record 0|1
	//	reply "ok": the record says so, or said so | the state that the name has | "stale" | "gone"
	refreshScript = redis.NewScript(luaLive + luaHead + luaBody + luaNote + luaInherit + luaParts + luaPictures + luaOpen + luaNow + luaMember + luaIndex + luaUnindex + luaDrop + `
local alive, tried, marked = live(KEYS[1], ARGV[3])
if not alive then return 'gone' end
local name, rank = ARGV[1], ARGV[4]
local good, v = parts(redis.call('HGET', KEYS[2], name) or '')
local gen, st, line, lane, left, stored, failed, updated, worst, reason, host = head(v)
if not gen then return 'gone' end
if gen ~= ARGV[2] then return 'stale' end
if rank == '0' and st ~= 'queued' then
	if st == ARGV[5] and string.find(v, '\n' .. ARGV[8], 1, true) then return 'ok' end
	return st
end
if rank ~= '0' and (not good or not open(v, gen, rank)) and string.find(v, '\n' .. ARGV[8], 1, true) then return 'ok' end
if not good then return st end
if not open(v, gen, rank) then
	return st == 'found' and tonumber(rank) > pictures(v, left) and 'stale' or st
end
local f, lines = rank .. ':' .. name, body(v)
local event = gen .. ':' .. rank .. ':' .. now() .. ':'
local tries = tried and redis.call('HGET', KEYS[3], f)
if tries then
	local g, n = string.match(tries, '^(%d+) (%d+)')
	if g == gen then
		failed = failed + n
		if ARGV[9] == '-' and tonumber(n) > 0 then lines = note(lines, event .. 'ok') end
	end
	redis.call('HDEL', KEYS[3], f)
end
if marked then redis.call('HDEL', KEYS[4], f) end
if ARGV[11] ~= '' then
	failed = failed + 1
	lines = note(lines, event .. ARGV[11])
end

local id, changed, lost = string.match(v, '\nR (%d+) (%d) (%d)')
if ARGV[12] == '1' then changed = '1' end
local to = 'found'
if rank == '0' then
	to, left, stored = ARGV[5], ARGV[6], ARGV[7]
	if to == 'failed' then worst, reason, host = '0', ARGV[9], ARGV[10] end
else
	left = left - 1
	if ARGV[9] == '-' then
		stored = stored + 1
	else
		if worst == '-' or tonumber(rank) < tonumber(worst) then
			worst, reason, host = rank, ARGV[9], ARGV[10]
		end
		if string.find(good, '\nP' .. rank .. ' ', 1, true) then
			lost = (ARGV[9] ~= 'missing' or lost == '2') and '2' or '1'
		end
	end
	if left <= 0 then
		to = worst == '-' and 'done' or tonumber(stored) > 0 and 'partial' or 'failed'
	end
end
lines = string.gsub(lines, '\nR [^\n]*', '') .. '\n' .. ARGV[8]
local first = table.concat({'1', gen, to, line, lane, string.format('%d', left), string.format('%d', stored),
	string.format('%d', failed), to == 'found' and updated or now(), worst, reason, host}, ' ')
if to == 'found' then
	redis.call('HSET', KEYS[2], name, good .. '\n=\n' .. first .. '\nR ' .. id .. ' ' .. changed .. ' ' .. lost .. lines)
	return 'ok'
end

local _, was, _, _, gleft, gstored, _, gupdated, gworst, greason, ghost = head(good)
local since, misses = string.match(good, '\nS (%d+) (%d+) ')
local broken = rank == '0' and to == 'failed' or lost == '2'
local absent = not broken and ((to == 'not_found' and was ~= 'not_found') or (to == 'no_picture' and tonumber(gstored) > 0) or
	((rank ~= '0' or to == 'done') and (lost == '1' or tonumber(stored) < tonumber(gstored))))
misses = absent and (misses or 0) + 1 or 0
local after = tonumber(redis.call('HGET', KEYS[7], 'after') or 0)
if after == 0 then after = 2 end
redis.call('ZREM', KEYS[9], name)
if string.find(good, '\nL ', 1, true) and (broken or absent and misses < after) then
	local why, last = '{"r":"no_picture"}', rank
	if to == 'not_found' then
		why = '{"r":"not_found"}'
	elseif rank == '0' and broken then
		why = string.match(ARGV[8], '^%S+ (.*)$')
	elseif worst ~= '-' then
		why = string.match(lines, '\nF' .. worst .. ' ([^\n]*)')
	end
	for r in string.gmatch(lines, '\n[PF](%d+) ') do last = r end
	local rest = string.gsub(string.gsub(inherit(body(good), lines), '\nR [^\n]*', ''), '\nS [^\n]*', '')
	redis.call('HSET', KEYS[2], name, table.concat({'1', gen, was, line, lane, gleft, gstored, string.format('%d', failed),
		gupdated, gworst, greason, ghost}, ' ') .. rest .. '\nR ' .. id .. '\nS ' .. (since or now()) .. ' ' ..
		string.format('%d', misses) .. ' ' .. last .. ' ' .. why)
	redis.call('ZADD', KEYS[10], line, name)
	redis.call('HINCRBY', KEYS[7], 'failed', 1)
	drop(KEYS[8], name, lines, good)
	return 'ok'
end
redis.call('HSET', KEYS[2], name, first .. '\nR ' .. id .. lines)
drop(KEYS[8], name, good, lines)
redis.call('ZREM', KEYS[10], name)
local sets = {done = KEYS[11], partial = KEYS[12], failed = KEYS[13], not_found = KEYS[14], no_picture = KEYS[15],
	cancelled = KEYS[16]}
if was ~= to then
	redis.call('ZREM', sets[was], name)
	redis.call('ZADD', sets[to], line, name)
end
if was == 'failed' or was == 'partial' then unindex(KEYS[5], KEYS[6], greason, ghost, line, name) end
if to == 'failed' or to == 'partial' then index(KEYS[5], KEYS[6], reason, host, line, name) end
local ended = 'unchanged'
if broken then
	ended = 'failed'
elseif absent then
	ended = 'gone'
elseif to == 'failed' and was == 'failed' then
	ended = 'failed'
elseif changed == '1' or was ~= to then
	ended = 'changed'
end
redis.call('HINCRBY', KEYS[7], ended, 1)
return 'ok'
`)

	// retireScript takes names out of work for good, before their pictures
	// go: they are cancelled, in a generation of their own, and marked by the
	// word that nothing but forgetScript takes away. A record that cannot be
	// read goes at once.
	//
	//	KEYS  meta, records, tries, crashes, reasons, hosts, state:STATE of every state and mark
	//	ARGV  birth, name…
	//	reply {record…}, each as it is now, "" where there is none | nil: the batch was deleted
	retireScript = redis.NewScript(luaHead + luaBody + luaParts + luaPictures + luaNow + luaMember + luaUnindex + luaSetsOf + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'forgotten')
if m[1] ~= ARGV[1] then return false end
local sets, highest, reply = setsOf(KEYS, 7), tonumber(m[2] or 0), {}
for i = 2, #ARGV do
	local name = ARGV[i]
	local v = redis.call('HGET', KEYS[2], name)
	local good, under = parts(v or '')
	local gen, st, line, lane, left, stored, failed, _, worst, reason, host = head(v or '')
	if gen and sets[st] then
		if reason ~= 'forgotten' then
			local function retired(r)
				local g, _, _, _, left, stored, failed = head(r)
				for rank = 0, pictures(r, left) do
					redis.call('HDEL', KEYS[3], rank .. ':' .. name)
					redis.call('HDEL', KEYS[4], rank .. ':' .. name)
				end
				gen = math.max(gen, g)
				return table.concat({'1', string.format('%d', gen + 1), 'cancelled', line, lane, left, stored, failed,
					now(), '-', 'forgotten', '-'}, ' ') .. body(r)
			end
			if worst ~= '-' then unindex(KEYS[5], KEYS[6], reason, host, line, name) end
			-- The record under way may have pictures of its own.
			under = retired(under)
			v = good and retired(good) .. '\n=\n' .. under or under
			redis.call('HSET', KEYS[2], name, v)
			redis.call('ZREM', sets[st], name)
			redis.call('ZREM', sets.refreshing, name)
			redis.call('ZREM', sets.stale, name)
			redis.call('ZADD', sets.cancelled, line, name)
			highest = math.max(highest, gen + 1)
		end
		reply[#reply + 1] = v
	else
		redis.call('HDEL', KEYS[2], name)
		for _, set in pairs(sets) do redis.call('ZREM', set, name) end
		reply[#reply + 1] = ''
	end
end
redis.call('HSET', KEYS[1], 'forgotten', string.format('%d', highest))
return reply
`)

	// forgetScript removes the records of names that were retired.
	//
	//	KEYS  meta, records, state:cancelled
	//	ARGV  birth, name…
	//	reply 1 | nil: the batch was deleted
	forgetScript = redis.NewScript(luaHead + `
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then return false end
for i = 2, #ARGV do
	local v = redis.call('HGET', KEYS[2], ARGV[i])
	local _, _, _, _, _, _, _, _, _, reason = head(v or '')
	if reason == 'forgotten' then
		redis.call('HDEL', KEYS[2], ARGV[i])
		redis.call('ZREM', KEYS[3], ARGV[i])
	end
end
return 1
`)

	// storedScript reads the store keys of the pictures that some records refer
	// to, in JSON, without those of names that are being forgotten.
	//
	//	KEYS  records
	//	ARGV  cursor, count
	//	reply {cursor, key…}
	storedScript = redis.NewScript(luaHead + `
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local reply = {page[1]}
for i = 2, #page[2], 2 do
	local v = page[2][i]
	local _, _, _, _, _, _, _, _, _, reason = head(v)
	if reason ~= 'forgotten' then
		for line in string.gmatch(v, '\nP%d+ ([^\n]*)') do
			reply[#reply + 1] = string.match(line, '"f":("[^"]*")')
		end
	end
end
return reply
`)

	// claimScript lets one process store, or remove, a content. Any number
	// may store it at once; who removes it must be alone.
	//
	//	KEYS  claims
	//	ARGV  hash, token (its first sign: - to remove, + to store), ttl ms, alone 0|1
	//	reply 1 | 0: somebody else is in the way
	claimScript = redis.NewScript(`
local t = redis.call('TIME')
local ms = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
local mine = ARGV[1] .. ' ' .. ARGV[2]
for _, claim in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
	if claim ~= mine and string.sub(claim, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' and
		(ARGV[4] == '1' or string.sub(claim, #ARGV[1] + 2, #ARGV[1] + 2) == '-') then
		return 0
	end
end
redis.call('ZADD', KEYS[1], string.format('%.0f', ms + ARGV[3]), mine)
return 1
`)

	// importScript writes whole records where there are none.
	//
	//	KEYS  meta, records, reasons, hosts, state:STATE of every state and mark
	//	ARGV  birth, then name, record, name, record…
	//	reply {answer…} | {"cancelled"} | nil: the batch was deleted
	//	      answer: "" or the record that is there
	importScript = redis.NewScript(luaHead + luaMember + luaIndex + luaSetsOf + `
local m = redis.call('HMGET', KEYS[1], 'birth', 'status')
if m[1] ~= ARGV[1] then return false end
if m[2] == 'cancelled' then return {'cancelled'} end
local sets, reply = setsOf(KEYS, 5), {}
for i = 2, #ARGV, 2 do
	local name, v = ARGV[i], ARGV[i + 1]
	if redis.call('HSETNX', KEYS[2], name, v) == 1 then
		local _, st, line, _, _, _, _, _, _, reason, host = head(v)
		redis.call('ZADD', sets[st], line, name)
		if st == 'failed' or st == 'partial' then index(KEYS[3], KEYS[4], reason, host, line, name) end
		if string.find(v, '\nS ', 1, true) then redis.call('ZADD', sets.stale, line, name) end
		reply[#reply + 1] = ''
	else
		reply[#reply + 1] = redis.call('HGET', KEYS[2], name)
	end
end
return reply
`)

	// asideScript takes a name whose record cannot be read out of the open
	// ones, so that its batch has an end. The record stays as it is.
	//
	//	KEYS  meta, records, reasons, hosts, state:STATE of every state and mark
	//	ARGV  birth, name, record as it was read
	//	reply 1 | 0: the record is another by now, or the name is not open
	asideScript = redis.NewScript(luaHead + luaMember + luaUnindex + luaSetAside + luaSetsOf + `
if redis.call('HGET', KEYS[1], 'birth') ~= ARGV[1] then return 0 end
local v = redis.call('HGET', KEYS[2], ARGV[2])
if (v or '') ~= ARGV[3] then return 0 end
return setAside(v, ARGV[2], setsOf(KEYS, 5), KEYS[3], KEYS[4])
`)
)
