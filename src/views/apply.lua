-- Writes items into a view that is exactly as far as its reader saw it; never creates one.
-- KEYS[1] view   KEYS[2] its build lock
-- ARGV[1] recovery epoch   ARGV[2] `@ledger` or `@inbox`   ARGV[3] checkpoint after these facts
-- ARGV[4] checkpoint of the ledger as read   ARGV[5] that of the inbox   ARGV[6…] field, value, …
-- Without a view, a build that is under way is told how far it has to come before it may take the view's place.
local stamp = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. '/' .. ARGV[1]
if redis.call('HGET', KEYS[1], '@stamp') ~= stamp then
  if redis.call('EXISTS', KEYS[2]) == 1 then
    local needed = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0')
    if needed < tonumber(ARGV[3]) then
      redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
    end
  end
  return 'missing'
end
local checkpoints = redis.call('HMGET', KEYS[1], '@ledger', '@inbox')
if checkpoints[1] ~= ARGV[4] or checkpoints[2] ~= ARGV[5] then
  return 'conflict'
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3], unpack(ARGV, 6))
return 'applied'
