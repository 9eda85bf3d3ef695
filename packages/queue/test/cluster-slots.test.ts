import { randomBytes } from 'node:crypto';
import { currentTenant, isVerified, withTenant } from '@tenantkit/core';
import { freshRedis } from '@tenantkit/testing';
import type { RedisNode } from '@tenantkit/testing/servers';
import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  FlowProducer,
  Queue,
  QueueEvents,
  Worker,
  queueAuditor,
  queueBackstop,
  queueEraser,
} from '@tenantkit/queue';
import { scanKeys } from '../src/places.ts';
import { RawRedis } from '../src/raw-redis.ts';
import { PREFIX, clusterBench, type ClusterBench } from './cluster-support.ts';
import { recorder } from './events-support.ts';
import { KEY, finished } from './support.ts';

let on: ClusterBench;
beforeAll(async () => {
  on = await clusterBench();
}, 120_000);
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

/** Counts the connections that are made beside it. */
class CountingCluster extends Cluster {
  duplicates = 0;

  override duplicate(...args: Parameters<Cluster['duplicate']>): Cluster {
    this.duplicates += 1;
    return super.duplicate(...args);
  }
}

const byText = (one: unknown, other: unknown): number => (String(one) < String(other) ? -1 : 1);

const BOTH = ['acme', 'globex'] as const;

describe('the keys of a queue on a Redis Cluster', () => {
  const tenant = { signingKeys: [KEY] } as const;
  const refusal = { code: 'CONFIG_INVALID', hint: expect.stringMatching(/prefix: '\{bull\}'/) as string };

  it('have to be in one slot, which their prefix or the name of the queue says', async () => {
    const connection = new CountingCluster(on.startup);
    const process = async (): Promise<void> => undefined;
    const makers = (name: string, prefix?: string): readonly (() => unknown)[] => {
      const options = { connection, tenant, ...(prefix === undefined ? {} : { prefix }) };
      const places = { queues: [name], ...(prefix === undefined ? {} : { prefix }) };
      return [
        () => new Queue(name, options),
        () => new Worker(name, process, options),
        () => new QueueEvents(name, options),
        () => queueEraser(connection, places),
        () => queueAuditor(connection, { ...places, signingKeys: [KEY] }),
      ];
    };
    // The part between braces has to be closed, in the name, and not empty: else every key has its own slot.
    for (const [name, prefix] of [['mail'], ['mail', '{}bull'], ['mail', 'bull{'], ['{}mail']] as const)
      for (const make of makers(name, prefix)) expect(make).toThrow(expect.objectContaining(refusal));
    expect(connection.duplicates).toBe(0);
    for (const [name, prefix] of [['mail', PREFIX], ['{mail}'], ['mail', 'a{b}c']] as const) {
      for (const make of makers(name, prefix)) {
        const made = make() as { close?(): Promise<void> };
        await made.close?.();
      }
    }
    expect(connection.duplicates).toBe(6);
    connection.disconnect();
  });

  it('may have a slot for each queue, which the names of the queues say', async () => {
    const queue = on.queue('{mail}', { prefix: 'bull' });
    const worker = on.worker('{mail}', async () => currentTenant()?.tenant, { prefix: 'bull' });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'j' }));
    expect(await done).toMatchObject([{ event: 'completed', id: 'j', result: 'acme' }]);
    const eraser = queueEraser(queue);
    await eraser.plan({ tenant: 'acme' });
    await eraser.erase({ tenant: 'acme' });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  });

  it('have one slot for a whole flow, and for a parent and its child', async () => {
    const flows = new FlowProducer({ connection: on.cluster, tenant });
    const child = { name: 'x', queueName: '{mail}' };
    const own = { name: 'r', queueName: '{mail}' };
    const other = { name: 'r', queueName: '{reports}' };
    const scattered = { code: 'OPERATION_REFUSED', message: expect.stringContaining('hash tag') as string };
    await withTenant('acme', async () => {
      await expect(flows.add({ ...other, children: [child] })).rejects.toMatchObject(scattered);
      await expect(flows.add({ name: 'r', queueName: 'reports', children: [child] })).rejects.toMatchObject(
        refusal,
      );
      const { job } = await flows.add({ ...own, children: [child] });
      const reports = on.queue('{reports}', { prefix: 'bull' });
      const mail = on.queue('{mail}', { prefix: 'bull' });
      const parent = { id: job.id ?? '', queue: job.queueQualifiedName };
      await expect(reports.add('x', {}, { parent })).rejects.toMatchObject(scattered);
      expect(await mail.add('x', {}, { parent })).toMatchObject({ parent: { id: job.id } });
    });
    await flows.close();
  });

  it('are read where they are written', async () => {
    const connection = on.client({ scaleReads: 'all' });
    const message = expect.stringContaining('scaleReads') as string;
    expect(() => new Queue('mail', { connection, prefix: PREFIX, tenant })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message }),
    );
  });

  it('may be in a silo that is a cluster, beside a pool that is none, and have to have a tag there', async () => {
    const database = await freshRedis(inject('servers').redis);
    const pool = new Redis(database.url, { maxRetriesPerRequest: null });
    try {
      const place = (id: string) =>
        id === 'globex' ? ({ level: 'silo', connection: on.cluster } as const) : ({ level: 'pool' } as const);
      const common = { connection: pool, tenant: { ...tenant, place } };
      const queue = on.queue('mail', { ...common, prefix: PREFIX });
      const worker = on.worker('mail', async () => currentTenant()?.tenant, { ...common, prefix: PREFIX });
      const done = finished(worker, 2);
      for (const id of BOTH) await withTenant(id, () => queue.add('n', {}, { jobId: id }));
      expect((await done).map(({ result }) => result).toSorted(byText)).toEqual(BOTH);
      expect(await on.keys()).toContain(`${PREFIX}:mail~globex:globex~globex`);
      const eraser = queueEraser(queue);
      await eraser.erase({ tenant: 'globex' });
      expect(isVerified(await eraser.verify({ tenant: 'globex' }))).toBe(true);
      const untagged = on.queue('mail', { ...common, prefix: 'bull' });
      const told: unknown[] = [];
      untagged.on('error', (error) => void told.push(error));
      await withTenant('acme', () => untagged.add('n', {}));
      await expect(withTenant('globex', () => untagged.add('n', {}))).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
      expect(told).toMatchObject([{ cause: refusal }]);
      await on.reset();
    } finally {
      pool.disconnect();
      await database.cleanup();
    }
  });
});

describe('the Redis user of a queue on a Redis Cluster', () => {
  it('can do all that queues, workers, events and erasers do', async () => {
    const password = randomBytes(24).toString('hex');
    const { rules } = queueBackstop({ user: 'mail', prefix: PREFIX, queues: ['mail'] });
    const nodes = on.cluster.nodes('master');
    for (const node of nodes) await node.call('ACL', 'SETUSER', ...rules, `>${password}`, 'on');
    const connection = on.client({}, { username: 'mail', password });
    const queue = on.queue('mail', { connection });
    const worker = on.worker('mail', async (job) => job.id, { connection });
    const events = on.events('mail', { connection });
    const errors: Error[] = [];
    const tell = (error: Error): void => void errors.push(error);
    queue.on('error', tell);
    worker.on('error', tell);
    events.on('error', tell);
    for (const tenant of BOTH) {
      await withTenant(tenant, async () => {
        const job = await queue.add('n', {}, { jobId: 'j' });
        expect(await job.waitUntilFinished(events)).toBe('j');
      });
    }
    const eraser = queueEraser(queue);
    await eraser.plan({ tenant: 'acme' });
    await eraser.erase({ tenant: 'acme' });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    await expect(connection.set(`${PREFIX}:other:x`, '1')).rejects.toThrow(/NOPERM/);
    expect(errors).toEqual([]);
  });
});

describe('a Redis Cluster whose slots move', () => {
  const slotOf = async (): Promise<number> => on.cluster.cluster('KEYSLOT', PREFIX);
  /** A master that does not have the keys. */
  const another = async (): Promise<RedisNode> => {
    const owner = on.servers.ownerOf(await slotOf());
    const found = on.servers.masters.find((node) => node !== owner);
    if (found === undefined) throw new Error('there is one master only');
    return found;
  };

  it('goes on running jobs, and telling events', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail', { blockingTimeout: 600_000 });
    const heard = recorder();
    await withTenant('acme', async () => {
      events.on('completed', heard.listener);
      await events.waitUntilReady();
    });
    const errors: Error[] = [];
    const worker = on.worker('mail', async (job) => job.id, { drainDelay: 600, stalledInterval: 600_000 });
    worker.on('error', (error) => errors.push(error));
    for (let n = 0; n < 6; n += 1) {
      await on.servers.move(await slotOf(), await another());
      const done = finished(worker, 1);
      await withTenant('acme', () => queue.add('n', {}, { jobId: `j${n}` }));
      expect(await done).toMatchObject([{ event: 'completed', id: `j${n}` }]);
      expect((await heard.until(n + 1)).at(-1)?.[0]).toMatchObject({ jobId: `j${n}` });
    }
    expect(errors).toEqual([]);
  });

  it('loses no job and fails none, when a slot is on two servers for a while', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (job) => job.id, { runRetryDelay: 50 });
    const refused: Error[] = [];
    worker.on('error', (error) => refused.push(error));
    const first = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'first' }));
    await first;
    await worker.pause();
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'j' }));
    const [slot, to] = [await slotOf(), await another()];
    await on.servers.beginMove(slot, to, [`${PREFIX}:mail~acme:acme~j`]);
    const done = finished(worker, 1);
    const failing = new Promise<void>((resolve) => worker.once('error', () => resolve()));
    await worker.resume();
    await Promise.race([failing, done]);
    await on.servers.finishMove(slot, to);
    expect(await done).toMatchObject([{ event: 'completed', id: 'j' }]);
    expect(refused.map(({ message }) => message).filter((text) => !/TRYAGAIN|MOVED|ASK/.test(text))).toEqual(
      [],
    );
  });

  it('does not say that nothing is left, while it cannot know', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'j' }));
    const eraser = queueEraser(queue);
    const slot = await slotOf();
    const to = await another();
    await on.servers.beginMove(slot, to, [`${PREFIX}:mail~acme:acme~j`]);
    const moving = { code: 'OPERATION_REFUSED', message: expect.stringContaining('moving') as string };
    await expect(eraser.plan({ tenant: 'acme' })).rejects.toMatchObject(moving);
    await expect(eraser.verify({ tenant: 'acme' })).rejects.toMatchObject(moving);
    await on.servers.finishMove(slot, to);
    const { items } = await eraser.plan({ tenant: 'acme' });
    expect(items).toContainEqual({ kind: 'jobs', count: 1 });
    await eraser.erase({ tenant: 'acme' });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  });

  it('is walked once more when the keys have moved behind the walk', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'j' }));
    const raw = new RawRedis(on.cluster as unknown as Redis, 'test');
    const walked: string[][] = [];
    for await (const keys of scanKeys(raw, `${PREFIX}:mail~acme:`)) {
      walked.push(keys.toSorted(byText));
      if (walked.length === 1) await on.servers.move(await slotOf(), await another());
    }
    expect(walked).toHaveLength(2);
    expect(walked[1]).toEqual(walked[0]);
    expect(walked[0]).toContain(`${PREFIX}:mail~acme:acme~j`);
  });
});
