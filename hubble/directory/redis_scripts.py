"""Scripts that run atomically on the Redis server. All times are by the server's clock.

A name costs about 50 microseconds, during which the server is blocked. So workers process many names in portions.

`hubble:names` (hash): for each name a JSON list of worker, epoch (as text), owner and version, which grows with every
change. `hubble:held:WORKER` (set): a worker's names. `hubble:workers` (hash): for each worker id a JSON list of the
other fields of Worker. `hubble:seen` (sorted set): the time of each worker's last renewal. Each change is published on
`hubble:changes` as a JSON list of the kind ("name" or "worker"), the key, the new entry or "", and the version.
"""

from __future__ import annotations

PORTION = 1000
"""The most names that one call of a script processes."""

NAMES, WORKERS, CHANGES, VERSION = "hubble:names", "hubble:workers", "hubble:changes", "hubble:version"

_COMMON = (
    f"local PORTION = {PORTION}"
    + """
local NAMES, WORKERS, SEEN, CHANGES = 'hubble:names', 'hubble:workers', 'hubble:seen', 'hubble:changes'

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function publish(kind, key, entry, version)
  redis.call('PUBLISH', CHANGES, cjson.encode({kind, key, entry, version}))
end

local function get(name)
  local text = redis.call('HGET', NAMES, name)
  if text then return cjson.decode(text), text end
end

local function put(name, worker, epoch, owner)
  local old = get(name)
  if old then redis.call('SREM', 'hubble:held:' .. old[1], name) end
  local version = redis.call('INCR', 'hubble:version')
  local entry = cjson.encode({worker, epoch, owner, version})
  redis.call('HSET', NAMES, name, entry)
  redis.call('SADD', 'hubble:held:' .. worker, name)
  publish('name', name, entry, version)
  return entry
end

local function drop(name)
  local old = get(name)
  if not old then return end
  redis.call('HDEL', NAMES, name)
  redis.call('SREM', 'hubble:held:' .. old[1], name)
  publish('name', name, '', redis.call('INCR', 'hubble:version'))
end

local function leave(worker)
  if redis.call('HDEL', WORKERS, worker) == 1 then publish('worker', worker, '', 0) end
  for _, name in ipairs(redis.call('SPOP', 'hubble:held:' .. worker, PORTION)) do drop(name) end
  local left = redis.call('SCARD', 'hubble:held:' .. worker)
  if left == 0 then redis.call('ZREM', SEEN, worker) end
  return left
end

local function is(entry, worker, epoch, owner)
  return entry[1] == worker and entry[2] == epoch and entry[3] == owner
end
"""
)

CLAIM = (
    _COMMON
    + """
-- name, worker, epoch, owner; then the same fields of a registration that it may replace, or nothing.
-- Returns {"claimed" | "held" | "unknown worker", the entry}.
local name, worker, epoch, owner = unpack(ARGV, 1, 4)
if redis.call('HEXISTS', WORKERS, worker) == 0 then return {'unknown worker', ''} end
local holder, text = get(name)
if holder and not (ARGV[5] and is(holder, ARGV[6], ARGV[7], ARGV[8])) then return {'held', text} end
return {'claimed', put(name, worker, epoch, owner)}
"""
)

RELEASE = (
    _COMMON
    + """
-- name, worker, epoch, owner
local holder = get(ARGV[1])
if holder and is(holder, ARGV[2], ARGV[3], ARGV[4]) then drop(ARGV[1]) end
"""
)

LEAVE = (
    _COMMON
    + """
-- worker. Returns the number of its names that are left; if it is not 0, call the script again.
return leave(ARGV[1])
"""
)

JOIN = (
    _COMMON
    + """
-- worker, its entry. Returns the names that it holds.
redis.call('HSET', WORKERS, ARGV[1], ARGV[2])
redis.call('ZADD', SEEN, now(), ARGV[1])
publish('worker', ARGV[1], ARGV[2], 0)
return redis.call('SMEMBERS', 'hubble:held:' .. ARGV[1])
"""
)

TELL = (
    _COMMON
    + """
-- worker; then name, epoch, owner of each of its registrations.
-- Returns the name and the current entry of each, which may be another worker's.
local worker, result = ARGV[1], {}
for i = 2, #ARGV, 3 do
  local name, epoch, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local holder, entry = get(name)
  if not holder or (holder[1] == worker and not is(holder, worker, epoch, owner))
      or (owner ~= '' and holder[3] == owner and tonumber(epoch) > tonumber(holder[2])) then
    entry = put(name, worker, epoch, owner)
  end
  result[#result + 1] = name
  result[#result + 1] = entry
end
return result
"""
)

DROP = (
    _COMMON
    + """
-- worker; then names that it no longer has
for i = 2, #ARGV do
  local holder = get(ARGV[i])
  if holder and holder[1] == ARGV[1] then drop(ARGV[i]) end
end
"""
)

RENEW = (
    _COMMON
    + """
-- worker, the seconds of a lease, the number of names it holds ("": unknown while a claim is under way)
local time = now()
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', SEEN, '-inf', time - tonumber(ARGV[2]))) do
  if dead ~= ARGV[1] then leave(dead) end
end
if redis.call('HEXISTS', WORKERS, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', SEEN, time, ARGV[1])
if ARGV[3] ~= '' and redis.call('SCARD', 'hubble:held:' .. ARGV[1]) ~= tonumber(ARGV[3]) then return 0 end
return 1
"""
)
