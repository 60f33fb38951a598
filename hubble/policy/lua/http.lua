-- The module http, compatible with the original's. Requests are staged one by one and then sent all at once; a single
-- request is a batch of one.

local lib = ...
local raw = lib.raw
local error, type, next, tostring, unpack = raw.error, raw.type, raw.next, lib.texts.tostring, raw.unpack
local text_of = lib.texts.text_of
local stage, send, receive = lib.crossing(lib.stage), lib.crossing(lib.send), lib.receive

local function text_or_nil(value)
  if type(value) == "string" then return value end
end

local FIELDS = 200      -- headers or cookies of one request; host.py counts both

-- Append the names and values of `pairs_` to `list`. Return the number of pairs, at most one more than allowed.
local function flatten(list, pairs_)
  local n = 0
  if type(pairs_) ~= "table" then return n end
  for name, value in next, pairs_ do
    if n > FIELDS then break end
    list[#list + 1] = tostring(name)
    list[#list + 1] = tostring(value)
    n = n + 1
  end
  return n
end

local function credentials(auth)
  if type(auth) ~= "table" then return end
  if not auth.user or not auth.pass then
    return nil, nil, "auth table must contain no nil user and pass fields"
  end
  return tostring(auth.user), tostring(auth.pass)
end

-- Pass one request to Python. Return its fault, or nil.
local function prepare(method, url, options)
  if type(options) ~= "table" then options = {} end
  local user, password, wrong = credentials(options.auth)
  if wrong then return wrong end
  local timeout = options.timeout
  if timeout ~= nil and type(timeout) ~= "number" and type(timeout) ~= "string" then
    return "timeout must be a number of seconds, or a string such as \"30s\""
  end
  local body, form = text_or_nil(options.body), text_or_nil(options.form)
  local fields = {}
  local headers = flatten(fields, options.headers)
  flatten(fields, options.cookies)
  return stage(text_of(method) or "", text_of(url) or "", text_or_nil(options.query), body or form, form ~= nil and not body,
    timeout, user, password, headers, unpack(fields))
end

local function request(method, url, options)
  local wrong = prepare(method, url, options)
  if wrong then return nil, wrong end
  send()
  local answer = receive()[1]
  if answer.wrong then return nil, answer.wrong end
  return answer.response
end

local http = { request = request }

for _, method in next, { "get", "delete", "head", "patch", "post", "put" } do
  http[method] = function(url, options) return request(method, url, options) end
end

function http.request_batch(requests)
  if type(requests) ~= "table" then
    error("bad argument #1 to 'request_batch' (table expected, got " .. type(requests) .. ")", 2)
  end
  local responses, errors, sent = {}, {}, {}
  for i = 1, #requests do
    local one = requests[i]
    errors[i] = type(one) ~= "table" and "Request must be a table" or prepare(one[1], one[2], one[3])
    if not errors[i] then sent[#sent + 1] = i end
  end
  send()
  local answers = receive()
  for position, i in next, sent do
    responses[i], errors[i] = answers[position].response, answers[position].wrong
  end
  if next(errors) == nil then return responses end
  return responses, errors
end

return http
