-- string.find, match, gmatch and gsub that cannot hold the process.
--
-- Lua's own matcher is one C call: it backtracks without end for some patterns, and recurses on the C stack for long
-- ones. Here it runs only where its worst case is small. Everything else goes to a matcher in Lua with the same
-- results (Lua 5.1's lstrlib.c), slower, but seen by the hook.

local lib = ...
local raw, look, settled = lib.raw, lib.look, lib.settled
local error, type, tostring, unpack, pcall = raw.error, raw.type, raw.tostring, raw.unpack, raw.pcall
local byte, char, sub, concat, setmetatable, floor = raw.byte, raw.char, raw.sub, raw.concat, raw.setmetatable, raw.floor
local tonumber = raw.tonumber
local c_find, c_match, c_gmatch, c_gsub = raw.find, raw.match, raw.gmatch, raw.gsub

local STEPS = lib.steps        -- that C may take in one call
local MAX_NODES = 200          -- of a pattern that C may see: it recurses for each
local MAX_PATTERN = 65536      -- bytes
local MAX_CAPTURES = 32        -- LUA_MAXCAPTURES
local UNCLOSED, POSITION = -1, -2

-- Patterns as lists of nodes --------------------------------------------------------------------------------------

local function class_of(fragment)
  local anchored = "^" .. fragment
  return setmetatable({}, { __index = function(class, code)
    local hit = c_find(char(code), anchored) ~= nil
    class[code] = hit
    return hit
  end })
end

local function bracket_end(pattern, at)
  at = at + 1
  if sub(pattern, at, at) == "^" then at = at + 1 end
  repeat
    if at > #pattern then error("malformed pattern (missing ']')", 0) end
    local escaped = byte(pattern, at) == 37
    at = at + 1
    if escaped and at <= #pattern then at = at + 1 end
  until byte(pattern, at) == 93
  return at + 1
end

-- One character class at `at`: its members, and the place after it.
local function class_at(pattern, at)
  local first = sub(pattern, at, at)
  if first == "[" then
    local stop = bracket_end(pattern, at)
    return class_of(sub(pattern, at, stop - 1)), stop
  elseif first == "%" then
    if at == #pattern then error("malformed pattern (ends with '%')", 0) end
    return class_of(sub(pattern, at, at + 1)), at + 2
  elseif first == "." then
    return class_of("."), at + 1
  end
  return { [byte(first)] = true }, at + 1
end

local function escape_at(pattern, at)
  local kind = sub(pattern, at + 1, at + 1)
  if kind == "b" then
    if at + 3 > #pattern then error("unbalanced pattern", 0) end
    return { kind = "balance", opening = byte(pattern, at + 2), closing = byte(pattern, at + 3) }, at + 4
  elseif kind == "f" then
    if sub(pattern, at + 2, at + 2) ~= "[" then error("missing '[' after '%f' in pattern", 0) end
    local class, stop = class_at(pattern, at + 2)
    return { kind = "frontier", class = class }, stop
  elseif c_find(kind, "^%d") then
    return { kind = "again", index = tonumber(kind) }, at + 2
  end
end

local function node_at(pattern, at)
  local first = sub(pattern, at, at)
  if first == "(" then
    if sub(pattern, at + 1, at + 1) == ")" then return { kind = "position" }, at + 2 end
    return { kind = "open" }, at + 1
  elseif first == ")" then
    return { kind = "close" }, at + 1
  elseif first == "$" and at == #pattern then
    return { kind = "end" }, at + 1
  elseif first == "%" then
    local node, stop = escape_at(pattern, at)
    if node then return node, stop end
  end
  local class, stop = class_at(pattern, at)
  local repetition = sub(pattern, stop, stop)
  if c_find(repetition, "^[%*%+%-%?]") then return { kind = repetition, class = class }, stop + 1 end
  return { kind = "one", class = class }, stop
end

local function parse(pattern)
  local stop = c_find(pattern, "%z")
  if stop then pattern = sub(pattern, 1, stop - 1) end      -- as in C, where a pattern ends at its first NUL
  local nodes, at = {}, 1
  while at <= #pattern do
    nodes[#nodes + 1], at = node_at(pattern, at)
  end
  return nodes
end

-- The worst case ------------------------------------------------------------------------------------------------

-- What multiplies the steps of a search: nodes that may stop at many places, and those that may stop at two.
-- A repetition that ends the pattern never backtracks: nothing after it can fail.
local function choices(nodes)
  local last, many, two = #nodes, 0, 0
  while last > 0 and nodes[last].kind == "close" do last = last - 1 end
  for i = 1, last do
    local kind = nodes[i].kind
    if kind == "balance" or kind == "again" or i < last and (kind == "*" or kind == "+" or kind == "-") then
      many = many + 1
    elseif kind == "?" then
      two = two + 1
    end
  end
  return many, two
end

local known = {}

-- The nodes of a pattern, and an upper bound of the steps that C may take to search `text` for it.
local function plan(text, pattern, anchored)
  local nodes = known[pattern]
  if not nodes then
    nodes = parse(pattern)
    nodes.many, nodes.two = choices(nodes)
    known[pattern] = nodes
  end
  if #nodes > MAX_NODES then return nodes, STEPS + 1 end
  local places = #text + 1
  return nodes, (anchored and 1 or places) * places ^ nodes.many * 2 ^ nodes.two * (#pattern + 1)
end

-- The matcher in Lua ----------------------------------------------------------------------------------------------

local function matcher(subject, nodes)
  local length = #subject
  local starts, sizes, level = {}, {}, 0
  local match, kinds

  local function fits(class, at) return at <= length and class[byte(subject, at)] end

  local function capture(at, n, size)
    if level >= MAX_CAPTURES then error("too many captures", 0) end
    level = level + 1
    starts[level], sizes[level] = at, size
    local stop = match(at, n + 1)
    if not stop then level = level - 1 end
    return stop
  end

  local function longest(node, at, n, least)
    local more = 0
    while fits(node.class, at + more) do more = more + 1 end
    for taken = more, least, -1 do
      local stop = match(at + taken, n + 1)
      if stop then return stop end
    end
  end

  kinds = {
    position = function(_, at, n) return capture(at, n, POSITION) end,
    open = function(_, at, n) return capture(at, n, UNCLOSED) end,
    close = function(_, at, n)
      local index = level
      while index > 0 and sizes[index] ~= UNCLOSED do index = index - 1 end
      if index == 0 then error("invalid pattern capture", 0) end
      sizes[index] = at - starts[index]
      local stop = match(at, n + 1)
      if not stop then sizes[index] = UNCLOSED end
      return stop
    end,
    again = function(node, at, n)
      local size = sizes[node.index]
      if node.index < 1 or node.index > level or size == UNCLOSED then error("invalid capture index", 0) end
      if size == POSITION then return nil end
      local from = starts[node.index]
      if sub(subject, from, from + size - 1) == sub(subject, at, at + size - 1) then return match(at + size, n + 1) end
    end,
    balance = function(node, at, n)
      if byte(subject, at) ~= node.opening then return nil end
      local depth = 1
      for i = at + 1, length do
        local code = byte(subject, i)
        if code == node.closing then
          depth = depth - 1
          if depth == 0 then return match(i + 1, n + 1) end
        elseif code == node.opening then
          depth = depth + 1
        end
      end
    end,
    frontier = function(node, at, n)
      local before, here = at > 1 and byte(subject, at - 1) or 0, byte(subject, at) or 0
      if not node.class[before] and node.class[here] then return match(at, n + 1) end
    end,
    ["*"] = function(node, at, n) return longest(node, at, n, 0) end,
    ["+"] = function(node, at, n) return longest(node, at, n, 1) end,
    ["-"] = function(node, at, n)
      while true do
        local stop = match(at, n + 1)
        if stop then return stop end
        if not fits(node.class, at) then return nil end
        at = at + 1
      end
    end,
    ["?"] = function(node, at, n)
      return fits(node.class, at) and match(at + 1, n + 1) or match(at, n + 1)
    end,
  }

  -- The place after the match of the nodes from `n` on at the place `at`, or nil.
  function match(at, n)
    while true do
      local node = nodes[n]
      if not node then return at end
      if node.kind == "one" then
        if not fits(node.class, at) then return nil end
        at = at + 1
      elseif node.kind == "end" then
        return at == length + 1 and at or nil
      else
        return kinds[node.kind](node, at, n)
      end
      n = n + 1
    end
  end

  local function captured(index, from, stop)
    if index > level then
      if index == 1 then return sub(subject, from, stop - 1) end
      error("invalid capture index", 0)
    end
    if sizes[index] == UNCLOSED then error("unfinished capture", 0) end
    if sizes[index] == POSITION then return starts[index] end
    return sub(subject, starts[index], starts[index] + sizes[index] - 1)
  end

  local function captures(from, stop, whole)
    local list = {}
    for i = 1, level == 0 and whole and 1 or level do list[i] = captured(i, from, stop) end
    return list
  end

  local function at(place)
    level = 0
    return match(place, 1)
  end

  -- The first match from `place` on: where it begins, and the place after it.
  local function from(place, anchored)
    while place <= length + 1 do
      local stop = at(place)
      if stop then return place, stop end
      if anchored then return nil end
      place = place + 1
    end
  end

  return { at = at, from = from, captures = captures, captured = captured }
end

-- The functions of the library ------------------------------------------------------------------------------------

local function text_argument(value, index, name, level)
  if type(value) == "string" then return value end
  if type(value) == "number" then return tostring(value) end
  error("bad argument #" .. index .. " to '" .. name .. "' (string expected, got " .. type(value) .. ")", level or 3)
end

-- Returns what a protected call returned; an error is raised where the script called, two functions up.
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

-- A plain search in pieces, each small enough for C: memchr and memcmp may compare length * size bytes.
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
  if type(value) ~= "string" and type(value) ~= "number" then
    error("invalid replacement value (a " .. type(value) .. ")", 0)
  end
  return value
end

local function substitute(text, pattern, replacement, limit)
  local anchored, rest = anchor(pattern)
  local nodes, steps = plan(text, rest, anchored)
  if type(replacement) == "string" then steps = steps + (#text + 1) * #replacement end
  if steps <= STEPS then return c_gsub(text, pattern, replacement, limit) end
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

local REPLACEMENTS = { string = true, table = true, ["function"] = true }

local function gsub(text, pattern, replacement, limit)
  text, pattern = text_argument(text, 1, "gsub"), pattern_argument(pattern, "gsub")
  if type(replacement) == "number" then replacement = tostring(replacement) end
  if not REPLACEMENTS[type(replacement)] then
    error("bad argument #3 to 'gsub' (string/function/table expected, got " .. type(replacement) .. ")", 2)
  end
  limit = limit == nil and #text + 1 or tonumber(limit) or 0
  -- A function's own errors carry their place already.
  if type(replacement) == "function" then return substitute(text, pattern, replacement, limit) end
  return passed(pcall(substitute, text, pattern, replacement, limit))
end

return { find = find, match = match, gmatch = gmatch, gfind = gmatch, gsub = gsub }
