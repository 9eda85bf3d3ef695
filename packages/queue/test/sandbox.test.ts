import { once } from 'node:events';
import * as bullmq from 'bullmq';
import { ParentCommand } from 'bullmq';
import {
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
  type TenantContext,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Job, Worker, WorkerOptions } from '@tenantkit/queue';
import { METHOD_NAMES } from '../src/sandbox/protocol.ts';
import { execArgv, processorFile, times } from './processes.ts';
import { KEY, bench, finished, type Bench } from './support.ts';

const PROBE = processorFile('probe.mjs');
const KINDS = {
  processes: { workerForkOptions: { execArgv } },
  threads: { useWorkerThreads: true, workerThreadsOptions: { execArgv } },
} satisfies Record<string, Partial<WorkerOptions>>;

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

interface Told {
  readonly event: 'completed' | 'failed';
  readonly result: unknown;
  readonly error: Error | undefined;
  readonly job: Job | undefined;
}

describe.each(Object.entries(KINDS))('a sandboxed processor in %s', (_kind, options) => {
  const worker = (more: Partial<WorkerOptions> = {}): Worker =>
    on.worker('mail', PROBE, { ...options, ...more });

  /** Adds one job, and tells how it ended. */
  async function run(
    by: Worker,
    name: string,
    data: unknown = {},
    tenant: TenantContext = { tenant: 'acme' },
    more: bullmq.JobsOptions = {},
  ): Promise<Told> {
    const queue = on.queue('mail');
    const ended = new Promise<Told>((resolve) => {
      by.on('completed', (job, result) => resolve({ event: 'completed', result, job, error: undefined }));
      by.on('failed', (job, error) => resolve({ event: 'failed', error, job, result: undefined }));
    });
    await withTenant(tenant, () => queue.add(name, data, more));
    const told = await ended;
    by.removeAllListeners('completed').removeAllListeners('failed');
    return told;
  }

  it('runs inside the tenant, subject and actor of the job; what the file does when it is loaded runs in none', async () => {
    const by = worker();
    const ada = { tenant: 'acme', subject: 'p1', actor: 'ada' };
    const { result } = await run(by, 'tenant', {}, ada, { jobId: 'one' });
    expect(result).toMatchObject({
      seen: times(5, ada),
      atLoad: 'none',
      later: 'none',
      id: 'one',
      hasToken: true,
    });
  });

  it('uses a child for the jobs of one tenant after the other', async () => {
    const by = worker();
    const first = (await run(by, 'tenant', {}, { tenant: 'acme', subject: 'p1' })).result as {
      place: string;
    };
    const { result } = await run(by, 'tenant', {}, { tenant: 'acme2' });
    expect(result).toMatchObject({
      seen: times(5, { tenant: 'acme2' }),
      later: 'none',
      place: first.place,
      jobs: 2,
    });
  });

  it('runs jobs of many tenants at once, each in its own', async () => {
    const by = worker({ concurrency: 4 });
    const queue = on.queue('mail');
    const seen: unknown[] = [];
    by.on('completed', (job, result) =>
      seen.push([job.data, currentTenant(), (result as { seen: unknown }).seen]),
    );
    const all = finished(by, 24);
    const tenants = Array.from({ length: 24 }, (_, index) => `t${index % 6}`);
    await Promise.all(tenants.map((tenant) => withTenant(tenant, () => queue.add('tenant', { tenant }))));
    await all;
    expect(seen).toHaveLength(24);
    for (const [data, heard, inside] of seen as [{ tenant: string }, TenantContext, TenantContext[]][]) {
      expect(heard).toEqual(data);
      expect(inside).toEqual(times(5, data));
    }
  });

  it('shows the job as BullMQ shows it, with the logical id and without the header', async () => {
    const more = { jobId: 'one', attempts: 2 };
    const ours = (await run(worker(), 'job', { n: 1 }, { tenant: 'acme' }, more)).result as Record<
      string,
      unknown
    >;
    await on.reset();
    // BullMQ's own worker, on a queue of its own: the very same file.
    const raw = on.raw('mail');
    const rawWorker = new bullmq.Worker('mail', PROBE, { connection: on.redis, ...options });
    const ended = new Promise<Record<string, unknown>>((resolve) => {
      rawWorker.on('completed', (_job, result) => resolve(result as Record<string, unknown>));
    });
    await raw.add('job', { n: 1 }, more);
    const theirs = await ended;
    await rawWorker.close();
    const OF_THE_MOMENT = { timestamp: 0, processedOn: 0 };
    expect({ ...ours, ...OF_THE_MOMENT }).toEqual({ ...theirs, ...OF_THE_MOMENT });
    expect(ours['methods']).toEqual(METHOD_NAMES.toSorted());
  });

  it('shows nothing of the header, the keys, or another tenant around the job', async () => {
    const by = worker();
    await run(by, 'nothing', { of: 'globex' }, { tenant: 'globex', actor: 'grace' });
    const { result } = await run(by, 'surroundings', { of: 'acme' });
    const text = JSON.stringify(result);
    expect(text).toContain('"of\\":\\"acme\\"');
    expect(text).not.toMatch(/globex|grace|v1\.|~/);
    expect(text).not.toContain(String(KEY.secret));
  });

  it('hears of its progress and logs, inside the tenant of the job', async () => {
    const by = worker();
    const heard: unknown[] = [];
    await run(by, 'nothing', {}, { tenant: 'globex' }); // the child is made for this tenant
    by.on('progress', (job, progress) => heard.push([currentTenant(), job.id, progress]));
    const { result, job } = await run(by, 'talk', {}, { tenant: 'acme' }, { jobId: 'one' });
    expect(result).toEqual({ half: true });
    expect(job?.progress).toEqual({ half: true });
    expect(heard).toEqual([[{ tenant: 'acme' }, 'one', { half: true }]]);
    const logs = await withTenant('acme', () => on.queue('mail').getJobLogs('one'));
    expect(logs.logs).toEqual(['first', 'second']);
  });

  it.each([
    ['updateProgress', 5],
    ['log', 'a line'],
    ['updateData', { other: 1 }],
    ['moveToDelayed', Date.now() + 1000, 'token'],
    ['moveToWait', 'token'],
    ['moveToWaitingChildren', 'token', {}],
    ['getChildrenValues'],
    ['getIgnoredChildrenFailures'],
    ['getDependenciesCount', {}],
    ['getDependencies', {}],
  ])('%s is answered as it is to a function', async (...call) => {
    const one = [{ call }, { tenant: 'acme' }, { jobId: 'one' }] as const;
    const { result } = await run(worker(), 'call', ...one);
    await on.reset();
    const { default: probe } = (await import(PROBE)) as { default: bullmq.Processor };
    const inline = await run(on.worker('mail', probe), 'call', ...one);
    expect(result).toEqual(JSON.parse(JSON.stringify(inline.result)));
    // Not with its own token. Without children a job is not moved, whoever asks.
    if (['moveToDelayed', 'moveToWait'].includes(call[0]))
      expect(result).toMatchObject({ typed: false, name: 'Error' });
    else expect(result).not.toHaveProperty('name');
  });

  it('waits for its children, and reads what they have answered', async () => {
    const [reports, mail] = [on.queue('reports'), on.queue('mail')];
    await withTenant('acme', async () => {
      await reports.add('parent', {}, { jobId: 'r' });
      await mail.add('n', {}, { jobId: 'c', parent: { id: 'r', queue: 'bull:reports' } });
    });
    const by = on.worker('reports', PROBE, { workerForkOptions: { execArgv } });
    const done = finished(by, 1);
    await expect.poll(() => withTenant('acme', () => reports.getJobState('r'))).toBe('waiting-children');
    on.worker('mail', async () => 'from the child');
    expect(await done).toMatchObject([
      {
        event: 'completed',
        result: { values: { 'bull:mail:c': 'from the child' }, counts: { processed: 1 } },
      },
    ]);
  });

  it('moves its own job by hand, and goes on with it later', async () => {
    const by = worker();
    const told = await run(by, 'later', { n: 1 }, { tenant: 'acme' }, { jobId: 'one' });
    expect(told).toMatchObject({ event: 'completed', result: { starts: 2, data: { n: 1, moved: true } } });
    expect(told.job).toMatchObject({ id: 'one', data: { n: 1, moved: true } });
  });

  it('has every message of BullMQ’s among what a child may ask for', () => {
    const OF_THE_LIFE = new Set(['Completed', 'Error', 'Failed', 'InitFailed', 'InitCompleted']);
    const NAMES: Readonly<Record<string, string>> = { Progress: 'updateProgress', Update: 'updateData' };
    const asked = Object.keys(ParentCommand)
      .filter((name) => Number.isNaN(Number(name)) && !OF_THE_LIFE.has(name))
      .map((name) => NAMES[name] ?? `${name.slice(0, 1).toLowerCase()}${name.slice(1)}`);
    expect(asked.toSorted()).toEqual(METHOD_NAMES.toSorted());
  });

  it('refuses what another job has left running in the child, which stays in its own tenant', async () => {
    const by = worker();
    const first = await run(by, 'leave', {}, { tenant: 'globex' }, { jobId: 'one' });
    const { result, job } = await run(by, 'afterLeave', { n: 1 }, { tenant: 'acme' }, { jobId: 'one' });
    expect(result).toEqual({
      place: first.result,
      own: { tenant: 'acme' },
      spoke: times(3, ['rejected', 'OPERATION_REFUSED']),
      left: [{ tenant: 'globex' }, { tenant: 'globex' }],
    });
    expect(job).toMatchObject({ progress: 0, data: { n: 1 } });
    for (const tenant of ['acme', 'globex']) {
      const stored = await withTenant(tenant, () => on.queue('mail').getJob('one'));
      expect(stored?.progress).toBe(0);
      expect((await withTenant(tenant, () => on.queue('mail').getJobLogs('one'))).logs).toEqual([]);
    }
  });

  it('believes no message that does not name the job that runs, and calls no other method', async () => {
    const by = worker();
    const messages = [
      null,
      'text',
      { cmd: ParentCommand.Completed, value: 'a lie' },
      { cmd: ParentCommand.Failed, value: { message: 'a lie' } },
      { cmd: ParentCommand.Update, value: { a: 'lie' } },
      { cmd: ParentCommand.Progress, value: 'a lie' },
      { run: 'acme~one', type: 'completed', value: 'a lie' },
      { run: undefined, type: 'failed', error: { own: { message: 'a lie' } } },
      { type: 'call', call: 1, method: 'updateProgress', count: 1, args: ['a lie'] },
    ];
    const { result, job } = await run(by, 'lie', { messages });
    expect(result).toBe('honest');
    expect(job?.progress).toBe('lied');
  });

  it('lets a child do nothing to its job that a sandboxed job does not offer', async () => {
    const by = worker();
    const methods = ['remove', 'retry', 'extendLock', 'constructor', '__proto__', 'toString'];
    const calls = methods.map((method, index) => ({
      type: 'call',
      call: 1000 + index,
      method,
      count: 0,
      args: {},
    }));
    const { result } = await run(by, 'forge', { messages: calls });
    expect(result).toEqual(
      methods.map((method, index) => [1000 + index, `${method} is no method of a sandboxed job`]),
    );
    const crowded = [
      { type: 'call', call: 1000, method: 'log', count: 1e9, args: null },
      { type: 'nothing' },
    ];
    expect((await run(by, 'forge', { messages: crowded })).result).toEqual([[1000, expect.any(String)]]);
    // The worker's process goes on.
    const { error } = await run(by, 'forge', { messages: [{ type: 'failed', error: null }] });
    expect(error).toBeInstanceOf(TypeError);
    expect((await run(by, 'tenant')).result).toMatchObject({ atLoad: 'none' });
  });

  it('passes errors as BullMQ does', async () => {
    const by = worker();
    const failed = await run(by, 'fail');
    expect(failed.error).toBeInstanceOf(Error);
    expect(failed.error).toMatchObject({
      message: 'it failed',
      code: 'E_OWN',
      status: 418,
      inner: { deep: [1] },
    });
    expect(failed.error?.stack).toContain('probe.mjs');
    expect(failed.job?.failedReason).toBe('it failed');
    expect(failed.job?.stacktrace?.[0]).toContain('probe.mjs');
    expect((await run(by, 'failText')).error?.message).toBe('only a text');
    expect((await run(by, 'failNothing')).error?.message).toBe('undefined');
    expect((await run(by, 'failHostile')).error?.message).toBe('[object Object]');
    expect((await run(by, 'failCircle')).error?.message).toBe('a circle');
    expect((await run(by, 'unwritable')).error?.message).toMatch(/BigInt|could not be cloned/);
    // All of it in one child.
    expect((await run(by, 'tenant')).result).toMatchObject({ jobs: 7 });
  });

  it('retries what failed, but for an UnrecoverableError; what would steer the loop fails the job', async () => {
    const by = worker();
    const more = { attempts: 2, backoff: 1 };
    const unrecoverable = await run(by, 'unrecoverable', {}, { tenant: 'acme' }, more);
    expect(unrecoverable.job).toMatchObject({ attemptsMade: 1, failedReason: 'never again' });
    expect(unrecoverable.job?.finishedOn).toBeGreaterThan(0);
    const steered = await run(by, 'steer', {}, { tenant: 'acme' });
    expect(steered.job?.failedReason).toContain('A processor cannot delay');
    const again = finished(by, 1);
    await withTenant('acme', () => on.queue('mail').add('fail', {}, { ...more, jobId: 'again' }));
    await again;
    expect(await withTenant('acme', () => on.queue('mail').getJob('again'))).toMatchObject({
      attemptsMade: 2,
    });
  });

  it('fails the job when its child exits, and the next one runs in another', async () => {
    const by = worker();
    const exited = await run(by, 'exit', { code: 7 });
    expect(exited.error?.message).toBe('Unexpected exit code: 7 signal: null');
    expect((await run(by, 'tenant')).result).toMatchObject({ jobs: 1 });
  });

  it.each(['uncaught', 'unhandled'])(
    'an error that nobody caught (%s) is the job’s, and ends the child',
    async (name) => {
      const by = worker();
      const { error } = await run(by, name);
      expect(error?.message).toMatch(/^nobody (caught|handled) it$/);
      expect((await run(by, 'tenant')).result).toMatchObject({ jobs: 1 });
    },
  );

  it('a call that is refused and not awaited fails the job, as it would without a sandbox', async () => {
    const by = worker();
    const { error } = await run(by, 'unawaited', {}, { tenant: 'acme' }, { jobId: 'one' });
    expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect((await run(by, 'unawaitedLog', {}, { tenant: 'acme' }, { jobId: 'two' })).result).toBe('returned');
    expect((await withTenant('acme', () => on.queue('mail').getJobLogs('two'))).logs).toEqual([
      'not awaited',
    ]);
  });

  it('does not show one tenant the error that another one’s job has left behind', async () => {
    const by = worker();
    await run(by, 'leaveError', { secret: 'globex-secret' }, { tenant: 'globex' });
    const { error, job } = await run(by, 'meetError', {}, { tenant: 'acme' });
    expect(error?.message).toContain('an error that this job did not cause');
    expect(JSON.stringify([error?.message, error?.stack, job?.stacktrace])).not.toContain('globex');
    expect((await run(by, 'tenant', {}, { tenant: 'acme' })).result).toMatchObject({ jobs: 1 });
  });

  it('hears of a result and of the end of its child in one turn, and gives that child no other job', async () => {
    const by = worker();
    const pause = new Int32Array(new SharedArrayBuffer(4));
    // So busy that what a child tells arrives together.
    const busy = setInterval(() => Atomics.wait(pause, 0, 0, 100), 1);
    const places = new Set<unknown>();
    try {
      for (let turn = 0; turn < 5; turn += 1) places.add((await run(by, 'leaveNow')).result);
    } finally {
      clearInterval(busy);
    }
    expect(places.size).toBe(5);
  });

  it('runs a job in another child when the one before has ended the child that it was meant for', async () => {
    const by = worker();
    const { result: place } = await run(by, 'leaveEnding', {}, { tenant: 'globex' });
    const { result } = await run(by, 'tenant', {}, { tenant: 'acme' });
    expect(result).toMatchObject({ jobs: 1, place: expect.not.stringMatching(String(place)) as string });
  });

  it('is cancelled by the worker, inside the tenant of the job', async () => {
    const by = worker();
    await run(by, 'nothing', {}, { tenant: 'globex' });
    for (const [reason, told] of [
      ['enough', ['acme', 'enough', null]],
      [undefined, ['acme', 'This operation was aborted', 'AbortError']],
      [new RangeError('out of time'), ['acme', 'out of time', 'Error']],
    ] as const) {
      by.once('progress', () => withTenant('acme', () => by.cancelJob('one', reason as string)));
      const { error } = await run(
        by,
        'cancelled',
        {},
        { tenant: 'acme' },
        { jobId: 'one', removeOnFail: true },
      );
      expect(JSON.parse(String(error?.message))).toEqual(told);
    }
  });

  it('waits for the job that runs when the worker is closed', async () => {
    const by = worker();
    const queue = on.queue('mail');
    const started = once(by, 'progress');
    const completed = once(by, 'completed');
    await withTenant('acme', () => queue.add('slow', {}, { jobId: 'one' }));
    await started;
    await by.close();
    expect((await completed)[1]).toBe('finished');
    expect((await withTenant('acme', () => queue.getJobLogs('one'))).logs).toEqual(['nearly']);
  });

  it('lets a child end its job when the worker is closed by force, as BullMQ does', async () => {
    const by = worker();
    const queue = on.queue('mail');
    const started = once(by, 'progress');
    await withTenant('acme', () => queue.add('slow', {}, { jobId: 'one' }));
    await started;
    await by.close(true);
    expect(await withTenant('acme', () => queue.getJobState('one'))).toBe('completed');
  });

  it('answers with the same error when the tenant is fenced meanwhile', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await using own = await bench(fence);
    const by = own.worker('mail', PROBE, options);
    const completed = once(by, 'completed');
    by.once('progress', async () => {
      await fence.freeze('acme');
      by.cancelJob('one');
    });
    await withTenant('acme', () => own.queue('mail').add('fenced', { call: ['log', 'x'] }, { jobId: 'one' }));
    expect((await completed)[1]).toMatchObject({
      typed: true,
      name: 'TenantFencedError',
      fields: { code: 'TENANT_FENCED', state: 'frozen' },
    });
  });
});
