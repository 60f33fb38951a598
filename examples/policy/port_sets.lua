-- Customers share a proxy. The names of a customer's agents begin with its name ("acme-office", "acme-server"). They
-- reach only gateways of the same customer, and only the ports that it booked. Each customer has a key, which `register`
-- checks.

local CUSTOMERS = {
  acme = { key = "change me: acme", ports = { 22, 443, "8000-8099" } },
  globex = { key = "change me: globex", ports = { 3389 } },
}

local function customer_of(gateway)
  return gateway:match("^(%w+)%-")
end

local function has_port(ports, port)
  for _, booked in ipairs(ports) do
    local first, last = tostring(booked):match("^(%d+)%-?(%d*)$")
    last = last == "" and first or last
    if port >= tonumber(first) and port <= tonumber(last) then return true end
  end
  return false
end

function register(request)
  local name = customer_of(request:name())
  local customer = CUSTOMERS[name]
  if customer and request:key() == customer.key then
    return true, { identity = name }
  end
  return false, { detail = "no such customer, or a wrong key" }
end

function connect(request)
  local customer = CUSTOMERS[request:identity()]
  if not customer or customer_of(request:gatename()) ~= request:identity() then
    return false, { detail = "not a gateway of this customer" }
  end
  return has_port(customer.ports, request:port()), { detail = "port " .. request:port(), cache = 60 }
end
