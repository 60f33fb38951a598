-- Ask a service about each session. The service answers with JSON: {"allowed": true, "seconds": 60}. The proxy caches
-- the answer for that many seconds, and does not run this script again for the same agents, destination and key.

local http = require("http")
local json = require("json")

local SERVICE = "http://127.0.0.1:8090/decide"

function connect(request)
  local question = json.encode({
    source = request:source(),
    source_ip = request:source_ip(),
    gateway = request:gatename(),
    host = request:ip(),
    port = request:port(),
    key = request:key(),
  })
  local response, wrong = http.post(SERVICE, {
    body = question,
    headers = { ["Content-Type"] = "application/json" },
    timeout = "3s",
  })
  if wrong then error(wrong) end
  if response.status_code ~= 200 then error("the service answered " .. response.status_code) end
  local answer = assert(json.decode(response.body))
  return answer.allowed == true, { cache = answer.seconds or 0, detail = answer.reason }
end
