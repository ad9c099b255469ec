-- Puts a chunk of items into the temporary key of a build.
-- KEYS[1] temporary key   ARGV[1] `first` or `next`   ARGV[2] lifetime in milliseconds   ARGV[3…] field, value, …
-- A later chunk never creates the key: an eviction in between would leave half a view.
if ARGV[1] == 'first' then
  redis.call('DEL', KEYS[1])
elseif redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
