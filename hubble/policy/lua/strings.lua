-- string.find, match, gmatch and gsub that cannot block the process: in C where this is cheap, otherwise in Lua.

local lib = ...
local raw, look, settled, plan, matcher = lib.raw, lib.look, lib.settled, lib.patterns.plan, lib.patterns.matcher
local error, type, tonumber, unpack = raw.error, raw.type, raw.tonumber, raw.unpack
local byte, sub, concat, floor, pcall = raw.byte, raw.sub, raw.concat, raw.floor, raw.pcall
local c_find, c_match, c_gmatch, c_gsub = raw.find, raw.match, raw.gmatch, raw.gsub
local made, check, text_of = lib.made, lib.texts.check, lib.texts.text_of

local STEPS = lib.steps        -- of one call in C
local MAX_PATTERN = 65536      -- bytes

local function text_argument(value, index, name, level)
  local text = text_of(value)
  if text then return text end
  error("bad argument #" .. index .. " to '" .. name .. "' (string expected, got " .. type(value) .. ")", level or 3)
end

-- Return the results of a protected call. Raise its error at the script's call, two functions up.
local function passed(ok, ...)
  settled()
  if ok then return ... end
  error((...), type((...)) == "string" and 3 or 0)
end

local function pattern_argument(value, name)
  local pattern = text_argument(value, 2, name, 4)
  if #pattern > MAX_PATTERN then error("the pattern is longer than " .. MAX_PATTERN .. " bytes", 3) end
  return pattern
end

local function anchor(pattern)
  if byte(pattern) == 94 then return true, sub(pattern, 2) end
  return false, pattern
end

local function first_place(init, length)
  init = tonumber(init) or 1
  init = init < 0 and floor(-init) * -1 or floor(init)
  if init < 0 then init = length + init + 1 end
  if init < 1 then return 1 end
  return init > length and length + 1 or init
end

-- Search for plain text in pieces that are small enough for C: memchr and memcmp may compare length * size bytes.
local function plain_find(text, wanted, place)
  local size, length = #wanted, #text
  local window = floor(STEPS * 10 / (size + 1)) + 1
  while true do
    local piece = place == 1 and length <= window and text or sub(text, place, place + window + size - 1)
    local from, to = c_find(piece, wanted, 1, true)
    if from then return place + from - 1, place + to - 1 end
    place = place + window
    if place > length then return nil end
    look()
  end
end

local function search(text, pattern, place, want_places)
  local anchored, rest = anchor(pattern)
  local nodes, steps = plan(text, rest, anchored)
  if steps <= STEPS then
    if want_places then return c_find(text, pattern, place) end
    return c_match(text, pattern, place)
  end
  look()
  local slow = matcher(text, nodes)
  local from, stop = slow.from(place, anchored)
  if not from then return nil end
  if want_places then return from, stop - 1, unpack(slow.captures(from, stop, false)) end
  return unpack(slow.captures(from, stop, true))
end

local function find(text, pattern, init, plain)
  text = text_argument(text, 1, "find")
  pattern = plain and text_argument(pattern, 2, "find") or pattern_argument(pattern, "find")
  local place = first_place(init, #text)
  if plain or not c_find(pattern, "[%^%$%*%+%?%.%(%[%%%-]") then
    return passed(pcall(plain_find, text, pattern, place))
  end
  return passed(pcall(search, text, pattern, place, true))
end

local function match(text, pattern, init)
  text, pattern = text_argument(text, 1, "match"), pattern_argument(pattern, "match")
  return passed(pcall(search, text, pattern, first_place(init, #text), false))
end

local function iterator(text, pattern)
  local nodes, steps = plan(text, pattern, false)
  if steps <= STEPS then return c_gmatch(text, pattern) end
  local slow, place = matcher(text, nodes), 1
  return function()
    look()
    local from, stop = slow.from(place, false)
    if not from then return nil end
    place = stop == from and stop + 1 or stop
    return unpack(slow.captures(from, stop, true))
  end
end

local function gmatch(text, pattern)
  text, pattern = text_argument(text, 1, "gmatch"), pattern_argument(pattern, "gmatch")
  return passed(pcall(iterator, text, pattern))
end

-- `replacement` with its %0 to %9 filled in.
local function expanded(replacement, slow, from, stop, text)
  local parts, at = {}, 1
  while true do
    local escape = c_find(replacement, "%", at, true)
    if not escape then break end
    local code = sub(replacement, escape + 1, escape + 1)
    parts[#parts + 1] = sub(replacement, at, escape - 1)
    if code == "0" then
      parts[#parts + 1] = sub(text, from, stop - 1)
    elseif c_find(code, "^%d") then
      parts[#parts + 1] = slow.captured(tonumber(code), from, stop)
    else
      parts[#parts + 1] = code == "" and "\0" or code
    end
    at = escape + 2
  end
  parts[#parts + 1] = sub(replacement, at)
  return concat(parts)
end

local function replaced(replacement, slow, from, stop, text)
  local kind, value = type(replacement), nil
  if kind == "string" then return expanded(replacement, slow, from, stop, text) end
  if kind == "table" then
    value = replacement[slow.captured(1, from, stop)]
  else
    value = replacement(unpack(slow.captures(from, stop, true)))
  end
  if not value then return sub(text, from, stop - 1) end
  return text_of(value) or error("invalid replacement value (a " .. type(value) .. ")", 0)
end

-- Wrap `f` so that a number becomes a text: C would omit digits.
local function with_text(f)
  return function(...)
    local value = f(...)
    return text_of(value) or value
  end
end

local function substitute(text, pattern, replacement, limit)
  local anchored, rest = anchor(pattern)
  local nodes, steps = plan(text, rest, anchored)
  if type(replacement) == "string" then steps = steps + (#text + 1) * #replacement end
  if steps <= STEPS then
    if type(replacement) == "table" then
      local list = replacement
      replacement = with_text(function(key) return list[key] end)
    end
    return c_gsub(text, pattern, replacement, limit)
  end
  look()
  local slow, parts, place, n = matcher(text, nodes), {}, 1, 0
  while n < limit do
    local stop = slow.at(place)
    if stop then
      n = n + 1
      parts[#parts + 1] = replaced(replacement, slow, place, stop, text)
    end
    if stop and stop > place then
      place = stop
    elseif place <= #text then
      parts[#parts + 1] = sub(text, place, place)
      place = place + 1
    else
      break
    end
    if anchored then break end
  end
  parts[#parts + 1] = sub(text, place)
  return concat(parts), n
end

local function bounded(result, n)
  check(#result, 3)
  return made(result), n
end

local REPLACEMENTS = { string = true, table = true, ["function"] = true }

local function gsub(text, pattern, replacement, limit)
  text, pattern = text_argument(text, 1, "gsub"), pattern_argument(pattern, "gsub")
  replacement = text_of(replacement) or replacement
  if not REPLACEMENTS[type(replacement)] then
    error("bad argument #3 to 'gsub' (string/function/table expected, got " .. type(replacement) .. ")", 2)
  end
  limit = limit == nil and #text + 1 or tonumber(limit) or 0
  -- The errors of a function already name their place.
  if type(replacement) == "function" then
    return bounded(substitute(text, pattern, with_text(replacement), limit))
  end
  return bounded(passed(pcall(substitute, text, pattern, replacement, limit)))
end

return { find = find, match = match, gmatch = gmatch, gfind = gmatch, gsub = gsub }
