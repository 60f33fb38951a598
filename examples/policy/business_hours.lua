-- Sessions open on working days from 8 to 18 h, by the proxy's clock and time zone. The operations team's agents,
-- whose names begin with "ops-", may always; every other session outside the hours is told to the log.

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
