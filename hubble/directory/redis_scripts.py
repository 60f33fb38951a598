"""What runs on the Redis server, each script at once and alone. All times are the server's own.

A name costs about 50 microseconds, in which the server answers nobody: who has many of them does it in portions.

`hubble:names` (hash) holds for each name a JSON list: worker, epoch (as text), owner, version. The version grows with
every change. `hubble:held:WORKER` (set) are a worker's names. `hubble:workers` (hash) holds for each id a JSON list of
the other fields of Worker, `hubble:seen` (sorted set) when it last renewed its lease. Each change is published on
`hubble:changes` as a JSON list: what has changed ("name" or "worker"), which, its new entry or "", the version.
"""

from __future__ import annotations

PORTION = 1000
"""Names that a script deals with at a time."""

NAMES, WORKERS, CHANGES, VERSION = "hubble:names", "hubble:workers", "hubble:changes", "hubble:version"

_COMMON = (
    f"local PORTION = {PORTION}"
    + """
local NAMES, WORKERS, SEEN, CHANGES = 'hubble:names', 'hubble:workers', 'hubble:seen', 'hubble:changes'

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function publish(what, which, entry, version)
  redis.call('PUBLISH', CHANGES, cjson.encode({what, which, entry, version}))
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
-- name, worker, epoch, owner; then those of what it may replace, or nothing.
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
-- worker. Returns how many of its names are left: if any, it is to be run again.
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
-- worker; then name, epoch, owner of registrations that it has.
-- Returns name and entry of each, whether it is its own now or another's.
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
-- worker; then names that it has no more
for i = 2, #ARGV do
  local holder = get(ARGV[i])
  if holder and holder[1] == ARGV[1] then drop(ARGV[i]) end
end
"""
)

RENEW = (
    _COMMON
    + """
-- worker, the seconds of a lease, how many names it holds ("": it does not know just now)
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
