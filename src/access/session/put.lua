-- Keeps a session, unless what it was let in with was revoked meanwhile (`fence::FENCED`).
-- KEYS fences of session, operator, device, tenant · 5 session · 6 device of the iam session
--      7 devices of the tenant · 8 sessions to look after
-- ARGV 1 token issued at (ms) · 2 session · 3 its life (ms) · 4 life of what points to it (ms)
--      5 device · 6 the first again: the time of this renewal · 7 look after it at (ms) · 8 its entry there
--      9 the session it must replace, empty for whichever there is
if fenced(ARGV[1]) then return 'fenced' end
if ARGV[9] ~= '' then
    local read, stored = pcall(cjson.decode, redis.call('GET', KEYS[5]) or '')
    if not read or type(stored) ~= 'table' or stored.sessionId ~= ARGV[9] then return 'gone' end
end
redis.call('SET', KEYS[5], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[6], ARGV[5], 'PX', ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', tonumber(ARGV[6]) - tonumber(ARGV[4]))
redis.call('ZADD', KEYS[7], ARGV[6], ARGV[5])
redis.call('PEXPIRE', KEYS[7], ARGV[4])
redis.call('ZADD', KEYS[8], ARGV[7], ARGV[8])
return 'stored'
