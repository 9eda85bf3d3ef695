import { inspect } from 'node:util';
import { currentTenant, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { KEY, OTHER_KEY, audited, bench, finished, type Bench } from './support.ts';

/** Stands in the data of the victim; must not be seen anywhere. */
const PAYLOAD = 'the-payload-of-the-victim';
const VICTIM = 'bull:mail~acme:acme~victim';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const options = async (key = VICTIM): Promise<Record<string, unknown>> =>
  JSON.parse((await on.redis.hget(key, 'opts')) ?? '') as Record<string, unknown>;
const setOptions = async (changed: Record<string, unknown>, key = VICTIM): Promise<unknown> =>
  on.redis.hset(key, 'opts', JSON.stringify(changed));
const headerParts = async (): Promise<string[]> => String((await options())['tk!']).split('.');
const setHeader = async (parts: readonly string[]): Promise<unknown> =>
  setOptions({ ...(await options()), 'tk!': parts.join('.') });
/** Changes one claim, and keeps the rest of the header. */
const setClaim = async (index: number, value: unknown): Promise<void> => {
  const [version = '', kid = '', claims = '', mac = ''] = await headerParts();
  const list = JSON.parse(Buffer.from(claims, 'base64url').toString()) as unknown[];
  list[index] = value;
  await setHeader([version, kid, Buffer.from(JSON.stringify(list)).toString('base64url'), mac]);
};
/** Takes the victim out of its lane and puts a copy into a lane, as the work that is to be done next. */
const moveTo = async (lane: string, id: string, extra: Record<string, string> = {}): Promise<void> => {
  const hash = await on.redis.hgetall(VICTIM);
  await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
  await on.redis.hset(`${lane}:${id}`, { ...hash, ...extra });
  await on.redis.lpush(`${lane}:wait`, id);
  const [queue = '', tenant = ''] = lane.split('~');
  await on.redis.zadd(`${queue}~:ready`, 0, tenant);
  await on.redis.zadd(`${queue}~:wake`, 0, '0');
};

interface Attack {
  readonly reason: string;
  /** The worker that meets the job, where it is not that of the queue. */
  readonly at?: { readonly queue: string; readonly prefix?: string };
  /** Where the attack has put the job. */
  readonly id?: string;
  /** In whose lane, where it is not the victim's. */
  readonly lane?: string;
  act(): Promise<unknown>;
}

const ATTACKS: Readonly<Record<string, Attack>> = {
  'name edited': { reason: 'mismatch', act: () => on.redis.hset(VICTIM, 'name', 'other') },
  'name removed': { reason: 'mismatch', act: () => on.redis.hdel(VICTIM, 'name') },
  'data edited': { reason: 'mismatch', act: () => on.redis.hset(VICTIM, 'data', '{"amount":1000}') },
  'data edited by one space': {
    reason: 'mismatch',
    act: async () => on.redis.hset(VICTIM, 'data', `${await on.redis.hget(VICTIM, 'data')} `),
  },
  'data with its keys in another order': {
    reason: 'mismatch',
    act: () => on.redis.hset(VICTIM, 'data', `{"second":2,"payload":"${PAYLOAD}"}`),
  },
  'data removed': { reason: 'mismatch', act: () => on.redis.hdel(VICTIM, 'data') },
  'data that is no JSON': { reason: 'mismatch', act: () => on.redis.hset(VICTIM, 'data', `{${PAYLOAD}`) },
  'a scheduler added': { reason: 'mismatch', act: () => on.redis.hset(VICTIM, 'rjk', 'acme~s') },
  'a deduplication id added': { reason: 'mismatch', act: () => on.redis.hset(VICTIM, 'deid', 'acme2~d') },
  'a parent key added': {
    reason: 'mismatch',
    act: () => on.redis.hset(VICTIM, 'parentKey', 'bull:mail~acme2:acme2~p'),
  },
  'a parent added': {
    reason: 'mismatch',
    act: () => on.redis.hset(VICTIM, 'parent', '{"id":"acme2~p","queueKey":"bull:mail","fpof":true}'),
  },
  'a parent that is no JSON': {
    reason: 'malformed',
    act: () => on.redis.hset(VICTIM, 'parent', `{${PAYLOAD}`),
  },
  'options that are no JSON': {
    reason: 'malformed',
    act: () => on.redis.hset(VICTIM, 'opts', `{${PAYLOAD}`),
  },
  'options that are a list': { reason: 'malformed', act: () => on.redis.hset(VICTIM, 'opts', '[]') },
  'options that are null': { reason: 'malformed', act: () => on.redis.hset(VICTIM, 'opts', 'null') },
  'options that are too deep': {
    reason: 'malformed',
    act: async () =>
      on.redis.hset(
        VICTIM,
        'opts',
        `{"tk!":"${String((await options())['tk!'])}","x":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
      ),
  },
  'options removed': { reason: 'missing', act: () => on.redis.hdel(VICTIM, 'opts') },
  'the hash removed': { reason: 'missing', act: () => on.redis.del(VICTIM) },
  'header removed': {
    reason: 'missing',
    act: async () => {
      const { 'tk!': _header, ...rest } = await options();
      return setOptions(rest);
    },
  },
  'header of another type': {
    reason: 'malformed',
    act: async () => setOptions({ ...(await options()), 'tk!': {} }),
  },
  'header empty': { reason: 'malformed', act: async () => setOptions({ ...(await options()), 'tk!': '' }) },
  'header of another job': {
    reason: 'mismatch',
    act: async () =>
      setOptions({ ...(await options()), 'tk!': (await options('bull:mail~acme:acme~twin'))['tk!'] }),
  },
  'header and data of another job': {
    reason: 'mismatch',
    act: async () => on.redis.hset(VICTIM, await on.redis.hgetall('bull:mail~acme:acme~twin')),
  },
  'header of another tenant’s job': {
    reason: 'mismatch',
    act: async () =>
      setOptions({ ...(await options()), 'tk!': (await options('bull:mail~acme2:acme2~victim'))['tk!'] }),
  },
  'version edited': {
    reason: 'malformed',
    act: async () => setHeader(['v2', ...(await headerParts()).slice(1)]),
  },
  'key id of no key': {
    reason: 'unknownKey',
    act: async () => setHeader(['v1', 'k9', ...(await headerParts()).slice(2)]),
  },
  'key id of another key': {
    reason: 'mismatch',
    act: async () => setHeader(['v1', OTHER_KEY.kid, ...(await headerParts()).slice(2)]),
  },
  'attempts that are no count': { reason: 'malformed', act: () => on.redis.hset(VICTIM, 'atm', '-1e9') },
  'attempts that are empty': { reason: 'malformed', act: () => on.redis.hset(VICTIM, 'atm', '') },
  'stalls that are no count': { reason: 'malformed', act: () => on.redis.hset(VICTIM, 'stc', '1e308') },
  'tenant edited': { reason: 'mismatch', act: () => setClaim(0, 'acme2') },
  'subject edited': { reason: 'mismatch', act: () => setClaim(1, 'p2') },
  'subject removed': { reason: 'mismatch', act: () => setClaim(1, null) },
  'actor edited': { reason: 'mismatch', act: () => setClaim(2, 'eve') },
  'time edited': { reason: 'mismatch', act: () => setClaim(3, 1) },
  'MAC edited': {
    reason: 'mismatch',
    act: async () => {
      const parts = await headerParts();
      const mac = Buffer.from(parts[3] ?? '', 'base64url');
      mac[0] = (mac[0] ?? 0) ^ 1;
      return setHeader([...parts.slice(0, 3), mac.toString('base64url')]);
    },
  },
  'MAC cut': {
    reason: 'malformed',
    act: async () => {
      const parts = await headerParts();
      return setHeader([...parts.slice(0, 3), (parts[3] ?? '').slice(0, 20)]);
    },
  },
  'MAC with padding': {
    reason: 'malformed',
    act: async () => setHeader([(await headerParts()).join('.') + '=']),
  },
  'attempts edited': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), attempts: 99 }),
  },
  'attempts as text': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), attempts: '1' }),
  },
  'backoff added': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), backoff: { type: 'fixed', delay: 1 } }),
  },
  'delay added': { reason: 'mismatch', act: async () => setOptions({ ...(await options()), delay: 1 }) },
  'priority added': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), priority: 1 }),
  },
  'lifo added': { reason: 'mismatch', act: async () => setOptions({ ...(await options()), lifo: true }) },
  'removeOnComplete edited': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), removeOnComplete: { count: 0, age: 0 } }),
  },
  'removeOnFail added': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), removeOnFail: 1 }),
  },
  'keepLogs added': { reason: 'mismatch', act: async () => setOptions({ ...(await options()), kl: 1 }) },
  'telemetry added': { reason: 'mismatch', act: async () => setOptions({ ...(await options()), tm: 'x' }) },
  'failParentOnFailure added': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), fpof: true }),
  },
  'an option that nobody knows': {
    reason: 'mismatch',
    act: async () => setOptions({ ...(await options()), x: 1 }),
  },
  'an option removed': {
    reason: 'mismatch',
    act: async () => {
      const { removeOnComplete: _removed, ...rest } = await options();
      return setOptions(rest);
    },
  },
  'a prototype in the options': {
    reason: 'mismatch',
    act: async () =>
      on.redis.hset(
        VICTIM,
        'opts',
        `{"__proto__":{"attempts":9},${JSON.stringify(await options()).slice(1)}`,
      ),
  },
  'copied to another id': {
    reason: 'mismatch',
    id: 'acme~copy',
    act: () => moveTo('bull:mail~acme', 'acme~copy'),
  },
  'copied to another id, with the genuine id inside': {
    reason: 'mismatch',
    id: 'acme~copy',
    act: () => moveTo('bull:mail~acme', 'acme~copy', { id: 'acme~victim' }),
  },
  'copied to another tenant': {
    reason: 'mismatch',
    id: 'ac~victim',
    lane: 'ac',
    act: () => moveTo('bull:mail~ac', 'ac~victim', { id: 'acme~victim' }),
  },
  'copied into another tenant’s lane, under its own id': {
    reason: 'mismatch',
    lane: 'ac',
    act: () => moveTo('bull:mail~ac', 'acme~victim'),
  },
  'copied into another tenant’s lane, under an id that looks like a stray one': {
    reason: 'mismatch',
    id: 'ac~:acme~victim',
    lane: 'ac',
    act: () => moveTo('bull:mail~ac', 'ac~:acme~victim'),
  },
  'copied to an id of no tenant': {
    reason: 'mismatch',
    id: 'plain',
    act: () => moveTo('bull:mail~acme', 'plain'),
  },
  'copied to another queue': {
    reason: 'mismatch',
    at: { queue: 'other' },
    act: () => moveTo('bull:other~acme', 'acme~victim'),
  },
  'copied to another prefix': {
    reason: 'mismatch',
    at: { queue: 'mail', prefix: 'elsewhere' },
    act: () => moveTo('elsewhere:mail~acme', 'acme~victim'),
  },
  'signed with a key that the worker does not have': {
    reason: 'unknownKey',
    act: async () => {
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on.redis.del(VICTIM);
      const stranger = on.queue('mail', { tenant: { signingKeys: [{ ...OTHER_KEY, kid: 'k7' }] } });
      await withTenant('acme', () => stranger.add('n', { payload: PAYLOAD }, { jobId: 'victim' }));
    },
  },
  'signed with another secret under the same name': {
    reason: 'mismatch',
    act: async () => {
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on.redis.del(VICTIM);
      const stranger = on.queue('mail', { tenant: { signingKeys: [{ ...OTHER_KEY, kid: KEY.kid }] } });
      await withTenant('acme', () => stranger.add('n', { payload: PAYLOAD }, { jobId: 'victim' }));
    },
  },
  'added with raw BullMQ': {
    reason: 'missing',
    id: 'acme~evil',
    act: async () => {
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on.raw('mail~acme').add('n', { payload: PAYLOAD }, { jobId: 'acme~evil' });
    },
  },
  'added with raw BullMQ, with a header of its own': {
    reason: 'mismatch',
    id: 'acme~evil',
    act: async () => {
      const header = (await options())['tk!'];
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on
        .raw('mail~acme')
        .add('n', { payload: PAYLOAD }, { jobId: 'acme~evil', 'tk!': header } as object);
    },
  },
  'added with raw BullMQ, outside of any tenant': {
    reason: 'missing',
    id: '1',
    act: async () => {
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on.redis.set('bull:mail~acme:id', 0);
      await on.raw('mail~acme').add('n', { payload: PAYLOAD });
    },
  },
  'an id without a job': {
    reason: 'missing',
    id: 'acme~nothing',
    act: async () => {
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on.redis.lpush('bull:mail~acme:wait', 'acme~nothing');
    },
  },
  'marked as finished': { reason: 'replayed', act: () => on.redis.hset(VICTIM, 'finishedOn', '1') },
  'in the prioritized set': {
    reason: 'mismatch',
    act: async () => {
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on.redis.hset(VICTIM, 'name', 'other');
      await on.redis.zadd('bull:mail~acme:prioritized', 1, 'acme~victim');
    },
  },
  'in the delayed set': {
    reason: 'mismatch',
    act: async () => {
      await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~victim');
      await on.redis.hset(VICTIM, 'name', 'other');
      await on.redis.zadd('bull:mail~acme:delayed', 1, 'acme~victim');
    },
  },
};

describe('a hostile writer', () => {
  it.each(Object.entries(ATTACKS))('%s: never runs, and the unchanged twin does', async (_name, attack) => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) {
      await withTenant({ tenant, subject: 'p1', actor: 'ada' }, () =>
        queue.add(
          'n',
          { payload: PAYLOAD, second: 2 },
          { jobId: 'victim', attempts: 3, removeOnComplete: false },
        ),
      );
    }
    await withTenant({ tenant: 'acme', subject: 'p1', actor: 'ada' }, () =>
      queue.add('n', { twin: true }, { jobId: 'twin', attempts: 3 }),
    );
    await attack.act();

    using refusals = audited('refused');
    const shown: unknown[] = [];
    const ran: string[] = [];
    const tenant = { signingKeys: [KEY, OTHER_KEY] } as const;
    const worker = on.worker('mail', async (job) => void ran.push(`${currentTenant()?.tenant} ${job.id}`), {
      tenant,
      autorun: false,
    });
    const errors: Error[] = [];
    worker.on('error', (error) => void errors.push(error));
    const isElsewhere = attack.at !== undefined;
    const { queue: name, prefix } = attack.at ?? { queue: 'mail' };
    const target = isElsewhere
      ? on.worker(name, async (job) => void ran.push(`${currentTenant()?.tenant} ${job.id}`), {
          tenant,
          autorun: false,
          ...(prefix === undefined ? {} : { prefix }),
        })
      : worker;
    for (const event of ['active', 'completed', 'failed', 'progress', 'stalled'] as const) {
      target.on(event, (job: unknown, ...rest: unknown[]) => {
        const id = (job as { id?: string } | undefined)?.id;
        if (id !== 'twin' && !(id === 'victim' && currentTenant()?.tenant === 'acme2'))
          shown.push([event, job, ...rest]);
      });
    }

    const done = finished(worker, isElsewhere ? 2 : 3);
    const refused = isElsewhere ? finished(target, 1) : done;
    void worker.run();
    if (isElsewhere) void target.run();
    await done;
    const failures = (await refused).filter(({ event }) => event === 'failed');

    // The twin and the other tenant's job of the same id ran, each once; the victim did not.
    expect(ran.toSorted()).toEqual(['acme twin', 'acme2 victim']);
    expect(failures).toMatchObject([
      { id: undefined, error: { code: 'SIGNATURE_INVALID', reason: attack.reason } },
    ]);
    // Outside of any tenant there was one event without a job, and nobody saw what was in it.
    expect(shown).toMatchObject([['failed', undefined, { reason: attack.reason }, 'active']]);
    expect(inspect([shown, errors, refusals.events], { depth: 20 })).not.toContain(PAYLOAD);
    expect(errors).toEqual([]);
    expect(refusals.events.map(({ data }) => data.unmapped?.['reason'])).toEqual([attack.reason]);
    // It lies in failed, and was not tried again.
    const base = `${prefix ?? 'bull'}:${name}~${attack.lane ?? 'acme'}`;
    const id = attack.id ?? 'acme~victim';
    expect(await on.redis.zrange(`${base}:failed`, 0, '-1')).toEqual([id]);
    expect(await on.redis.hget(`${base}:${id}`, 'atm')).toBe('1');
    expect(await on.redis.hget(`${base}:${id}`, 'failedReason')).toContain(`not accepted (${attack.reason})`);
    expect(await on.redis.llen(`${base}:active`)).toBe(0);
  });

  it('a finished job that is put back does not run again', async () => {
    const queue = on.queue('mail');
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => void ran.push(job.id));
    const first = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await first;
    const second = finished(worker, 2);
    await on.redis.zrem('bull:mail~acme:completed', 'acme~one');
    await on.redis.lpush('bull:mail~acme:wait', 'acme~one');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'two' }));
    expect(
      (await second).map(({ event, error }) => [event, (error as { reason?: string } | undefined)?.reason]),
    ).toEqual([
      ['failed', 'replayed'],
      ['completed', undefined],
    ]);
    expect(ran).toEqual(['one', 'two']);
  });

  it('a refused job pulls no strings: parents and schedulers stay as they are, and only its own deduplication goes', async () => {
    const queue = on.queue('mail');
    await withTenant('acme2', () => queue.add('parent', {}, { jobId: 'p', delay: 60_000 }));
    await on.redis
      .multi()
      .zrem('bull:mail~acme2:delayed', 'acme2~p')
      .zadd('bull:mail~acme2:waiting-children', 1, 'acme2~p')
      .sadd('bull:mail~acme2:acme2~p:dependencies', 'bull:mail~acme2:acme~evil')
      .set('bull:mail~acme2:de:acme2~d', 'acme~evil')
      .zadd('bull:mail~acme2:repeat', Date.now() + 60_000, 'acme2~s')
      .hset('bull:mail~acme2:repeat:acme2~s', { name: 's', ic: '1', every: '60000' })
      .exec();
    await on.raw('mail~acme2').add('n', {}, { jobId: 'acme~evil' });
    await on.redis.hset('bull:mail~acme2:acme~evil', {
      parentKey: 'bull:mail~acme2:acme2~p',
      parent: JSON.stringify({ id: 'acme2~p', queueKey: 'bull:mail~acme2', fpof: true }),
      deid: 'acme2~d',
      rjk: 'acme2~s',
    });
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([{ event: 'failed', error: { reason: 'missing' } }]);
    expect(await on.redis.zrange('bull:mail~acme2:waiting-children', 0, '-1')).toEqual(['acme2~p']);
    expect(await on.redis.hget('bull:mail~acme2:acme2~p', 'defa')).toBeNull();
    expect(await on.redis.smembers('bull:mail~acme2:acme2~p:dependencies')).toEqual([
      'bull:mail~acme2:acme~evil',
    ]);
    expect(await on.redis.keys('bull:mail~acme2:de:*')).toEqual([]);
    expect(await on.redis.keys('bull:mail~acme2:repeat:*')).toEqual(['bull:mail~acme2:repeat:acme2~s']);
    expect(await on.redis.zrange('bull:mail~acme2:delayed', 0, '-1')).toEqual([]);
  });

  it('what is not signed does not stop a signed job: hostile progress is left out', async () => {
    const queue = on.queue('mail');
    const added = await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await on.redis.hset('bull:mail~acme:acme~one', {
      timestamp: '1',
      progress: '{not JSON',
      stacktrace: '{',
      returnvalue: '{',
      id: 'acme2~x',
      more: 'x',
    });
    const worker = on.worker('mail', async (job) => [
      currentTenant()?.tenant,
      job.id,
      job.progress,
      job.timestamp,
    ]);
    expect(await finished(worker, 1)).toMatchObject([
      { event: 'completed', id: 'one', result: ['acme', 'one', 0, added.timestamp] },
    ]);
  });

  it('a flood of forged jobs does not hold up a real one, nor lose its event', async () => {
    const queue = on.queue('mail');
    const raw = on.raw('mail~acme');
    const forged = 300;
    await raw.addBulk(
      Array.from({ length: forged }, (_, n) => ({ name: 'n', data: { n }, opts: { jobId: `acme~f${n}` } })),
    );
    for (let n = 0; n < forged; n += 3) await on.redis.hset(`bull:mail~acme:acme~f${n}`, 'opts', '{broken');
    await withTenant('acme', () => queue.add('real', {}, { jobId: 'real' }));
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => void ran.push(job.id), {
      concurrency: 10,
      autorun: false,
    });
    const errors: unknown[] = [];
    worker.on('error', (error) => void errors.push(error));
    const done = finished(worker, forged + 1);
    void worker.run();
    const all = await done;
    expect(ran).toEqual(['real']);
    expect(all.filter(({ event }) => event === 'completed')).toMatchObject([{ id: 'real' }]);
    expect(await on.redis.zcard('bull:mail~acme:failed')).toBe(forged);
    expect(errors).toEqual([]);
  });
});
