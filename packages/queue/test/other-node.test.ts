import { spawnSync } from 'node:child_process';
import { currentTenant, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NODE_22, execArgv, processorFile, times, workerProcess } from './processes.ts';
import { KEY, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const ADA = { tenant: 'acme', subject: 'p1', actor: 'ada' };

describe('another version of Node', () => {
  const other = spawnSync(NODE_22, ['-p', 'process.versions.node'], { encoding: 'utf8' }).stdout.trim();

  it('is another', () => {
    expect(other).toMatch(/^22\./);
    expect(process.versions.node).not.toMatch(/^22\./);
  });

  it('has a Worker that runs a job in the tenant that it was added in here', async () => {
    await using worker = workerProcess(on.url, { node: NODE_22 });
    await withTenant(ADA, () => on.queue('mail').add('any', { text: 'ü\u{1F600}' }, { jobId: 'one' }));
    expect(await worker.next()).toEqual({
      result: { node: other, tenant: ADA, id: 'one', data: { text: 'ü\u{1F600}' } },
    });
  });

  it.each([
    ['processes', { workerForkOptions: { execArgv } }],
    ['threads', { useWorkerThreads: true, workerThreadsOptions: { execArgv } }],
  ])(
    'has a Worker whose sandboxes (%s) run a job in the tenant that it was added in here',
    async (_kind, options) => {
      await using worker = workerProcess(on.url, {
        node: NODE_22,
        file: processorFile('probe.mjs'),
        options,
      });
      await withTenant(ADA, () => on.queue('mail').add('tenant', {}, { jobId: 'one' }));
      expect(await worker.next()).toMatchObject({
        result: { node: other, seen: times(5, ADA), atLoad: 'none', later: 'none', id: 'one' },
      });
      // Whose error it was is told by the same means there.
      await withTenant('acme', () => on.queue('mail').add('leaveError', { secret: 'globex-secret' }));
      await worker.next();
      await withTenant('acme2', () => on.queue('mail').add('meetError', {}));
      expect((await worker.next()).error).toContain('an error that this job did not cause');
      await withTenant('acme2', () => on.queue('mail').add('uncaught', {}));
      expect((await worker.next()).error).toBe('nobody caught it');
    },
  );

  it('runs the sandbox of a Worker here', async () => {
    const worker = on.worker('mail', processorFile('probe.mjs'), {
      workerForkOptions: { execArgv, execPath: NODE_22 },
    });
    const all = finished(worker, 1);
    await withTenant(ADA, () => on.queue('mail').add('tenant', {}, { jobId: 'one' }));
    expect(await all).toMatchObject([{ result: { node: other, seen: times(5, ADA), id: 'one' } }]);
  });

  it('adds a job that runs in its tenant here', async () => {
    const worker = on.worker('mail', async () => currentTenant());
    const all = finished(worker, 1);
    const program = `
      import { withTenant } from '@tenantkit/core';
      import { Queue } from '@tenantkit/queue';
      const { url, signingKeys, tenant } = JSON.parse(process.argv[1]);
      const queue = new Queue('mail', { connection: { url }, tenant: { signingKeys } });
      await withTenant(tenant, () => queue.add('any', {}, { jobId: 'one' }));
      await queue.close();`;
    const { status, stderr } = spawnSync(
      NODE_22,
      [
        ...execArgv,
        '--input-type=module',
        '--eval',
        program,
        JSON.stringify({ url: on.url, signingKeys: [KEY], tenant: ADA }),
      ],
      { cwd: import.meta.dirname, encoding: 'utf8' },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(await all).toMatchObject([{ id: 'one', result: ADA }]);
  });
});
