import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import * as bullmq from 'bullmq';
import {
  acrossTenants,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
  type TenantContext,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  Queue,
  adoptJobs,
  queueAuditor,
  type AdoptOptions,
  type Adopted,
  type UnsignedJob,
} from '@tenantkit/queue';
import { execArgv } from './processes.ts';
import { KEY, OPERATOR, audited, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

/** As a service knows it: from the data. */
const tenantOf = ({ data }: UnsignedJob): string | undefined => (data as { tenant?: string }).tenant;

const adopt = (queue: Queue, options: Partial<AdoptOptions> = {}): Promise<Adopted> =>
  acrossTenants(OPERATOR, () => adoptJobs(queue, { tenantOf, ...options }));

/** Everything of the raw queue but what BullMQ tells of it. */
async function rawKeys(): Promise<readonly string[]> {
  const keys = await on.redis.keys('bull:mail:*');
  return keys.filter((key) => !/:(?:meta|events|id|marker|pc|stalled-check)$/.test(key)).toSorted();
}

async function dump(): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for (const key of await on.redis.keys('*'))
    all[key] = (await on.redis.dumpBuffer(key))?.toString('hex') ?? '';
  return all;
}

const rawWorker = (processor: bullmq.Processor, options: Partial<bullmq.WorkerOptions> = {}): bullmq.Worker =>
  new bullmq.Worker('mail', processor, { connection: on.redis, ...options });

const settled = (worker: bullmq.Worker, count: number): Promise<void> =>
  new Promise((resolve) => {
    let left = count;
    const done = (): void => {
      left -= 1;
      if (left === 0) resolve();
    };
    worker.on('completed', done);
    worker.on('failed', done);
  });

describe('a job of raw BullMQ', () => {
  it('is moved with all that it has, from every state, and runs in the tenant that it was found to be of', async () => {
    const raw = on.raw('mail');
    const acme = { tenant: 'acme', text: '“ü”  \u2028', n: 1e21 };
    const failing = rawWorker(async (job, token) => {
      await job.log(`log of ${job.name}`);
      if (job.name === 'later') {
        await job.moveToDelayed(Date.now() + 60_000, token);
        throw new bullmq.DelayedError();
      }
      if (job.name !== 'good') throw new Error('raw');
      return 'raw result';
    });
    const done = settled(failing, 3);
    await raw.add('good', acme, { jobId: 'done' });
    await raw.add('bad', acme, { jobId: 'broke', removeOnFail: 1_000 });
    await raw.add('retried', acme, {
      jobId: 'retried',
      attempts: 3,
      backoff: { type: 'fixed', delay: 90_000 },
    });
    await raw.add('later', acme, { jobId: 'later' });
    await done;
    await expect.poll(() => on.redis.zcard('bull:mail:delayed')).toBe(2);
    await failing.close();
    for (const [name, opts] of [
      ['first', {}],
      [
        'second',
        { jobId: 'second', removeOnComplete: { count: 5 }, keepLogs: 3, timestamp: 1_700_000_000_000 },
      ],
      ['low', { priority: 9 }],
      ['high', { priority: 2 }],
      ['lower', { priority: 9 }],
      ['delayed', { delay: 60_000, jobId: 'waits' }],
      ['only', { jobId: 'only', deduplication: { id: 'd', ttl: 60_000 } }],
    ] as const)
      await raw.add(name, { ...acme, tenant: name === 'second' ? 'acme2' : 'acme' }, opts);
    const second = (await raw.getJob('second')) ?? expect.unreachable();
    const before = await on.redis.hgetall('bull:mail:retried');
    const delayedUntil = await on.redis.zscore('bull:mail:delayed', 'waits');

    const queue = on.queue('mail');
    using events = audited('bypass');
    const adopted = await adopt(queue, { finished: ['completed', 'failed'] });
    expect(adopted).toEqual({
      adopted: { acme: 10, acme2: 1 },
      left: {},
      examples: {},
      schedulers: 0,
      more: false,
    });
    expect(await rawKeys()).toEqual([]);
    expect(
      events.events
        .filter(({ data }) => data.message.includes('signed'))
        .map(({ tenantid, data }) => [tenantid, data.actor.user.name, data.unmapped]),
    ).toEqual([
      ['acme', 'vitest', { queue: 'mail', count: 10 }],
      ['acme2', 'vitest', { queue: 'mail', count: 1 }],
    ]);

    await withTenant('acme', async () => {
      expect(await queue.getJobCounts()).toMatchObject({
        waiting: 2,
        prioritized: 3,
        delayed: 3,
        completed: 1,
        failed: 1,
      });
      expect(await queue.getJob('done')).toMatchObject({ returnvalue: 'raw result', data: acme });
      expect(await queue.getJob('broke')).toMatchObject({ failedReason: 'raw', attemptsMade: 1 });
      expect((await queue.getJobLogs('broke')).logs).toEqual(['log of bad']);
      const retried = await queue.getJob('retried');
      expect(retried).toMatchObject({
        attemptsMade: 1,
        opts: { attempts: 3 },
        timestamp: Number(before['timestamp']),
      });
      expect((await queue.getJob('only'))?.id).toBe(await queue.getDeduplicationJobId('d'));
      expect(await on.redis.pttl('bull:mail~acme:de:d')).toBeGreaterThan(30_000);
    });
    const { opts: _opts, ...kept } = before;
    expect(await on.redis.hgetall('bull:mail~acme:acme~retried')).toMatchObject(kept);
    expect(await on.redis.zscore('bull:mail~acme:delayed', 'acme~waits')).toBe(delayedUntil);
    expect(await withTenant('acme2', () => queue.getJob('second'))).toMatchObject({
      id: 'second',
      timestamp: second.timestamp,
      opts: {
        keepLogs: 3,
        timestamp: 1_700_000_000_000,
        jobId: 'second',
        removeOnComplete: { count: 5 },
      },
    });

    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => ran.push([currentTenant()?.tenant, job.name, job.data]), {
      autorun: false,
    });
    const ended = finished(worker, 6);
    void worker.run();
    expect((await ended).map(({ event }) => event)).toEqual(Array.from({ length: 6 }, () => 'completed'));
    const own = ran.filter((one) => (one as string[])[0] === 'acme').map((one) => (one as string[])[1]);
    expect(own).toEqual(['first', 'only', 'high', 'low', 'lower']);
    expect(ran).toContainEqual(['acme2', 'second', { ...acme, tenant: 'acme2' }]);
    // And those of before can be tried again.
    await withTenant('acme', async () => (await queue.getJob('broke'))?.retry());
    await expect.poll(() => ran.at(-1)).toEqual(['acme', 'bad', acme]);
    const findings = [];
    for await (const found of queueAuditor(queue, { signingKeys: [KEY] }).audit()) findings.push(found.code);
    expect(findings).toEqual([]);
  });

  it('is about the person, and by the actor, that the service says', async () => {
    await on.raw('mail').add('n', { tenant: 'acme' });
    const queue = on.queue('mail');
    const about: TenantContext = { tenant: 'acme', subject: 'ada', actor: 'import' };
    await adopt(queue, { tenantOf: async () => about });
    const seen: unknown[] = [];
    const worker = on.worker('mail', async () => seen.push(currentTenant()), { autorun: false });
    const done = finished(worker, 1);
    void worker.run();
    await done;
    expect(seen).toEqual([about]);
  });

  it('is shown to who says whose it is', async () => {
    const { id, timestamp } = await on
      .raw('mail')
      .add('n', { tenant: 'acme' }, { delay: 60_000, attempts: 2 });
    const seen: UnsignedJob[] = [];
    await adopt(on.queue('mail'), { tenantOf: (job) => void seen.push(job) });
    expect(seen).toEqual([
      {
        id,
        name: 'n',
        data: { tenant: 'acme' },
        opts: { attempts: 2, delay: 60_000 },
        timestamp,
        state: 'delayed',
      },
    ]);
  });

  it('waits behind what its tenant has added meanwhile, and before nobody of its own kind', async () => {
    const raw = on.raw('mail');
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('new', {}));
    for (let n = 0; n < 250; n += 1) await raw.add(`old${n}`, { tenant: n % 3 === 0 ? undefined : 'acme' });
    const { adopted, left } = await adopt(queue);
    expect([adopted, left]).toEqual([{ acme: 166 }, { noTenant: 84 }]);
    const ran: string[] = [];
    const worker = on.worker('mail', async ({ name }) => ran.push(name), { autorun: false });
    const done = finished(worker, 167);
    void worker.run();
    await done;
    const own = Array.from({ length: 250 }, (_, n) => n).filter((n) => n % 3 !== 0);
    expect(ran).toEqual(['new', ...own.map((n) => `old${n}`)]);
    // Those that are nobody's stand as they stood.
    const rest = (await raw.getJobs(['waiting'], 0, -1, true)).map(({ name }) => name);
    expect(rest).toEqual(Array.from({ length: 84 }, (_, n) => `old${3 * n}`));
  });
});

describe('what is left where it is', () => {
  it('is counted by why', async () => {
    const raw = on.raw('mail');
    const registry = await createTenantRegistry({ store: memoryTenantStore(), maxStaleness: 60_000 });
    await registry.freeze('frozen');
    const queue = on.queue('mail', { tenant: { signingKeys: [KEY], fence: registry } });
    const acme = { tenant: 'acme' };
    await raw.add('n', {});
    await raw.add('n', { tenant: 'frozen' });
    await raw.add('n', acme, { timestamp: Date.now() + 60_000 });
    await raw.add('n', acme, { lifo: true, attempts: 3 });
    await raw.add('n', acme, { jobId: 'taken' });
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'taken' }));
    await raw.add('n', acme, { jobId: 'broken' });
    await on.redis.hset('bull:mail:broken', 'data', '{');
    await raw.add('n', acme, { jobId: 'lost' });
    await on.redis.del('bull:mail:lost');
    await raw.upsertJobScheduler('nightly', { every: 60_000 }, { name: 'n', data: acme });
    const flows = new bullmq.FlowProducer({ connection: on.redis });
    await flows.add({
      name: 'parent',
      queueName: 'mail',
      data: acme,
      children: [{ name: 'child', queueName: 'mail', data: acme }],
    });
    await flows.close();
    await on.redis.rpush('bull:mail:active', 'runs');
    await raw.add('good', acme, { jobId: 'good' });
    const { adopted, left, schedulers } = await adopt(queue);
    expect(adopted).toEqual({ acme: 1 });
    expect(left).toEqual({
      noTenant: 1,
      fenced: 1,
      tooYoung: 1,
      option: 1,
      idTaken: 1,
      unreadable: 2,
      scheduler: 1,
      flow: 1,
      waitingChildren: 1,
      active: 1,
    });
    expect(schedulers).toBe(1);
    expect(await on.redis.exists('bull:mail:good')).toBe(0);
    for (const id of ['taken', 'broken']) expect(await on.redis.exists(`bull:mail:${id}`)).toBe(1);
  });

  it('is everything, in a dry run, which says what it would do', async () => {
    const raw = on.raw('mail');
    for (const tenant of ['acme', 'acme', 'acme2', undefined]) await raw.add('n', { tenant });
    const queue = on.queue('mail');
    await queue.waitUntilReady();
    const before = await dump();
    using events = audited('bypass');
    const told = await adopt(queue, { dryRun: true });
    expect(told).toEqual({
      adopted: { acme: 2, acme2: 1 },
      left: { noTenant: 1 },
      examples: { noTenant: expect.any(String) },
      schedulers: 0,
      more: false,
    });
    expect(await dump()).toEqual(before);
    expect(events.events.filter(({ data }) => data.message.includes('signed'))).toEqual([]);
    expect(await adopt(queue)).toEqual(told);
  });

  it('is what is more than one call moves', async () => {
    const raw = on.raw('mail');
    await raw.addBulk(Array.from({ length: 230 }, () => ({ name: 'n', data: { tenant: 'acme' } })));
    const queue = on.queue('mail');
    const calls = [];
    for (let more = true; more;) {
      const answer = await adopt(queue, { most: 110 });
      calls.push([answer.adopted['acme'], answer.more]);
      ({ more } = answer);
    }
    expect(calls).toEqual([
      [110, true],
      [110, true],
      [10, false],
    ]);
    expect(await rawKeys()).toEqual([]);
  });

  it('is moved no faster than is said, and not any more when it is told to stop', async () => {
    const raw = on.raw('mail');
    await raw.addBulk(Array.from({ length: 300 }, () => ({ name: 'n', data: { tenant: 'acme' } })));
    const queue = on.queue('mail');
    const began = performance.now();
    await adopt(queue, { most: 200, rate: 400 });
    expect(performance.now() - began).toBeGreaterThanOrEqual(490);
    const stop = new Error('stop');
    await expect(adopt(queue, { signal: AbortSignal.abort(stop) })).rejects.toBe(stop);
    expect(await on.redis.llen('bull:mail:wait')).toBe(100);
  });
});

describe('an adoption', () => {
  it('moves each job once, beside others of its kind and raw workers that run', async () => {
    const raw = on.raw('mail');
    const many = 600;
    await raw.addBulk(
      Array.from({ length: many }, (_, n) => ({
        name: 'n',
        data: { tenant: `t${n % 5}` },
        opts: { jobId: `job${n}`, ...(n % 4 === 0 ? { priority: (n % 7) + 1 } : {}) },
      })),
    );
    const ran: string[] = [];
    const old = rawWorker(async ({ id }) => ran.push(id ?? ''), { concurrency: 3 });
    const worker = on.worker('mail', async ({ id }) => ran.push(id ?? ''), { concurrency: 5 });
    const queues = [on.queue('mail'), on.queue('mail')];
    const answers = await Promise.all(queues.map((queue) => adopt(queue)));
    await expect.poll(() => ran.length, { timeout: 15_000 }).toBe(many);
    await old.close();
    await worker.close();
    expect(new Set(ran).size).toBe(many);
    const moved = answers
      .flatMap(({ adopted }) => Object.values(adopted))
      .reduce((sum, count) => sum + count, 0);
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThanOrEqual(many);
    expect(await on.redis.keys('bull:mail:job*').then((keys) => keys.length)).toBe(many - moved);
  });

  it('is repeated when its process was killed, at whichever moment', async () => {
    const raw = on.raw('mail');
    const many = 3_000;
    const ids = Array.from({ length: many }, (_, n) => `job${n}`);
    await raw.addBulk(
      ids.map((jobId, n) => ({
        name: 'n',
        data: { tenant: `t${n % 50}`, text: 'x'.repeat(500) },
        opts: { jobId, ...(n % 2 === 0 ? { delay: 3_600_000 } : {}) },
      })),
    );
    const main = fileURLToPath(new URL('processes/adopt.ts', import.meta.url));
    const left = async (): Promise<number> =>
      (await on.redis.llen('bull:mail:wait')) + (await on.redis.zcard('bull:mail:delayed'));
    let kills = 0;
    for (let before = many; before > 0;) {
      const child = spawn(process.execPath, [...execArgv, main, on.url], { stdio: 'ignore' });
      const exit = once(child, 'exit');
      const goal = kills < 3 ? before - 300 : -1;
      let isOver = false;
      void exit.then(() => (isOver = true));
      await expect
        .poll(async () => isOver || (await left()) <= goal, { timeout: 20_000, interval: 1 })
        .toBe(true);
      if (child.kill('SIGKILL')) kills += 1;
      await exit;
      before = await left();
    }
    expect(kills).toBeGreaterThanOrEqual(3);
    expect(await rawKeys()).toEqual([]);
    const queue = on.queue('mail');
    const found: string[] = [];
    for (let n = 0; n < 50; n += 1) {
      const own = await withTenant(`t${n}`, () => queue.getJobs());
      expect(own.every(({ data }) => (data as { tenant: string }).tenant === `t${n}`)).toBe(true);
      found.push(...own.map(({ id }) => id ?? ''));
    }
    expect(found.toSorted()).toEqual(ids.toSorted());
  });

  it('is an operator’s, who can sign', async () => {
    const queue = on.queue('mail');
    await on.raw('mail').add('n', { tenant: 'acme' });
    const refused = { code: 'OPERATION_REFUSED' };
    await expect(withTenant('acme', () => adoptJobs(queue, { tenantOf }))).rejects.toMatchObject(refused);
    await expect(adoptJobs(queue, { tenantOf })).rejects.toMatchObject({ code: 'TENANT_MISSING' });
    const config = { code: 'CONFIG_INVALID' };
    await expect(adopt(on.raw('mail') as never)).rejects.toMatchObject(config);
    for (const options of [{ tenantOf: 'acme' }, { most: 0 }, { rate: -1 }, { until: 'now' }, { more: 1 }])
      await expect(adopt(queue, options as never)).rejects.toMatchObject(config);
    for (const answer of ['', 'a:b', { tenant: 'x'.repeat(65) }, { tenant: 'acme', subject: '*' }])
      await expect(adopt(queue, { tenantOf: () => answer })).rejects.toMatchObject({
        code: 'TENANT_INVALID',
      });
    const error = new Error('the service does not know');
    await expect(
      adopt(queue, {
        tenantOf() {
          throw error;
        },
      }),
    ).rejects.toBe(error);
    expect(await on.redis.llen('bull:mail:wait')).toBe(1);
    expect((await adopt(queue)).adopted).toEqual({ acme: 1 });
  });

  it('does not sign what was changed while it was looked at', async () => {
    const raw = on.raw('mail');
    const queue = on.queue('mail');
    for (const [field, value] of [
      ['data', '{"tenant":"acme","changed":true}'],
      ['name', 'changed'],
      ['opts', '{"attempts":7}'],
    ] as const) {
      const { id } = await raw.add('n', { tenant: 'acme' });
      const answer = await adopt(queue, {
        async tenantOf() {
          await on.redis.hset(`bull:mail:${id}`, field, value);
          return 'acme';
        },
      });
      expect([answer.adopted, answer.left]).toEqual([{}, { moved: 1 }]);
      expect((await adopt(queue)).adopted).toEqual({ acme: 1 });
    }
    // Taken by a raw worker meanwhile.
    const { id = '' } = await raw.add('n', { tenant: 'acme' });
    const answer = await adopt(queue, {
      async tenantOf() {
        await on.redis.set(`bull:mail:${id}:lock`, 'token');
        return 'acme';
      },
    });
    expect(answer.left).toEqual({ moved: 1 });
    expect(await on.redis.exists(`bull:mail:${id}`)).toBe(1);
  });
});

it('the steps of the README bring a queue with waiting jobs over', async () => {
  const codes = async (): Promise<readonly string[]> => {
    const found: string[] = [];
    for await (const { code } of queueAuditor(on.redis, { queues: ['mail'], signingKeys: [KEY] }).audit())
      found.push(code);
    return found.toSorted();
  };
  const raw = on.raw('mail');
  const ran: string[] = [];
  const oldWorker = rawWorker(async ({ name }) => ran.push(`old ${name}`), { autorun: false });
  for (const tenant of ['acme', 'acme2']) {
    await raw.add(`${tenant} now`, { tenant });
    await raw.add(`${tenant} later`, { tenant }, { delay: 90 * 86_400_000 });
    await raw.upsertJobScheduler(
      `${tenant}-nightly`,
      { pattern: '0 0 3 * * *' },
      { name: 'night', data: { tenant } },
    );
  }
  // 1. Queues and workers of this package, beside the old workers.
  const queue = on.queue('mail');
  const worker = on.worker('mail', async ({ name }) => ran.push(`${currentTenant()?.tenant} ${name}`));
  await withTenant('acme', () => queue.add('new', {}));
  await expect.poll(() => ran).toEqual(['acme new']);
  // 2. Schedulers are made anew, each in its tenant, and the raw ones removed.
  for (const { key, pattern = '', name, template } of await raw.getJobSchedulers()) {
    const data = template?.data as { tenant: string };
    await withTenant(data.tenant, () => queue.upsertJobScheduler(key, { pattern }, { name, data }));
    await raw.removeJobScheduler(key);
  }
  // 3. The old workers work off what can run, and are closed.
  void oldWorker.run();
  await expect.poll(() => ran.toSorted()).toEqual(['acme new', 'old acme now', 'old acme2 now']);
  await oldWorker.close();
  // 4. What is left to be adopted, and whose it is.
  expect(await adopt(queue, { dryRun: true })).toEqual({
    adopted: { acme: 1, acme2: 1 },
    left: {},
    examples: {},
    schedulers: 0,
    more: false,
  });
  // The results of the old worker, and what waits.
  expect(await codes()).toEqual([
    'job_outside_tenant',
    'job_outside_tenant',
    'job_outside_tenant',
    'job_outside_tenant',
  ]);
  // 5. The rest is adopted, with what has finished if it is to be kept.
  for (let more = true; more;) ({ more } = await adopt(queue, { finished: ['completed', 'failed'] }));
  // 6. The auditor finds nothing, and the jobs run in their tenants.
  expect(await codes()).toEqual([]);
  for (const tenant of ['acme', 'acme2']) {
    await withTenant(tenant, async () => {
      expect(await queue.getJobSchedulersCount()).toBe(1);
      const later = (await queue.getDelayed()).find(({ name }) => name.endsWith('later'));
      await later?.promote();
    });
  }
  await expect.poll(() => ran.slice(3).toSorted()).toEqual(['acme acme later', 'acme2 acme2 later']);
  // Who goes on adding past it is found.
  await raw.add('late', { tenant: 'acme' });
  expect(await codes()).toEqual(['job_outside_tenant']);
  await worker.close();
});

describe('rubbish among the jobs of raw BullMQ', () => {
  it.each([
    ['opts', 'null'],
    ['opts', '7'],
    ['opts', '[]'],
    ['timestamp', '-9007199254740991', 'option'],
    ['timestamp', '1700000000000001', 'option'],
  ])('stays behind, and stops nothing: %s %s', async (field, value, why = 'unreadable') => {
    const raw = on.raw('mail');
    for (const jobId of ['a', 'odd', 'b']) await raw.add('n', { tenant: 'acme' }, { jobId });
    await on.redis.hset('bull:mail:odd', field, value);
    const { adopted, left } = await adopt(on.queue('mail'));
    expect([adopted, left]).toEqual([{ acme: 2 }, { [why]: 1 }]);
  });
});
