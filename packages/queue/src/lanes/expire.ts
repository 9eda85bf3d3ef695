import type { KeepJobs, WorkerOptions } from 'bullmq';
import { z } from 'zod';
import { breach } from '@tenantkit/core';
import { unlinkUnverified } from '../flows/unlink.ts';
import { defineScripts, type ScriptClient } from './scripts.ts';
import type { LaneStore } from './store.ts';

/** How many jobs one script removes: the server serves nobody else meanwhile, some 5 ms. */
const BATCH = 500;

/**
 * Removes jobs that have ended before a time from some lanes. BullMQ does so when a job of the same queue ends, and in
 * the lane of a tenant that has left none ends any more: what it has left would be kept for ever.
 *
 * A failed job may have a parent that waits for it, in whichever lane its hash says: it is answered, and not removed.
 *
 * KEYS: lanes. ARGV: lane prefix, how many jobs, until when completed ones and until when failed ones have ended (ms,
 * empty for none), tenants.
 * Answers: how many were removed, the place among the tenants at which to go on (0: all were looked at), and for each job
 * with a parent its tenant and its id.
 */
const EXPIRE = `
local rcall = redis.call
local left, removed, linked = tonumber(ARGV[2]), 0, {}
local function expire(lane, state, before)
  local at = ARGV[1] .. lane .. ':'
  local ids = rcall('ZRANGEBYSCORE', at .. state, '-inf', before, 'LIMIT', 0, left)
  local gone = {}
  for _, id in ipairs(ids) do
    local job = at .. id
    if state == 'failed' and rcall('HEXISTS', job, 'parentKey') == 1 then
      linked[#linked + 1] = lane
      linked[#linked + 1] = id
    else
      rcall('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed', job .. ':unsuccessful')
      gone[#gone + 1] = id
    end
  end
  if #gone > 0 then rcall('ZREM', at .. state, unpack(gone)) end
  removed = removed + #gone
  left = left - #ids
end
for i = 5, #ARGV do
  -- A key of another type in one lane must not stop all others.
  if ARGV[3] ~= '' then pcall(expire, ARGV[i], 'completed', ARGV[3]) end
  if left > 0 and ARGV[4] ~= '' then pcall(expire, ARGV[i], 'failed', ARGV[4]) end
  if left <= 0 then return { removed, i - 4, linked } end
end
return { removed, 0, linked }`;

const COMMANDS = {
  expire: { name: 'tenantkit:lanes:expire:1', numberOfKeys: 1, lua: EXPIRE },
} as const;

const reply = z.tuple([z.number().int().nonnegative(), z.number().int().nonnegative(), z.array(z.string())]);

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
 * @param most - how many jobs
 * @returns `undefined` where it has none
 */
export function expiring(
  store: LaneStore,
  client: ScriptClient,
  { removeOnComplete, removeOnFail }: Kept,
  most: number,
): ((tenants: readonly string[]) => Promise<void>) | undefined {
  const ages = { completed: ageOf(removeOnComplete), failed: ageOf(removeOnFail) };
  if (ages.completed === undefined && ages.failed === undefined) return undefined;
  const unlink = async (tenant: string, ids: readonly string[]): Promise<void> => {
    const lane = store.lane(tenant);
    // They stand first by now.
    const parents = await unlinkUnverified(store.context, lane, 'failed', { first: BATCH });
    for (const id of ids) await lane.remove(id, false);
    for (const key of parents) store.touchParent(key);
  };
  const expiry = new Expiry({ client, keys: store.laneKeys, ages, most, unlink });
  return (tenants) => expiry.expire(tenants);
}

function ageOf(kept: KeepJobs | undefined): number | undefined {
  return kept !== undefined && 'age' in kept ? kept.age : undefined;
}

/** What an {@link Expiry} works with. */
export interface ExpiryOptions {
  readonly client: ScriptClient;
  readonly keys: { readonly lanes: string; readonly lanePrefix: string };
  readonly ages: Ages;
  /** How many jobs are removed at most, by all calls together. */
  readonly most: number;
  /** Removes failed jobs of a lane that may have a parent. */
  readonly unlink: (tenant: string, ids: readonly string[]) => Promise<void>;
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
      const looked = tenants.slice(at);
      const asked = Math.min(BATCH, this.#left);
      const args = [keys.lanes, keys.lanePrefix, asked, ...before, ...looked];
      const [removed, next, linked] = parsed(await client.runCommand(COMMANDS.expire.name, args));
      await this.#unlink(linked);
      this.#left -= removed + linked.length / 2;
      if (next === 0) return;
      // The same lane again, unless nothing could be removed from it.
      at += removed === 0 ? next : next - 1;
    }
  }

  async #unlink(linked: readonly string[]): Promise<void> {
    const lanes = new Map<string, string[]>();
    for (let at = 0; at < linked.length; at += 2) {
      const [tenant = '', id = ''] = linked.slice(at, at + 2);
      const ids = lanes.get(tenant) ?? [];
      ids.push(id);
      lanes.set(tenant, ids);
    }
    for (const [tenant, ids] of lanes) await this.#options.unlink(tenant, ids);
  }
}

function parsed(given: unknown): z.infer<typeof reply> {
  const result = reply.safeParse(given);
  if (result.success) return result.data;
  throw breach('queue', 'expire', 'the reply of a script has a shape that is not known');
}
