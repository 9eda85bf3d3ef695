import { Queue as RawQueue } from 'bullmq';
import { controlTenant, type Verification } from '@tenantkit/core';
import type { Redis } from 'ioredis';
import { countLane } from './erase-count.ts';
import { eraseOnce } from './erase-pass.ts';
import { laneName } from './lanes/names.ts';
import { BATCH, type CheckedPlaces, type QueueKeyspace } from './places.ts';
import type { RawRedis } from './raw-redis.ts';

/** The control job waits for this long, in milliseconds, so that no worker picks it up: a day. */
const CONTROL_DELAY = 86_400_000;
/** What the throw-away tenants of core look like. */
const CONTROL_TENANT = /^tk-control-[0-9a-f]{32}$/;
/** No recount takes this long, in milliseconds. */
const CONTROL_LIFE = 3_600_000;

/** What a recount is controlled with. */
export interface Controlled extends CheckedPlaces {
  readonly raw: RawRedis;
}

/**
 * Plants one job per queue, as BullMQ itself stores it, under a tenant that does not exist, counts it with the
 * code that has just counted zero, and removes it with the code that erases.
 */
export async function controlCount(work: Controlled): Promise<Verification['control']> {
  const tenant = controlTenant();
  const { raw, names } = work;
  let found = 0;
  for (const queue of work.queues) {
    await sweepControls(work, queue);
    try {
      await raw.run((redis) => plant(redis, queue, tenant, names.encode(tenant, 'control')));
      const { jobs, keys, events } = await countLane(raw, queue, tenant);
      if (jobs === 1 && keys > 0 && events > 0) found += 1;
    } finally {
      await eraseLane(work, queue, tenant);
    }
  }
  return {
    planted: work.queues.length,
    found,
    method: 'one delayed job with one log row per queue, stored by BullMQ under a tenant that does not exist',
  };
}

/** Removes all of a lane: that of a control. */
export async function eraseLane({ raw }: Controlled, queue: QueueKeyspace, tenant: string): Promise<void> {
  for (let left = Infinity; left > 0;) {
    const { jobs, keys, events } = await eraseOnce({ raw, tenant }, queue, true);
    left = jobs + keys + events;
  }
}

/** Removes the controls of recounts that were killed: nobody else ever would. */
export async function sweepControls(work: Controlled, queue: QueueKeyspace): Promise<void> {
  let cursor = '0';
  do {
    const from = cursor;
    const [next, found] = await work.raw.run((redis) =>
      redis.zscan(queue.keys.lanes, from, 'MATCH', 'tk-control-*', 'COUNT', BATCH),
    );
    cursor = next;
    for (let at = 0; at + 1 < found.length; at += 2) {
      const [tenant = '', planted] = [found[at], found[at + 1]];
      // A younger one is that of a recount that runs right now, in another process.
      const isDead = Date.now() - Number(planted) > CONTROL_LIFE;
      if (isDead && CONTROL_TENANT.test(tenant)) await eraseLane(work, queue, tenant);
    }
  } while (cursor !== '0');
}

async function plant(
  connection: Redis,
  { queue, prefix, keys }: QueueKeyspace,
  tenant: string,
  id: string,
): Promise<void> {
  // First, so that the control of a recount that is killed is found again.
  await connection.zadd(keys.lanes, Date.now(), tenant);
  const bullmq = new RawQueue(laneName(queue, tenant), { connection, prefix, skipMetasUpdate: true });
  try {
    await bullmq.add('tk-control', {}, { jobId: id, delay: CONTROL_DELAY });
    await bullmq.addJobLog(id, 'control');
  } finally {
    await bullmq.close();
  }
}
