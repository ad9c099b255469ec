-- A page of one log's live events after an id, or the word that the page would have a hole.
-- KEYS[1] head   KEYS[2] stream
-- ARGV[1] epoch of the cursor   ARGV[2] `ledger` or `inbox`   ARGV[3] id, exclusive   ARGV[4] most entries
-- Answers false when the epoch is another one or entries after the id have been trimmed.
local head = redis.call('HMGET', KEYS[1], 'epoch', ARGV[2])
if head[1] ~= ARGV[1] then
  return false
end
if head[2] then
  local floor_position, floor_number = string.match(head[2], '(%d+)-(%d+)')
  local position, number = string.match(ARGV[3], '(%d+)-(%d+)')
  floor_position, floor_number = tonumber(floor_position), tonumber(floor_number)
  position, number = tonumber(position), tonumber(number)
  if position < floor_position or (position == floor_position and number < floor_number) then
    return false
  end
end
return redis.call('XRANGE', KEYS[2], '(' .. ARGV[3], '+', 'COUNT', ARGV[4])
