import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { queueAuditor, queueEraser } from '@tenantkit/queue';
import { REPORT, flowBench, single, type FlowBench } from './flows-support.ts';
import { KEY, finished } from './support.ts';

const acme = <T>(fn: () => T): T => withTenant('acme', fn);

describe('the fence', () => {
  let fence: TenantRegistry;
  let on: FlowBench;
  beforeEach(async () => {
    fence = await createTenantRegistry({
      store: memoryTenantStore(),
      maxStaleness: 100,
      refreshEvery: 20,
    });
    on = await flowBench(fence);
  });
  afterEach(async () => {
    await on[Symbol.asyncDispose]();
    fence.close();
  });

  it('holds a flow of a frozen tenant, and lets it go on', async () => {
    await acme(() => on.flows().add(REPORT));
    await fence.freeze('acme');
    await expect(acme(() => on.flows().add(single({})))).rejects.toMatchObject({ code: 'TENANT_FENCED' });
    const ran: string[] = [];
    const run = (job: { readonly id?: string | undefined }) => Promise.resolve(ran.push(job.id ?? ''));
    const [mail, reports] = [on.worker('mail', run), on.worker('reports', run)];
    // A flow of somebody else goes through meanwhile.
    const others = Promise.all([finished(mail, 1), finished(reports, 1)]);
    await withTenant('acme2', () => on.flows().add(single({}, 'x')));
    await others;
    expect(ran).toEqual(['x', 'r']);
    const own = Promise.all([finished(mail, 2), finished(reports, 1)]);
    await fence.unfreeze('acme');
    await own;
    expect(ran.slice(2).toSorted()).toEqual(['a', 'b', 'r']);
  });

  it('fails the children of an erased tenant, and none of them sets its parent free', async () => {
    await acme(() => on.flows().add(single({ failParentOnFailure: true })));
    await fence.freeze('acme');
    await fence.markErased('acme');
    await expect(acme(() => on.flows().add(REPORT))).rejects.toMatchObject({ code: 'TENANT_FENCED' });
    const mail = on.worker('mail', async () => 'ran');
    const reports = on.worker('reports', async () => 'ran');
    expect(await finished(mail, 1)).toMatchObject([{ event: 'failed', error: { reason: 'fenced' } }]);
    const done = finished(reports, 1);
    await withTenant('acme2', () => on.queue('reports').add('n', {}, { jobId: 'twin' }));
    expect(await done).toMatchObject([{ event: 'completed', id: 'twin' }]);
    expect(await on.redis.zrange('bull:reports~acme:waiting-children', 0, '-1')).toEqual(['acme~r']);
  });
});

describe('erasing and auditing flows', () => {
  let on: FlowBench;
  beforeAll(async () => {
    on = await flowBench();
  });
  afterEach(() => on.reset());
  afterAll(() => on[Symbol.asyncDispose]());

  const erase = async (queue: string): Promise<void> => {
    const eraser = queueEraser(on.redis, { queues: [queue] });
    await eraser.erase(
      { tenant: 'acme' },
      {
        signal: new AbortController().signal,
        checkpoint: { load: async () => undefined, save: async () => undefined },
        progress: () => undefined,
      },
    );
    const found = await eraser.verify({ tenant: 'acme' });
    expect(isVerified(found)).toBe(true);
  };
  const audit = async (): Promise<unknown> => {
    const found: unknown[] = [];
    const auditor = queueAuditor(on.redis, { queues: ['mail', 'reports'], signingKeys: [KEY] });
    for await (const { code, name } of auditor.audit(new AbortController().signal)) found.push([code, name]);
    return found;
  };

  it('the parent’s queue first: its children run, tell nobody, and bring nothing back', async () => {
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => on.flows().add(REPORT));
    expect(await audit()).toEqual([]);
    await erase('reports');
    expect(await audit()).toEqual([
      ['orphaned_child', expect.stringMatching(/^bull:mail~acme:acme~[ab]$/)],
      ['orphaned_child', expect.stringMatching(/^bull:mail~acme:acme~[ab]$/)],
    ]);
    const mail = on.worker('mail', async () => 1);
    expect((await finished(mail, 4)).map(({ event }) => event)).toEqual(
      Array.from({ length: 4 }, () => 'completed'),
    );
    await mail.close();
    // The other tenant's parent is noted, with nobody there yet who would take a note away.
    expect(await on.redis.zrange('bull:reports~:ready', 0, '-1')).toEqual(['acme2']);
    const reports = on.worker('reports', async () => 2);
    await finished(reports, 1);
    await reports.close();
    for (const key of await on.redis.keys('bull:reports~*')) {
      expect(key).not.toContain('~acme:');
      if ((await on.redis.type(key)) === 'zset')
        expect(await on.redis.zrange(key, 0, '-1')).not.toContain('acme');
    }
    await erase('mail');
    expect(await on.redis.keys('*~acme:*')).toEqual([]);
  });

  it('the children’s queue first: the parent waits until its own is erased', async () => {
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => on.flows().add(REPORT));
    await erase('mail');
    expect(await audit()).toEqual([['orphaned_parent', 'bull:reports~acme:acme~r']]);
    const parent = await acme(() => on.queue('reports').getJob('r'));
    expect(await acme(async () => parent?.getChildrenValues())).toEqual({});
    const mail = on.worker('mail', async () => 1);
    const reports = on.worker('reports', async () => 2);
    expect((await Promise.all([finished(mail, 2), finished(reports, 1)])).flat()).toHaveLength(3);
    await erase('reports');
    expect(await on.redis.keys('*~acme:*')).toEqual([]);
  });

  it('a parent that waits for nobody is found', async () => {
    await acme(async () => {
      await on.flows().add(single({}));
      await expect(on.flows().add({ ...single({}), opts: { jobId: 'r2' } })).rejects.toMatchObject({
        code: -7,
      });
    });
    expect(await audit()).toEqual([['orphaned_parent', 'bull:reports~acme:acme~r2']]);
  });

  it('a parent whose child was refused is found, and set free by hand', async () => {
    await acme(() => on.flows().add(single({})));
    await on.redis.hset('bull:mail~acme:acme~c', 'data', '{"n":9}');
    const mail = on.worker('mail', async () => 1);
    await finished(mail, 1);
    expect(await audit()).toContainEqual(['orphaned_parent', 'bull:reports~acme:acme~r']);
    const reports = on.worker('reports', async () => 'free', on.asleep);
    const done = finished(reports, 1);
    await acme(async () => (await on.queue('reports').getJob('r'))?.removeUnprocessedChildren());
    expect(await done).toMatchObject([{ event: 'completed', result: 'free' }]);
  });
});
