import type { JobNode } from 'bullmq';
import { acrossTenants, currentTenant, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WaitingChildrenError, type FlowJob, type Job, type Queue } from '@tenantkit/queue';
import { REPORT, flowBench, single, type FlowBench } from './flows-support.ts';
import { OPERATOR, finished } from './support.ts';

let on: FlowBench;
beforeAll(async () => {
  on = await flowBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const acme = <T>(fn: () => T): T => withTenant('acme', fn);
const get = async (queue: Queue, id: string): Promise<Job> => {
  const job = await queue.getJob(id);
  if (job === undefined) throw new Error(`${id} is not there`);
  return job;
};

describe('a flow', () => {
  it('over two queues: its parent runs as soon as its children have, and gets their values', async () => {
    const seen: unknown[] = [];
    const mail = on.worker('mail', async (job) => Number(job.data.n) * 10, on.asleep);
    const reports = on.worker(
      'reports',
      async (job) => {
        seen.push(await job.getChildrenValues(), await job.getDependenciesCount());
        return 'done';
      },
      on.asleep,
    );
    // Both sleep before there is anything: the worker of the parent is woken by the end of the last child alone.
    await Promise.all([mail.waitUntilReady(), reports.waitUntilReady()]);
    const done = Promise.all([finished(mail, 2), finished(reports, 1)]);
    const tree = await acme(() => on.flows().add(REPORT));
    expect([tree.job.id, tree.children?.map(({ job }) => job.id)]).toEqual(['r', ['a', 'b']]);
    const [, [report]] = await done;
    expect(report).toMatchObject({ event: 'completed', id: 'r', result: 'done' });
    expect(seen).toEqual([
      { 'bull:mail:a': 10, 'bull:mail:b': 20 },
      { processed: 2, unprocessed: 0, ignored: 0, failed: 0 },
    ]);
  });

  it('lies in lanes of its tenant, and is shown with logical names', async () => {
    await acme(() => on.flows().add(REPORT));
    const stored = await on.redis.hgetall('bull:mail~acme:acme~a');
    expect(stored).toMatchObject({
      parentKey: 'bull:reports~acme:acme~r',
      parent: expect.stringContaining('"queueKey":"bull:reports~acme"'),
    });
    expect((await on.redis.keys('*')).filter((key) => !key.includes('~'))).toEqual([]);
    const [mail, reports] = [on.queue('mail'), on.queue('reports')];
    await acme(async () => {
      const [child, parent] = [await get(mail, 'a'), await get(reports, 'r')];
      expect(child.parentKey).toBe('bull:reports:r');
      expect(child.parent).toEqual({ id: 'r', queueKey: 'bull:reports' });
      expect(child.opts.parent).toEqual({ id: 'r', queue: 'bull:reports' });
      const [listed] = await mail.getWaiting();
      expect(listed).toMatchObject({
        parentKey: 'bull:reports:r',
        parent: { id: 'r', queueKey: 'bull:reports' },
      });
      expect(JSON.stringify([child, listed])).not.toContain('~');
      expect(await parent.getState()).toBe('waiting-children');
      expect(parent.parentKey).toBeUndefined();
      const { unprocessed = [], ...rest } = await parent.getDependencies();
      expect(unprocessed.toSorted()).toEqual(['bull:mail:a', 'bull:mail:b']);
      expect(rest).toEqual({ processed: {}, ignored: {}, failed: [] });
      expect((await reports.getWaitingChildren()).map(({ id }) => id)).toEqual(['r']);
    });
  });

  it('of twenty levels runs from its leaf to its root, and is read as it is', async () => {
    const depth = 20;
    const node = (level: number): FlowJob => ({
      name: 'step',
      queueName: level % 2 === 0 ? 'mail' : 'reports',
      opts: { jobId: `s${level}` },
      ...(level < depth ? { children: [node(level + 1)] as never } : {}),
    });
    const flows = on.flows();
    await acme(() => flows.add(node(1)));
    const read = await acme(() => flows.getFlow({ id: 's1', queueName: 'reports', depth: 30 }));
    const chain: unknown[] = [];
    for (let at: JobNode | undefined = read; at !== undefined; at = at.children?.[0]) chain.push(at.job.id);
    expect(chain).toEqual(Array.from({ length: depth }, (_, at) => `s${at + 1}`));
    const ran: unknown[] = [];
    const run = async (job: Job): Promise<unknown> => {
      ran.push(job.id);
      return Object.values(await job.getChildrenValues()).length;
    };
    const workers = ['mail', 'reports'].map((queue) => on.worker(queue, run, on.asleep));
    await Promise.all(workers.map((worker) => finished(worker, depth / 2)));
    expect(ran).toEqual(chain.toReversed());
  });

  it('of two tenants with the same ids are two flows', async () => {
    const flows = on.flows();
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => flows.add({ ...REPORT, data: { tenant } }));
    const seen = new Map<string, unknown>();
    const mail = on.worker('mail', async (job) => `${currentTenant()?.tenant} ${job.id}`);
    const reports = on.worker('reports', async (job) => {
      seen.set(`${currentTenant()?.tenant} ${job.data.tenant}`, await job.getChildrenValues());
    });
    await Promise.all([finished(mail, 4), finished(reports, 2)]);
    expect(Object.fromEntries(seen)).toEqual({
      'acme acme': { 'bull:mail:a': 'acme a', 'bull:mail:b': 'acme b' },
      'acme2 acme2': { 'bull:mail:a': 'acme2 a', 'bull:mail:b': 'acme2 b' },
    });
  });

  it('of several roots is added with addBulk, in one transaction', async () => {
    const flows = on.flows();
    const roots = [REPORT, { ...single({}), opts: { jobId: 'r2' } }, { name: 'lone', queueName: 'mail' }];
    const trees = await acme(() => flows.addBulk(roots));
    expect(trees.map(({ job }) => job.id)).toEqual(['r', 'r2', expect.stringMatching(/^[\da-f-]{36}$/)]);
    // One of which something is refused: nothing is stored.
    const before = [await on.lane('mail', 'acme'), await on.lane('reports', 'acme')];
    const bad = { ...single({ attempts: 'many' }, 'd'), opts: { jobId: 'r3' } };
    await expect(
      acme(() => flows.addBulk([{ ...REPORT, opts: { jobId: 'r4' } }, bad])),
    ).rejects.toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect([await on.lane('mail', 'acme'), await on.lane('reports', 'acme')]).toEqual(before);
  });

  it('takes the defaults of its queues, and needs a tenant', async () => {
    const flows = on.flows();
    const { job } = await acme(() =>
      flows.add(
        { name: 'n', queueName: 'mail' },
        { queuesOptions: { mail: { defaultJobOptions: { attempts: 4 } } } },
      ),
    );
    expect(job.opts.attempts).toBe(4);
    expect((await acme(async () => get(on.queue('mail'), job.id ?? ''))).opts.attempts).toBe(4);
    await expect(flows.add(REPORT)).rejects.toMatchObject({ code: 'TENANT_MISSING' });
    await expect(flows.getFlow({ id: 'r', queueName: 'reports' })).rejects.toMatchObject({
      code: 'TENANT_MISSING',
    });
    await expect(acrossTenants(OPERATOR, () => flows.add(REPORT))).rejects.toMatchObject({
      code: 'OPERATION_REFUSED',
    });
  });

  it('is read by an operator with physical ids, and by no other tenant', async () => {
    const flows = on.flows();
    await acme(() => flows.add(REPORT));
    const read = await acrossTenants(OPERATOR, () => flows.getFlow({ id: 'acme~r', queueName: 'reports' }));
    expect(read.children?.map(({ job }) => job.id).toSorted()).toEqual(['acme~a', 'acme~b']);
    expect(await withTenant('acme2', () => flows.getFlow({ id: 'r', queueName: 'reports' }))).toBeUndefined();
    expect((await acme(() => flows.getFlow({ id: 'r', queueName: 'reports' }))).children).toHaveLength(2);
  });
});

describe('children that are added while their parent runs', () => {
  it('are waited for', async () => {
    const mail = on.queue('mail');
    const reports = on.queue('reports');
    const steps: unknown[] = [];
    const worker = on.worker(
      'reports',
      async (job, token) => {
        if (job.data.step === undefined) {
          const parent = { id: job.id ?? '', queue: job.queueQualifiedName };
          const { id } = await mail.add('fetch', { n: 7 }, { parent });
          await mail.addBulk([{ name: 'fetch', data: { n: 8 }, opts: { parent, jobId: 'k' } }]);
          await job.updateData({ step: 'wait' });
          steps.push(
            await job.moveToWaitingChildren(token ?? '', { child: { id: id ?? '', queue: 'bull:mail' } }),
          );
          throw new WaitingChildrenError();
        }
        steps.push(
          await job.moveToWaitingChildren(token ?? ''),
          Object.values(await job.getChildrenValues()),
        );
        return 'done';
      },
      on.asleep,
    );
    const done = finished(worker, 1);
    await acme(() => reports.add('report', {}, { jobId: 'r' }));
    await expect.poll(() => acme(() => reports.getJobState('r'))).toBe('waiting-children');
    on.worker('mail', async (job) => job.data.n, on.asleep);
    expect(await done).toMatchObject([{ event: 'completed', id: 'r', result: 'done' }]);
    expect(steps).toEqual([true, false, expect.arrayContaining([7, 8])]);
  });

  it('are not waited for by an error alone', async () => {
    const reports = on.queue('reports');
    const worker = on.worker('reports', async (job, token) => {
      // There are none: it is not moved, and the error says what did not happen.
      expect(await job.moveToWaitingChildren(token ?? '')).toBe(false);
      throw new WaitingChildrenError();
    });
    const done = finished(worker, 1);
    await acme(() => reports.add('report', {}, { jobId: 'r' }));
    expect(await done).toMatchObject([{ event: 'failed', id: 'r' }]);
    expect(await acme(() => reports.getJobState('r'))).toBe('failed');
  });

  it('may be left behind: their parent fails, in words of the tenant', async () => {
    const [mail, reports] = [on.queue('mail'), on.queue('reports')];
    const worker = on.worker('reports', async (job) => {
      await mail.add('fetch', {}, { parent: { id: job.id ?? '', queue: job.queueQualifiedName } });
    });
    const done = finished(worker, 1);
    await acme(() => reports.add('report', {}, { jobId: 'r' }));
    const message = 'Job r has pending dependencies. moveToFinished';
    expect(await done).toMatchObject([{ event: 'failed', id: 'r', error: { message } }]);
    expect((await acme(async () => get(reports, 'r'))).failedReason).toBe(message);
  });

  it('may begin at once where their parent was all that its tenant may run', async () => {
    const queue = on.queue('mail');
    await acrossTenants(OPERATOR, () => queue.setTenantLimits('acme', { concurrency: 1 }));
    const ready = () => on.redis.zscore('bull:mail~:ready', 'acme');
    let [hasBegun, isNoted] = [false, false];
    const run = async (job: Job, token?: string): Promise<void> => {
      hasBegun ||= job.id === 'c';
      if (job.id === 'c' || job.data.hasWaited === true) return;
      await queue.add('child', {}, { jobId: 'c', parent: { id: 'p', queue: 'bull:mail' } });
      // The other worker has looked, and put the lane aside for a second.
      await expect.poll(ready).toBeNull();
      await job.updateData({ hasWaited: true });
      await job.moveToWaitingChildren(token ?? '');
      // What is thrown here is lost with the job, which is no longer this processor's: told below.
      const inTime = AbortSignal.timeout(500);
      while (!isNoted && !inTime.aborted) isNoted = hasBegun || (await ready()) !== null;
      throw new WaitingChildrenError();
    };
    const workers = [1, 2].map(() => on.worker('mail', run, on.asleep));
    const done = Promise.race(workers.map((worker) => finished(worker, 2)));
    const each = Promise.all(workers.map((worker) => finished(worker, 1)));
    await acme(() => queue.add('parent', {}, { jobId: 'p' }));
    const all = (await Promise.race([done, each])).flat();
    expect(all.map(({ event }) => event)).toEqual(['completed', 'completed']);
    expect(isNoted).toBe(true);
  });

  it('free it when they end by hand as well', async () => {
    const reports = on.worker('reports', (job) => job.getChildrenValues(), on.asleep);
    await reports.waitUntilReady();
    const done = finished(reports, 1);
    await acme(() => on.flows().add(single({})));
    const mail = on.worker(
      'mail',
      async (job, token) => {
        await job.moveToCompleted('by hand', token ?? '', false);
        // Not only when the worker finds that the job is gone.
        await done;
        throw new Error('moved before');
      },
      on.asleep,
    );
    mail.on('error', () => undefined);
    expect(await done).toMatchObject([{ event: 'completed', result: { 'bull:mail:c': 'by hand' } }]);
  });

  it('need a parent that is there', async () => {
    const mail = on.queue('mail');
    const parent = { id: 'gone', queue: 'bull:reports' };
    const missing = 'Missing key for parent job bull:reports:gone. addJob';
    await acme(async () => {
      await expect(mail.add('n', {}, { parent })).rejects.toThrow(missing);
      await expect(mail.addBulk([{ name: 'n', data: {}, opts: { parent } }])).rejects.toThrow(missing);
      await expect(on.flows().add({ ...REPORT, opts: { parent } })).rejects.toThrow(missing);
      expect(await mail.getJobCounts()).toMatchObject({ waiting: 0, delayed: 0 });
    });
  });
});

describe('a child that fails', () => {
  const fails = (): void => void on.worker('mail', () => Promise.reject(new Error('no')), on.asleep);
  const outcome = async (opts: object): Promise<unknown> => {
    const seen: unknown[] = [];
    const worker = on.worker(
      'reports',
      async (job) => {
        seen.push(
          await job.getIgnoredChildrenFailures(),
          await job.getFailedChildrenValues(),
          await job.getDependencies(),
        );
      },
      on.asleep,
    );
    const done = finished(worker, 1);
    fails();
    await acme(() => on.flows().add(single(opts)));
    const [{ event, error } = {}] = await done;
    return [event, error?.message, ...seen];
  };

  it('fails its parent with failParentOnFailure, in words of the tenant', async () => {
    expect(await outcome({ failParentOnFailure: true })).toEqual(['failed', 'child bull:mail:c failed']);
    const job = await acme(async () => get(on.queue('reports'), 'r'));
    expect(job.failedReason).toBe('child bull:mail:c failed');
    expect(await acme(() => job.getDependencies())).toMatchObject({ failed: ['bull:mail:c'] });
    expect(await acme(() => job.getDependencies({ failed: { cursor: 0, count: 5 } }))).toEqual({
      failed: ['bull:mail:c'],
      nextFailedCursor: 5,
    });
  });

  it('is ignored with ignoreDependencyOnFailure', async () => {
    const failure = { 'bull:mail:c': 'no' };
    expect(await outcome({ ignoreDependencyOnFailure: true })).toEqual([
      'completed',
      undefined,
      failure,
      failure,
      { processed: {}, unprocessed: [], ignored: failure, failed: [] },
    ]);
  });

  it('lets its parent go on with continueParentOnFailure', async () => {
    const [event, , failure] = (await outcome({ continueParentOnFailure: true })) as unknown[];
    expect([event, failure]).toEqual(['completed', { 'bull:mail:c': 'no' }]);
  });

  it('is forgotten with removeDependencyOnFailure', async () => {
    const [event, , failure] = (await outcome({ removeDependencyOnFailure: true })) as unknown[];
    expect([event, failure]).toEqual(['completed', {}]);
  });

  it('keeps its parent waiting without any of them, until it is retried', async () => {
    const flows = on.flows();
    let isBroken = true;
    const mail = on.worker(
      'mail',
      async () => {
        if (isBroken) throw new Error('no');
        return 'yes';
      },
      on.asleep,
    );
    const failed = finished(mail, 1);
    const reports = on.worker('reports', (job) => job.getChildrenValues(), on.asleep);
    const done = finished(reports, 1);
    await acme(() => flows.add(single({})));
    await failed;
    expect(await acme(() => on.queue('reports').getJobState('r'))).toBe('waiting-children');
    isBroken = false;
    await acme(async () => (await get(on.queue('mail'), 'c')).retry());
    expect(await done).toMatchObject([{ event: 'completed', result: { 'bull:mail:c': 'yes' } }]);
  });

  it('cannot do two of these things', async () => {
    await acme(async () => {
      await expect(
        on.flows().add(single({ failParentOnFailure: true, ignoreDependencyOnFailure: true })),
      ).rejects.toThrow(/cannot be used together/);
      const { backend } = on.queue('mail');
      const opts = { failParentOnFailure: true, ignoreDependencyOnFailure: true };
      await expect(
        backend.addJob({ name: 'n', data: '{}', timestamp: 1, opts } as never, 'x'),
      ).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    });
  });
});

describe('what takes a child away sets its parent free', () => {
  /** What takes the only child of a flow away, in the tenant. */
  const WAYS: Record<string, (queue: Queue) => Promise<unknown>> = {
    remove: (queue) => queue.remove('c'),
    'job.remove': async (queue) => (await get(queue, 'c')).remove(),
    removeChildDependency: async (queue) => (await get(queue, 'c')).removeChildDependency(),
    removeUnprocessedChildren: async () => (await get(on.queue('reports'), 'r')).removeUnprocessedChildren(),
    drain: (queue) => queue.drain(),
    clean: (queue) => queue.clean(0, 0, 'wait'),
    obliterate: async (queue) => {
      await queue.pause();
      await queue.obliterate();
    },
  };

  it.each(Object.entries(WAYS))('%s', async (_name, act) => {
    const reports = on.worker('reports', (job) => job.getDependenciesCount(), on.asleep);
    await reports.waitUntilReady();
    const done = finished(reports, 1);
    await acme(() => on.flows().add(single({})));
    const mail = on.queue('mail');
    // Another tenant's flow of the same ids goes on waiting.
    await withTenant('acme2', () => on.flows().add(single({})));
    await acme(() => act(mail));
    expect(await done).toMatchObject([{ event: 'completed', id: 'r', result: { unprocessed: 0 } }]);
    expect(await withTenant('acme2', () => on.queue('reports').getJobState('r'))).toBe('waiting-children');
    expect(await withTenant('acme2', () => mail.getJobState('c'))).toBe('waiting');
  });

  it('a delayed child is drained with them', async () => {
    const reports = on.worker('reports', async () => 'free', on.asleep);
    const done = finished(reports, 1);
    await acme(() => on.flows().add(single({ delay: 60_000 })));
    await acme(() => on.queue('mail').drain());
    expect(await acme(() => on.queue('reports').getJobState('r'))).toBe('waiting-children');
    await acme(() => on.queue('mail').drain(true));
    expect(await done).toMatchObject([{ result: 'free' }]);
  });

  it('a child without its parent runs by itself, and verifies', async () => {
    await acme(async () => {
      await on.flows().add(single({}));
      const child = await get(on.queue('mail'), 'c');
      expect(await child.removeChildDependency()).toBe(true);
      expect([child.parent, child.parentKey]).toEqual([undefined, undefined]);
      const again = await get(on.queue('mail'), 'c');
      expect([again.parent, again.parentKey, again.opts.parent]).toEqual([undefined, undefined, undefined]);
      expect(await again.removeChildDependency()).toBe(false);
    });
    const worker = on.worker('mail', async () => 'ran');
    expect(await finished(worker, 1)).toMatchObject([{ event: 'completed', id: 'c' }]);
  });
});

describe('a parent that is removed', () => {
  const nested: FlowJob = {
    ...REPORT,
    children: [
      {
        name: 'fetch',
        queueName: 'mail',
        opts: { jobId: 'a' },
        children: [{ name: 'part', queueName: 'reports', opts: { jobId: 'part' } }],
      },
    ],
  };

  it('takes its children along, of all depths, and leaves those of others', async () => {
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => on.flows().add(nested));
    await acme(async () => {
      await on.queue('mail').add('lone', {}, { jobId: 'lone' });
      await (await get(on.queue('reports'), 'r')).remove();
      expect(await on.queue('mail').getJobCounts()).toMatchObject({ waiting: 1, 'waiting-children': 0 });
      expect(await on.queue('reports').getJobCounts()).toMatchObject({ waiting: 0, 'waiting-children': 0 });
    });
    expect(Object.keys(await on.lane('reports', 'acme'))).toEqual([]);
    expect(Object.keys(await on.lane('mail', 'acme2'))).toContain('bull:mail~acme2:acme2~a');
  });

  it('leaves them with removeChildren: false', async () => {
    await acme(async () => {
      await on.flows().add(nested);
      await (await get(on.queue('reports'), 'r')).remove({ removeChildren: false });
      expect(await on.queue('reports').getJob('r')).toBeUndefined();
      expect(await on.queue('mail').getJobState('a')).toBe('waiting-children');
    });
    // What they would feed is gone: they end as any other job.
    const reports = on.worker('reports', async () => 1);
    const mail = on.worker('mail', async () => 2);
    expect((await Promise.all([finished(reports, 1), finished(mail, 1)])).flat()).toMatchObject([
      { event: 'completed', id: 'part' },
      { event: 'completed', id: 'a' },
    ]);
    expect(await on.redis.exists('bull:reports~acme:acme~r:processed')).toBe(0);
  });

  it('is not removed while one of them runs', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const worker = on.worker('mail', () => promise);
    const active = new Promise((started) => worker.once('active', started));
    await acme(() => on.flows().add(single({})));
    await active;
    const parent = await acme(async () => get(on.queue('reports'), 'r'));
    await expect(acme(() => parent.remove())).rejects.toThrow(/locked/);
    const done = finished(worker, 1);
    resolve();
    await done;
    await acme(() => parent.remove());
    expect(await acme(() => on.queue('mail').getJob('c'))).toBeUndefined();
  });
});

describe('a child that is there already', () => {
  it('gets the parent, runs, and verifies', async () => {
    await acme(async () => {
      await on.queue('mail').add('fetch', { n: 3 }, { jobId: 'c', attempts: 2 });
      await on.flows().add(single({}));
      expect((await get(on.queue('mail'), 'c')).parentKey).toBe('bull:reports:r');
    });
    const mail = on.worker('mail', async (job) => job.data.n, on.asleep);
    const reports = on.worker('reports', (job) => job.getChildrenValues(), on.asleep);
    const [[child], [parent]] = await Promise.all([finished(mail, 1), finished(reports, 1)]);
    expect(child).toMatchObject({ event: 'completed', id: 'c' });
    expect(parent).toMatchObject({ event: 'completed', result: { 'bull:mail:c': 3 } });
  });

  it('and has completed frees its parent at once', async () => {
    const mail = on.worker('mail', async () => 5, on.asleep);
    const first = finished(mail, 1);
    await acme(() => on.queue('mail').add('fetch', {}, { jobId: 'c' }));
    await first;
    const reports = on.worker('reports', (job) => job.getChildrenValues(), on.asleep);
    await reports.waitUntilReady();
    const done = finished(reports, 1);
    await acme(() => on.flows().add(single({})));
    expect(await done).toMatchObject([{ event: 'completed', result: { 'bull:mail:c': 5 } }]);
  });

  it('and has a parent that waits for it is not taken from that one', async () => {
    await acme(async () => {
      await on.flows().add(single({}));
      const other = { ...single({}), opts: { jobId: 'r2' } };
      await expect(on.flows().add(other)).rejects.toMatchObject({
        code: -7,
        message: 'The parent job bull:reports:r2 cannot be replaced. addJob',
      });
      expect((await get(on.queue('mail'), 'c')).parentKey).toBe('bull:reports:r');
    });
    const worker = on.worker('mail', async () => 1);
    expect(await finished(worker, 1)).toMatchObject([{ event: 'completed', id: 'c' }]);
  });

  it('and has completed frees a parent in another queue that has nobody else to wait for', async () => {
    const mail = on.queue('mail');
    const worker = on.worker('mail', async () => 5, on.asleep);
    const completed = finished(worker, 2);
    await acme(() => mail.addBulk(['d', 'e'].map((jobId) => ({ name: 'fetch', data: {}, opts: { jobId } }))));
    await completed;
    await worker.close();
    await acme(async () => {
      await on.flows().add(single({}));
      for (const jobId of ['r2', 'r3'])
        await expect(on.flows().add({ ...single({}), opts: { jobId } })).rejects.toMatchObject({ code: -7 });
    });
    const reports = on.worker('reports', (job) => job.getChildrenValues(), on.asleep);
    await reports.waitUntilReady();
    const freed = async (add: () => Promise<unknown>): Promise<unknown> => {
      const done = finished(reports, 1);
      await acme(add);
      return done;
    };
    const parent = (id: string) => ({ id, queue: 'bull:reports' });
    expect(await freed(() => mail.add('fetch', {}, { jobId: 'd', parent: parent('r2') }))).toMatchObject([
      { event: 'completed', id: 'r2', result: { 'bull:mail:d': 5 } },
    ]);
    const leaf = { name: 'fetch', queueName: 'mail', opts: { jobId: 'e', parent: parent('r3') } };
    expect(await freed(() => on.flows().add(leaf))).toMatchObject([{ event: 'completed', id: 'r3' }]);
  });

  it('and is changed at the same time ends up with header, data and parent of one job', async () => {
    const mail = on.queue('mail');
    await acme(async () => {
      await on.queue('reports').add('hold', {}, { jobId: 'r' });
      await mail.add('fetch', { n: 0 }, { jobId: 'c' });
      const job = await get(mail, 'c');
      const parent = { id: 'r', queue: 'bull:reports' };
      const turns = Array.from({ length: 20 }, (_, n) => [
        job.updateData({ n }),
        mail.add('fetch', {}, { jobId: 'c', parent }),
        get(mail, 'c').then((now) => now.removeChildDependency()),
      ]);
      await Promise.all(turns.flat());
      await mail.add('fetch', {}, { jobId: 'c', parent });
      const now = await get(mail, 'c');
      expect([now.parentKey, now.data.n]).toEqual(['bull:reports:r', expect.any(Number)]);
      expect(
        Object.keys(await on.redis.hgetall('bull:mail~acme:acme~c')).filter((field) =>
          field.startsWith('tk!'),
        ),
      ).toEqual([]);
      expect(await on.redis.smembers('bull:reports~acme:acme~r:dependencies')).toEqual([
        'bull:mail~acme:acme~c',
      ]);
    });
  });
});
