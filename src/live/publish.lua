
-- Adds live events of one tenant and log; an event that is there already is refused by its id. Then trims.
-- ARGV[2] `ledger` or `inbox`
-- ARGV[3] age in milliseconds up to which nothing is trimmed   ARGV[4] entries that always stay
-- ARGV[5] entries above which age does not protect
-- ARGV[6…] position, number, channel, property, data, hidden from tenants that work by the Sharia (0 or 1)
-- Answers how many were added.
local epoch = current_epoch()
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local stream = ARGV[2] == 'ledger' and KEYS[2] or KEYS[3]
local last_position, last_number = string.match(last_id(stream), '(%d+)-(%d+)')
last_position, last_number = tonumber(last_position), tonumber(last_number)
local added = 0
for at = 6, #ARGV, 6 do
  local position, number = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if position > last_position or (position == last_position and number > last_number) then
    redis.call('XADD', stream, ARGV[at] .. '-' .. ARGV[at + 1],
      'e', epoch, 't', string.format('%.0f', now_ms),
      'c', ARGV[at + 2], 'p', ARGV[at + 3], 'd', ARGV[at + 4], 'h', ARGV[at + 5])
    last_position, last_number = position, number
    added = added + 1
  end
end

-- A bounded piece of trimming a call: what is older than the window and beyond the entries that always stay.
local surplus = redis.call('XLEN', stream) - tonumber(ARGV[4])
if surplus > 0 then
  local forced = redis.call('XLEN', stream) - tonumber(ARGV[5])
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', math.min(surplus, added + 64))
  local gone = {}
  for index, entry in ipairs(oldest) do
    local written_ms = tonumber(entry[2][4])
    if now_ms - written_ms <= tonumber(ARGV[3]) and index > forced then
      break
    end
    gone[#gone + 1] = entry[1]
  end
  if #gone > 0 then
    redis.call('XDEL', stream, unpack(gone))
    redis.call('HSET', KEYS[1], ARGV[2], gone[#gone])
  end
end
return added
