-- Marks each of these as changed: its new position is later than its last one, whoever's clock is late.
-- KEYS marks · ARGV 1 now (µs since 1970) · 2 what stands before the position · 3 life of a mark (ms)
for _, key in ipairs(KEYS) do
    local last = tonumber(string.match(redis.call('GET', key) or '', '%d+$') or '') or 0
    local position = math.max(last + 1, tonumber(ARGV[1]))
    redis.call('SET', key, ARGV[2] .. string.format('%.0f', position), 'PX', ARGV[3])
end
