-- Numbers as text, `..`, string.format, and the functions that make texts as long as their arguments.
--
-- Each call of C is short: longer texts are processed in pieces, with a check of the limits between them, and no text is
-- longer than MAX_TEXT. sandbox.lua checks more often once a long text exists.

local lib = ...
local raw, look, made, CONCATENATE, SELECT = lib.raw, lib.look, lib.made, lib.concatenate, lib.select
local error, type, select, rawget, concat = raw.error, raw.type, raw.select, raw.rawget, raw.concat
local raw_tostring, tonumber, raw_format, metatable_of = raw.tostring, raw.tonumber, raw.format, raw.metatable_of
local sub, byte, find, floor, c_rep = raw.sub, raw.byte, raw.find, raw.floor, raw.rep

local LONG, MAX_TEXT = lib.long, lib.max_text
local TOO_LONG = "a text of more than " .. MAX_TEXT .. " bytes"
local WHOLE = 1e14            -- from here on Lua 5.1 omits digits of whole numbers
local LARGEST = 2 ^ 63        -- from here on the original writes an exponent as well

local function check(size, level)
  if size > MAX_TEXT then error(TOO_LONG, level + 1) end
end

-- Format a number like the original: whole numbers with all their digits.
local function digits(x)
  if (x >= WHOLE or x <= -WHOLE) and x % 1 == 0 and x < LARGEST and x > -LARGEST then return raw_format("%.0f", x) end
  return raw_tostring(x)
end

local function tostring(...)
  local value = ...
  if type(value) == "number" then return digits(value) end
  return raw_tostring(...)
end

-- Return a text or a number as text, and nil for other values.
local function text_of(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return digits(value) end
end

-- Like text_of, but raise an error that names the argument of the function that the script called.
local function text_argument(value, index, name)
  return text_of(value)
    or error("bad argument #" .. index .. " to '" .. name .. "' (string expected, got " .. type(value) .. ")", 3)
end

-- The operator `..` --------------------------------------------------------------------------------------------

local function concat_handler(value)
  local metatable = metatable_of(value)
  return metatable and rawget(metatable, "__concat")
end

local function pair(a, b)
  local left, right = text_of(a), text_of(b)
  if left and right then
    check(#left + #right, 3)
    return made(left .. right)
  end
  local handler = concat_handler(a) or concat_handler(b)
  if not handler then error("attempt to concatenate a " .. (left and type(b) or type(a)) .. " value", 3) end
  return (handler(a, b))
end

-- The call of a number. Code that bytecode.py rewrote calls CONCATENATE with the operands of a chain of `..`, and SELECT as
-- `select`. This function must have no parameters before `...`, for the reason in bytecode.py.
local function call(...)
  local magic, a, b = ...
  if magic == SELECT then return select(select(2, ...)) end
  if magic ~= CONCATENATE then error("attempt to call a number value", 2) end
  local rest = select("#", ...) - 3
  if rest == 0 then
    local result = pair(a, b)
    return result
  end
  local operands, texts, size = { select(2, ...) }, {}, 0
  for i = 1, rest + 2 do
    local text = text_of(operands[i])
    if not text then break end
    texts[i], size = text, size + #text
  end
  if #texts == rest + 2 then
    check(size, 2)
    return made(concat(texts))
  end
  local result = operands[rest + 2]
  for i = rest + 1, 1, -1 do result = pair(operands[i], result) end
  return result
end

-- Long texts ---------------------------------------------------------------------------------------------------

-- Apply `f`, which changes a text byte by byte, or reverses it if `backwards`.
local function piecewise(f, text, backwards)
  if #text <= LONG then return f(text) end
  local parts, count = {}, floor((#text - 1) / LONG) + 1
  for i = 1, count do
    look()
    parts[backwards and count - i + 1 or i] = f(sub(text, (i - 1) * LONG + 1, i * LONG))
  end
  return concat(parts)
end

local function each_byte(name, f, backwards)
  return function(text)
    text = text_argument(text, 1, name)
    return piecewise(f, text, backwards)
  end
end

local function rep(text, n)
  text, n = text_of(text), tonumber(n)
  if not text or not n then error("bad arguments to 'rep' (string and number expected)", 2) end
  n = floor(n)
  if #text == 0 or not (n > 0) then return "" end
  check(#text * n, 2)
  return made(c_rep(text, n))
end

-- string.format ------------------------------------------------------------------------------------------------

local NUMBERS = { c = 1, d = 1, i = 1, o = 1, u = 1, x = 1, X = 1, e = 1, E = 1, f = 1, g = 1, G = 1 }

-- Parse a format into texts and tables, which have the conversion `kind`, its C format `spec` and the fields for %s.
local function plan_of(layout)
  local plan, at = {}, 1
  while true do
    local from = find(layout, "%", at, true)
    if not from then break end
    plan[#plan + 1] = sub(layout, at, from - 1)
    local _, stop, flags, width, precision = find(layout, "^([-+ #0]*)(%d*)(%.?%d*)", from + 1)
    local kind = sub(layout, stop + 1, stop + 1)
    if kind == "%" and stop == from then
      plan[#plan + 1] = "%"
    else
      if #flags > 5 then error("invalid format (repeated flags)", 3) end
      if #width > 2 or #precision > 3 then error("invalid format (width or precision too long)", 3) end
      if not NUMBERS[kind] and kind ~= "s" and kind ~= "q" then
        error("invalid option '%" .. kind .. "' to 'format'", 3)
      end
      plan[#plan + 1] = { kind = kind, spec = sub(layout, from, stop + 1), left = find(flags, "-", 1, true) ~= nil,
        width = tonumber(width) or 0, precision = precision ~= "" and (tonumber(sub(precision, 2)) or 0) }
    end
    at = stop + 2
  end
  plan[#plan + 1] = sub(layout, at)
  return plan
end

-- %s takes any value, as in the original, and texts with any bytes.
local function padded(item, text)
  if item.precision then text = sub(text, 1, item.precision) end
  local missing = item.width - #text
  if missing <= 0 then return text end
  return item.left and text .. c_rep(" ", missing) or c_rep(" ", missing) .. text
end

local function quoted_piece(text)
  return sub(raw_format("%q", text), 2, -2)
end

local function formatted(item, index, count, value)
  local kind = item.kind
  if index > count then error("bad argument #" .. index + 1 .. " to 'format' (no value)", 3) end
  if kind == "s" then return padded(item, tostring(value)) end
  if kind == "q" then
    value = text_of(value) or error("bad argument #" .. index + 1 .. " to 'format' (string expected, got "
      .. type(value) .. ")", 3)
    return '"' .. piecewise(quoted_piece, value) .. '"'
  end
  local number = tonumber(value)
  if not number then
    error("bad argument #" .. index + 1 .. " to 'format' (number expected, got " .. type(value) .. ")", 3)
  end
  return raw_format(item.spec, number)
end

local plans = {}

local function format(layout, ...)
  layout = text_argument(layout, 1, "format")
  local plan = plans[layout]
  if not plan then
    plan = plan_of(layout)
    plans[layout] = plan
  end
  local values, count, used, size, parts = { ... }, select("#", ...), 0, 0, {}
  for i = 1, #plan do
    local part = plan[i]
    if type(part) == "table" then
      used = used + 1
      part = formatted(part, used, count, values[used])
    end
    parts[i], size = part, size + #part
    check(size, 2)
  end
  return made(concat(parts))
end

return {
  text_of = text_of, tostring = tostring, call = call, check = check,
  string = {
    format = format, rep = rep, upper = each_byte("upper", raw.upper), lower = each_byte("lower", raw.lower),
    reverse = each_byte("reverse", raw.reverse, true),
  },
}
