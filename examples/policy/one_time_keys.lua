-- Each key opens one session. A small service beside the proxy (local_service.py) records the keys that were used,
-- because a script has no memory and no files.
--
-- The service also records the session of each key, so that this session can resume after it lost its link.

local http = require("http")

local SERVICE = "http://127.0.0.1:8090/keys/use"

local function escaped(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

function connect(request)
  if request:key() == "" then
    return false, { detail = "no key" }
  end
  local form = "key=" .. escaped(request:key()) .. "&session=" .. escaped(request:session())
  local response, wrong = http.post(SERVICE, { form = form })
  if wrong then error(wrong) end
  if response.status_code == 200 then return true end
  if response.status_code == 403 then return false, { detail = "the key is unknown, or used" } end
  error("the key service answered " .. response.status_code)
end
