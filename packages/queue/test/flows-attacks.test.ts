import { OperationRefusedError, acrossTenants, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FlowJob, JobJson } from '@tenantkit/queue';
import { canonicalJson } from '../src/canonical.ts';
import { HEADER, signHeader } from '../src/header.ts';
import { queueKeyRing } from '../src/keys.ts';
import { REPORT, flowBench, single, type FlowBench } from './flows-support.ts';
import { KEY, OPERATOR, audited, finished } from './support.ts';

let on: FlowBench;
beforeAll(async () => {
  on = await flowBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const acme = <T>(fn: () => T): T => withTenant('acme', fn);
const CHILD = 'bull:mail~acme:acme~c';
const PARENT = 'bull:reports~acme:acme~r';
const VICTIM = 'bull:reports~acme2:acme2~r';
const all = async (): Promise<unknown> => [
  await on.lane('mail', 'acme'),
  await on.lane('reports', 'acme'),
  await on.lane('mail', 'acme2'),
  await on.lane('reports', 'acme2'),
];

/** Two tenants with the same flow each. */
async function flows(): Promise<void> {
  for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => on.flows().add(single({})));
}

/** Refused by us, or by BullMQ's script, which finds no such parent. */
const REFUSED = { code: expect.toBeOneOf(['OPERATION_REFUSED', 'CONFIG_INVALID', -5]) as unknown };

describe('a tenant', () => {
  /** What it may write into a job to get at a job of another tenant. */
  const PARENTS: Record<string, { readonly id: unknown; readonly queue: unknown }> = {
    'a physical id': { id: 'acme2~r', queue: 'bull:reports' },
    'another lane': { id: 'r', queue: 'bull:reports~acme2' },
    both: { id: 'acme2~r', queue: 'bull:reports~acme2' },
    'a key behind the id': { id: 'x:acme2~r', queue: 'bull:reports' },
    'a key behind the queue': { id: 'r', queue: 'bull:reports~acme2:x' },
    'an id that climbs out': { id: '../acme2~r', queue: 'bull:reports' },
    'another prefix': { id: 'acme2~r', queue: 'raw:reports' },
    'no queue': { id: 'r', queue: 'bull:' },
    'no prefix': { id: 'r', queue: 'reports' },
    'an empty queue': { id: 'r', queue: '' },
    'an empty id': { id: '', queue: 'bull:reports' },
    'an integer': { id: '7', queue: 'bull:reports' },
    'a job of a scheduler': { id: 'repeat:s:1732000000000', queue: 'bull:reports' },
    'a lone surrogate': { id: '\ud800', queue: 'bull:reports' },
    'an object': { id: { toString: () => 'r' }, queue: 'bull:reports' },
    'a list': { id: 'r', queue: ['bull:reports'] },
  };

  it.each(Object.entries(PARENTS))('has no parent by %s', async (_what, parent) => {
    await flows();
    const before = await all();
    await acme(async () => {
      const opts = { jobId: 'x', parent } as object;
      await expect(on.queue('mail').add('n', {}, opts)).rejects.toMatchObject(REFUSED);
      await expect(on.queue('mail').addBulk([{ name: 'n', data: {}, opts }])).rejects.toMatchObject(REFUSED);
      await expect(on.flows().add({ name: 'n', queueName: 'mail', opts })).rejects.toMatchObject(REFUSED);
    });
    expect(await all()).toEqual(before);
    await acme(() =>
      on.queue('mail').add('n', {}, { jobId: 'x', parent: { id: 'r', queue: 'bull:reports' } }),
    );
    expect(await on.redis.scard(`${PARENT}:dependencies`)).toBe(2);
  });

  const NODES: Record<string, object> = {
    'the lane of another': { queueName: 'reports~acme2' },
    'its own lane': { queueName: 'reports~acme' },
    'a queue with a colon': { queueName: 'reports:x' },
    'a queue without a name': { queueName: '' },
    'another prefix': { queueName: 'reports', prefix: 'raw' },
    'a prefix that is a lane': { queueName: 'acme2~x', prefix: 'bull:reports~acme2' },
    'an option that is refused': { queueName: 'reports', opts: { repeat: { every: 1_000 } } },
    'a header': { queueName: 'reports', opts: { [HEADER]: 'v1.k1.x.y' } },
    'a parent of another': {
      queueName: 'reports',
      opts: { parent: { id: 'r', queue: 'bull:reports~acme2' } },
    },
  };

  it.each(Object.entries(NODES))('adds no flow with %s, at whichever depth', async (_what, odd) => {
    await flows();
    const before = await all();
    const leaf = { name: 'n', ...odd } as FlowJob;
    const deep = (depth: number): FlowJob =>
      depth === 0 ? leaf : { name: 'n', queueName: 'mail', children: [deep(depth - 1)] };
    for (const depth of 'opts' in odd && 'parent' in Object(odd.opts) ? [0] : [0, 1, 5])
      await expect(acme(() => on.flows().add(deep(depth)))).rejects.toMatchObject(REFUSED);
    await expect(acme(() => on.flows().addBulk([REPORT, leaf]))).rejects.toMatchObject(REFUSED);
    expect(await all()).toEqual(before);
    expect(await on.redis.keys('raw:*')).toEqual([]);
  });

  it('reaches nothing through what a producer shows', async () => {
    await flows();
    const producer = on.flows();
    const backend = producer.getBackend();
    const entry = {
      jobData: { name: 'n', data: '{}', timestamp: 1, opts: {} } as JobJson,
      jobId: 'x',
      parentKeyOpts: {},
      prefix: 'bull',
      queueName: 'mail',
    };
    const before = await all();
    await acme(async () => {
      for (const call of [
        () => backend.client,
        () => backend.getJobData('r'),
        () => backend.execCommand({} as never, 'drain', []),
        () => backend.obliterate({ force: true, count: 1 }),
        () => backend.forQueue('reports~acme2'),
        () => backend.forQueue('reports', 'raw'),
        () => backend.addFlow([]),
        () => backend.addFlow([{ ...entry, prefix: 'raw' }]),
        () => backend.addFlow([{ ...entry, queueName: 'mail~acme2' }]),
        () => backend.addFlow([{ ...entry, jobId: 'a:b' }]),
        () => backend.addFlow([{ ...entry, jobData: { ...entry.jobData, parentKey: VICTIM } }]),
        () => backend.addFlow([{ ...entry, jobData: { ...entry.jobData, repeatJobKey: 's' } }]),
      ]) {
        await expect(Promise.resolve().then(call)).rejects.toMatchObject(REFUSED);
      }
      const reports = backend.forQueue('reports');
      await expect(
        Promise.resolve().then(() => Reflect.get(reports, 'client') as unknown),
      ).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
      expect(await reports.getJobData('r')).toMatchObject({ id: 'r' });
      expect(await reports.getJobData('acme2~r')).toBeUndefined();
      expect(() => Object.assign(producer, { backend: {} })).toThrow(TypeError);
      expect(() => Object.assign(producer.opts, { prefix: 'raw' })).toThrow(TypeError);
    });
    expect(() => backend.on('error', () => undefined)).toThrow(OperationRefusedError);
    expect(await all()).toEqual(before);
    expect(await acme(() => backend.addFlow([entry]))).toEqual([[null, 'x']]);
  });

  it('uses no job of a flow that another has made', async () => {
    const { job, children } = await acme(() => on.flows().add(REPORT));
    for (const one of [job, children?.[0]?.job ?? job]) {
      const calls: readonly (() => Promise<unknown>)[] = [
        () => one.getChildrenValues(),
        () => one.getIgnoredChildrenFailures(),
        () => one.getFailedChildrenValues(),
        () => one.getDependencies(),
        () => one.getDependenciesCount(),
        () => one.removeChildDependency(),
        () => one.removeUnprocessedChildren(),
        () => one.moveToWaitingChildren('token'),
      ];
      for (const call of calls) {
        await expect(withTenant('acme2', call)).rejects.toMatchObject({ code: 'TENANT_SWITCH' });
        await expect(call()).rejects.toMatchObject({ code: 'TENANT_MISSING' });
        await expect(acrossTenants(OPERATOR, call)).rejects.toMatchObject({ code: 'TENANT_SWITCH' });
      }
    }
    await acme(async () => {
      expect(await job.getDependenciesCount()).toMatchObject({ unprocessed: 2 });
      await expect(job.moveToWaitingChildren('0')).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
      await expect(job.getDependenciesCount({ others: true } as never)).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
      await expect(job.getDependencies({ processed: { cursor: '0' } } as never)).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
      await expect(job.moveToWaitingChildren('t', { child: { id: 7 } } as never)).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    });
  });

  it('is heard by no other in the events of a producer', async () => {
    const producer = on.flows();
    const heard: unknown[] = [];
    const listen = (who: string) => {
      // oxlint-disable-next-line typescript/no-unsafe-argument -- BullMQ's types leave out what jobs tell it
      producer.on('removed' as never, ((job: { id?: string }) => heard.push([who, job.id])) as never);
    };
    withTenant('acme2', () => listen('acme2'));
    acme(() => listen('acme'));
    const { job } = await acme(() => producer.add(REPORT));
    await acme(() => job.remove());
    expect(heard).toEqual([['acme', 'r']]);
  });

  it('cannot be its own parent, and a circle is not removed with its children', async () => {
    await acme(async () => {
      const mail = on.queue('mail');
      const parent = (id: string) => ({ parent: { id, queue: 'bull:mail' } });
      await expect(mail.add('n', {}, { jobId: 'a', ...parent('a') })).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
      await mail.add('n', {}, { jobId: 'a' });
      await mail.add('n', {}, { jobId: 'b', ...parent('a') });
      await mail.add('n', {}, { jobId: 'a', ...parent('b') });
      const job = await mail.getJob('a');
      await expect(job?.remove()).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
      await job?.remove({ removeChildren: false });
      expect(await mail.getJob('a')).toBeUndefined();
    });
  });
});

describe('whoever writes to Redis', () => {
  /** What is altered of a job that has a parent; it never runs, and its parent goes on waiting. */
  const ALTERED: Record<string, () => Promise<unknown>> = {
    'another parent': () => on.redis.hset(CHILD, 'parentKey', 'bull:reports~acme:acme~other'),
    'the parent of another tenant': () =>
      on.redis.hset(CHILD, 'parentKey', VICTIM, 'parent', '{"id":"acme2~r","queueKey":"bull:reports~acme2"}'),
    'another queue': () => on.redis.hset(CHILD, 'parent', '{"id":"acme~r","queueKey":"bull:reports~acme2"}'),
    'no parent': () => on.redis.hdel(CHILD, 'parentKey', 'parent'),
    'half a parent': () => on.redis.hdel(CHILD, 'parent'),
    'a parent that fails with it': () =>
      on.redis.hset(CHILD, 'parent', '{"id":"acme~r","queueKey":"bull:reports~acme","fpof":true}'),
    'other data': () => on.redis.hset(CHILD, 'data', '{"n":9}'),
    'no header': () => on.redis.hset(CHILD, 'opts', '{}'),
  };

  it.each(Object.entries(ALTERED))(
    '%s: the child fails, and feeds, frees and fails nobody',
    async (_what, alter) => {
      await flows();
      await alter();
      const ran: unknown[] = [];
      const reports = on.worker('reports', async (job) => ran.push(job.data));
      const mail = on.worker('mail', async () => 'fed', on.asleep);
      const own = finished(reports, 1);
      expect((await finished(mail, 2)).map(({ event }) => event).toSorted()).toEqual(['completed', 'failed']);
      // The twin of the other tenant, which nobody has touched, has freed its parent.
      expect(await own).toMatchObject([{ event: 'completed', id: 'r' }]);
      expect(ran).toHaveLength(1);
      expect(await on.redis.zscore('bull:reports~acme:waiting-children', 'acme~r')).not.toBeNull();
      expect(await on.redis.exists(`${PARENT}:processed`, `${PARENT}:failed`, `${PARENT}:unsuccessful`)).toBe(
        0,
      );
      expect(await on.redis.hexists(PARENT, 'defa')).toBe(0);
      expect(await on.redis.smembers(`${PARENT}:dependencies`)).toEqual([CHILD]);
    },
  );

  /** Writes a key under the parent of `acme`, in each place in which BullMQ keeps children. */
  const forge = (key: string): Promise<unknown> =>
    on.redis
      .multi()
      .sadd(`${PARENT}:dependencies`, key)
      .hset(`${PARENT}:processed`, key, '"secret"')
      .hset(`${PARENT}:failed`, key, 'secret')
      .zadd(`${PARENT}:unsuccessful`, 1, key)
      .exec();

  const FORGED: Record<string, () => Promise<string>> = {
    'a child of another tenant': async () => 'bull:mail~acme2:acme2~c',
    'the parent of another tenant': async () => VICTIM,
    'a job in the wrong lane': async () => {
      await on.redis.copy('bull:mail~acme2:acme2~c', 'bull:mail~acme:acme2~c');
      return 'bull:mail~acme:acme2~c';
    },
    'a job of its own that has no parent': async () => {
      await acme(() => on.queue('mail').add('n', {}, { jobId: 'lone' }));
      return 'bull:mail~acme:acme~lone';
    },
    'a child of another job of its own': async () => {
      await acme(() => on.flows().add({ ...single({}, 'd'), opts: { jobId: 'r2' } }));
      return 'bull:mail~acme:acme~d';
    },
    'a forged job': async () => {
      await on.raw('mail~acme').add('n', {}, { jobId: 'acme~forged' });
      await on.redis.hset('bull:mail~acme:acme~forged', 'parentKey', PARENT);
      return 'bull:mail~acme:acme~forged';
    },
    'a key of the queue': async () => 'bull:mail~acme2:wait',
    'a key of anything': async () => 'session:1',
    'no key': async () => '',
  };

  it.each(Object.entries(FORGED))('%s is no child, and is not removed as one', async (_what, make) => {
    await flows();
    await on.redis.set('session:1', 'x');
    const key = await make();
    await forge(key);
    const parent = await acme(() => on.queue('reports').getJob('r'));
    if (parent === undefined) throw new Error('not there');
    await acme(async () => {
      expect(await parent.getChildrenValues()).toEqual({});
      expect(await parent.getIgnoredChildrenFailures()).toEqual({});
      expect(await parent.getDependencies()).toEqual({
        processed: {},
        unprocessed: ['bull:mail:c'],
        ignored: {},
        failed: [],
      });
      const page = { cursor: 0, count: 10 };
      expect(
        await parent.getDependencies({ processed: page, unprocessed: page, ignored: page, failed: page }),
      ).toMatchObject({ processed: {}, unprocessed: ['bull:mail:c'], ignored: {}, failed: [] });
      const tree = await on.flows().getFlow({ id: 'r', queueName: 'reports' });
      expect(tree.children?.map(({ job }) => job.id)).toEqual(['c']);
    });
    const before = [
      await on.redis.dump(key),
      await on.lane('mail', 'acme2'),
      await on.lane('reports', 'acme2'),
    ];
    await acme(() => parent.removeUnprocessedChildren());
    expect(await on.redis.exists(CHILD)).toBe(0);
    await forge(key);
    await acme(() => parent.remove());
    expect(await on.redis.exists(PARENT)).toBe(0);
    expect([
      await on.redis.dump(key),
      await on.lane('mail', 'acme2'),
      await on.lane('reports', 'acme2'),
    ]).toEqual(before);
  });

  it('can write what a parent reads: a value is as Redis has it', async () => {
    await acme(() => on.flows().add(single({ removeOnComplete: true })));
    const mail = on.worker('mail', async () => 'genuine', on.asleep);
    await finished(mail, 1);
    await on.redis.hset(`${PARENT}:processed`, CHILD, '"edited"');
    // Of a child that was removed nothing is left to verify: any name of the tenant's own may stand there.
    await on.redis.hset(`${PARENT}:processed`, 'bull:mail~acme:acme~made-up', '1');
    await on.redis.hset(`${PARENT}:processed`, 'bull:mail~acme2:acme2~made-up', '2');
    await on.redis.hset(`${PARENT}:processed`, 'bull:mail~acme:acme~broken', '{');
    const parent = await acme(() => on.queue('reports').getJob('r'));
    expect(await acme(async () => parent?.getChildrenValues())).toEqual({
      'bull:mail:c': 'edited',
      'bull:mail:made-up': 1,
    });
    const error = await acme(async () => parent?.getDependencies().catch((caught: unknown) => caught));
    expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
  });

  it('makes no job that has the parent of another tenant, also with the key', async () => {
    await flows();
    const ring = queueKeyRing([{ kid: KEY.kid, secret: KEY.secret ?? '' }], 'bull', 'mail');
    const parent = { id: 'acme2~r', queueKey: 'bull:reports~acme2', fpof: true };
    const job = {
      prefix: 'bull',
      queue: 'mail',
      name: 'n',
      id: 'acme~x',
      scheduler: '',
      deduplication: '',
      data: '{}',
    };
    const header = signHeader(
      ring,
      { tenant: 'acme', issuedAt: 1 },
      {
        ...job,
        parentKey: VICTIM,
        parent: canonicalJson(parent),
        options: '{}',
      },
    );
    await on.redis.hset('bull:mail~acme:acme~x', {
      name: 'n',
      data: '{}',
      opts: JSON.stringify({ [HEADER]: header }),
      timestamp: '1',
      parentKey: VICTIM,
      parent: JSON.stringify(parent),
    });
    await on.redis.sadd(`${VICTIM}:dependencies`, 'bull:mail~acme:acme~x');
    await on.redis.lpush('bull:mail~acme:wait', 'acme~x');
    const mail = on.worker('mail', async () => 'ran');
    const done = await finished(mail, 3);
    expect(done.filter(({ event }) => event === 'failed')).toMatchObject([{ error: { reason: 'mismatch' } }]);
    expect(await on.redis.hexists(VICTIM, 'defa')).toBe(0);
    expect(await on.redis.smembers(`${VICTIM}:dependencies`)).toEqual(['bull:mail~acme:acme~x']);
  });

  it('gets no forged job signed by adding it as a child', async () => {
    await acme(() => on.queue('reports').add('hold', {}, { jobId: 'r' }));
    await on.raw('mail~acme').add('n', { forged: true }, { jobId: 'acme~c' });
    const before = await on.redis.hgetall(CHILD);
    const parent = { id: 'r', queue: 'bull:reports' };
    await acme(async () => {
      await expect(on.queue('mail').add('n', {}, { jobId: 'c', parent })).rejects.toMatchObject({
        code: 'SIGNATURE_INVALID',
      });
    });
    expect(await on.redis.hgetall(CHILD)).toEqual(before);
    expect(await on.redis.exists(`${PARENT}:dependencies`)).toBe(0);
  });

  it('has its events told as refused', async () => {
    await flows();
    await forge('bull:mail~acme:acme~forged');
    await on.redis.hset('bull:mail~acme:acme~forged', 'name', 'n');
    using refused = audited('refused');
    const parent = await acme(() => on.queue('reports').getJob('r'));
    await acme(async () => parent?.getChildrenValues());
    expect(refused.events).toMatchObject([
      { tenantid: 'acme', data: { unmapped: { queue: 'mail', reason: 'missing' } } },
    ]);
  });
});
