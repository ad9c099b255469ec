-- Puts a finished build in the view's place, if it has caught up with everything the live lane has applied or passed.
-- KEYS[1] view   KEYS[2] build lock   KEYS[3] temporary key
-- ARGV[1] recovery epoch   ARGV[2] builder's token   ARGV[3] ledger checkpoint   ARGV[4] inbox checkpoint
-- Answers swapped, behind (read on and try again) or lost (another builder, or an eviction: start over).
if redis.call('HGET', KEYS[2], '@token') ~= ARGV[2] or redis.call('EXISTS', KEYS[3]) == 0 then
  return 'lost'
end
local stamp = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. '/' .. ARGV[1]
local needed = redis.call('HMGET', KEYS[2], '@ledger', '@inbox')
local standing = { false, false }
if redis.call('HGET', KEYS[1], '@stamp') == stamp then
  standing = redis.call('HMGET', KEYS[1], '@ledger', '@inbox')
end
for log = 1, 2 do
  local reached = tonumber(ARGV[2 + log])
  if reached < tonumber(needed[log] or '0') or reached < tonumber(standing[log] or '0') then
    return 'behind'
  end
end
redis.call('HSET', KEYS[3], '@stamp', stamp, '@ledger', ARGV[3], '@inbox', ARGV[4])
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('PERSIST', KEYS[1])
redis.call('DEL', KEYS[2])
return 'swapped'
