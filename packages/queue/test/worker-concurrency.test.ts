import { Redis } from 'ioredis';
import { withTenant } from '@tenantkit/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterAll(() => on[Symbol.asyncDispose]());

/** How many turns the picks ask for that are sent over it. */
class WatchedRedis extends Redis {
  readonly wanted: number[] = [];

  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    // A script of six keys, then what the keys of lanes begin with, the time, and how many.
    const [, keys, ...rest] = args[0].args;
    if (Number(keys) === 6 && rest[6] === 'bull:mail~') this.wanted.push(Number(rest[8]));
    return super.sendCommand(...args);
  }
}

it('a concurrency that is set later is that of the turns as well', async () => {
  const queue = on.queue('mail');
  for (let at = 0; at < 60; at += 1) await withTenant(`t-${at}`, () => queue.add('n', {}));
  const connection = new WatchedRedis(on.url, { maxRetriesPerRequest: null });
  const worker = on.worker('mail', async () => undefined, { connection, autorun: false });
  worker.concurrency = 40;
  const done = finished(worker, 60);
  void worker.run();
  await done;
  expect(connection.wanted[0]).toBe(10);
  worker.concurrency = 1;
  await worker.close();
  connection.disconnect();
});
