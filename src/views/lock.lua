-- Takes or renews the right to build a view. One builder at a time, over all instances.
-- KEYS[1] build lock   ARGV[1] builder's token   ARGV[2] lifetime in milliseconds   ARGV[3] `take` or `keep`
local owner = redis.call('HGET', KEYS[1], '@token')
if owner ~= ARGV[1] and (owner or ARGV[3] == 'keep') then
  return 0
end
redis.call('HSET', KEYS[1], '@token', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
