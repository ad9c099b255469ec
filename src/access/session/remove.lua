-- Forgets a session unless another one has taken its place.
-- KEYS 1 session · 2 device of the iam session · 3 devices of the tenant
-- ARGV 1 the session's id · 2 device
local read, stored = pcall(cjson.decode, redis.call('GET', KEYS[1]) or '')
redis.call('DEL', KEYS[2])
if not read or type(stored) ~= 'table' or stored.sessionId ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[2])
return 1
