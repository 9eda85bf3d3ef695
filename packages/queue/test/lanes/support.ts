import { Worker, createIORedisClient, type Queue } from 'bullmq';
import { defineLaneScripts, pick, sweep, touch, type Picked, type Swept } from '../../src/lanes/scripts.ts';
import { laneKeys, laneName, type LaneKeys } from '../../src/lanes/names.ts';
import type { Bench } from '../support.ts';

/** The lanes of one logical queue, filled by raw queues of BullMQ. */
export interface Lanes {
  readonly keys: LaneKeys;
  lane(tenant: string): Queue;
  /** Adds jobs and notes the lane. */
  fill(tenant: string, jobs: number, options?: object): Promise<void>;
  touch(...tenants: string[]): Promise<void>;
  pick(wanted?: number, now?: number): Promise<Picked>;
  sweep(tenants: readonly string[], retireBefore?: number): Promise<Swept>;
  /** Takes one job of a lane, as a worker does, and leaves it in work. */
  take(tenant: string): Promise<string | undefined>;
  /** The members of one of our sorted sets. */
  members(key: 'ready' | 'due' | 'wake' | 'lanes'): Promise<string[]>;
}

export function lanesOf(on: Bench, queue: string, prefix = 'bull'): Lanes {
  const keys = laneKeys(prefix, queue);
  const client = createIORedisClient(on.redis);
  void defineLaneScripts(client);
  const open = new Map<string, Queue>();
  const lane = (tenant: string): Queue => {
    const made = open.get(tenant) ?? on.raw(laneName(queue, tenant), prefix);
    open.set(tenant, made);
    return made;
  };
  const note = async (...tenants: string[]): Promise<void> => void (await touch(client, keys, tenants));
  return {
    keys,
    lane,
    touch: note,
    async fill(tenant, jobs, options = {}) {
      await lane(tenant).addBulk(
        Array.from({ length: jobs }, (_, at) => ({ name: 'job', data: { at }, opts: options })),
      );
      await note(tenant);
    },
    pick: (wanted = 4, now = Date.now()) => pick(client, keys, now, wanted),
    sweep: (tenants, retireBefore = 0) => sweep(client, keys, retireBefore, tenants),
    async take(tenant) {
      const worker = new Worker(laneName(queue, tenant), null, {
        connection: on.redis,
        prefix,
        autorun: false,
      });
      const job = await worker.getNextJob(`token-${tenant}`, { block: false });
      await worker.close();
      return job?.id;
    },
    members: (key) => on.redis.zrange(keys[key], 0, '-1'),
  };
}

/** Everything in the database whose key begins like this, as it is stored. */
export async function dump(on: Bench, begins: string): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  for (const key of (await on.redis.keys('*')).toSorted()) {
    if (key.startsWith(begins)) all[key] = (await on.redis.dumpBuffer(key))?.toString('hex');
  }
  return all;
}
