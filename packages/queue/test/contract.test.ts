import { Redis } from 'ioredis';
import { Queue as RawQueue } from 'bullmq';
import { adapterContract, freshRedis, type FreshRedis } from '@tenantkit/testing';
import { describe, inject, it } from 'vitest';
import { Queue, queueAuditor, queueEraser } from '@tenantkit/queue';
import { KEY } from './support.ts';

class CountingRedis extends Redis {
  sent = 0;

  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    this.sent += 1;
    return super.sendCommand(...args);
  }
}

interface Opened extends AsyncDisposable {
  readonly own: FreshRedis;
  readonly guarded: CountingRedis;
  readonly raw: Redis;
  readonly queue: Queue;
}

const BASE = 'bull:contract:';

adapterContract<Opened>({
  store: 'queue',
  runner: { describe, it },
  async open() {
    const own = await freshRedis(inject('servers').redis);
    const guarded = new CountingRedis(own.url, { maxRetriesPerRequest: null });
    const raw = new Redis(own.url, { maxRetriesPerRequest: null });
    const queue = new Queue('contract', {
      connection: guarded,
      skipMetasUpdate: true,
      tenant: { signingKeys: [KEY] },
    });
    await queue.waitUntilReady();
    return {
      own,
      guarded,
      raw,
      queue,
      async [Symbol.asyncDispose]() {
        await queue.close();
        guarded.disconnect();
        raw.disconnect();
        await own.cleanup();
      },
    };
  },
  write: ({ queue }, id, value) => queue.add('job', { value }, { jobId: id }),
  read: async ({ queue }, id) => {
    const job = await queue.getJob(id);
    return (job?.data as { value: string } | undefined)?.value;
  },
  refused: [
    { operation: 'getJobs', call: ({ queue }) => queue.getJobs(['waiting']) },
    { operation: 'obliterate', call: ({ queue }) => queue.obliterate({ force: true }) },
    { operation: 'drain', call: ({ queue }) => queue.drain() },
    {
      operation: 'add with an unknown option',
      call: ({ queue }) => queue.add('job', {}, { runAs: 'acme2' } as object),
    },
  ],
  // The counter, the marker and the stream are the queue's; what the stream says of a tenant is its own.
  async dump({ raw }) {
    const dump: Record<string, string> = {};
    for (const key of await raw.keys(`${BASE}*~*`)) {
      // Sorted: Redis gives the fields of a larger hash in the order of its table, which changes by itself.
      dump[key] = JSON.stringify(
        Object.entries(await raw.hgetall(key))
          .map(String)
          .sort(),
      );
    }
    for (const id of await raw.lrange(`${BASE}wait`, 0, -1)) dump[`wait ${id}`] = 'listed';
    for (const id of await raw.zrange(`${BASE}delayed`, 0, '-1')) dump[`delayed ${id}`] = 'listed';
    for (const [id, fields] of await raw.xrange(`${BASE}events`, '-', '+')) {
      if (fields.join().includes('~')) dump[`event ${id}`] = fields.join();
    }
    return dump;
  },
  sent: ({ guarded }) => guarded.sent,
  eraser: ({ raw }) => queueEraser(raw, { queues: ['contract'] }),
  auditor: ({ raw }) => queueAuditor(raw, { queues: ['contract'], signingKeys: [KEY] }),
  async plant({ raw }) {
    const hostile = new RawQueue('contract', { connection: raw, skipMetasUpdate: true });
    await hostile.add('forged', {}, { jobId: 'acme~forged' });
    await hostile.close();
  },
});
