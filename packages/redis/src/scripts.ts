import type { Redis } from "ioredis";

/**
 * Begins every script of the log. Redis' own run id tells whether numbers can go on: after a restart, a failover or a move it is
 * another one, and nobody knows whether the last entries survived. Then a new epoch begins and the old entries, which no position
 * can be connected with any more, go.
 *
 * Epochs only grow for everybody who knows one: positions are compared by them. A Redis that forgot the last one, with a clock that is
 * behind it, would begin one below it; whoever knows a higher one makes it begin anew above that.
 *
 * KEYS 1 log, 2 meta, 3 checkpoints. ARGV 1 the highest epoch that the caller knows. The first write is one that Redis refuses when it is over `maxmemory`: refused
 * before anything was written, never in between.
 */
const PRELUDE = `
local log, meta, checkpoints = KEYS[1], KEYS[2], KEYS[3]
local function whole(x) return string.format('%.0f', x) end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', meta, 'run', 'e', 'n', 'c')
local epoch, n, known = state[2], tonumber(state[3] or ''), tonumber(ARGV[1])
local last = tonumber(epoch or '0') or 0
local function beginEpoch()
  epoch = whole(math.max(last + 1, known + 1, now))
  n = 0
  state[4] = false
  redis.call('HSET', meta, 'run', run, 'e', epoch, 'n', '0')
  redis.call('UNLINK', log, checkpoints)
  redis.call('HDEL', meta, 'c')
end
if state[1] ~= run or not epoch or not n or last < known then beginEpoch() end
`;

/**
 * Ends every script that may write. Ids don't tell times, so now and then (time, n) is noted; entries up to an n that was noted
 * longer ago than the retention go. O(1) amortised: each note is made once and taken once.
 *
 * ARGV 2 entries at most, 3 retention in ms.
 */
const TRIM = `
redis.call('XTRIM', log, 'MAXLEN', '~', ARGV[2])
local retention = tonumber(ARGV[3])
local notedAt, notedN = string.match(state[4] or '', '^(%d+) (%d+)$')
if n > (tonumber(notedN) or 0) and math.abs(now - (tonumber(notedAt) or 0)) >= math.max(1000, retention / 1000) then
  local note = whole(now) .. ' ' .. whole(n)
  redis.call('RPUSH', checkpoints, note)
  redis.call('HSET', meta, 'c', note)
end
local old
for _ = 1, 64 do
  local at, upTo = string.match(redis.call('LINDEX', checkpoints, 0) or '', '^(%d+) (%d+)$')
  if not at or tonumber(at) + retention > now then break end
  redis.call('LPOP', checkpoints)
  old = upTo
end
if old then redis.call('XTRIM', log, 'MINID', '~', epoch .. '-' .. whole(tonumber(old) + 1)) end
`;

/**
 * ARGV 4 channel, 5 count, 6 number of this call among those of its process, 7 lifetime of a fence in ms; then for each request:
 * shape, record, with a token its fingerprint and lifetime in ms, with a fence its major and minor. Shape: 1 for a token, plus 2
 * for a fence, or plus 4 to share the verdict of the request before. KEYS 4 the last call of this process, then token and fence
 * of each request that has them. Decides everything first, then writes, with one PUBLISH for all of the call.
 *
 * A process has one call in flight and sends it again, unchanged, when the answer was lost: so its last answer is all that has to
 * be remembered. A call that arrives after a later one lay in the buffer of a broken connection, and nobody waits for it.
 *
 * Where somebody else wrote into the log, above its head, nothing can be added any more: then it begins anew too.
 */
const APPEND = `${PRELUDE}
local before = redis.call('GET', KEYS[4])
if before then
  local number, answer = string.match(before, '^(%d+) (.*)$')
  if tonumber(number) == tonumber(ARGV[6]) then return answer end
  if tonumber(number) > tonumber(ARGV[6]) then return redis.error_reply('STALE call: a later one was made') end
end

local verdicts, records, tokens, passedFences = {}, {}, {}, {}
local passed = true
local k, a = 5, 8
for i = 1, tonumber(ARGV[5]) do
  local shape, record = tonumber(ARGV[a]), ARGV[a + 1]
  a = a + 2
  local token, fingerprint, ttl
  if shape % 2 == 1 then
    token, fingerprint, ttl = KEYS[k], ARGV[a], ARGV[a + 1]
    k = k + 1
    a = a + 2
  end
  if shape < 2 then
    passed = true
  elseif shape < 4 then
    local fence, position = KEYS[k], ARGV[a] .. ' ' .. ARGV[a + 1]
    local at = passedFences[fence] or redis.call('GET', fence) or '-1 -1'
    local major, minor = string.match(at, '^(%S+) (%S+)$')
    local x, y = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
    passed = x > tonumber(major) or (x == tonumber(major) and y > tonumber(minor))
    if passed then passedFences[fence] = position end
    k = k + 1
    a = a + 2
  end
  local known = token and ((tokens[token] and tokens[token][1]) or redis.call('GET', token))
  if known then
    local id, print = string.match(known, '^(%S+) (.*)$')
    verdicts[i] = print == fingerprint and 'r' .. id or 't'
  elseif not passed then
    verdicts[i] = 'f'
  else
    records[#records + 1] = record
    local id = epoch .. '-' .. whole(n + #records)
    verdicts[i] = 'a' .. id
    if token then tokens[token] = { id .. ' ' .. fingerprint, ttl } end
  end
end
local answer = table.concat(verdicts, ' ')
if #records == 0 then return answer end

local first = n + 1
for i, record in ipairs(records) do
  local added = redis.pcall('XADD', log, epoch .. '-' .. whole(n + i), 't', whole(now), 'r', record)
  if type(added) == 'table' then
    if not string.find(added.err, 'top item', 1, true) then return added end
    beginEpoch()
    return redis.error_reply('TRYAGAIN somebody else wrote into the log: it begins anew')
  end
  if i == 1 then redis.call('HSET', meta, 'n', whole(n + #records)) end
end
n = n + #records
redis.call('SET', KEYS[4], ARGV[6] .. ' ' .. answer, 'PX', 600000)
for token, value in pairs(tokens) do redis.call('SET', token, value[1], 'PX', value[2]) end
for fence, position in pairs(passedFences) do redis.call('SET', fence, position, 'PX', ARGV[7]) end
redis.call('PUBLISH', ARGV[4], 'C' .. epoch .. '-' .. whole(first) .. ' ' .. whole(now) .. '\\n' .. table.concat(records, '\\n'))
${TRIM}
return answer
`;

/**
 * ARGV 4 channel, 5 the rest of a heartbeat or nothing. XTRIM is a write also where it trims nothing: a demoted master answers
 * READONLY and is found out, while its PUBLISH would go on "working".
 */
const HEAD = `${PRELUDE}
${TRIM}
local head = epoch .. '-' .. whole(n)
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], 'H' .. head .. ' ' .. ARGV[5]) end
return head
`;

/** ARGV 2 epoch and 3 n of the position to read after, 4 how many. Above the head is nothing of ours. */
const READ = `${PRELUDE}
local from = ARGV[2] == epoch and tonumber(ARGV[3]) or 0
local head = epoch .. '-' .. whole(n)
return { head, redis.call('XRANGE', log, epoch .. '-' .. whole(from + 1), head, 'COUNT', ARGV[4]) }
`;

/** Sets and renews in one: a holder whose key expired unnoticed gets it back if nobody else came. */
const RENEW = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`;

const RELEASE = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

const SCRIPTS = {
  carillonAppend: { lua: APPEND },
  carillonHead: { lua: HEAD, numberOfKeys: 3 },
  carillonRead: { lua: READ, numberOfKeys: 3 },
  carillonRenew: { lua: RENEW, numberOfKeys: 1 },
  carillonRelease: { lua: RELEASE, numberOfKeys: 1 },
};

/** ioredis puts the scripts on the instance, where TypeScript doesn't see them. */
export type ScriptedRedis = Redis & Record<keyof typeof SCRIPTS, (...args: (string | number)[]) => Promise<unknown>>;

export function defineScripts(redis: Redis): void {
  for (const [name, definition] of Object.entries(SCRIPTS)) redis.defineCommand(name, definition);
}
