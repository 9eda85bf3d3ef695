import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { audited, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

it('an audit event is no event of a Worker or Queue: who listens there is told where', async () => {
  const heard: string[] = [];
  const worker = on.worker('mail', async () => undefined, { autorun: false });
  const queue = on.queue('mail');
  for (const emitter of [worker, queue] as NodeJS.EventEmitter[])
    for (const member of ['on', 'once', 'prependListener'] as const)
      for (const name of ['tenantkit:refused', 'tenantkit:bypass'])
        expect(() => emitter[member](name, () => heard.push(name))).toThrow(
          /channel of node:diagnostics_channel.*auditChannels\.refused\.subscribe/,
        );
  using channel = audited('refused');
  worker.on('failed', () => heard.push('failed'));
  await withTenant('acme', () => queue.add('a', {}, { jobId: 'one' }));
  await on.redis.hset('bull:mail~acme:acme~one', 'data', '{"forged":true}');
  const done = finished(worker, 1);
  void worker.run();
  await done;
  expect(heard).toEqual(['failed']);
  expect(channel.events).toHaveLength(1);
});
