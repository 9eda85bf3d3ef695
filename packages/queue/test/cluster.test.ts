import { randomBytes } from 'node:crypto';
import { acrossTenants, currentTenant, isVerified, withTenant, type Finding } from '@tenantkit/core';
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
import { KEY, OPERATOR, finished } from './support.ts';

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

describe('a queue on a Redis Cluster', () => {
  it('runs the jobs of two tenants with the same ids, each in its tenant', async () => {
    const queue = on.queue('mail');
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => {
      ran.push([currentTenant()?.tenant, job.id, (job.data as { of: string }).of]);
      await job.log('ran');
      await job.updateProgress(50);
      return `done for ${currentTenant()?.tenant}`;
    });
    const done = finished(worker, 8);
    for (const tenant of BOTH) {
      await withTenant(tenant, async () => {
        await queue.add('n', { of: tenant }, { jobId: 'one' });
        await queue.addBulk([
          { name: 'n', data: { of: tenant }, opts: { jobId: 'two' } },
          { name: 'n', data: { of: tenant }, opts: { jobId: 'three', priority: 2 } },
        ]);
        await queue.add('n', { of: tenant }, { jobId: 'late', delay: 200 });
      });
    }
    await done;
    expect(ran.toSorted(byText)).toEqual(
      BOTH.flatMap((tenant) => ['late', 'one', 'three', 'two'].map((id) => [tenant, id, tenant])),
    );
    for (const tenant of BOTH) {
      await withTenant(tenant, async () => {
        const job = await queue.getJob('one');
        expect(job?.returnvalue).toBe(`done for ${tenant}`);
        expect((await queue.getJobs(['completed'])).map(({ id }) => id).toSorted(byText)).toHaveLength(4);
        expect(await queue.getJobLogs('one')).toEqual({ logs: ['ran'], count: 1 });
      });
    }
    // All keys are in the slot of the tag, on one node.
    const keys = await on.keys();
    expect(keys.filter((key) => !key.startsWith(`${PREFIX}:`))).toEqual([]);
    expect(keys).toContain(`${PREFIX}:mail~acme:acme~one`);
  });

  it('retries, and keeps turns and limits, with connections of its own', async () => {
    const queue = on.queue('mail', { connection: on.client() });
    await acrossTenants(OPERATOR, () => queue.setTenantLimits('acme', { concurrency: 1 }));
    let most = 0;
    let now = 0;
    const worker = on.worker(
      'mail',
      async (job) => {
        most = Math.max(most, (now += 1));
        await job.updateProgress(1);
        now -= 1;
        if (job.attemptsMade === 0) throw new Error('once more');
      },
      { connection: on.client(), concurrency: 5 },
    );
    const done = finished(worker, 6);
    const rows = ['a', 'b', 'c', 'd', 'e', 'f'];
    await withTenant('acme', () =>
      queue.addBulk(
        rows.map((jobId) => ({ name: 'n', data: {}, opts: { jobId, attempts: 2, backoff: 10 } })),
      ),
    );
    expect((await done).map(({ event }) => event)).toEqual(rows.map(() => 'completed'));
    expect(most).toBe(1);
  });

  it('wakes a worker that waits, without waiting for its next look', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => undefined, { drainDelay: 600, stalledInterval: 600_000 });
    await worker.waitUntilReady();
    for (let n = 0; n < 3; n += 1) {
      const done = finished(worker, 1);
      await withTenant('acme', () => queue.add('n', {}));
      expect(await done).toMatchObject([{ event: 'completed' }]);
    }
  });

  it('runs flows, whose parent reads what its children have answered', async () => {
    const flows = on.flows();
    const mail = on.worker('mail', async (job) => `${currentTenant()?.tenant} ${job.name}`);
    const reports = on.worker('reports', async (job) => Object.values(await job.getChildrenValues()));
    const done = finished(reports, 2);
    const both = finished(mail, 4);
    for (const tenant of BOTH) {
      await withTenant(tenant, () =>
        flows.add({
          name: 'report',
          queueName: 'reports',
          opts: { jobId: 'r' },
          children: [
            { name: 'x', queueName: 'mail', opts: { jobId: 'x' } },
            { name: 'y', queueName: 'mail', opts: { jobId: 'y' } },
          ],
        }),
      );
    }
    await both;
    const results = (await done).map(({ result }) => (result as string[]).toSorted(byText));
    expect(results.toSorted(byText)).toEqual(BOTH.map((tenant) => [`${tenant} x`, `${tenant} y`]));
  });

  it('runs schedulers', async () => {
    const queue = on.queue('mail');
    const ran: unknown[] = [];
    const worker = on.worker('mail', async () => void ran.push(currentTenant()?.tenant));
    const done = finished(worker, 4);
    for (const tenant of BOTH)
      await withTenant(tenant, () => queue.upsertJobScheduler('s', { every: 100, limit: 2 }, { name: 'n' }));
    await done;
    expect(ran.toSorted(byText)).toEqual(['acme', 'acme', 'globex', 'globex']);
  });

  it('keeps what is deduplicated, paused and drained within one tenant', async () => {
    const queue = on.queue('mail');
    const opts = { deduplication: { id: 'd' } };
    const first = await withTenant('acme', () => queue.add('n', {}, opts));
    const again = await withTenant('acme', () => queue.add('n', {}, opts));
    const other = await withTenant('globex', () => queue.add('n', {}, opts));
    expect(again.id).toBe(first.id);
    expect(other.id).not.toBe(first.id);
    await withTenant('acme', () => queue.pause());
    expect(await withTenant('globex', () => queue.isPaused())).toBe(false);
    expect(await withTenant('acme', () => queue.isPaused())).toBe(true);
    await withTenant('acme', () => queue.drain());
    expect(await withTenant('acme', () => queue.getJobCounts())).toMatchObject({ waiting: 0 });
    expect(await withTenant('globex', () => queue.getJobCounts())).toMatchObject({ waiting: 1 });
    const workers = on.worker('mail', async () => undefined, { name: 'w1' });
    await workers.waitUntilReady();
    await expect
      .poll(async () =>
        (await acrossTenants(OPERATOR, () => queue.getWorkers())).map(({ rawname }) => rawname),
      )
      .toEqual([expect.stringMatching(/:w:w1$/)]);
  });

  it('moves jobs to the end after their worker has died', async () => {
    const queue = on.queue('mail');
    const dead = on.client();
    const options = { lockDuration: 300, stalledInterval: 300 };
    let taken = (): void => undefined;
    const isTaken = new Promise<void>((resolve) => (taken = resolve));
    const first = on.worker(
      'mail',
      async (_job) => {
        taken();
        await new Promise(() => undefined);
      },
      { connection: dead, skipLockRenewal: true, skipStalledCheck: true, ...options },
    );
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'held' }));
    await isTaken;
    await first.close(true);
    const second = on.worker('mail', async () => currentTenant()?.tenant, options);
    expect(await finished(second, 1)).toMatchObject([{ event: 'completed', id: 'held', result: 'acme' }]);
  });
});

describe('events on a Redis Cluster', () => {
  it('come to the listeners of their tenant, also of one that begins to listen later', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail', { blockingTimeout: 600_000 });
    const [acme, globex] = [recorder(), recorder()];
    await withTenant('acme', async () => {
      events.on('completed', acme.listener);
      await events.waitUntilReady();
    });
    on.worker('mail', async () => currentTenant()?.tenant);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'j' }));
    expect((await acme.until(1))[0]?.[0]).toMatchObject({ jobId: 'j', returnvalue: 'acme' });
    // The command that waits for ten minutes is ended, and begun anew with one lane more.
    await withTenant('globex', async () => {
      events.on('completed', globex.listener);
      await events.waitUntilReady();
    });
    await withTenant('globex', () => queue.add('n', {}, { jobId: 'j' }));
    expect((await globex.until(1))[0]?.[0]).toMatchObject({ jobId: 'j', returnvalue: 'globex' });
    expect(acme.heard).toHaveLength(1);
  });

  it('are heard without a connection being dropped, when others begin to listen', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail', { blockingTimeout: 600_000 });
    let dropped = 0;
    events.on('ioredis:close', () => void (dropped += 1));
    const isWaiting = async (): Promise<boolean> => {
      const lists = await Promise.all(on.cluster.nodes('master').map((node) => node.client('LIST')));
      return / name=\S+:qe .* cmd=xread /.test(lists.join(''));
    };
    for (let n = 0; n < 12; n += 1) {
      // From the second one on the server waits, for ten minutes: it is told not to.
      while (n > 0 && !(await isWaiting()));
      await withTenant(`t${n}`, async () => {
        const heard = recorder();
        events.on('added', heard.listener);
        await events.waitUntilReady();
        await queue.add('n', {}, { jobId: 'j' });
        await heard.until(1);
      });
    }
    expect(dropped).toBe(0);
  });

  it('end a wait for a job', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail', { connection: on.client() });
    on.worker('mail', async () => 'answer');
    const answer = await withTenant('acme', async () => {
      const job = await queue.add('n', {});
      return job.waitUntilFinished(events, 60_000);
    });
    expect(answer).toBe('answer');
  });
});

describe('erasing and auditing on a Redis Cluster', () => {
  it('erases a tenant, and finds what is left, whichever node has it', async () => {
    const queue = on.queue('mail');
    for (const tenant of BOTH) {
      await withTenant(tenant, async () => {
        await queue.add('n', {}, { jobId: 'j' });
        await queue.add('n', {}, { jobId: 'later', delay: 60_000 });
        await queue.upsertJobScheduler('s', { every: 3_600_000 }, { name: 'n' });
      });
    }
    // A hash that no state leads to: only a walk over the keys of the right node finds it.
    await on.cluster.hset(`${PREFIX}:mail~acme:acme~lost`, 'name', 'n');
    for (const source of [queue, on.cluster]) {
      const eraser = queueEraser(source, { queues: ['mail'], prefix: PREFIX, signingKeys: [KEY] });
      const { items } = await eraser.plan({ tenant: 'acme' });
      expect(items.find(({ kind }) => kind === 'jobs')?.count).toBe(4);
      expect(isVerified(await eraser.verify({ tenant: 'nobody' }))).toBe(true);
    }
    const eraser = queueEraser(queue);
    await eraser.plan({ tenant: 'acme' });
    await eraser.erase({ tenant: 'acme' });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect((await on.keys()).filter((key) => key.includes('acme'))).toEqual([]);
    expect(await withTenant('globex', () => queue.count())).toBe(3);
  });

  it('erases a person, and leaves the namesake of another tenant', async () => {
    const queue = on.queue('mail');
    for (const tenant of BOTH) {
      await withTenant({ tenant, subject: 'ada' }, () => queue.add('n', {}, { jobId: 'hers' }));
      await withTenant({ tenant, subject: 'bob' }, () => queue.add('n', {}, { jobId: 'his' }));
    }
    const eraser = queueEraser(queue);
    const scope = { tenant: 'acme', subject: 'ada' };
    await eraser.plan(scope);
    await eraser.erase(scope);
    expect(isVerified(await eraser.verify(scope))).toBe(true);
    const ids = async (tenant: string): Promise<unknown> =>
      withTenant(tenant, async () => (await queue.getJobs()).map(({ id }) => id).toSorted(byText));
    expect(await ids('acme')).toEqual(['his']);
    expect(await ids('globex')).toEqual(['hers', 'his']);
  });

  it('audits every job, and says which one is forged', async () => {
    const queue = on.queue('mail');
    for (const tenant of BOTH) await withTenant(tenant, () => queue.add('n', {}, { jobId: 'j' }));
    const audit = async (): Promise<readonly Finding[]> => {
      const found: Finding[] = [];
      const auditor = queueAuditor(on.cluster, { queues: ['mail'], prefix: PREFIX, signingKeys: [KEY] });
      for await (const finding of auditor.audit(new AbortController().signal)) found.push(finding);
      return found;
    };
    expect(await audit()).toEqual([]);
    await on.cluster.hset(`${PREFIX}:mail~globex:globex~j`, 'data', '{"forged":true}');
    expect(await audit()).toMatchObject([
      { code: 'invalid_signature', name: `${PREFIX}:mail~globex:globex~j` },
    ]);
  });
});

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
    await failing;
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
