import type { KeepJobs, WorkerOptions } from 'bullmq';
import { z } from 'zod';
import { breach } from '@tenantkit/core';
import { removeLinked } from './expire-linked.ts';
import { defineScripts, type ScriptClient } from './scripts.ts';
import type { LaneStore } from './store.ts';
import { isOfScript } from './taking.ts';

/** How many jobs one script removes: the server serves nobody else meanwhile, some 5 ms. */
const BATCH = 500;

/** Of how many lanes and states is remembered up to where all is kept, some 100 bytes each. */
const REMEMBERED = 50_000;

/**
 * Removes jobs that have ended before a time from some lanes. BullMQ does so when a job of the same queue ends, and in
 * the lane of a tenant that has left none ends any more: what it has left would be kept for ever.
 *
 * A job whose own options say how long it is kept stays: in BullMQ they take the place of the Worker's. Up to where there
 * is nothing else is answered, so that what stays is not looked at again by each sweep.
 *
 * A failed job may have a parent that waits for it, in whichever lane its hash says: it is answered, and not removed.
 *
 * KEYS: lanes. ARGV: lane prefix, how many jobs, until when completed ones and until when failed ones have ended (ms,
 * empty for none); then for each lane its tenant, and from when its completed and its failed jobs are looked at.
 * Answers: how many were looked at, how many were removed, the place among the lanes at which to go on (0: all were
 * looked at), for each job with a parent its tenant and its id, and for each lane and state in which jobs stay tenant,
 * state, and when the last of them has ended.
 */
const EXPIRE = `
local rcall = redis.call
local most = tonumber(ARGV[2])
local left, removed, linked, kept = most, 0, {}, {}

local function stays(job, option)
  -- Not call: what stands there may be no hash, and would keep all that stands behind it.
  local opts = redis.pcall('HGET', job, 'opts')
  if type(opts) ~= 'string' or not opts:find(option, 1, true) then return false end
  local isRead, parsed = pcall(cjson.decode, opts)
  return not isRead or type(parsed) ~= 'table' or (parsed[option] ~= nil and parsed[option] ~= cjson.null)
end

local function expire(lane, state, option, from, before)
  local at = ARGV[1] .. lane .. ':'
  local found = rcall('ZRANGEBYSCORE', at .. state, from, before, 'WITHSCORES', 'LIMIT', 0, left)
  -- Others may have ended in the same millisecond as the last one of a full batch.
  local last = #found == 2 * left and found[#found]
  local gone, upto, tied = {}, nil, nil
  for i = 1, #found, 2 do
    local id, job = found[i], at .. found[i]
    if stays(job, option) then
      if found[i + 1] == last then tied = last else upto = found[i + 1] end
    elseif state == 'failed' and redis.pcall('HEXISTS', job, 'parentKey') == 1 then
      linked[#linked + 1] = lane
      linked[#linked + 1] = id
    else
      rcall('UNLINK', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed', job .. ':unsuccessful')
      gone[#gone + 1] = id
    end
  end
  if #gone > 0 then rcall('ZREM', at .. state, unpack(gone)) end
  removed = removed + #gone
  left = left - #found / 2
  -- All of a batch at once: to look at it again would be to stay there.
  if not upto and #gone == 0 then upto = tied end
  if upto then
    for _, part in ipairs({ lane, state, upto }) do kept[#kept + 1] = part end
  end
end

for i = 5, #ARGV, 3 do
  -- A key of another type in one lane must not stop all others.
  if ARGV[3] ~= '' then pcall(expire, ARGV[i], 'completed', 'removeOnComplete', ARGV[i + 1], ARGV[3]) end
  if left > 0 and ARGV[4] ~= '' then pcall(expire, ARGV[i], 'failed', 'removeOnFail', ARGV[i + 2], ARGV[4]) end
  if left <= 0 then return { most - left, removed, (i - 2) / 3, linked, kept } end
end
return { most - left, removed, 0, linked, kept }`;

const COMMANDS = {
  expire: { name: 'tenantkit:lanes:expire:1', numberOfKeys: 1, lua: EXPIRE },
} as const;

const count = z.number().int().nonnegative();
const reply = z.tuple([count, count, count, z.array(z.string()), z.array(z.string())]);

const STATES = ['completed', 'failed'] as const;

/** For how long jobs that have ended are kept, in seconds; `undefined` for ever. */
export interface Ages {
  readonly completed: number | undefined;
  readonly failed: number | undefined;
}

/** As much of a Worker's options as says how old an ended job may get, in seconds. */
type Kept = Pick<WorkerOptions, 'removeOnComplete' | 'removeOnFail'>;

/**
 * What a sweep removes by the age that a Worker has in its options.
 *
 * @param most - how many jobs are looked at
 * @param kept - what is remembered from one sweep to the next
 * @param failed - is told what the server says of single lanes and jobs
 * @returns `undefined` where it has none
 */
export function expiring(
  store: LaneStore,
  client: ScriptClient,
  { removeOnComplete, removeOnFail }: Kept,
  most: number,
  kept: Map<string, string>,
  failed: (error: unknown) => void,
): ((tenants: readonly string[]) => Promise<void>) | undefined {
  const ages = { completed: ageOf(removeOnComplete), failed: ageOf(removeOnFail) };
  if (ages.completed === undefined && ages.failed === undefined) return undefined;
  const unlink = async (tenant: string, ids: readonly string[], before: number): Promise<number> => {
    try {
      return await removeLinked(store, store.lane(tenant), ids, before, failed);
    } catch (error) {
      // What the server says of one lane ends nothing for those behind it.
      if (!isOfScript(error)) throw error;
      failed(error);
      return 0;
    }
  };
  const expiry = new Expiry({ client, keys: store.laneKeys, ages, most, kept, unlink });
  return (tenants) => expiry.expire(tenants);
}

function ageOf(kept: KeepJobs | undefined): number | undefined {
  return kept !== undefined && 'age' in kept ? kept.age : undefined;
}

function placeOf(tenant: string, state: string): string {
  return `${tenant}:${state}`;
}

/** What an {@link Expiry} works with. */
export interface ExpiryOptions {
  readonly client: ScriptClient;
  readonly keys: { readonly lanes: string; readonly lanePrefix: string };
  readonly ages: Ages;
  /** How many jobs are looked at at most, by all calls together. */
  readonly most: number;
  /** Up to when all jobs of a lane and state stay, as earlier sweeps have found. */
  readonly kept: Map<string, string>;
  /** Removes failed jobs of a lane that may have a parent, as far as they have failed before a time in milliseconds. @returns how many */
  readonly unlink: (tenant: string, ids: readonly string[], before: number) => Promise<number>;
}

/** Removes what is older than the Worker's `removeOnComplete` and `removeOnFail` say, in one sweep over all lanes. */
export class Expiry {
  readonly #options: ExpiryOptions;
  #left: number;

  constructor(options: ExpiryOptions) {
    this.#options = options;
    this.#left = options.most;
  }

  /** Looks at some lanes. What is left when the bound is reached is the next sweep's. */
  async expire(tenants: readonly string[]): Promise<void> {
    const { ages, client, keys } = this.#options;
    await defineScripts(client, COMMANDS);
    const now = Date.now();
    const before = [ages.completed, ages.failed].map((age) => (age === undefined ? '' : now - age * 1_000));
    for (let at = 0; at < tenants.length && this.#left > 0;) {
      const asked = Math.min(BATCH, this.#left);
      const looked = tenants
        .slice(at)
        .flatMap((tenant) => [tenant, ...STATES.map((state) => this.#from(tenant, state))]);
      const args = [keys.lanes, keys.lanePrefix, asked, ...before, ...looked];
      const [seen, removed, next, linked, kept] = parsed(await client.runCommand(COMMANDS.expire.name, args));
      const unlinked = await this.#unlink(linked, Number(before[1]));
      this.#keep(kept);
      this.#left -= seen;
      if (next === 0) return;
      // The same lane again, unless nothing of it was removed.
      at += removed + unlinked === 0 && kept.length === 0 ? next : next - 1;
    }
  }

  #from(tenant: string, state: string): string {
    const until = this.#options.kept.get(placeOf(tenant, state));
    return until === undefined ? '-inf' : `(${until}`;
  }

  #keep(found: readonly string[]): void {
    const { kept } = this.#options;
    for (let at = 0; at < found.length; at += 3) {
      const [tenant = '', state = '', until = ''] = found.slice(at, at + 3);
      const place = placeOf(tenant, state);
      const [oldest] = kept.keys();
      if (oldest !== undefined && kept.size >= REMEMBERED && !kept.has(place)) kept.delete(oldest);
      kept.set(place, until);
    }
  }

  async #unlink(linked: readonly string[], before: number): Promise<number> {
    const lanes = new Map<string, string[]>();
    for (let at = 0; at < linked.length; at += 2) {
      const [tenant = '', id = ''] = linked.slice(at, at + 2);
      const ids = lanes.get(tenant) ?? [];
      ids.push(id);
      lanes.set(tenant, ids);
    }
    let unlinked = 0;
    for (const [tenant, ids] of lanes) unlinked += await this.#options.unlink(tenant, ids, before);
    return unlinked;
  }
}

function parsed(given: unknown): z.infer<typeof reply> {
  const result = reply.safeParse(given);
  if (result.success) return result.data;
  throw breach('queue', 'expire', 'the reply of a script has a shape that is not known');
}
