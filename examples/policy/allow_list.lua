-- Allow the sessions that a JSON file lists, and no others. The script reads the file from a small service beside the
-- proxy (local_service.py, or any web server on the machine), so a change applies to the next session.
--
-- Each entry: {"source": "office-*", "gateway": "db", "host": "10.0.0.5", "port": 5432}. A missing field matches
-- everything. A "*" at the end of a text matches every text that begins with the rest.

local http = require("http")
local json = require("json")

local LIST = "http://127.0.0.1:8090/allow-list.json"

local function fits(wanted, value)
  if wanted == nil or wanted == value then return true end
  if type(wanted) ~= "string" or wanted:sub(-1) ~= "*" then return false end
  return value:sub(1, #wanted - 1) == wanted:sub(1, -2)
end

function connect(request)
  local response, wrong = http.get(LIST, { timeout = 3 })
  if wrong then error(wrong) end
  if response.status_code ~= 200 then error("no list: status " .. response.status_code) end
  local list = assert(json.decode(response.body))
  for number, entry in ipairs(list) do
    if fits(entry.source, request:source()) and fits(entry.gateway, request:gatename())
      and fits(entry.host, request:ip()) and fits(entry.port, request:port()) then
      return true, { detail = "entry " .. number .. " of the list" }
    end
  end
  return false, { detail = "not on the list" }
end
