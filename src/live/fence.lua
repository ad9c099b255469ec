-- Fences a session, operator, device or tenant off and tells every instance, in one go.
-- KEYS[1] fence   KEYS[2] stream of revocations
-- ARGV[1] revoked at, unix milliseconds   ARGV[2] lifetime in milliseconds
-- ARGV[3] tenant   ARGV[4] kind   ARGV[5] id   ARGV[6] reason   ARGV[7] entries to keep
local standing = redis.call('GET', KEYS[1])
if not standing or tonumber(standing) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], '*',
  'tenant', ARGV[3], 'kind', ARGV[4], 'id', ARGV[5], 'at', ARGV[1], 'reason', ARGV[6])
return 1
