-- Reads a view, or only its checkpoints and some items.
-- KEYS[1] view   ARGV[1] recovery epoch of the logs   ARGV[2…] fields; none for all of them
-- Answers false when the view is missing or was written before this server started.
local stamp = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. '/' .. ARGV[1]
if redis.call('HGET', KEYS[1], '@stamp') ~= stamp then
  return false
end
if #ARGV == 1 then
  return redis.call('HGETALL', KEYS[1])
end
local values = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
local found = {}
for index, value in ipairs(values) do
  if value then
    found[#found + 1] = ARGV[index + 1]
    found[#found + 1] = value
  end
end
return found
