import { generateKeyPairSync } from 'node:crypto';
import { currentTenant, withTenant } from '@tenantkit/core';
import { queueAuditor, type Queue, type SigningKey } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { storeOf } from '../src/backend.ts';
import { KEY, OTHER_KEY, bench, finished, type Bench } from './support.ts';

const DAY = 86_400_000;
const [OLD, NEW] = [KEY, OTHER_KEY];
const ADA = { tenant: 'acme', subject: 'ada', actor: 'cron' };

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const template = (id: string): string => `bull:mail~acme:repeat:${id}`;
const queueWith = (...signingKeys: SigningKey[]): Queue => on.queue('mail', { tenant: { signingKeys } });

/** With which key what is stored there was signed. */
async function kidOf(key: string): Promise<string | undefined> {
  const { 'tk!': header } = JSON.parse((await on.redis.hget(key, 'opts')) ?? '') as {
    readonly 'tk!': string;
  };
  return header.split('.')[1];
}

/** Lets a worker with these keys run so many jobs. @returns what each of them ran in, or why it did not */
async function run(count: number, ...signingKeys: SigningKey[]): Promise<readonly unknown[]> {
  const worker = on.worker('mail', async () => currentTenant(), { tenant: { signingKeys }, autorun: false });
  const done = finished(worker, count);
  void worker.run();
  const ended = await done;
  await worker.close();
  return ended.map(({ result, error }) => error ?? result);
}

/** The jobs that wait for their time, each with the key that it was signed with. */
async function waiting(): Promise<readonly (string | undefined)[]> {
  const ids = await on.redis.zrange('bull:mail~acme:delayed', 0, '-1');
  return Promise.all(ids.map((id) => kidOf(`bull:mail~acme:${id}`)));
}

async function found(
  ...signingKeys: SigningKey[]
): Promise<readonly (readonly [string, string | undefined])[]> {
  const all: (readonly [string, string | undefined])[] = [];
  for await (const { code, name } of queueAuditor(on.redis, { queues: ['mail'], signingKeys }).audit())
    all.push([code, name]);
  return all;
}

describe('a scheduler over a change of keys', () => {
  const schedules = { 'an interval': { every: DAY }, 'a pattern': { pattern: '* * * * * *' } } as const;
  for (const [kind, schedule] of Object.entries(schedules)) {
    it(`of ${kind} gets the new key with its next job, and keeps whom it is for`, async () => {
      const before = queueWith(OLD);
      const opts = { attempts: 2, backoff: 5, removeOnComplete: true } as const;
      await withTenant(ADA, () =>
        before.upsertJobScheduler('tick', schedule, { name: 'n', data: { text: 'ä\u2028 1e3' }, opts }),
      );
      const shown = await withTenant('acme', () => before.getJobScheduler('tick'));
      expect(await kidOf(template('tick'))).toBe('k1');

      expect(await run(1, NEW, OLD)).toEqual([ADA]);
      expect([await kidOf(template('tick')), await waiting()]).toEqual(['k2', ['k2']]);
      expect(await found(NEW)).toEqual([]);

      // The old key is gone.
      const after = queueWith(NEW);
      const { next: _next, iterationCount: _count, ...same } = shown ?? {};
      const [listed, alone] = await withTenant('acme', async () => [
        await after.getJobSchedulers(),
        await after.getJobScheduler('tick'),
      ]);
      expect(listed).toEqual([expect.objectContaining(same)]);
      expect(alone).toMatchObject(same);
      await withTenant('acme', async () => {
        for (const job of await after.getDelayed()) await job.promote();
      });
      expect(await run(1, NEW)).toEqual([ADA]);
      expect(await waiting()).toEqual(['k2']);
    });
  }

  it('stays as it is where its key is the current one', async () => {
    await withTenant(ADA, () => queueWith(OLD).upsertJobScheduler('tick', { every: DAY }));
    // As another program may have written it: nothing of ours would write it so.
    const stored = ` ${await on.redis.hget(template('tick'), 'opts')}`;
    await on.redis.hset(template('tick'), 'opts', stored);
    expect(await run(1, OLD, NEW)).toEqual([ADA]);
    expect(await on.redis.hget(template('tick'), 'opts')).toBe(stored);
    expect(await waiting()).toEqual(['k1']);
  });

  it('stays as it is, and goes on, in a worker that cannot sign', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    await withTenant(ADA, () => queueWith(OLD).upsertJobScheduler('tick', { every: DAY }));
    expect(await run(1, { kid: 'pair', publicKey }, OLD)).toEqual([ADA]);
    expect([await kidOf(template('tick')), await waiting()]).toEqual(['k1', ['k1']]);
    await withTenant('acme', async () => {
      for (const job of await queueWith(OLD).getDelayed()) await job.promote();
    });
    expect(await run(1, { kid: 'pair', privateKey }, OLD)).toEqual([ADA]);
    expect([await kidOf(template('tick')), await waiting()]).toEqual(['pair', ['pair']]);
  });

  it('is not signed anew when somebody has altered it', async () => {
    await withTenant(ADA, () =>
      queueWith(OLD).upsertJobScheduler('tick', { every: DAY }, { data: { n: 1 } }),
    );
    await on.redis.hset(template('tick'), 'data', '{"n":1000}');
    const stored = await on.redis.hget(template('tick'), 'opts');
    expect(await run(1, NEW, OLD)).toEqual([ADA]);
    expect([await on.redis.hget(template('tick'), 'opts'), await waiting()]).toEqual([stored, []]);
  });

  for (const [change, left] of [
    ['upserted', { n: 2 }],
    ['removed', undefined],
  ] as const) {
    it(`does not come back as it was when it is ${change} at the same time`, async () => {
      const before = queueWith(OLD);
      const job = await withTenant(ADA, () =>
        before.upsertJobScheduler('tick', { every: DAY }, { data: { n: 1 } }),
      );
      const queue = queueWith(NEW, OLD);
      const store = storeOf(queue.backend);
      const lane = store.lane('acme');
      const read = lane.getJobSchedulerData.bind(lane);
      let reads = 0;
      lane.getJobSchedulerData = async (id) => {
        const hash: Record<string, string> = await read(id);
        reads += 1;
        if (reads === 1)
          await withTenant(ADA, () =>
            left === undefined
              ? before.removeJobScheduler('tick')
              : before.upsertJobScheduler('tick', { every: DAY }, { data: left }),
          );
        return hash;
      };
      const producer = `acme~${job?.id}`;
      await store.updateJobSchedulerNextMillis(
        'acme~tick',
        0,
        '{}',
        { repeat: { count: 2 } } as never,
        producer,
      );
      expect(reads).toBe(2);
      const shown = await withTenant('acme', () => queue.getJobScheduler('tick'));
      expect(shown?.template?.data).toEqual(left);
      expect(await found(OLD, NEW)).toEqual([]);
    });
  }
});
