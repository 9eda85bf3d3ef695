import { LATEST } from '../latest.ts';

const METRICS = ['completed', 'failed'].flatMap((state) => [`metrics:${state}`, `metrics:${state}:data`]);

/**
 * What a lane keeps when it holds no job any more, for Lua. Nothing that has a time to live of its own: the lock
 * `stalled-check` that lasts for ever would leave the jobs of dead workers in work for ever.
 */
const LEFT = ['events', 'id', 'pc', 'marker', ...METRICS].map((key) => `'${key}'`).join(', ');
/** For how long it does when the lane was retired, in milliseconds: a day. */
const LEFT_FOR = 86_400_000;

/**
 * Notes that lanes may have something to run. One script and not two commands: between them the process could die,
 * and workers would sleep beside a ready lane.
 *
 * It registers a lane that holds jobs and is registered no longer: another process has removed it since this one has
 * registered it, and a job whose note is lost would be found by no sweep, a stalled one neither. One that holds
 * nothing is left out: a late note must not bring back the name of a tenant that was erased.
 *
 * KEYS: ready, wake, lanes. ARGV: lane prefix, now in ms, tenants.
 */
export const TOUCH = `
local rcall = redis.call
for i = 3, #ARGV do
  local lane = ARGV[i]
  rcall('ZADD', KEYS[1], 'NX', 0, lane)
  if not rcall('ZSCORE', KEYS[3], lane) then
    local at = ARGV[1] .. lane .. ':'
    if rcall('EXISTS', at .. 'wait', at .. 'prioritized', at .. 'delayed', at .. 'active') > 0 then
      rcall('ZADD', KEYS[3], ARGV[2], lane)
      for _, key in ipairs({ 'meta', ${LEFT} }) do rcall('PERSIST', at .. key) end
    end
  end
end
rcall('ZADD', KEYS[2], 0, '0')
return 1`;

/**
 * Looks at some lanes for what nobody has noted: a process died between a job and its note, or wrote it without
 * knowing of lanes. And it retires lanes that hold nothing and that nobody has used since.
 *
 * A lane that is only waiting for a limit comes into `ready` as well; the next pick sends it back.
 *
 * KEYS: ready, due, lanes, wake. ARGV: lane prefix, retire what was registered before (ms), tenants.
 * Answers: lanes with jobs in work or suspected to be stalled, number of lanes found ready, number of retired ones.
 */
export const SWEEP = `
local rcall = redis.call
local ready, due, registered, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local before = tonumber(ARGV[2])
local active, found, retired = {}, 0, 0
local UNSET = { ['opts.maxLenEvents'] = true, version = true }
local LIMIT = { concurrency = true, max = true, duration = true, weight = true, limits = true }
local function look(lane)
  local at = ARGV[1] .. lane .. ':'
  if rcall('HEXISTS', at .. 'meta', 'paused') == 0 then
    local missed = rcall('EXISTS', at .. 'wait', at .. 'prioritized') > 0
    if not missed then
      local first = rcall('ZRANGEBYSCORE', at .. 'delayed', 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if first[2] then
        -- Noted for a later time than its first job is for is as good as not noted.
        local noted = tonumber(rcall('ZSCORE', due, lane) or math.huge)
        missed = noted > math.min(math.floor(tonumber(first[2]) / 4096), ${LATEST})
      end
    end
    if missed then found = found + rcall('ZADD', ready, 'NX', 0, lane) end
  end
  if rcall('EXISTS', at .. 'active', at .. 'stalled') > 0 then
    active[#active + 1] = lane
  elseif rcall('EXISTS', at .. 'wait', at .. 'paused', at .. 'delayed', at .. 'prioritized', at .. 'waiting-children',
               at .. 'completed', at .. 'failed', at .. 'repeat') == 0 then
    local since = tonumber(rcall('ZSCORE', registered, lane) or math.huge)
    -- Whoever adds registers first, so a lane that is about to get a job is a young one.
    if since < before then
      rcall('ZREM', registered, lane)
      rcall('ZREM', ready, lane)
      rcall('ZREM', due, lane)
      -- Nothing leads to the lane any more. What is left, results in its events, is kept for a tenant that comes back soon.
      for _, key in ipairs({ ${LEFT} }) do rcall('PEXPIRE', at .. key, ${LEFT_FOR}) end
      -- What somebody has set on purpose, a pause or a limit, is not forgotten, nor what a later BullMQ may keep there.
      local meta = rcall('HGETALL', at .. 'meta')
      local limits = rcall('HGET', at .. 'meta', 'limits')
      local isByDefault, isSet = limits and limits ~= 'own', false
      for i = 1, #meta, 2 do isSet = isSet or not (UNSET[meta[i]] or (isByDefault and LIMIT[meta[i]])) end
      if not isSet then rcall('PEXPIRE', at .. 'meta', ${LEFT_FOR}) end
      retired = retired + 1
    end
  end
end
for i = 3, #ARGV do
  -- A lane with a key of another type must not stop all others: whoever picks sets it aside, and reports it.
  if not pcall(look, ARGV[i]) then found = found + rcall('ZADD', ready, 'NX', 0, ARGV[i]) end
end
if found > 0 then rcall('ZADD', wake, 0, '0') end
return { active, found, retired }`;

/**
 * Registers a lane, before its first job: whoever looks for what nobody has noted looks at registered lanes.
 *
 * BullMQ keeps 10,000 events of each queue unless it is told otherwise, which is 432 KB for every busy tenant.
 *
 * KEYS: lanes, meta of the lane. ARGV: tenant, now in ms, how many events are kept, 1 where the service has said so.
 */
export const REGISTER = `
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local at = KEYS[2]:sub(1, -5)
for _, key in ipairs({ 'meta', ${LEFT} }) do redis.call('PERSIST', at .. key) end
if ARGV[4] == '1' or redis.call('HEXISTS', KEYS[2], 'opts.maxLenEvents') == 0 then
  redis.call('HSET', KEYS[2], 'opts.maxLenEvents', ARGV[3])
end
return 1`;

/** Notes that the jobs of a tenant are in another Redis. KEYS: placed. ARGV: tenant, now in ms. */
export const NOTE = `return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])`;

/**
 * Puts a lane aside until a time, although it may have something to run.
 *
 * KEYS: ready, due. ARGV: tenant, until when in ms.
 */
export const PARK = `
-- A lane that has left meanwhile, perhaps because its tenant was erased, is not brought back.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1]) end
return 1`;

/**
 * Counts one job against the limit of all lanes together, in the key and the way in which BullMQ counts those of a
 * queue. Answers for how many milliseconds there is none left, or 0.
 *
 * KEYS: limiter. ARGV: how many, in how many ms.
 */
export const ADMIT = `
local rcall = redis.call
local used = rcall('GET', KEYS[1]) or '0'
-- INCR would refuse it, for as long as it is there.
if not used:match('^%-?%d+$') then
  rcall('DEL', KEYS[1])
  used = '0'
end
if tonumber(used) >= tonumber(ARGV[1]) then
  local ttl = rcall('PTTL', KEYS[1])
  if ttl > 0 then return ttl end
  rcall('DEL', KEYS[1])
end
if rcall('INCR', KEYS[1]) == 1 then rcall('PEXPIRE', KEYS[1], ARGV[2]) end
return 0`;

/** Takes the count back when there was no job after all. KEYS: limiter. */
export const READMIT = `
local used = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if used > 0 and used < 9007199254740991 then redis.call('DECR', KEYS[1]) end
return 1`;

/** Takes the lock of whoever sweeps. KEYS: sweep. ARGV: for how many ms. */
export const LOCK = `return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) and 1 or 0`;

/** One step over the registered lanes. KEYS: lanes. ARGV: cursor, how many about. */
export const STEP = `
local found = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local tenants = {}
for at = 1, #found[2], 2 do tenants[#tenants + 1] = found[2][at] end
return { found[1], tenants }`;

/**
 * Takes from a job what failing it would act on. The deduplication that it holds is set free as well: nothing else would
 * free it while the failed job is kept, and everything that is added under it would be a duplicate. What is no text
 * holds none.
 *
 * KEYS: the job. ARGV: what the keys of the lane begin with, id, fields.
 */
export const DISARM = `
local deduplication = redis.call('HGET', KEYS[1], 'deid')
redis.call('HDEL', KEYS[1], unpack(ARGV, 3))
if not deduplication then return 0 end
local holder = ARGV[1] .. 'de:' .. deduplication
if redis.pcall('GET', holder) ~= ARGV[2] then return 0 end
return redis.call('DEL', holder)`;
