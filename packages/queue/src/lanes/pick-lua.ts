import { LATEST } from '../latest.ts';

/** Who may be a lane, so that an entry of another writer never becomes a key. */
const IS_TENANT = `
local function isTenant(text)
  return #text <= 64 and text:find('^[%w_%-]+$') ~= nil and text ~= 'undefined' and text ~= 'null'
end`;

/**
 * After how long a lane at its limit of concurrency is looked at again, in milliseconds. Whoever ends a job of a lane of
 * which it knows the limit notes it, and the sweep finds what a process has left that died: this is for a worker that
 * runs a job from before the limit was set. Each worker that idles looks at each of these lanes.
 */
const CAPPED = 5_000;

/**
 * What is added to the time of a lane in `due` that waits for a limit: that time is the server's, by whose clock a limit
 * ends. By that of a worker which is ten minutes ahead it would be put aside for ten minutes for all others. What is for
 * a delayed job stays the workers' own: BullMQ's scripts go by that. Later than any of those, and still a whole number.
 */
const HELD = 8_700_000_000_000_000;

/**
 * Hands out turns: which lanes the next jobs are to be taken from. It takes no job, so a worker that dies with its
 * turns takes nothing along.
 *
 * The order is that of start-time fair queueing: each lane has a tag, its virtual start; the smallest one comes
 * first, and a turn moves the tag on by 1/weight. The virtual time is the tag that was served last. A lane that comes
 * anew has the score 0 and begins at the virtual time, so that nobody saves up turns by being idle.
 *
 * A lane that is emptied keeps nothing. That is no way to more turns, say by adding single jobs, each when the last one
 * has been taken: a lane is only seen empty when it is its turn to be looked at, and in one pick nobody has a second
 * round before all others have had their first.
 *
 * Two rules, without which jobs lie until somebody happens to look:
 *
 * - W1: while any lane is ready, `wake` is set before the script ends. Who has asked may have no free slot for all
 *   that there is, and took the only wake-up with him; another worker that waits has to hear.
 * - A lane is removed from `ready` only in the step that has seen it empty, and whoever adds a job notes it *behind*
 *   the job: either the look has seen the job, or the note comes after the removal.
 *
 * (W2 is the caller's: see turns.ts.)
 *
 * The lanes' keys are computed here, as BullMQ's own scripts compute those of jobs: on a cluster the prefix has to put
 * all of them into one slot, as BullMQ demands.
 *
 * A lane without limits of its own gets those that the workers of the queue have for all tenants, before BullMQ's
 * scripts look at it, which read them there. Its field `limits` says whose they are: \`own\`, or of which default.
 *
 * KEYS: ready, due, vt, wake, meta and limiter of the logical queue. ARGV: lane prefix, now in ms, turns wanted, the
 * default (concurrency, max, duration, weight; empty for none).
 * Answers: turns, number of ready lanes, time of the first that is due (0: none), lanes with a limit of concurrency,
 * lanes that cannot be read: whose limits are no numbers, or a key of which is of another type.
 */
const TURNS = `
local rcall = redis.call
local ready, due, vt, wake, base, limiter = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now, wanted = tonumber(ARGV[2]), tonumber(ARGV[3])
${IS_TENANT}

-- An operator's pause of all lanes. Nothing is removed: they are as ready when it ends.
if rcall('HEXISTS', base, 'paused') == 1 then return { {}, 0, 0, {}, {} } end
-- An operator's rateLimit(ms), which BullMQ writes as the largest count that a number holds.
if (tonumber(rcall('GET', limiter) or '0') or 0) >= 9007199254740991 then
  local ttl = rcall('PTTL', limiter)
  if ttl > 0 then return { {}, 0, now + ttl, {}, {} } end
end

-- The next pick goes on where this one has stopped: a thousand delays that end together are no reason to let all
-- other clients wait.
local function ripe(from, to)
  for _, lane in ipairs(rcall('ZRANGEBYSCORE', due, from, to, 'LIMIT', 0, 200)) do
    rcall('ZREM', due, lane)
    rcall('ZADD', ready, 'NX', 0, lane)
  end
end
-- The server's time, for the few picks that meet a limit.
local clock
local function server()
  local found = clock or rcall('TIME')
  clock = found
  return tonumber(found[1]) * 1000 + math.floor(tonumber(found[2]) / 1000)
end
local last = rcall('ZRANGE', due, -1, -1, 'WITHSCORES')
if last[2] then
  ripe('-inf', now)
  if tonumber(last[2]) >= ${HELD} then ripe(${HELD}, ${HELD} + server()) end
end

local time = tonumber(rcall('GET', vt) or '0') or 0
local capped, unreadable = {}, {}

-- A limit of meta: the number, nil for none, false for what is no number.
local function limit(text)
  if not text then return nil end
  local number = tonumber(text)
  return number ~= nil and number >= 0 and number or false
end

local FIELDS = { 'concurrency', 'max', 'duration', 'weight' }
local default = ''
for i = 4, 7 do default = default .. '/' .. ARGV[i] end
-- As a field is that is not there.
if default == '////' then default = false end

-- The limits that hold in a lane, and whether they are the default in the place of others that are stored.
local function limited(meta)
  if meta[5] == default or meta[5] == 'own' then return meta, false end
  -- Written by an earlier version, or by hand: they are its own.
  if not meta[5] and (meta[2] or meta[3] or meta[4]) then return meta, false end
  local set = {}
  for i, field in ipairs(FIELDS) do set[field] = ARGV[3 + i] ~= '' and ARGV[3 + i] end
  return { meta[1], set.concurrency, set.max, set.weight }, true
end

-- Sets the default in a lane, where BullMQ's scripts read it.
local function setDefault(at)
  for i, field in ipairs(FIELDS) do
    local value = ARGV[3 + i]
    if value == '' then rcall('HDEL', at .. 'meta', field) else rcall('HSET', at .. 'meta', field, value) end
  end
  if default then rcall('HSET', at .. 'meta', 'limits', default) else rcall('HDEL', at .. 'meta', 'limits') end
end

-- How many jobs of a lane could run now, and else when to look again; and its weight.
local function look(lane)
  local at = ARGV[1] .. lane .. ':'
  local meta = rcall('HMGET', at .. 'meta', 'paused', 'concurrency', 'max', 'weight', 'limits')
  -- Its resume is noted like a new job.
  if meta[1] then return 0 end
  local isNew
  meta, isNew = limited(meta)
  local concurrency, max, weight = limit(meta[2]), limit(meta[3]), limit(meta[4])
  local used = max and limit(rcall('GET', at .. 'limiter') or '0')
  if concurrency == false or max == false or weight == false or used == false then
    -- BullMQ's script would fail at it, and the worker with it, again and again.
    unreadable[#unreadable + 1] = lane
    return 0
  end
  local count, again = rcall('LLEN', at .. 'wait'), nil
  if count < wanted then count = count + rcall('ZCARD', at .. 'prioritized') end
  if count < wanted then
    -- As BullMQ scores them: milliseconds times 4096, and a counter.
    -- A score below zero BullMQ never promotes: to count it would be to look at the lane for ever.
    local first = rcall('ZRANGEBYSCORE', at .. 'delayed', 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if first[2] then
      local time = math.min(math.floor(tonumber(first[2]) / 4096), ${LATEST})
      if time <= now then count = count + 1 else again = time end
    end
  end
  -- Of a lane that holds nothing a late note must not bring back the name, which may be that of an erased tenant.
  if isNew and (count > 0 or again) then setDefault(at) end
  if concurrency then
    capped[#capped + 1] = lane
    local left = concurrency - rcall('LLEN', at .. 'active')
    -- Who finishes one of them notes the lane. The rest is for who has not: see CAPPED.
    if left <= 0 and count > 0 then again = ${HELD} + server() + ${CAPPED} end
    count = math.max(0, math.min(count, left))
  end
  if max and count > 0 then
    local ttl = used >= max and rcall('PTTL', at .. 'limiter') or 0
    if ttl > 0 then
      again = ${HELD} + server() + ttl
      count = 0
    else
      count = math.min(count, math.max(1, used < max and max - used or max))
    end
  end
  return math.floor(count), again, math.min(1000, math.max(1, math.floor(weight or 1)))
end

local lanes, available, start, weights = {}, {}, {}, {}
local looked, most = 0, wanted + 500
while #lanes < wanted and looked < most do
  -- Those that were kept stand first, whatever was removed between them.
  local batch = rcall('ZRANGE', ready, #lanes, wanted - 1, 'WITHSCORES')
  if #batch == 0 then break end
  for i = 1, #batch, 2 do
    local lane, tag = batch[i], tonumber(batch[i + 1])
    looked = looked + 1
    if not isTenant(lane) then
      rcall('ZREM', ready, lane)
    else
      -- A key of another type in one lane must not stop all others.
      local isRead, count, again, weight = pcall(look, lane)
      if not isRead then
        unreadable[#unreadable + 1] = lane
        count, again = 0, nil
      end
      if count > 0 then
        lanes[#lanes + 1] = lane
        available[lane], start[lane], weights[lane] = count, math.max(tag, time), weight
      else
        rcall('ZREM', ready, lane)
        if again then rcall('ZADD', due, again, lane) end
      end
    end
  end
end

-- Round by round, so that the turns of a lane do not all stand together.
local turns, given = {}, {}
local left, progress = wanted, true
while left > 0 and progress do
  progress = false
  for _, lane in ipairs(lanes) do
    local more = math.min(weights[lane], available[lane], left)
    for _ = 1, more do turns[#turns + 1] = lane end
    if more > 0 then
      available[lane] = available[lane] - more
      given[lane] = (given[lane] or 0) + more
      left = left - more
      progress = true
    end
  end
end
for lane, count in pairs(given) do rcall('ZADD', ready, 'XX', start[lane] + count / weights[lane], lane) end
if lanes[1] and start[lanes[1]] > time then rcall('SET', vt, start[lanes[1]]) end
`;

const END = `
local size = rcall('ZCARD', ready)
if size > 0 then rcall('ZADD', wake, 0, '0') end
local first = rcall('ZRANGE', due, 0, 0, 'WITHSCORES')
local soonest = 0
local function comes(time)
  time = math.min(math.max(math.ceil(time), 0), ${LATEST})
  if soonest == 0 or time < soonest then soonest = time end
end
if first[2] and tonumber(first[2]) < ${HELD} then
  comes(tonumber(first[2]))
  first = rcall('ZRANGEBYSCORE', due, ${HELD}, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
end
-- By the clock of who asks.
if first[2] then comes(tonumber(first[2]) - ${HELD} - server() + now) end
return { turns, size, soonest, capped, unreadable, taken }`;

export const PICK = `local taken${TURNS}${END}`;

/**
 * Hands out turns, and takes the job of the first one, for which a slot waits: one command and one round trip less than
 * to pick and then to take.
 *
 * Where nothing else is ready and that was the lane's last job, the lane leaves `ready` here, so that no worker is woken
 * to see it empty. Only there: beside others, who adds single jobs would come anew each time, and before those who
 * have had their turn.
 *
 * KEYS and ARGV as above, and BullMQ's own options of the script, packed. Answers: the same, and BullMQ's answer.
 *
 * @param lua - BullMQ's script, which takes a job
 * @param keys - the keys that it is given, without what those of a lane begin with
 */
export const takeWith = (lua: string, keys: readonly string[]): string => `
local function move(KEYS, ARGV)
${lua}
end
local taken${TURNS}
local lane = turns[1]
if lane then
  local at = ARGV[1] .. lane .. ':'
  -- What fails in a lane must not end this script before the others are woken: it is handed on to whoever has asked.
  local ok, answer = pcall(move, { ${keys.map((key) => `at .. ${JSON.stringify(key)}`).join(', ')} }, { at, ARGV[2], ARGV[8] })
  taken = (ok or type(answer) == 'table') and answer or redis.error_reply(tostring(answer))
  if ok and #turns == 1 and available[lane] == 0 and rcall('ZCARD', ready) == 1 then
    local count, again = look(lane)
    if count == 0 then
      rcall('ZREM', ready, lane)
      if again then rcall('ZADD', due, again, lane) end
    end
  end
end
${END}`;
