-- Runs one function of an authorization script inside the limits, in a runtime of its own.
--
-- runtime.py executes this chunk once and reads what it returns:
--   "done", allowed, cache, detail, identity   the function returned a boolean (and perhaps options)
--   "absent"                                   the script defines no such function
--   "kind"                                     the function returned something else
--   "error", message                           the script could not be loaded, or raised an error
--
-- Rules that keep the process alive, whatever the script does:
--   * Only nil, booleans, numbers and strings cross between Lua and Python. A Lua object would need a reference,
--     and the allocation for it may fail where lupa cannot unwind.
--   * Each call into Python but `tick` ends with `enter`: Python lifts the memory limit for the results that lupa
--     pushes outside protected mode, `enter` sets it again.
--   * Nothing here reads a global after the first lines: scripts may change them, and the functions' environments.
--   * A limit sets `stopped`, and everything that catches errors raises again while it is set. There are no
--     finalizers (newproxy is gone) and no error handlers run by C: both would run with hooks switched off.

local unsafe, wanted, script, chunkname, patterns_code, strings_code, json_code, http_code,
  tick, enter, feed, log_line, decode, quote, number, stage, send = ...

local G, error, type, next, select, rawget, tostring, unpack = _G, error, type, next, select, rawget, tostring, unpack
local raw_pcall, raw_loadstring, raw_require, raw_tonumber = pcall, loadstring, require, tonumber
local raw_resume, raw_create, sethook, traceback = coroutine.resume, coroutine.create, debug.sethook, debug.traceback
local raw_sort, concat, setfenv, setmetatable, raw_date = table.sort, table.concat, setfenv, setmetatable, os.date
local sub, byte, format, floor, count_memory = string.sub, string.byte, string.format, math.floor, collectgarbage
local string, table, os, coroutine, math, package, loaded = string, table, os, coroutine, math, package, package.loaded

local sealed = setmetatable({}, { __index = function(_, name) error("the sandbox reads the global " .. name) end })
setfenv(1, sealed)

local INSTRUCTIONS = 50       -- between two looks at the limits; a look costs about 0.2 microseconds
local LONG = 65536            -- bytes of text from which on a C function is worth a look of its own
local STEPS = 1000000         -- that one search for a pattern may take in C, about 5 ms
local BATCH = 150             -- values in one answer of `feed`, as in host.py
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
  sethook(thread, look, "", INSTRUCTIONS)
  return thread
end

local function resume(thread, ...) return settled(raw_resume(thread, ...)) end

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

local function receive()
  local root, levels, depth = {}, {}, 0
  local current = root
  repeat
    local n, values = pack(next_values())
    for i = 1, n, 3 do
      local operation, key = values[i], values[i + 1]
      if operation == VALUE then
        current[key] = values[i + 2]
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
  return root[1]
end

-- Library functions that need a limit --------------------------------------------------------------------------

local function watched(f)
  return function(text, ...)
    if type(text) == "string" and #text > LONG then look() end
    return f(text, ...)
  end
end

local function less(a, b) return a < b end

local function sort(list, before)
  -- Comparing in Lua lets the hook see a sort that some lists make quadratic.
  raw_sort(list, before or less)
end

local function rep(text, n)
  if type(text) == "number" then text = tostring(text) end
  n = raw_tonumber(n)
  if type(text) ~= "string" or not n then error("bad arguments to 'rep' (string and number expected)", 2) end
  local result = ""
  n = #text == 0 and 0 or floor(n)
  while n > 0 do
    if n % 2 == 1 then result = result .. text end
    n = floor(n / 2)
    if n > 0 then text = text .. text end
    if #text > LONG then look() end
  end
  return result
end

local function date(layout, time)
  if type(layout) == "string" and #layout > 1024 then error("the format of os.date is too long", 2) end
  return raw_date(layout, time)
end

local function loadstring(text, name)
  if type(text) ~= "string" then error("bad argument #1 to 'loadstring' (string expected)", 2) end
  if byte(text) == 27 then return nil, "precompiled Lua cannot be loaded" end
  if #text > LONG then return nil, "more than " .. LONG .. " bytes of Lua" end
  look()
  return raw_loadstring(text, name)
end

local function load(reader, name)
  local parts, size = {}, 0
  while true do
    local part = reader()
    if part == nil or part == "" then break end
    parts[#parts + 1] = part
    size = size + #part
    if size > LONG then break end
  end
  return loadstring(concat(parts), name or "=(load)")
end

local function collectgarbage(option)
  -- A full collection is one long C call, and stopping it would only waste the memory limit.
  if option == "count" then return count_memory("count") end
  return 0
end

-- Modules ------------------------------------------------------------------------------------------------------

local log = {}
local send_line = crossing(log_line)

local function line_of(...)
  local words = {}
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  return concat(words, "\t")
end

for level, name in next, { "debug", "info", "warning", "error" } do
  log[name] = function(...) send_line(level, line_of(...)) end
end

local lib = {
  look = look, settled = settled, crossing = crossing, receive = receive, sort = sort,
  decode = decode, quote = quote, number = number, stage = stage, send = send, steps = STEPS,
}

local function load_part(code, name) return setfenv(raw_loadstring(code, name), sealed)(lib) end

local raw = { error = error, type = type, next = next, select = select, tostring = tostring, unpack = unpack,
  rawget = rawget, pcall = raw_pcall, setmetatable = setmetatable, tonumber = raw_tonumber, concat = concat,
  byte = byte, char = string.char, sub = sub, find = string.find, match = string.match, gmatch = string.gmatch,
  gsub = string.gsub, format = format, floor = floor, huge = math.huge }
lib.raw = raw

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
  error(format("module '%s' not found: a script can require http, json and log", tostring(name)), 2)
end

-- What scripts see ---------------------------------------------------------------------------------------------

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
table.sort, string.rep = sort, rep
string.upper, string.lower, string.reverse = watched(string.upper), watched(string.lower), watched(string.reverse)
G.tonumber, G.pcall, G.xpcall, G.require = watched(raw_tonumber), pcall, xpcall, safe_require
G.log, G.print = log, log.info
lib.patterns = load_part(patterns_code, "=patterns")
for name, f in next, load_part(strings_code, "=strings") do string[name] = f end

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
  local described, message = raw_pcall(tostring, first)
  return "error", described and message or "an error that cannot be printed"
end

sethook(look, "", INSTRUCTIONS)
enter()
return finished(raw_pcall(run))
