import { generateKeyPairSync } from 'node:crypto';
import type { Redis } from 'ioredis';
import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type Auditor,
  type EraseProgress,
  type ErasureScope,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Queue, queueAuditor, queueEraser } from '@tenantkit/queue';
import { POOL, placed, type Placed } from './place-support.ts';
import { KEY, OTHER_KEY, bench, type Bench } from './support.ts';

let of: Placed<Bench>;
let on: Bench;
/** Another Redis, in which one of the queues is. */
let there: Redis;
beforeAll(async () => {
  of = await placed(bench);
  ({ on, there } = of);
});
afterEach(() => of.reset());
afterAll(() => of[Symbol.asyncDispose]());

const { privateKey } = generateKeyPairSync('ed25519');
const ADA = { tenant: 'acme', subject: 'ada' };
const BOB = { tenant: 'acme', subject: 'bob' };
/** Another tenant, with the same ids of jobs and of a person. */
const ELSEWHERE = { tenant: 'acme2', subject: 'ada' };

let mails: Queue;
let reports: Queue;
let bills: Queue;
/** Three queues with keys, a prefix, names and a place of their own, which hold jobs of the same ids. */
beforeEach(async () => {
  mails = on.queue('mail');
  reports = on.queue('reports', {
    prefix: '{r}',
    tenant: { signingKeys: [{ kid: 'pair', privateKey }], names: 't.{tenant}.' },
  });
  bills = on.queue('bills', {
    tenant: {
      signingKeys: [OTHER_KEY],
      place: (id) => (id === 'acme' ? { level: 'silo', connection: { url: of.silo.url } } : POOL),
    },
  });
  for (const queue of [mails, reports, bills]) {
    for (const who of [ADA, BOB, ELSEWHERE])
      await withTenant(who, () => queue.add('n', {}, { jobId: who.subject, delay: 60_000 }));
  }
});

/** The jobs that are stored, by queue. */
async function stored(): Promise<unknown> {
  const found = [...(await on.redis.keys('*')), ...(await there.keys('*'))];
  return found.filter((key) => /acme2?[~.](ada|bob)$/.test(key)).toSorted();
}

const jobs = (items: readonly { readonly kind: string; readonly count: number }[]): number | undefined =>
  items.find(({ kind }) => kind === 'jobs')?.count;

const OTHERS = ['bull:bills~acme2:acme2~ada', 'bull:mail~acme2:acme2~ada', '{r}:reports~acme2:t.acme2.ada'];

describe('the eraser of several Queues', () => {
  it('takes a tenant out of each, wherever it is, and leaves the others', async () => {
    const eraser = queueEraser([mails, reports, bills]);
    expect([eraser.store, eraser.subjects]).toEqual(['queue', 'supported']);
    expect(jobs((await eraser.plan({ tenant: 'acme' })).items)).toBe(6);
    const before = await eraser.verify({ tenant: 'acme' });
    expect([isVerified(before), jobs(before.remaining)]).toEqual([false, 6]);
    const seen: EraseProgress[] = [];
    const outcome = await eraser.erase({ tenant: 'acme' }, { progress: (step) => void seen.push(step) });
    expect([outcome.store, jobs(outcome.erased), outcome.kept]).toEqual(['queue', 6, []]);
    expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).toSorted((a, b) => a - b));
    expect(seen.at(-1)?.done).toBe(6);
    expect(await stored()).toEqual(OTHERS);
    const after = await eraser.verify({ tenant: 'acme' });
    expect(isVerified(after)).toBe(true);
    // The third is in two places.
    expect(after.control).toMatchObject({ planted: 4, found: 4 });
    expect(after.control.method).toMatch(/in each of 3 queues/);
  });

  it('takes one person out of each, with the keys of each', async () => {
    const eraser = queueEraser([mails, reports, bills], { store: 'queue:all' });
    expect(await eraser.plan(ADA)).toMatchObject({ store: 'queue:all', kept: [] });
    expect(jobs((await eraser.plan(ADA)).items)).toBe(3);
    expect(jobs((await eraser.erase(ADA)).erased)).toBe(3);
    const { remaining, kept, store } = await eraser.verify(ADA);
    expect([jobs(remaining), kept, store]).toEqual([0, [], 'queue:all']);
    expect(await stored()).toEqual(
      [
        ...OTHERS,
        'bull:bills~acme:acme~bob',
        'bull:mail~acme:acme~bob',
        '{r}:reports~acme:t.acme.bob',
      ].toSorted(),
    );
  });

  it('counts what nobody can tell once, over all of them', async () => {
    await on.redis.hset('bull:mail~acme:acme~bob', 'data', '{"of":"somebody"}');
    await on.redis.hset('{r}:reports~acme:t.acme.bob', 'data', '{"of":"somebody"}');
    const { kept } = await queueEraser([mails, reports]).plan(ADA);
    expect(kept).toMatchObject([{ kind: 'jobs', count: 2 }]);
  });

  it('says of each queue by itself what a worker of it is processing', async () => {
    const more = on.queue('more');
    const hold = Promise.withResolvers<undefined>();
    const begun = [mails, more].map(async (queue) => {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      on.worker(queue.name, () => {
        resolve(undefined);
        return hold.promise;
      });
      await withTenant(BOB, () => queue.add('n', {}, { jobId: 'held' }));
      return promise;
    });
    await Promise.all(begun);
    const eraser = queueEraser([mails, more], { activeTimeout: 0 });
    const { kept, erased } = await eraser.erase({ tenant: 'acme' });
    hold.resolve(undefined);
    expect(jobs(erased)).toBe(2);
    expect(kept.map(({ count, why }) => [count, /queue (\w+) is/.exec(why)?.[1]])).toEqual([
      [1, 'mail'],
      [1, 'more'],
    ]);
  });

  it('goes on in the queue in which it was stopped, also when the list is another one by then', async () => {
    const stop = new AbortController();
    let saved: string | undefined;
    const checkpoint = {
      load: async () => saved,
      async save(text: string) {
        saved = text;
        if (/reports/.test(text)) stop.abort(new Error('stopped'));
      },
    };
    const run = { signal: stop.signal, checkpoint };
    await expect(queueEraser([mails, reports]).erase({ tenant: 'acme' }, run)).rejects.toThrow('stopped');
    expect(await on.redis.exists('bull:mail~acme:acme~ada')).toBe(0);
    const again = await queueEraser([bills, reports, mails]).erase({ tenant: 'acme' }, { checkpoint });
    expect(jobs(again.erased)).toBe(6);
    expect(await stored()).toEqual(OTHERS);
  });

  it('begins nothing when it is told to stop before', async () => {
    const signal = AbortSignal.abort(new Error('stopped'));
    const eraser = queueEraser([mails, reports]);
    await expect(eraser.erase({ tenant: 'acme' }, { signal })).rejects.toThrow('stopped');
    expect(await stored()).toHaveLength(9);
  });

  it('erases what it was told to, although the caller changes it meanwhile', async () => {
    const scope = { ...ADA };
    const checkpoint = {
      load: async () => undefined,
      save: async () => void (scope.subject = 'bob'),
    };
    await queueEraser([mails, reports]).erase(scope, { checkpoint });
    expect(await on.redis.exists('{r}:reports~acme:t.acme.bob', 'bull:mail~acme:acme~bob')).toBe(2);
    expect(await on.redis.exists('{r}:reports~acme:t.acme.ada', 'bull:mail~acme:acme~ada')).toBe(0);
  });

  it('is refused inside a tenant, and for what is no tenant or no person', async () => {
    const eraser = queueEraser([mails, reports]);
    const unsaid = Object.assign({ tenant: 'acme' }, { subject: undefined }) as unknown as ErasureScope;
    for (const call of ['plan', 'erase', 'verify'] as const) {
      await expect(withTenant('acme', () => eraser[call](ADA))).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
      });
      await expect(eraser[call]({ tenant: 'a:b' })).rejects.toMatchObject({ code: 'TENANT_INVALID' });
      await expect(eraser[call](unsaid)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
      });
    }
    expect(await stored()).toHaveLength(9);
  });
});

describe('the auditor of several Queues', () => {
  async function look(auditor: Auditor): Promise<readonly unknown[]> {
    const found: unknown[] = [];
    for await (const { store, code, name } of auditor.audit()) found.push([store, code, name]);
    return found;
  }

  it('verifies what each holds with the keys of each, wherever it is', async () => {
    const auditor = queueAuditor([mails, reports, bills]);
    expect(await look(auditor)).toEqual([]);
    await on.redis.hset('bull:mail~acme:acme~ada', 'data', '{"of":"somebody"}');
    await on.redis.hset('{r}:reports~acme2:t.acme2.ada', 'data', '{"of":"somebody"}');
    await there.hset('bull:bills~acme:acme~bob', 'data', '{"of":"somebody"}');
    expect(await look(auditor)).toEqual([
      ['queue', 'invalid_signature', 'bull:mail~acme:acme~ada'],
      ['queue', 'invalid_signature', '{r}:reports~acme2:t.acme2.ada'],
      ['queue', 'invalid_signature', 'bull:bills~acme:acme~bob'],
    ]);
  });

  it('takes the keys of a Queue that was given alone', async () => {
    expect(await look(queueAuditor(mails))).toEqual([]);
    const told = queueAuditor(on.redis, { queues: ['mail'], signingKeys: [OTHER_KEY] });
    expect(await look(told)).toHaveLength(3);
    expect(() => queueAuditor(mails, { queues: ['mail', 'more'] })).toThrow(/keys of more are not known/);
    expect(() => queueAuditor(mails, { queues: ['mail', 'more'], signingKeys: [KEY] })).not.toThrow();
  });

  it('looks at all of them with the registry and the name of the whole', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      await fence.markErased('acme2');
      expect(await look(queueAuditor([mails, reports], { fence, store: 'queue:all' }))).toEqual([
        ['queue:all', 'erased_tenant_job', 'bull:mail~acme2:acme2~ada'],
        ['queue:all', 'erased_tenant_job', '{r}:reports~acme2:t.acme2.ada'],
      ]);
    } finally {
      fence.close();
    }
  });
});

describe('a list of Queues', () => {
  const makers = { queueEraser, queueAuditor } as unknown as Record<
    string,
    (queues: unknown, options?: unknown) => unknown
  >;

  it.each(Object.keys(makers))('%s takes Queues of ours only, each once, with a client', (name) => {
    const make = makers[name] ?? (() => expect.unreachable());
    expect(() => make([mails, reports, bills])).not.toThrow();
    const twin = on.queue('mail', { prefix: 'twin' });
    const own = on.queue('own', { connection: { url: on.url } });
    const wrong: readonly (readonly [unknown, RegExp])[] = [
      [[], /empty/],
      [[mails, twin], /two Queues of the list are called mail/],
      [[mails, mails], /two Queues of the list are called mail/],
      [[mails, on.raw('more')], /entry 1 of the list/],
      [[on.worker('mail', async () => undefined)], /entry 0 of the list/],
      [[on.redis], /entry 0 of the list/],
      [[undefined], /entry 0 of the list/],
      [[own], /the Queue own was not made with an ioredis client/],
    ];
    for (const [queues, problem] of wrong) {
      expect(() => make(queues)).toThrow(problem);
      expect(() => make(queues)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
    }
    for (const option of ['queues', 'prefix', 'names', 'place', 'signingKeys'])
      expect(() => make([mails], { [option]: 'x' })).toThrow(`unknown option "${option}"`);
  });

  it('is refused as well when a client is given two names that are one', () => {
    expect(() => queueEraser(on.redis, { queues: ['mail', 'more', 'mail'] })).toThrow(/mail is named twice/);
  });

  it('is what an eraser asks for that lacks the keys of one of its queues', async () => {
    const eraser = queueEraser(mails, { queues: ['mail', 'reports'] });
    expect(eraser.subjects).toEqual({ unsupported: expect.stringContaining('those of reports are') });
    await expect(eraser.plan(ADA)).rejects.toThrow(/those of reports are not known[^]*\[mails, reports\]/);
  });
});
