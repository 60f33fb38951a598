-- Functions on tables that would be one long call of C, or that C does not check.

local lib = ...
local raw, look, made, text_of, check = lib.raw, lib.look, lib.made, lib.texts.text_of, lib.texts.check
local error, type, next, select, tonumber = raw.error, raw.type, raw.next, raw.select, raw.tonumber
local c_unpack, c_insert, c_remove, c_sort, concat = raw.unpack, raw.insert, raw.remove, raw.sort, raw.concat
local rawget, rawset, floor = raw.rawget, raw.rawset, raw.floor

local MANY = 1000             -- elements that C may move at once
local LARGEST = 2 ^ 31 - 2    -- index that C takes
local MOST = 7000             -- values that a function may return; C has room for 8,000

local function table_argument(list, name)
  if type(list) ~= "table" then
    error("bad argument #1 to '" .. name .. "' (table expected, got " .. type(list) .. ")", 3)
  end
  return list
end

-- Return an argument as a whole number, truncated as in C. Raise an error if it is not a number.
local function whole(value, index, name, default)
  if value == nil and default then return default end
  local number = tonumber(value)
  if not number or number ~= number then
    error("bad argument #" .. index .. " to '" .. name .. "' (number expected, got " .. type(value) .. ")", 3)
  end
  return number < 0 and -floor(-number) or floor(number)
end

-- C computes the number of values with 32 bits, and writes past the stack if that overflows.
local function unpack(list, first, last)
  table_argument(list, "unpack")
  first = whole(first, 2, "unpack", 1)
  last = whole(last, 3, "unpack", #list)
  if last - first >= MOST then error("too many results to unpack", 2) end
  if first > last then return end
  if first < -LARGEST or last > LARGEST then error("bad argument to 'unpack' (index out of range)", 2) end
  return c_unpack(list, first, last)
end

-- A position in C is an `int`: a very large one would move 2^31 elements.
local function insert(list, ...)
  table_argument(list, "insert")
  local count, size = select("#", ...), #list
  if count == 1 then return c_insert(list, (...)) end
  if count ~= 2 then error("wrong number of arguments to 'insert'", 2) end
  local place, value = ...
  place = whole(place, 2, "insert")
  if place < 1 then error("bad argument #2 to 'insert' (position out of bounds)", 2) end
  if place > size then
    rawset(list, place, value)
    return
  end
  if size - place < MANY then return c_insert(list, place, value) end
  for i = size, place, -1 do rawset(list, i + 1, rawget(list, i)) end
  rawset(list, place, value)
end

local function remove(list, place)
  table_argument(list, "remove")
  local size = #list
  place = whole(place, 2, "remove", size)
  if place < 1 or place > size then return end
  if size - place < MANY then return c_remove(list, place) end
  local value = rawget(list, place)
  for i = place, size - 1 do rawset(list, i, rawget(list, i + 1)) end
  rawset(list, size, nil)
  return value
end

local function maxn(list)
  local largest = 0
  for key in next, table_argument(list, "maxn") do
    if type(key) == "number" and key > largest then largest = key end
  end
  return largest
end

local function joined(list, separator, first, last)
  table_argument(list, "concat")
  separator = separator == nil and "" or text_of(separator)
    or error("bad argument #2 to 'concat' (string expected, got " .. type(separator) .. ")", 2)
  first, last = whole(first, 3, "concat", 1), whole(last, 4, "concat", #list)
  local parts, n, size = {}, 0, 0
  for i = first, last do
    local text = text_of(rawget(list, i))
    if not text then
      error("invalid value (" .. type(rawget(list, i)) .. ") at index " .. i .. " in table for 'concat'", 2)
    end
    n, size = n + 1, size + #text + #separator
    parts[n] = text
    check(size - #separator, 2)
  end
  look()
  return made(concat(parts, separator))
end

local function less(a, b) return a < b end

-- Comparing in Lua lets the hook see a sort that some lists make quadratic.
local function sort(list, before)
  c_sort(list, before == nil and less or before)
end

return { unpack = unpack, sort = sort,
  table = { insert = insert, remove = remove, maxn = maxn, concat = joined, sort = sort } }
