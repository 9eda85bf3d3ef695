import { withTenant } from '@tenantkit/core';
import { FlowProducer, Queue, QueueEvents, Worker, type QueueOptions } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { KEY, bench, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const tenant = { signingKeys: [KEY] };
const makers: Readonly<Record<string, (options: QueueOptions) => { close(): Promise<unknown> }>> = {
  Queue: (options) => new Queue('mail', options),
  Worker: (options) => new Worker('mail', async () => undefined, options),
  FlowProducer: (options) => new FlowProducer(options),
  QueueEvents: (options) => new QueueEvents('mail', options),
};

describe.each(Object.entries(makers))('what was forgotten of a %s is said', (name, make) => {
  const missing: readonly (readonly [string, unknown, RegExp])[] = [
    [
      'all options',
      undefined,
      /the option tenant is missing.*tenant: \{ signingKeys: \[\{ kid, secret \}\] \}/,
    ],
    ['null for options', null, /the option tenant is missing/],
    ['tenant', { connection: { host: 'localhost' } }, /the option tenant is missing/],
    ['connection', { tenant }, /the option connection is missing.*raw ioredis client or its options/],
    [
      'a connection that is a text',
      { tenant, connection: 'redis://host/2' },
      /neither a client nor options.*\{ url \}/,
    ],
    ['a connection that is null', { tenant, connection: null }, /the option connection is missing/],
  ];
  it.each(missing)('%s', (_what, options, text) => {
    // Of a missing connection BullMQ itself tells a Worker.
    const isOfRaw = name === 'Worker' && /connection is missing/.test(text.source);
    const message = expect.stringMatching(isOfRaw ? /connection/ : text) as string;
    expect(() => make(options as QueueOptions)).toThrow(
      expect.objectContaining(isOfRaw ? { message } : { code: 'CONFIG_INVALID', message }),
    );
  });

  it('nothing', async () => {
    const made = make({ tenant, connection: on.redis });
    expect(await made.close()).toBeUndefined();
  });
});

it('an option of a job that nobody knows is named, unless it may be data', async () => {
  const queue = on.queue('mail');
  const add = (opts: object): Promise<unknown> => withTenant('acme', () => queue.add('a', {}, opts));
  await expect(add({ jobID: 'a' })).rejects.toThrow(
    /the job has the option jobID, which is not in the table/,
  );
  await expect(add({ 'ada@example.com': 1 })).rejects.toThrow(
    /the job has an option that is not in the table/,
  );
  await add({ jobId: 'a' });
});
