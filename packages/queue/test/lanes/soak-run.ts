import { setTimeout as wait } from 'node:timers/promises';
import type { Redis } from 'ioredis';

export const PREFIX = 'soak';
/** The tenant that is erased half-way. */
export const GONE = 'gone';

/** What a job of the soak carries. */
export interface SoakData {
  /** The tenant that it was added in. */
  readonly tenant: string;
  /** Whether its first attempt fails. */
  readonly fails: boolean;
}

/** What every processor of the soak does: it writes to Redis what has run, where the test reads it. */
export async function runOnce(
  redis: Redis,
  tenant: string | undefined,
  job: { readonly id?: string | undefined; readonly data: SoakData; readonly attemptsMade: number },
): Promise<void> {
  if (tenant !== job.data.tenant) await redis.hincrby(`${PREFIX}:wrong`, job.data.tenant, 1);
  // As long as a small job takes: so that a kill meets some of them.
  await wait(Math.random() * 4);
  if (job.data.fails && job.attemptsMade === 0) throw new Error('once more');
  if (tenant === GONE) await redis.incr(`${PREFIX}:gone`);
  else await redis.hincrby(`${PREFIX}:done`, `${tenant} ${job.id}`, 1);
}
