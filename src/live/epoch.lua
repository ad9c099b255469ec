-- Shared beginning of the scripts over a tenant's live streams.
-- KEYS[1] head   KEYS[2] ledger stream   KEYS[3] inbox stream   ARGV[1] recovery epoch of the logs

-- The epoch of the streams: one without a gap. Another one begins when the head is gone, when the server started
-- again (it may have lost its last writes) and after a recovery of the logs.
local function current_epoch()
  local stamp = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. '/' .. ARGV[1]
  local head = redis.call('HMGET', KEYS[1], 'epoch', 'stamp')
  if head[2] == stamp then
    return head[1]
  end
  local time = redis.call('TIME')
  local epoch = string.format('%d%06d', time[1], time[2])
  if head[1] and tonumber(head[1]) >= tonumber(epoch) then
    epoch = string.format('%.0f', tonumber(head[1]) + 1)
  end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'stamp', stamp)
  return epoch
end

-- The id last given to an entry of a stream, also when that entry has been trimmed.
local function last_id(stream)
  if redis.call('EXISTS', stream) == 1 then
    local info = redis.call('XINFO', 'STREAM', stream)
    for at = 1, #info, 2 do
      if info[at] == 'last-generated-id' then
        return info[at + 1]
      end
    end
  end
  return '0-0'
end
