-- Run one function of an authorization script within the limits, in a fresh runtime.
--
-- runtime.py executes this chunk once and reads its results:
--   "done", allowed, cache, detail, identity   the function returned a boolean (and perhaps options)
--   "absent"                                   the script defines no such function
--   "kind"                                     the function returned something else
--   "error", message                           the script did not load, or raised an error
--
-- Rules that keep the process safe from every script:
--   * Only nil, booleans, numbers and strings cross between Lua and Python. A Lua object would need a reference,
--     and the allocation for it may fail where lupa cannot unwind.
--   * Each call into Python but `tick` ends with `enter`: Python lifts the memory limit for the results that lupa
--     pushes outside protected mode, `enter` sets it again.
--   * This code reads no global after the first lines, because scripts may change globals and functions' environments.
--   * Code runs only after bytecode.py has rewritten it: Lua 5.1 writes past its stack for some functions.
--   * Each call of C and each instruction is short. Long operations work in pieces (texts.lua, tables.lua). The longer
--     the longest text, the fewer instructions run between two checks of the limits.
--   * A limit sets `stopped`, and functions that catch errors raise again while it is set. There are no finalizers
--     (newproxy is removed) and C runs no error handlers: both would run with hooks switched off.

local unsafe, wanted, script, chunkname, concatenate, select_number,
  texts_code, tables_code, patterns_code, strings_code, json_code, http_code,
  tick, enter, feed, log_line, rewrite, decode, quote, number, stage, send = ...

local G, error, type, next, select, rawget, rawset, raw_tostring = _G, error, type, next, select, rawget, rawset, tostring
local raw_pcall, raw_loadstring, raw_require, raw_tonumber, dump = pcall, loadstring, require, tonumber, string.dump
local raw_resume, raw_create, sethook = coroutine.resume, coroutine.create, debug.sethook
local c_traceback, getinfo = debug.traceback, debug.getinfo
local raw_unpack, concat, setfenv, setmetatable, raw_date = unpack, table.concat, setfenv, setmetatable, os.date
local sub, byte, format, floor, count_memory = string.sub, string.byte, string.format, math.floor, collectgarbage
local metatable_of, set_metatable = debug.getmetatable, debug.setmetatable
local string, table, os, coroutine, math, package, loaded = string, table, os, coroutine, math, package, package.loaded

local sealed = setmetatable({}, { __index = function(_, name) error("the sandbox reads the global " .. name) end })
setfenv(1, sealed)

local INSTRUCTIONS = 50       -- between two checks of the limits; a check costs about 0.2 microseconds
local LONG = 16384            -- bytes of text from which a C function needs its own check
local MAX_TEXT = 1048576      -- bytes of one text
local MAX_SOURCE = 16384      -- bytes of Lua that a script may load
local DEEP = 200              -- levels of the stack beyond which no traceback is written
local MAX_WORD = 4000         -- bytes of one argument of a log function
local STEPS = 1000000         -- that one search for a pattern may take in C, about 5 ms
local BATCH = 150             -- values in one result of `feed`, as in host.py
local VALUE, OPEN = 0, 1      -- operations of `feed`, as in host.py; any other closes a table

-- Limits ------------------------------------------------------------------------------------------------------

local stopped = false

local function look()
  if tick() then
    stopped = true
    error("stopped", 0)
  end
end

local function settled(...)
  if stopped then error("stopped", 0) end
  return ...
end

local function returned(...)
  if enter() then
    stopped = true
    error("stopped", 0)
  end
  return ...
end

local function crossing(host_function)
  return function(...) return returned(host_function(...)) end
end

-- Record that `text` exists. One instruction can take longer for longer texts, for example to compare two.
local longest, interval = LONG, INSTRUCTIONS

local function made(text)
  if #text > longest then
    longest = #text
    interval = floor(INSTRUCTIONS * LONG / longest)
    interval = interval < 1 and 1 or interval
    sethook(look, "", interval)
  end
  return text
end

local function pcall(f, ...) return settled(raw_pcall(f, ...)) end

local function handled(handler, ok, ...)
  if ok then return true, ... end
  local _, result = pcall(handler, ...)
  return false, result
end

-- The handler runs after the stack has unwound: C would call it with hooks switched off.
local function xpcall(f, handler) return handled(handler, pcall(f)) end

local function create(f)
  local thread = raw_create(f)
  sethook(thread, look, "", interval)
  return thread
end

local function resumed(...)
  sethook(look, "", interval)
  return settled(...)
end

local function resume(thread, ...)
  if type(thread) == "thread" then sethook(thread, look, "", interval) end
  return resumed(raw_resume(thread, ...))
end

local function unwrapped(ok, ...)
  if ok then return ... end
  local message = ...
  error(message, type(message) == "string" and 3 or 0)
end

local function wrap(f)
  local thread = create(f)
  return function(...) return unwrapped(resume(thread, ...)) end
end

-- Tables that Python sends -------------------------------------------------------------------------------------

local next_values = crossing(feed)

local function pack(...) return select("#", ...), { ... } end

local function received()
  local root, levels, depth = {}, {}, 0
  local current, longest_text = root, ""
  repeat
    local n, values = pack(next_values())
    for i = 1, n, 3 do
      local operation, key = values[i], values[i + 1]
      if operation == VALUE then
        local value = values[i + 2]
        current[key] = value
        if type(value) == "string" and #value > #longest_text then longest_text = value end
      elseif operation == OPEN then
        depth = depth + 1
        levels[depth] = current
        current[key] = {}
        current = current[key]
      else
        current = levels[depth]
        depth = depth - 1
      end
    end
  until n < BATCH
  return root[1], longest_text
end

-- This handles no long text in one step, so it needs fewer checks than the script.
local function receive()
  sethook(look, "", INSTRUCTIONS)
  local ok, value, longest_text = raw_pcall(received)
  sethook(look, "", interval)
  settled()
  if not ok then error(value, 0) end
  made(longest_text)
  return value
end

-- Library functions that need a limit --------------------------------------------------------------------------

local function watched(f)
  return function(text, ...)
    if type(text) == "string" and #text > LONG then look() end
    return f(text, ...)
  end
end

local function date(layout, time)
  if type(layout) == "string" and #layout > 1024 then error("the format of os.date is too long", 2) end
  return raw_date(layout, time)
end

local rewritten = crossing(rewrite)

local function loadstring(text, name)
  if type(text) ~= "string" then error("bad argument #1 to 'loadstring' (string expected)", 2) end
  if byte(text) == 27 then return nil, "precompiled Lua cannot be loaded" end
  if #text > MAX_SOURCE then return nil, "more than " .. MAX_SOURCE .. " bytes of Lua" end
  look()
  local chunk, message = raw_loadstring(made(text), name)
  if not chunk then return nil, message end
  local code, wrong = rewritten(dump(chunk))
  if wrong then return nil, wrong end
  return raw_loadstring(code)
end

local function load(reader, name)
  local parts, size = {}, 0
  while true do
    local part = reader()
    if part == nil or part == "" then break end
    parts[#parts + 1] = part
    size = size + #part
    if size > MAX_SOURCE then break end
  end
  return loadstring(concat(parts), name or "=(load)")
end

-- In C this takes quadratic time in the stack's depth, and hours for a negative level.
local function traceback(thread, message, level)
  if type(thread) ~= "thread" then thread, message, level = nil, thread, message end
  if message == nil then message = "" end
  if type(message) ~= "string" and type(message) ~= "number" then return message end
  level = raw_tonumber(level) or thread and 0 or 1
  local deep
  if thread then deep = getinfo(thread, DEEP, "l") else deep = getinfo(DEEP, "l") end
  if deep or not (level >= 0 and level < DEEP) then
    return message .. "\nstack traceback:\n\t(more than " .. DEEP .. " levels)"
  end
  local text
  if thread then text = c_traceback(thread, message, level) else text = c_traceback(message, level + 1) end
  return text
end

local function collectgarbage(option)
  -- A full collection is one long C call, and stopping it would only waste the memory limit.
  if option == "count" then return count_memory("count") end
  return 0
end

-- Modules ------------------------------------------------------------------------------------------------------

local log = {}
local send_line = crossing(log_line)

local tostring      -- defined in texts.lua

local function line_of(...)
  local words, size = {}, 0
  for i = 1, select("#", ...) do
    words[i] = sub(tostring((select(i, ...))), 1, MAX_WORD)
    size = size + #words[i]
    if size > MAX_WORD then break end
  end
  return concat(words, "\t")
end

for level, name in next, { "debug", "info", "warning", "error" } do
  log[name] = function(...) send_line(level, line_of(...)) end
end

local lib = {
  look = look, settled = settled, crossing = crossing, receive = receive, made = made,
  concatenate = concatenate, select = select_number,
  decode = decode, quote = quote, number = number, stage = stage, send = send,
  steps = STEPS, long = LONG, max_text = MAX_TEXT,
}

local function load_part(code, name) return setfenv(raw_loadstring(code, name), sealed)(lib) end

lib.raw = { error = error, type = type, next = next, select = select, tostring = raw_tostring, unpack = raw_unpack,
  rawget = rawget, rawset = rawset, pcall = raw_pcall, setmetatable = setmetatable, metatable_of = metatable_of,
  tonumber = raw_tonumber, concat = concat, insert = table.insert, remove = table.remove, sort = table.sort,
  byte = byte, char = string.char, sub = sub, rep = string.rep, upper = string.upper, lower = string.lower,
  reverse = string.reverse, find = string.find, match = string.match, gmatch = string.gmatch, gsub = string.gsub,
  format = format, floor = floor, huge = math.huge }
lib.texts = load_part(texts_code, "=texts")
lib.tables = load_part(tables_code, "=tables")
tostring = lib.texts.tostring

local modules = {
  log = function() return log end,
  json = function() return load_part(json_code, "=json") end,
  http = function() return load_part(http_code, "=http") end,
}

local function safe_require(name)
  local module = loaded[name]
  if module ~= nil then return module end
  local loader = modules[name] or (type(package.preload) == "table" and package.preload[name])
  if loader then
    module = loader(name)
    loaded[name] = module == nil and true or module
    return loaded[name]
  end
  if unsafe then return raw_require(name) end
  error("module '" .. tostring(name) .. "' not found: a script can require http, json and log", 2)
end

-- The globals of scripts ---------------------------------------------------------------------------------------------

local KEPT = { "_VERSION", "assert", "error", "getfenv", "getmetatable", "ipairs", "next", "pairs", "rawequal",
  "rawget", "rawset", "select", "setfenv", "setmetatable", "tostring", "type", "unpack" }

local function only(source, names)
  local kept = {}
  for _, name in next, names do kept[name] = source[name] end
  return kept
end

local function strip()
  local kept = only(G, KEPT)
  for name in next, G do G[name] = nil end
  for name, value in next, kept do G[name] = value end
  for name in next, loaded do loaded[name] = nil end
  string.dump = nil
  os = only(os, { "clock", "date", "difftime", "time" })
  coroutine = only(coroutine, { "running", "status", "yield" })
  package = { loaded = {}, preload = {} }
  loaded = package.loaded
  G._G, G.string, G.table, G.os, G.coroutine, G.package = G, string, table, os, coroutine, package
  G.math = math
  G.debug = { traceback = traceback }
  for _, name in next, { "_G", "string", "table", "os", "coroutine", "math", "debug", "package" } do
    loaded[name] = G[name]
  end
  G.collectgarbage, G.loadstring, G.load, os.date = collectgarbage, loadstring, load, date
end

if not unsafe then strip() end
coroutine.create, coroutine.resume, coroutine.wrap = create, resume, wrap
G.tonumber, G.pcall, G.xpcall, G.require = watched(raw_tonumber), pcall, xpcall, safe_require
G.tostring, G.unpack = tostring, lib.tables.unpack
G.log, G.print = log, log.info
lib.patterns = load_part(patterns_code, "=patterns")
for name, f in next, lib.texts.string do string[name] = f end
for name, f in next, load_part(strings_code, "=strings") do string[name] = f end
for name, f in next, lib.tables.table do table[name] = f end
set_metatable(0, { __call = lib.texts.call, __metatable = false })

-- The script ---------------------------------------------------------------------------------------------------

local function request_of(facts)
  local request = {}
  for name, value in next, facts do
    request[name] = function() return value end
  end
  if type(facts.headers) == "table" then
    request.header = function(_, name) return facts.headers[string.lower(tostring(name))] end
  end
  return request
end

local function option(options, name, kind)
  if type(options) ~= "table" then return nil end
  local value = rawget(options, name)
  if value ~= nil and type(value) ~= kind then
    error(format("the option '%s' that '%s' returns must be a %s", name, wanted, kind), 0)
  end
  return value
end

local function judged(allowed, options)
  if type(allowed) ~= "boolean" then return "kind" end
  return "done", allowed, option(options, "cache", "number"), option(options, "detail", "string"),
    option(options, "identity", "string")
end

local function run()
  local facts = receive()
  local chunk, message = raw_loadstring(script, chunkname)
  if not chunk then error(message, 0) end
  chunk()
  if wanted == "" then return "done", type(G.connect) == "function" end      -- the check at start
  local f = G[wanted]
  if type(f) ~= "function" then return "absent" end
  if wanted == "event" then
    f(facts)
    return "done", true
  end
  return judged(f(request_of(facts)))
end

local function finished(ok, first, ...)
  if ok then return first, ... end
  local described, message = raw_pcall(raw_tostring, first)
  return "error", described and message or "an error that cannot be printed"
end

sethook(look, "", INSTRUCTIONS)
enter()
return finished(raw_pcall(run))
