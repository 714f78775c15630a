-- The health of a PayUToken. It follows kstatus, except for suspended ones.

local status = obj.status or {}
local is = {} -- condition by type
for _, condition in ipairs(status.conditions or {}) do
  is[condition.type] = condition
end

if obj.spec.suspend then
  return {status = "Suspended", message = "spec.suspend is true: no renewals"}
end
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator"}
end
if is.Stalled and is.Stalled.status == "True" then
  return {status = "Degraded", message = is.Stalled.message}
end
if not is.Ready or is.Ready.status ~= "True" then
  return {status = "Progressing", message = is.Ready and is.Ready.message or "Waiting for the operator"}
end
if is.Refreshed and is.Refreshed.status == "False" then
  return {status = "Healthy", message = is.Ready.message .. "; the last renewal failed: " .. is.Refreshed.message}
end
return {status = "Healthy", message = is.Ready.message}
