import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { withTenant } from '@tenantkit/core';
import { expect } from 'vitest';
import { bench } from '../support.ts';

const PREFIX = 'soak';
const PROCESSES = 3;
const PROGRAM = join(import.meta.dirname, 'soak-worker.ts');

/** What happened. */
export interface Soaked {
  readonly kills: number;
  /** How many jobs ran more than once, as those of a killed worker may. */
  readonly repeated: number;
}

/**
 * Adds signed jobs of many tenants, ordinary, delayed, prioritised and failing ones, to processes of workers of which
 * one is killed every now and then. Every job has to run, in its own tenant.
 *
 * @param every - between two kills, in milliseconds
 */
export async function soak(jobs: number, tenants: number, every: number): Promise<Soaked> {
  await using on = await bench();
  const queue = on.queue('soak', { prefix: PREFIX });
  const workers = await Promise.all(Array.from({ length: PROCESSES }, () => start(on.url)));
  const done = new AbortController();
  const killing = killOften(workers, on.url, every, done.signal);
  try {
    for (let at = 0; at < jobs; at += 1) {
      const tenant = `t${at % tenants}`;
      await withTenant(tenant, () =>
        queue.add('n', { tenant, fails: at % 7 === 0 }, { jobId: `j${at}`, ...kindOf(at) }),
      );
      // Spread over some seconds: most of it is added while somebody is being killed.
      if (at % 50 === 0) await wait(every / 10);
    }
    const isDone = async (): Promise<number> => on.redis.hlen(`${PREFIX}:done`);
    await expect.poll(isDone, { timeout: 60_000, interval: 100 }).toBe(jobs);
  } finally {
    done.abort();
    await killing;
    for (const worker of workers) await kill(worker);
  }
  expect(await on.redis.hgetall(`${PREFIX}:wrong`)).toEqual({});
  const errors = await on.redis.lrange(`${PREFIX}:errors`, 0, -1);
  // What a worker says whose lock has run out while the machine was busy with something else.
  expect(errors.filter((message) => !/Missing lock|could not renew lock/.test(message))).toEqual([]);
  const runs = Object.values(await on.redis.hgetall(`${PREFIX}:done`)).map(Number);
  return { kills: await killing, repeated: runs.filter((count) => count > 1).length };
}

function kindOf(at: number): object {
  const retried = at % 7 === 0 ? { attempts: 3, ...(at % 2 === 0 ? { backoff: 50 } : {}) } : {};
  if (at % 5 === 1) return { ...retried, delay: 20 + (at % 300) };
  if (at % 5 === 2) return { ...retried, priority: 1 + (at % 3) };
  return retried;
}

async function killOften(
  workers: ChildProcess[],
  url: string,
  every: number,
  signal: AbortSignal,
): Promise<number> {
  let kills = 0;
  for (; ; kills += 1) {
    await wait(every, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return kills;
    const [oldest] = workers.splice(0, 1);
    if (oldest !== undefined) await kill(oldest);
    workers.push(await start(url));
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function start(url: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--conditions=@tenantkit/source', PROGRAM, url, PREFIX], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout })) if (line === 'ready') break;
  child.stdout.resume();
  return child;
}
