-- Allow sessions on working days between 8 and 18 h, by the proxy's clock and time zone. Agents of the operations team,
-- whose names begin with "ops-", are always allowed. Other sessions outside the hours are denied and logged.

local OPENS, CLOSES = 8, 18                      -- hours
local WORKING = { [2] = true, [3] = true, [4] = true, [5] = true, [6] = true }  -- os.date counts from Sunday = 1

function connect(request)
  if request:source():match("^ops%-") then
    return true
  end
  local now = os.date("*t")
  if WORKING[now.wday] and now.hour >= OPENS and now.hour < CLOSES then
    return true
  end
  log.info(request:source(), "wanted", request:gatename(), "outside business hours")
  return false, { detail = "outside business hours" }
end
