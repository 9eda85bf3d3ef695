import { withTenant } from '@tenantkit/core';
import { startRedisNode, type RedisNode } from '@tenantkit/testing/servers';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { FlowProducer, Queue, Worker } from '@tenantkit/queue';
import { KEY } from './keys.ts';

// A server that has forgotten some of the scripts that the connection takes for known, while it holds.

const tenant = { signingKeys: [KEY] };
let server: RedisNode & { stop(): Promise<void> };
let opened: { close(force?: boolean): Promise<void> }[] = [];
const keep = <T extends { close(force?: boolean): Promise<void> }>(made: T): T => {
  opened.push(made);
  return made;
};
beforeAll(async () => {
  server = await startRedisNode();
});
afterEach(async () => {
  for (const made of opened.splice(0).toReversed()) await made.close(true);
});
afterAll(() => server.stop());

it.each([
  ['remembers', false],
  ['has forgotten', true],
])('a flow is stored whole where the server %s what was sent before', async (_, isForgotten) => {
  const connection = new Redis(server.url, { maxRetriesPerRequest: null });
  await connection.flushall();
  const queue = keep(new Queue('mail', { connection, tenant }));
  const flows = keep(new FlowProducer({ connection, tenant }));
  // By its hash the script that adds a child goes from now on; that of a parent goes as a text still.
  await withTenant('acme', () => queue.addBulk([{ name: 'before', data: {} }]));
  if (isForgotten) await connection.script('FLUSH');
  const child = { name: 'n', queueName: 'mail', opts: { jobId: 'child' } };
  await withTenant('acme', () =>
    flows.add({ name: 'n', queueName: 'mail', opts: { jobId: 'parent' }, children: [child] }),
  );
  expect(await connection.zrange('bull:mail~acme:waiting-children', 0, '-1')).toEqual(['acme~parent']);
  expect(await connection.smembers('bull:mail~acme:acme~parent:dependencies')).toEqual([
    'bull:mail~acme:acme~child',
  ]);
  expect(await connection.exists('bull:mail~acme:acme~child')).toBe(1);
  connection.disconnect();
});

it('a job is retried whole, and signed anew, where the server has forgotten how it is signed', async () => {
  const connection = new Redis(server.url, { maxRetriesPerRequest: null });
  await connection.flushall();
  const queue = keep(new Queue('mail', { connection, tenant }));
  const runs: (string | undefined)[] = [];
  const worker = keep(
    new Worker(
      'mail',
      async (job) => {
        runs.push(job.id);
        if (runs.length < 4) throw new Error('bad');
      },
      { connection: { url: server.url }, tenant },
    ),
  );
  worker.on('error', () => undefined);
  for (const id of ['one', 'two']) {
    const failed = new Promise((resolve) => worker.once('failed', resolve));
    const job = await withTenant('acme', () => queue.add('n', {}, { jobId: id }));
    await failed;
    if (id === 'two') await connection.script('FLUSH');
    const again = new Promise((resolve) => worker.once(id === 'one' ? 'failed' : 'completed', resolve));
    await withTenant('acme', () => job.retry());
    await again;
  }
  expect(runs).toEqual(['one', 'one', 'two', 'two']);
  connection.disconnect();
});
