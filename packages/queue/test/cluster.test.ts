import {
  acrossTenants,
  createTenantRegistry,
  currentTenant,
  isVerified,
  memoryTenantStore,
  withTenant,
  type Finding,
} from '@tenantkit/core';
import { Queue as RawQueue } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adoptJobs, queueAuditor, queueEraser } from '@tenantkit/queue';
import { PREFIX, clusterBench, type ClusterBench } from './cluster-support.ts';
import { recorder } from './events-support.ts';
import { KEY, OPERATOR, finished } from './support.ts';

let on: ClusterBench;
beforeAll(async () => {
  on = await clusterBench();
}, 120_000);
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

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

  it('keeps to a fence and to a limit of all tenants, which are asked between turn and job', async () => {
    const fence = await createTenantRegistry({
      store: memoryTenantStore(),
      refreshEvery: 10,
      maxStaleness: 1_000,
    });
    using closing = new DisposableStack();
    closing.defer(() => fence.close());
    const tenant = { signingKeys: [KEY], fence };
    const queue = on.queue('mail', { tenant });
    for (const id of BOTH) {
      await withTenant(id, () =>
        queue.addBulk(['a', 'b'].map((jobId) => ({ name: 'n', data: {}, opts: { jobId } }))),
      );
    }
    await fence.freeze('globex');
    const worker = on.worker('mail', async () => currentTenant()?.tenant, {
      tenant,
      limiter: { max: 1, duration: 20 },
      metrics: { maxDataPoints: 10 },
    });
    const first = finished(worker, 2);
    expect((await first).map(({ result }) => result)).toEqual(['acme', 'acme']);
    const others = finished(worker, 2);
    await fence.unfreeze('globex');
    expect((await others).map(({ result }) => result)).toEqual(['globex', 'globex']);
  });

  it('shows a tenant its own queue, and changes nothing else', async () => {
    const queue = on.queue('mail');
    const inEach = <T>(fn: () => Promise<T>): Promise<readonly T[]> =>
      Promise.all(BOTH.map((tenant) => withTenant(tenant, fn)));
    const worker = on.worker('mail', async (job) => {
      if (job.name === 'bad') throw new Error('bad');
    });
    const done = finished(worker, 4);
    await inEach(() =>
      queue.addBulk([
        { name: 'good', data: {}, opts: { jobId: 'good' } },
        { name: 'bad', data: {}, opts: { jobId: 'bad' } },
      ]),
    );
    await done;
    await worker.close();
    await inEach(async () => {
      await queue.add('late', {}, { jobId: 'late', delay: 60_000 });
      await queue.add('first', {}, { jobId: 'first', priority: 1 });
    });
    const counts = { completed: 1, failed: 1, delayed: 1, prioritized: 1, waiting: 0 };
    for (const found of await inEach(() => queue.getJobCounts())) expect(found).toMatchObject(counts);
    await withTenant('acme', async () => {
      await queue.retryJobs();
      await queue.promoteJobs();
      expect(await queue.getJobCounts()).toMatchObject({ failed: 0, delayed: 0, waiting: 2 });
      expect(await queue.clean(0, 10, 'completed')).toEqual(['good']);
      await queue.remove('first');
      await queue.obliterate();
      expect(await queue.getJobs()).toEqual([]);
    });
    expect(await withTenant('globex', () => queue.getJobCounts())).toMatchObject(counts);
    const found = await acrossTenants(OPERATOR, async () => [
      await queue.getTenants(),
      (await queue.getJobs()).map(({ id }) => id).toSorted(byText),
    ]);
    expect(found).toEqual([BOTH, ['bad', 'first', 'good', 'late'].map((id) => `globex~${id}`)]);
  });

  it('adopts the jobs that raw BullMQ has added', async () => {
    const raw = new RawQueue('mail', { connection: on.cluster, prefix: PREFIX });
    for (const jobId of ['w-1', 'w-2']) await raw.add('n', { account: 'acme' }, { jobId });
    await raw.close();
    const queue = on.queue('mail');
    const tenantOf = (job: { readonly data: unknown }): string => (job.data as { account: string }).account;
    const { adopted } = await acrossTenants(OPERATOR, () => adoptJobs(queue, { tenantOf }));
    expect(adopted).toEqual({ acme: 2 });
    const worker = on.worker('mail', async () => currentTenant()?.tenant);
    expect((await finished(worker, 2)).map(({ result }) => result)).toEqual(['acme', 'acme']);
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
      if (n > 0) await expect.poll(isWaiting, { interval: 5 }).toBe(true);
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
