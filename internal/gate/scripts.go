package gate

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// This file holds every key, message and script of the package. A script
// touches one host only, and so one hash slot. A take that is sent twice,
// because its reply was lost, costs the host some of its rate and a place for
// as long as a lease; the other scripts change nothing more.
//
//	harvest:gate:hosts                 hash: host -> "last used, s, and its five limits"
//	harvest:gate:holds                 sorted set: hosts by not-before, µs
//	harvest:gate:breakers              set: "host name" of breakers that are not closed
//	harvest:gate:{HOST}:host           hash: hold (not before), limited (last such answer),
//	                                   plan, express (the last turns that were given out), last (grant),
//	                                   pace (a running mean of the time between grants),
//	                                   slow (the last hold of a host that does not say how long); µs
//	harvest:gate:{HOST}:places         sorted set: requests in flight by end of lease, µs
//	harvest:gate:{HOST}:line           hash: who waits for a place -> "since, seen, how many"; µs
//	harvest:gate:{HOST}:log:WINDOW     list: times of the grants in the last second, minute, hour, day; µs
//	harvest:gate:{HOST}:breaker:NAME   hash: state (open, half), fails, until, delay, ramp, wins, reason, version
//	harvest:gate:{HOST}:probes:NAME    sorted set: like places, of requests that a half-open breaker let through
//
// All times are Redis's. With a namespace N the prefix is harvest:N:gate:
// instead of harvest:gate:. The channel has the prefix's own name without the
// colon at its end, and these messages:
//
//	h NOW UNTIL HOST                                   not before
//	s HOST                                             that was a hold of [Gate.Slow]
//	b NOW STATE UNTIL FAILS REASON VERSION HOST NAME   breaker ("-": no reason, no version)
//	w LINE                                             there may be a place for who waits in LINE
type keyspace struct{ prefix string }

func newKeyspace(namespace string) keyspace {
	if namespace == "" {
		return keyspace{"harvest:gate:"}
	}
	return keyspace{"harvest:" + namespace + ":gate:"}
}

func (k keyspace) channel() string  { return strings.TrimSuffix(k.prefix, ":") }
func (k keyspace) hosts() string    { return k.prefix + "hosts" }
func (k keyspace) holds() string    { return k.prefix + "holds" }
func (k keyspace) breakers() string { return k.prefix + "breakers" }

func (k keyspace) host(h string) string          { return k.of(h) + "host" }
func (k keyspace) places(h string) string        { return k.of(h) + "places" }
func (k keyspace) line(h string) string          { return k.of(h) + "line" }
func (k keyspace) breakerOf(b breakerKey) string { return k.of(b.host) + "breaker:" + b.name }
func (k keyspace) probes(b breakerKey) string    { return k.of(b.host) + "probes:" + b.name }
func (k keyspace) log(h, window string) string   { return k.of(h) + "log:" + window }
func (k keyspace) logs(h string) (keys []string) {
	for _, w := range windows {
		keys = append(keys, k.log(h, w.name))
	}
	return keys
}

// of is the prefix of a host's keys. A brace would end the hash tag early.
func (k keyspace) of(host string) string {
	return k.prefix + "{" + strings.NewReplacer("{", "_", "}", "_").Replace(host) + "}:"
}

// clock is common to the scripts.
//
//	now: µs
//	text(n): an integer in digits, however large
//	tell(...): publishes a breaker
const clock = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function text(n) return string.format('%.0f', n) end
local function tell(channel, host, name, state, till, fails, reason, version)
	redis.call('PUBLISH', channel, table.concat({'b', text(now), state, text(till), text(fails),
		reason ~= '' and reason or '-', version ~= '' and version or '-', host, name}, ' '))
end
`

var (
	// takeScript gives back places and takes new ones. A place is given when
	// there is one, nobody has waited longer for it, and the rates allow the
	// request to begin within a short time; that time is its grant.
	//
	// The logs are in order of time and hold every grant of their window, so
	// that a grant is the earliest time at which the n-th grant before it is
	// out of each window: there are never more than n in any.
	//
	//	KEYS  host, places, line, log:second, log:minute, log:hour, log:day, breaker, probes
	//	ARGV  line, host, channel, breaker or "", version,
	//	      wanted, waiting in all, number of the first new place, lease, ahead,
	//	      in flight (0: any), the first that waits is express 0|1,
	//	      then for each log: limit (0: none), burst, time of a burst, window,
	//	      then the places that are given back…
	//	reply {now, why no more ("", rate, hold, breaker, place), when to ask again (0: when called), breaker's state, its until,
	//	      length of each log (0 where it has no limit), time of each grant…}
	takeScript = redis.NewScript(clock + `
local line, host, channel, name, version = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local wanted, waiting, first = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local lease, ahead, places = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local express = ARGV[12] == '1'
for i = 29, #ARGV do
	redis.call('ZREM', KEYS[2], ARGV[i])
	if name ~= '' then redis.call('ZREM', KEYS[9], ARGV[i]) end
end

local why, again = '', 0
local state, till, ramp = 'closed', '0', 0
if name ~= '' then
	local b = redis.call('HMGET', KEYS[8], 'state', 'until', 'ramp', 'reason', 'version', 'fails')
	state, till = b[1] or 'closed', b[2] or '0'
	if state == 'open' and wanted > 0 and
		(tonumber(till) <= now or (b[4] == 'credentials' and version ~= '' and b[5] ~= version)) then
		state, b[3] = 'half', '1'
		redis.call('HSET', KEYS[8], 'state', 'half', 'ramp', 1, 'wins', 0)
		tell(channel, host, name, state, tonumber(till), tonumber(b[6] or '0'), b[4] or '', b[5] or '')
	end
	if state == 'open' then why, again = 'breaker', tonumber(till) end
	if state == 'half' then ramp = tonumber(b[3]) end
end

local h = redis.call('HMGET', KEYS[1], 'hold', 'last', 'pace')
local hold = tonumber(h[1] or '0')
if why == '' and hold > now + ahead then why, again = 'hold', hold end

-- Room counts what is free; who came to the line earlier goes first.
local room, free = wanted, math.huge
if places > 0 then
	redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now))
	free = places - redis.call('ZCARD', KEYS[2])
end
if state == 'half' then
	redis.call('ZREMRANGEBYSCORE', KEYS[9], '-inf', text(now))
	free = math.min(free, ramp - redis.call('ZCARD', KEYS[9]))
end
local mine, others = nil, {}
if free < math.huge then
	local all = redis.call('HGETALL', KEYS[3])
	for i = 1, #all, 2 do
		local since, seen = string.match(all[i + 1], '^(%d+) (%d+)')
		if all[i] == line then
			mine = tonumber(since)
		elseif tonumber(seen) < now - 3000000 then
			redis.call('HDEL', KEYS[3], all[i])
		else
			others[#others + 1] = {tonumber(since), all[i]}
		end
	end
	-- Express goes first, as if it had waited since ever.
	if express then mine = 0 elseif mine == 0 then mine = now end
	local older = 0
	for _, o in ipairs(others) do
		if not mine or o[1] < mine then older = older + 1 end
	end
	room = math.min(room, free - older)
end

local logs = {}
for i = 0, 3 do
	local limit = tonumber(ARGV[13 + 4 * i])
	if limit > 0 then
		logs[#logs + 1] = {KEYS[4 + i], limit, tonumber(ARGV[14 + 4 * i]), tonumber(ARGV[15 + 4 * i]), tonumber(ARGV[16 + 4 * i])}
	end
end
local function earliest()
	local at = math.max(now, hold)
	for _, l in ipairs(logs) do
		local v = redis.call('LINDEX', l[1], -1)
		if v then
			at = math.max(at, tonumber(v))
			v = redis.call('LINDEX', l[1], -l[3])
			if v then at = math.max(at, v + l[4]) end
			v = redis.call('LINDEX', l[1], -l[2])
			if v then at = math.max(at, v + l[5] + 1) end
		end
	end
	return at
end
local granted = {}
while why == '' and #granted < wanted do
	if #granted >= room then why = 'place' break end
	local at = earliest()
	if at > now + ahead then why, again = 'rate', at - ahead break end
	local place = line .. ':' .. text(first + #granted)
	if places > 0 then redis.call('ZADD', KEYS[2], text(now + lease), place) end
	if state == 'half' then redis.call('ZADD', KEYS[9], text(now + lease), place) end
	for _, l in ipairs(logs) do
		redis.call('RPUSH', l[1], text(at))
		for _ = 1, 8 do
			if redis.call('LINDEX', l[1], 0) - now >= -l[5] then break end
			redis.call('LPOP', l[1])
		end
	end
	granted[#granted + 1] = text(at)
end

if #granted > 0 then
	local pace = math.min((now - tonumber(h[2] or text(now))) / #granted, 10000000)
	pace = tonumber(h[3] or '0') * 0.8 + pace * 0.2
	redis.call('HSET', KEYS[1], 'last', text(now), 'pace', text(pace))
	redis.call('PEXPIRE', KEYS[1], 90000000)
	for _, l in ipairs(logs) do
		redis.call('PEXPIRE', l[1], text(l[5] / 1000 + 60000))
	end
	if places > 0 then redis.call('PEXPIRE', KEYS[2], 60000) end
	if state == 'half' then redis.call('PEXPIRE', KEYS[9], 60000) end
end
if why == 'place' and waiting > #granted then
	if not express and (#granted > 0 or not mine) then mine = now end
	redis.call('HSET', KEYS[3], line, text(mine) .. ' ' .. text(now) .. ' ' .. text(waiting - #granted))
	redis.call('PEXPIRE', KEYS[3], 60000)
elseif mine then
	redis.call('HDEL', KEYS[3], line)
end
free = free - #granted
if free > 0 and #others > 0 then
	table.sort(others, function(a, b) return a[1] < b[1] end)
	for i = 1, math.min(free, #others) do
		redis.call('PUBLISH', channel, 'w ' .. others[i][2])
	end
end
local reply = {text(now), why, text(again), state, till, '0', '0', '0', '0'}
for i = 0, 3 do
	if tonumber(ARGV[13 + 4 * i]) > 0 then reply[6 + i] = text(redis.call('LLEN', KEYS[4 + i])) end
end
for _, at in ipairs(granted) do reply[#reply + 1] = at end
return reply
`)

	// renewScript prolongs the leases of places that are still there.
	//
	//	KEYS  places, probes
	//	ARGV  lease, places…
	//	reply nothing
	renewScript = redis.NewScript(clock + `
for i = 2, #ARGV do
	for _, key in ipairs(KEYS) do
		redis.call('ZADD', key, 'XX', text(now + ARGV[1]), ARGV[i])
	end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 60000) end
return 0
`)

	// turnScript gives out times to come back at, one after the other, as far
	// apart as the host serves requests.
	//
	//	KEYS  host
	//	ARGV  plan or express, how many, the first not before (from now), the least time between two, horizon, go by the pace 0|1
	//	reply {now, the first, the time between two}
	turnScript = redis.NewScript(clock + `
local h = redis.call('HMGET', KEYS[1], ARGV[1], 'pace')
local step = tonumber(ARGV[4])
-- A little faster than the pace: who comes back at the pace alone keeps it,
-- however far below the limits it has fallen.
if ARGV[6] == '1' then step = math.floor(0.75 * math.max(step, tonumber(h[2] or '0'))) end
local from = now + ARGV[3]
local plan = math.max(from, tonumber(h[1] or '0'))
local last = math.min(plan + step * ARGV[2], from + ARGV[5])
redis.call('HSET', KEYS[1], ARGV[1], text(last))
redis.call('PEXPIRE', KEYS[1], 90000000)
return {text(now), text(plan), text(step)}
`)

	// holdScript lets no request begin for some time.
	//
	//	KEYS  host
	//	ARGV  host, channel, time
	//	reply {now, not before}
	holdScript = redis.NewScript(clock + `
local till = math.max(now + ARGV[3], tonumber(redis.call('HGET', KEYS[1], 'hold') or '0'))
redis.call('HSET', KEYS[1], 'hold', text(till), 'limited', text(now))
redis.call('PEXPIRE', KEYS[1], 90000000)
redis.call('PUBLISH', ARGV[2], table.concat({'h', text(now), text(till), ARGV[1]}, ' '))
return {text(now), text(till)}
`)

	// slowScript lets no request begin for twice as long as the last time.
	// Answers to requests that began before the hold change nothing; a host
	// that was not slow for long begins anew.
	//
	//	KEYS  host
	//	ARGV  host, channel, the first hold, the longest, for how long one counts
	//	reply {now, not before}
	slowScript = redis.NewScript(clock + `
local h = redis.call('HMGET', KEYS[1], 'hold', 'slow')
local till, slow = tonumber(h[1] or '0'), tonumber(h[2] or '0')
if till <= now then
	if till + ARGV[5] < now then slow = 0 end
	slow = math.min(math.max(2 * slow, tonumber(ARGV[3])), tonumber(ARGV[4]))
	till = now + slow
	redis.call('HSET', KEYS[1], 'hold', text(till), 'slow', text(slow))
	redis.call('PUBLISH', ARGV[2], table.concat({'h', text(now), text(till), ARGV[1]}, ' '))
end
redis.call('HSET', KEYS[1], 'limited', text(now))
redis.call('PEXPIRE', KEYS[1], 90000000)
redis.call('PUBLISH', ARGV[2], 's ' .. ARGV[1])
return {text(now), text(till)}
`)

	// listHoldScript lists a host's not-before for those who come later.
	//
	//	KEYS  holds
	//	ARGV  host, not before
	//	reply nothing
	listHoldScript = redis.NewScript(clock + `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0') < tonumber(ARGV[2]) then
	redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
return 0
`)

	// holdsScript reads every not-before that is still to come.
	//
	//	KEYS  holds
	//	ARGV  -
	//	reply {now, host, not before, host, not before…}
	holdsScript = redis.NewScript(clock + `
local reply = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf', 'WITHSCORES')
table.insert(reply, 1, text(now))
return reply
`)

	// reportScript tells a breaker how a request went.
	//
	//	KEYS  breaker, probes
	//	ARGV  host, channel, name, version, how (ok, down, refused), reason, counts 0|1,
	//	      failures that open it, first delay, longest delay, ramp that closes it
	//	reply {now, state, until, fails, reason, version}
	reportScript = redis.NewScript(clock + `
local b = redis.call('HMGET', KEYS[1], 'state', 'until', 'fails', 'delay', 'ramp', 'wins', 'reason')
local state, till, fails, reason = b[1] or 'closed', tonumber(b[2] or '0'), tonumber(b[3] or '0'), b[7] or ''
local changed = false
local function open(delay)
	state, reason, changed = 'open', ARGV[6], true
	till = now + delay
	redis.call('HSET', KEYS[1], 'state', state, 'until', text(till), 'fails', text(fails),
		'delay', text(delay), 'reason', reason, 'version', ARGV[4])
	redis.call('DEL', KEYS[2])
end
if ARGV[5] == 'ok' then
	if state == 'half' then
		local ramp, wins = tonumber(b[5]), tonumber(b[6]) + 1
		if wins >= ramp then
			ramp, wins = ramp * 2, 0
		end
		if ramp > tonumber(ARGV[11]) then
			state, till, fails, reason, changed = 'closed', 0, 0, '', true
			redis.call('DEL', KEYS[1], KEYS[2])
		else
			redis.call('HSET', KEYS[1], 'ramp', text(ramp), 'wins', text(wins))
		end
	elseif state == 'closed' and fails > 0 then
		fails, changed = 0, true
		redis.call('DEL', KEYS[1])
	end
elseif state ~= 'open' then
	local ramp = tonumber(b[5] or '1')
	if state == 'half' and ramp > 1 and ARGV[5] ~= 'refused' then
		-- It serves some: fewer at once, or a service with a few errors in a
		-- hundred would never count as up again.
		redis.call('HSET', KEYS[1], 'ramp', text(math.floor(ramp / 2)), 'wins', 0)
	elseif state == 'half' then
		open(math.min(tonumber(b[4]) * 2, tonumber(ARGV[10])))
	else
		fails, changed = fails + ARGV[7], true
		redis.call('HSET', KEYS[1], 'fails', text(fails))
		if ARGV[5] == 'refused' or fails >= tonumber(ARGV[8]) then open(tonumber(ARGV[9])) end
	end
end
redis.call('PEXPIRE', KEYS[1], 90000000)
if changed then tell(ARGV[2], ARGV[1], ARGV[3], state, till, fails, reason, ARGV[4]) end
return {text(now), state, text(till), text(fails), reason, ARGV[4]}
`)

	// resetScript lets an open breaker try at once.
	//
	//	KEYS  breaker
	//	ARGV  host, channel, name
	//	reply 1 | 0: it was not open
	resetScript = redis.NewScript(clock + `
local b = redis.call('HMGET', KEYS[1], 'state', 'fails', 'reason', 'version')
if b[1] ~= 'open' then return 0 end
redis.call('HSET', KEYS[1], 'until', text(now))
tell(ARGV[2], ARGV[1], ARGV[3], 'open', now, tonumber(b[2] or '0'), b[3] or '', b[4] or '')
return 1
`)

	// breakerScript reads a breaker.
	//
	//	KEYS  breaker
	//	ARGV  -
	//	reply {now, state, until, fails, reason, version}
	breakerScript = redis.NewScript(clock + `
local b = redis.call('HMGET', KEYS[1], 'state', 'until', 'fails', 'reason', 'version')
return {text(now), b[1] or 'closed', b[2] or '0', b[3] or '0', b[4] or '', b[5] or ''}
`)

	// stateScript reads how a host stands.
	//
	//	KEYS  host, places, line, log:second, log:minute, log:hour, log:day
	//	ARGV  the four windows
	//	reply {now, not before, last limited, in flight, waiting, grants in each window…}
	stateScript = redis.NewScript(clock + `
local h = redis.call('HMGET', KEYS[1], 'hold', 'limited')
local waiting = 0
for _, v in ipairs(redis.call('HVALS', KEYS[3])) do
	local seen, n = string.match(v, '^%d+ (%d+) (%d+)')
	if tonumber(seen) >= now - 3000000 then waiting = waiting + n end
end
local reply = {text(now), h[1] or '0', h[2] or '0', text(redis.call('ZCOUNT', KEYS[2], '(' .. text(now), '+inf')), text(waiting)}
for i = 1, 4 do
	local key, from = KEYS[3 + i], now - ARGV[i]
	local low, high = 0, redis.call('LLEN', key)
	local n = high
	while low < high do
		local mid = math.floor((low + high) / 2)
		if tonumber(redis.call('LINDEX', key, mid)) < from then low = mid + 1 else high = mid end
	end
	reply[#reply + 1] = text(n - low)
end
return reply
`)
)
