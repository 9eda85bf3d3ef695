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

const LANES = 'bull:contract~';

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
    { operation: 'getWorkers', call: ({ queue }) => queue.getWorkers() },
    {
      operation: 'obliterate with force',
      call: ({ queue }) => queue.backend.obliterate({ force: true, count: 1 }),
    },
    { operation: 'setGlobalConcurrency', call: ({ queue }) => queue.setGlobalConcurrency(1) },
    { operation: 'removeRateLimitKey', call: ({ queue }) => queue.removeRateLimitKey() },
    {
      operation: 'add with an unknown option',
      call: ({ queue }) => queue.add('job', {}, { runAs: 'acme2' } as object),
    },
  ],
  // Entry by entry: a list that its own tenant adds to is another one, what stood in it is the same.
  async dump({ raw }) {
    const dump: Record<string, string> = {};
    for (const key of await raw.keys(`${LANES}?*:*`)) {
      if (key.startsWith(`${LANES}:`)) continue;
      const entries = await entriesOf(raw, key);
      for (const [name, value] of Object.entries(entries)) dump[`${key} ${name}`.trimEnd()] = value;
    }
    for (const set of ['ready', 'due', 'lanes']) {
      const key = `${LANES}:${set}`;
      for (const tenant of await raw.zrange(key, 0, '-1')) dump[`${key} ${tenant}`] = 'named';
    }
    return dump;
  },
  sent: ({ guarded }) => guarded.sent,
  eraser: ({ raw }) => queueEraser(raw, { queues: ['contract'] }),
  auditor: ({ raw }) => queueAuditor(raw, { queues: ['contract'], signingKeys: [KEY] }),
  async plant({ raw }) {
    const hostile = new RawQueue('contract~acme', { connection: raw, skipMetasUpdate: true });
    await hostile.add('forged', {}, { jobId: 'acme~forged' });
    await hostile.close();
  },
});

/** What a key holds, by what names it in there. */
async function entriesOf(raw: Redis, key: string): Promise<Record<string, string>> {
  const listed = (names: readonly string[]): Record<string, string> =>
    Object.fromEntries(names.map((name) => [name, 'listed']));
  switch (await raw.type(key)) {
    case 'hash':
      // Sorted: Redis gives the fields of a larger hash in the order of its table, which changes by itself.
      return {
        '': JSON.stringify(
          Object.entries(await raw.hgetall(key))
            .map(String)
            .toSorted(),
        ),
      };
    case 'list':
      return listed(await raw.lrange(key, 0, -1));
    case 'zset':
      return listed(await raw.zrange(key, 0, '-1'));
    case 'stream':
      return Object.fromEntries((await raw.xrange(key, '-', '+')).map(([id, fields]) => [id, fields.join()]));
    default:
      // The counter of ids, which each job of its own tenant moves on.
      return { '': 'a counter' };
  }
}
