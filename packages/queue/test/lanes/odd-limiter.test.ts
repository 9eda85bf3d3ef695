import { randomUUID } from 'node:crypto';
import { withTenant } from '@tenantkit/core';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { KEY, bench, finished, type Bench } from '../support.ts';

// The counter of a Worker's `limiter`, when somebody has written something else there.

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const limited = { limiter: { max: 100, duration: 1_000 }, tenant: { signingKeys: [KEY] } } as const;

it.each(['abc', '1.5', '', ' 1', '0x1', '9'.repeat(30)])('%j is taken away, and jobs run', async (value) => {
  const queue = on.queue('mail');
  await on.redis.set('bull:mail:limiter', value);
  const errors: unknown[] = [];
  const worker = on.worker('mail', async () => undefined, { ...limited, autorun: false });
  worker.on('error', (error) => errors.push(error));
  const done = finished(worker, 1);
  await withTenant('acme', () => queue.add('n', {}));
  void worker.run();
  await done;
  expect(errors).toEqual([]);
  expect(await on.redis.get('bull:mail:limiter')).toBe('1');
});

it('a server that refuses to count is asked now and then, not all the time', async () => {
  const user = `uncounted-${randomUUID()}`;
  await on.redis.call('ACL', 'SETUSER', user, 'on', '>secret', '~*', '&*', '+@all');
  const url = Object.assign(new URL(on.url), { username: user, password: 'secret' });
  const connection = new Redis(url.href, { maxRetriesPerRequest: null });
  try {
    const queue = on.queue('mail');
    const errors: { readonly message: string; readonly at: number }[] = [];
    const worker = on.worker('mail', async () => undefined, { ...limited, connection, autorun: false });
    worker.on('error', ({ message }) => errors.push({ message, at: performance.now() }));
    const first = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}));
    void worker.run();
    await first;
    // Not from the start: whether BullMQ hands jobs over as is known is tried with a job.
    await on.redis.call('ACL', 'SETUSER', user, '-incr');
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}));
    await expect.poll(() => errors.length, { timeout: 60_000 }).toBeGreaterThan(2);
    const [one, , third] = errors;
    expect(one?.message).toContain("can't run this command");
    // Without a pause it is asked some thousand times a second.
    expect((third?.at ?? 0) - (one?.at ?? Infinity)).toBeGreaterThan(500);
    await on.redis.call('ACL', 'SETUSER', user, '+@all');
    await done;
    await worker.close();
  } finally {
    connection.disconnect();
    await on.redis.call('ACL', 'DELUSER', user);
  }
});
