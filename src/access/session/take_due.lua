-- Takes the sessions that are to be looked after now; they come again when nobody settles them.
-- KEYS 1 sessions to look after · ARGV 1 now (ms) · 2 come again at (ms) · 3 how many at most
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, entry in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[2], entry) end
return due
