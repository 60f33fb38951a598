-- A parser for the patterns of Lua 5.1, the worst case of a search in C, and a matcher in Lua with the same results.
--
-- Lua's own matcher (lstrlib.c) is one C call: it backtracks without end for some patterns, and recurses on the C stack
-- for long ones. strings.lua uses it only where its worst case is small. The hook can interrupt the matcher here.

local lib = ...
local raw = lib.raw
local error, tonumber, setmetatable = raw.error, raw.tonumber, raw.setmetatable
local byte, char, sub, c_find = raw.byte, raw.char, raw.sub, raw.find

local STEPS = lib.steps        -- of one call in C
local MAX_NODES = 200          -- of a pattern that C may see: it recurses for each
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

-- Parse the character class at `at`. Return its members, and the place after it.
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

-- Two kinds of nodes multiply the steps of a search: nodes that may stop at many places, and nodes that may stop at two.
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

-- Return the nodes of a pattern, and an upper bound of the steps in C to search `text` for it.
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

  -- Match the nodes from `n` on at the place `at`. Return the place after the match, or nil.
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

  -- Find the first match from `place` on. Return its place, and the place after it.
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

return { plan = plan, matcher = matcher }
