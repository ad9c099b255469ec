-- Marks subjects of one tenant as changed: a new position is later than the last one, whoever's clock is late.
-- KEYS marks · hash of what the device has changed, if it was one
-- ARGV 1 now (µs since 1970) · 2 what stands before the position · 3 life of a mark (ms) · 4 life of the hash (ms) · then each part
local count = #ARGV - 4
local own = KEYS[count + 1]
for i = 1, count do
    local last = tonumber(string.match(redis.call('GET', KEYS[i]) or '', '%d+$') or '') or 0
    local position = string.format('%.0f', math.max(last + 1, tonumber(ARGV[1])))
    redis.call('SET', KEYS[i], ARGV[2] .. position, 'PX', ARGV[3])
    if own then redis.call('HSET', own, ARGV[4 + i], position) end
end
if own then redis.call('PEXPIRE', own, ARGV[4]) end
