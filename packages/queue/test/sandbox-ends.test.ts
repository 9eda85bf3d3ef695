import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { ChildPool } from 'bullmq';
import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Worker } from '@tenantkit/queue';
import { execArgv, processorFile, workerProcess } from './processes.ts';
import { bench, finished, type Bench, type Finished } from './support.ts';

const PROBE = processorFile('probe.mjs');

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

async function run(
  worker: Worker,
  name: string,
  data: object = {},
  tenant = 'acme',
): Promise<Finished | undefined> {
  const all = finished(worker, 1);
  await withTenant(tenant, () => on.queue('mail').add(name, data));
  return (await all)[0];
}

/** Waits for one connection, which its sandbox holds until it ends. */
async function listen(): Promise<{ port: number; connected: Promise<unknown>; closed: Promise<'closed'> }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const closed = connected.then(async ([socket]) => {
    await once(socket.on('error', () => undefined).resume(), 'close');
    server.close();
    return 'closed' as const;
  });
  return { port: (server.address() as AddressInfo).port, connected, closed };
}

describe('a process of a sandbox', () => {
  const worker = (): Worker => on.worker('mail', PROBE, { workerForkOptions: { execArgv } });

  it('fails its job when it is killed, and the next one runs in another', async () => {
    const by = worker();
    const { error } = (await run(by, 'kill', { signal: 'SIGKILL' })) ?? {};
    expect(error?.message).toBe('Unexpected exit code: null signal: SIGKILL');
    expect((await run(by, 'tenant', {}, 'acme2'))?.result).toMatchObject({ jobs: 1 });
  });

  it('is gone when its job has failed without its word for it', async () => {
    const by = worker();
    const pid = new Promise<number>((resolve) =>
      by.on('progress', (_job, progress) => resolve(Number(progress))),
    );
    const { error } = (await run(by, 'forgeAndStay', { type: 'failed', error: null })) ?? {};
    expect(error).toBeInstanceOf(TypeError);
    const child = await pid;
    expect(() => process.kill(child, 0)).toThrow('ESRCH');
  });

  it('is ended when it takes no other job, which runs in another', async () => {
    const by = worker();
    expect((await run(by, 'forgeAndStay', { type: 'completed', value: 1 }))?.result).toBe(1);
    expect((await run(by, 'tenant', {}, 'acme2'))?.result).toMatchObject({ jobs: 1 });
  });

  it('ends its job first when it is terminated', async () => {
    const by = worker();
    const { result, id = '' } = (await run(by, 'terminated')) ?? {};
    expect(result).toEqual(expect.any(String));
    expect((await withTenant('acme', () => on.queue('mail').getJobLogs(id))).logs).toEqual([
      'after the signal',
    ]);
    expect((await run(by, 'tenant', {}, 'acme2'))?.result).toMatchObject({ jobs: 1 });
  });

  it('ends with the process of its worker, also when that is killed in the midst of a job', async () => {
    const { port, connected, closed } = await listen();
    await using other = workerProcess(on.url, { file: PROBE, options: { workerForkOptions: { execArgv } } });
    await withTenant('acme', () => on.queue('mail').add('hold', { port }));
    await connected;
    await other.kill('SIGKILL');
    expect(await closed).toBe('closed');
  });
});

describe('a thread of a sandbox', () => {
  it('that needs too much memory fails its job, and not the worker', async () => {
    const by = on.worker('mail', PROBE, {
      useWorkerThreads: true,
      workerThreadsOptions: { execArgv, resourceLimits: { maxOldGenerationSizeMb: 32 } },
    });
    const { error } = (await run(by, 'eat')) ?? {};
    expect(error).toMatchObject({ code: 'ERR_WORKER_OUT_OF_MEMORY' });
    expect((await run(by, 'tenant', {}, 'acme2'))?.result).toMatchObject({ jobs: 1 });
    // Nor between two jobs: unheard, the error would end this process.
    const pool = Reflect.get(by, 'childPool') as unknown as ChildPool;
    await run(by, 'leaveEating');
    await expect.poll(() => pool.getAllFree()).toEqual([]);
    expect((await run(by, 'tenant', {}, 'acme2'))?.result).toMatchObject({ jobs: 1 });
  });
});
