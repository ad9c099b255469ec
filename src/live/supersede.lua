-- Gives a device's stream its number, higher than any before, and tells every instance to end older ones.
-- KEYS[1] the device's number   KEYS[2] stream of announcements
-- ARGV[1] tenant   ARGV[2] device   ARGV[3] entries to keep   ARGV[4] lifetime of the number in milliseconds
-- The number follows the clock, so that it grows also after Redis lost it.
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local number = math.max(now_us, tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
local text = string.format('%.0f', number)
redis.call('SET', KEYS[1], text, 'PX', ARGV[4])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*',
  'tenant', ARGV[1], 'device', ARGV[2], 'number', text)
return text
