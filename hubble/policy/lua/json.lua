-- The module json, compatible with the original's: decode and encode. Python parses, quotes and prints numbers.

local lib = ...
local raw = lib.raw
local error, type, next, tostring, concat = raw.error, raw.type, raw.next, lib.texts.tostring, raw.concat
local find, format, huge = raw.find, raw.format, raw.huge
local decode, quote, number = lib.crossing(lib.decode), lib.crossing(lib.quote), lib.crossing(lib.number)
local receive, sort, made, check = lib.receive, lib.tables.sort, lib.made, lib.texts.check

local MIXED = "cannot encode mixed or invalid key types"
local SPARSE = "cannot encode sparse array"
local NESTED = "cannot encode recursively nested tables to JSON"

local write      -- write(value, out, open) appends JSON to the list `out`, or returns the fault

local function write_text(text, out)
  -- Python handles all other characters: control characters, quotes, non-ASCII ones, and special ones of HTML.
  if find(text, '[^ !#-%%\'-;=%?-%[%]-~]') then
    out[#out + 1] = quote(text)
  else
    out[#out + 1] = '"' .. text .. '"'
  end
end

local function write_number(x, out)
  if x ~= x or x == huge or x == -huge then return "cannot encode " .. tostring(x) .. " to JSON" end
  if x % 1 == 0 and x < 1e15 and x > -1e15 then
    out[#out + 1] = format("%.0f", x)
  else
    out[#out + 1] = number(x)
  end
end

local function write_array(list, size, out, open)
  out[#out + 1] = "["
  for i = 1, size do
    if i > 1 then out[#out + 1] = "," end
    local wrong = write(list[i], out, open)
    if wrong then return wrong end
  end
  out[#out + 1] = "]"
end

local function write_object(object, keys, out, open)
  sort(keys)
  out[#out + 1] = "{"
  for i = 1, #keys do
    if i > 1 then out[#out + 1] = "," end
    write_text(keys[i], out)
    out[#out + 1] = ":"
    local wrong = write(object[keys[i]], out, open)
    if wrong then return wrong end
  end
  out[#out + 1] = "}"
end

-- Return the keys of a table if all are strings, otherwise nil; their number; and their fault.
local function keys_of(container)
  local keys, size, numbers, largest = {}, 0, 0, 0
  for key in next, container do
    size = size + 1
    keys[size] = key
    if type(key) == "number" then
      numbers = numbers + 1
      if key < 1 or key % 1 ~= 0 then largest = huge end
      if key > largest then largest = key end
    elseif type(key) ~= "string" then
      return nil, size, MIXED
    end
  end
  if numbers == 0 then return keys, size end
  if numbers < size then return nil, size, MIXED end
  if largest > size then return nil, size, SPARSE end
  return nil, size
end

local function write_table(container, out, open)
  if open[container] then return NESTED end
  open[container] = true
  local keys, size, wrong = keys_of(container)
  if not wrong then
    if size > 0 and keys then
      wrong = write_object(container, keys, out, open)
    else
      wrong = write_array(container, size, out, open)
    end
  end
  open[container] = nil
  return wrong
end

function write(value, out, open)
  local kind = type(value)
  if kind == "string" then return write_text(value, out) end
  if kind == "number" then return write_number(value, out) end
  if kind == "table" then return write_table(value, out, open) end
  if kind == "nil" then
    out[#out + 1] = "null"
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  else
    return "cannot encode " .. kind .. " to JSON"
  end
end

local json = {}

function json.decode(text)
  if type(text) == "number" then text = tostring(text) end
  if type(text) ~= "string" then
    error("bad argument #1 to 'decode' (string expected, got " .. type(text) .. ")", 2)
  end
  local wrong = decode(text)
  if wrong then return nil, wrong end
  return receive()
end

function json.encode(value)
  local out = {}
  local wrong = write(value, out, {})
  if wrong then return nil, wrong end
  local size = 0
  for i = 1, #out do size = size + #out[i] end
  check(size, 2)
  return made(concat(out))
end

return json
