import { Redis, type Command } from 'ioredis';
import { createTenantRegistry, memoryTenantStore, withTenant, type TenantRegistry } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FlowProducer, queueAuditor } from '@tenantkit/queue';
import { KEY, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const LANE = 'bull:mail~acme:';

/** A client behind which something happens as soon as a command was answered, before whoever has sent it hears of it. */
class Busy extends Redis {
  readonly #then: (command: string) => Promise<void>;
  #sent: string[] = [];

  constructor(url: string, then: (command: string) => Promise<void>) {
    super(url, { lazyConnect: true });
    this.#then = then;
    Object.assign(this, {
      pipeline: () => this.#watched(super.pipeline()),
      multi: () => this.#watched(super.multi()),
    });
  }

  override sendCommand(command: Command, stream?: never): unknown {
    const text = `${command.name} ${String(command.args[0])}`;
    const answer = super.sendCommand(command, stream);
    if (stream !== undefined) {
      this.#sent.push(text);
      return answer;
    }
    return (answer as Promise<unknown>).then(async (reply) => {
      await this.#then(text);
      return reply;
    });
  }

  #watched(pipeline: ReturnType<Redis['pipeline']>): ReturnType<Redis['pipeline']> {
    const exec = pipeline.exec.bind(pipeline);
    pipeline.exec = async () => {
      this.#sent = [];
      const answer = exec();
      const sent = this.#sent;
      const replies = await answer;
      for (const text of sent) await this.#then(text);
      return replies;
    };
    return pipeline;
  }
}

/** What an audit finds while something happens: each change once, behind the n-th answer to its command. */
async function auditWhile(
  changes: readonly (readonly [command: string, nth: number, change: () => Promise<unknown>])[],
  fence?: TenantRegistry,
): Promise<readonly string[]> {
  const counted = new Map<string, number>();
  const done = new Set<number>();
  const redis = new Busy(on.url, async (command) => {
    const nth = (counted.get(command) ?? 0) + 1;
    counted.set(command, nth);
    for (const [at, [awaited, which, change]] of changes.entries()) {
      if (awaited !== command || which !== nth) continue;
      done.add(at);
      await change();
    }
  });
  try {
    const found: string[] = [];
    const given = fence === undefined ? {} : { fence };
    const auditor = queueAuditor(redis, { queues: ['mail'], signingKeys: [KEY], ...given });
    for await (const { code, name = '' } of auditor.audit()) found.push(`${code} ${name}`);
    expect([...done]).toContain(0);
    return found;
  } finally {
    redis.disconnect();
  }
}

describe('the audit of a queue that is busy', () => {
  it('takes no job for orphaned that was put back while it looked, and has ended since', async () => {
    const queue = on.queue('mail');
    for (const jobId of ['busy', 'orphan']) await withTenant('acme', () => queue.add('n', {}, { jobId }));
    // One worker has it; it is put back as a stalled one, and ends.
    await on.redis.lrem(`${LANE}wait`, 0, 'acme~busy');
    await on.redis.lpush(`${LANE}active`, 'acme~busy');
    await on.redis.lrem(`${LANE}wait`, 0, 'acme~orphan');
    const found = await auditWhile([
      [`lrange ${LANE}wait`, 1, () => on.redis.lmove(`${LANE}active`, `${LANE}wait`, 'RIGHT', 'RIGHT')],
      [`hgetall ${LANE}acme~busy`, 1, () => withTenant('acme', () => queue.remove('busy'))],
    ]);
    expect(await on.redis.exists(`${LANE}acme~busy`)).toBe(0);
    expect(found).toEqual([`orphaned_job ${LANE}acme~orphan`]);
  });

  it('takes no parent for orphaned whose children end at each look', async () => {
    const queue = on.queue('mail');
    const flows = new FlowProducer({ connection: on.redis, tenant: { signingKeys: [KEY] } });
    const family = (parent: string, ...children: readonly string[]): Promise<unknown> =>
      withTenant('acme', () =>
        flows.add({
          name: 'p',
          queueName: 'mail',
          opts: { jobId: parent },
          children: children.map((jobId) => ({ name: 'c', queueName: 'mail', opts: { jobId } })),
        }),
      );
    await family('busy', 'one', 'two', 'three');
    await family('lost', 'gone');
    await on.redis.del(`${LANE}acme~gone`);
    const remove = (id: string) => (): Promise<unknown> => withTenant('acme', () => queue.remove(id));
    const children = `smembers ${LANE}acme~busy:dependencies`;
    const found = await auditWhile([
      [children, 1, remove('one')],
      [children, 2, remove('two')],
    ]);
    expect(found).toContain(`orphaned_parent ${LANE}acme~lost`);
    expect(found.filter((text) => text.includes('busy'))).toEqual([]);
    expect(await on.redis.exists(`${LANE}acme~one`)).toBe(0);
    await flows.close();
  });

  it('takes no scheduler for stopped that has come to its end while it looked', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', async () => {
      await queue.upsertJobScheduler('ends', { every: 50, limit: 2 }, { name: 'n' });
      await queue.upsertJobScheduler('lost', { every: 60_000 }, { name: 'n' });
    });
    const [, at = ''] = await on.redis.zrange(`${LANE}repeat`, 0, '-1', 'WITHSCORES').then((all) => {
      const index = all.indexOf('lost');
      return [all[index], all[index + 1]];
    });
    const lost = `repeat:lost:${at}`;
    await on.redis.del(`${LANE}${lost}`);
    await on.redis.lrem(`${LANE}wait`, 0, lost);
    await on.redis.zrem(`${LANE}delayed`, lost);
    const run = async (): Promise<void> => {
      const worker = on.worker('mail', async () => undefined);
      await finished(worker, 2);
      await worker.close();
    };
    const found = await auditWhile([[`hgetall ${LANE}repeat:ends`, 1, run]]);
    expect(await on.redis.zscore(`${LANE}repeat`, 'ends')).not.toBeNull();
    expect(found).toEqual([`stopped_scheduler ${LANE}repeat:lost`]);
  });

  it('takes no scheduler for unsigned that is removed or made anew while it looked', async () => {
    const queue = on.queue('mail');
    const make = (id: string): Promise<unknown> =>
      withTenant('acme', () => queue.upsertJobScheduler(id, { every: 60_000 }, { name: 'n' }));
    for (const id of ['gone', 'anew', 'lost']) await make(id);
    await on.redis.del(`${LANE}repeat:lost`);
    const found = await auditWhile([
      [
        `zrange ${LANE}repeat`,
        1,
        () =>
          withTenant('acme', () => Promise.all(['gone', 'anew'].map((id) => queue.removeJobScheduler(id)))),
      ],
      [`hgetall ${LANE}repeat:anew`, 1, () => make('anew')],
    ]);
    expect(await on.redis.exists(`${LANE}repeat:gone`)).toBe(0);
    expect(await on.redis.exists(`${LANE}repeat:anew`)).toBe(1);
    expect(found).toEqual([`unsigned_scheduler ${LANE}repeat:lost`]);
  });

  it('takes no job for one of an erased tenant that the erasure has taken while it looked', async () => {
    const queue = on.queue('mail');
    for (const jobId of ['taken', 'left']) await withTenant('acme', () => queue.add('n', {}, { jobId }));
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const erase = async (): Promise<void> => {
        await withTenant('acme', () => queue.remove('taken'));
        await fence.markErased('acme');
      };
      const found = await auditWhile([[`hgetall ${LANE}acme~taken`, 1, erase]], fence);
      expect(found).toEqual([`erased_tenant_job ${LANE}acme~left`]);
    } finally {
      fence.close();
    }
  });
});
