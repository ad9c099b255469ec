-- The sessions of a tenant's devices. KEYS 1 devices of the tenant · ARGV 1 how a session's key begins
local sessions = {}
for _, device in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local session = redis.call('GET', ARGV[1] .. device)
    if session then sessions[#sessions + 1] = session end
end
return sessions
