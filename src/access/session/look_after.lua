-- Puts sessions into the list of those to look after, unless they are in it. KEYS 1 the list · ARGV 1 from when on (ms) · 2… sessions
local added = 0
for index = 2, #ARGV do added = added + redis.call('ZADD', KEYS[1], 'NX', ARGV[1], ARGV[index]) end
return added
