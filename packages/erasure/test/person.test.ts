import { randomBytes } from 'node:crypto';
import { withTenant } from '@tenantkit/core';
import { verifyCertificate } from '@tenantkit/erasure';
import { Queue, Worker, queueEraser, type Job } from '@tenantkit/queue';
import { freshRedis } from '@tenantkit/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { approved, erasureOf, folder, ledgerIn, signer } from './setup.ts';

const ADA = { tenant: 'acme', subject: 'ada' };
/** Of the same name, of a name that holds it, of no name; and in a tenant whose id holds the other one. */
const OTHERS = [
  { tenant: 'acme2', subject: 'ada' },
  { tenant: 'acme', subject: 'ada2' },
  { tenant: 'acme' },
  { tenant: 'a', subject: 'ada' },
];
const EVERYBODY = [ADA, ...OTHERS];

let connection: Redis;
let queue: Queue;
let cleanup: () => Promise<void>;
const tenant = { signingKeys: [{ kid: 'k1', secret: randomBytes(32) }] } as const;

beforeAll(async () => {
  const own = await freshRedis(inject('servers').redis);
  connection = new Redis(own.url, { maxRetriesPerRequest: null });
  queue = new Queue('mail', { connection, tenant });
  cleanup = async () => {
    await queue.close();
    connection.disconnect();
    await own.cleanup();
  };
});
afterAll(() => cleanup());

const nameOf = ({ subject = 'nobody' }: (typeof EVERYBODY)[number]): string => subject;

/** A job that has ended with a result and a log, one that waits, and a scheduler. */
async function fill(): Promise<void> {
  const run = async (job: Job): Promise<unknown> => {
    await job.log(`log of ${String(job.id)}`);
    return { of: job.id };
  };
  const worker = new Worker('mail', run, { connection, tenant });
  const ended = new Promise<void>((resolve) => {
    let left = EVERYBODY.length;
    worker.on('completed', () => {
      left -= 1;
      if (left === 0) resolve();
    });
  });
  for (const who of EVERYBODY)
    await withTenant(who, () => queue.add('n', { about: nameOf(who) }, { jobId: `${nameOf(who)}-ended` }));
  await ended;
  await worker.close();
  for (const who of EVERYBODY) {
    await withTenant(who, async () => {
      await queue.add('n', { about: nameOf(who) }, { jobId: `${nameOf(who)}-late`, delay: 3_600_000 });
      await queue.upsertJobScheduler(`${nameOf(who)}-daily`, { every: 86_400_000 }, { name: 'n' });
    });
  }
}

/** What a tenant finds of one of its persons. */
async function found(who: (typeof EVERYBODY)[number]): Promise<unknown> {
  const name = nameOf(who);
  return withTenant({ tenant: who.tenant }, async () => {
    const [ended, late] = [await queue.getJob(`${name}-ended`), await queue.getJob(`${name}-late`)];
    return {
      ended: [ended?.data as unknown, ended?.returnvalue as unknown],
      logs: (await queue.getJobLogs(`${name}-ended`)).logs,
      late: late?.data as unknown,
      scheduler: (await queue.getJobScheduler(`${name}-daily`))?.key,
    };
  });
}

it('a person is erased from the queue, and nobody of the same name elsewhere', async () => {
  await fill();
  const whole = (who: (typeof EVERYBODY)[number]): unknown => ({
    ended: [{ about: nameOf(who) }, { of: `${nameOf(who)}-ended` }],
    logs: [`log of ${nameOf(who)}-ended`],
    late: { about: nameOf(who) },
    scheduler: `${nameOf(who)}-daily`,
  });
  for (const who of EVERYBODY) expect(await found(who)).toEqual(whole(who));

  const erasure = erasureOf([queueEraser(queue)], { ledger: ledgerIn(folder()) });
  const id = await approved(erasure, ADA.tenant, ADA.subject);
  const { state, stores } = await erasure.run(id);
  expect([state, stores.flatMap(({ kept }) => kept)]).toEqual(['completed', []]);

  expect(await found(ADA)).toEqual({
    ended: [undefined, undefined],
    logs: [],
    late: undefined,
    scheduler: undefined,
  });
  for (const who of OTHERS) expect(await found(who)).toEqual(whole(who));
  const keys = await connection.keys('bull:mail~acme:*');
  expect(keys.filter((key) => /ada-|~ada(?!2)/.test(key))).toEqual([]);

  const { certificate } = await verifyCertificate(await erasure.certificate(id), {
    keys: [signer.publicKey],
  });
  // It is about the person, and names nobody.
  expect(JSON.stringify(certificate)).not.toContain('"ada"');
  const [store] = certificate.stores;
  const counts = (items: readonly { kind: string; count: number }[] = []): unknown =>
    Object.fromEntries(items.map(({ kind, count }) => [kind, count]));
  // Its ended and its delayed job, and the first one of the scheduler.
  expect(counts(store?.before)).toMatchObject({ jobs: 3 });
  expect(counts(store?.erased)).toMatchObject({ jobs: 3 });
  expect(store?.remaining.every(({ count }) => count === 0)).toBe(true);
});

it('what came behind the plan is erased as well, and what was altered is named and kept', async () => {
  const erasure = erasureOf([queueEraser(queue)], { ledger: ledgerIn(folder()) });
  await withTenant(ADA, () => queue.add('n', { about: 'ada' }, { jobId: 'ada-1', delay: 3_600_000 }));
  const id = await approved(erasure, ADA.tenant, ADA.subject);
  await withTenant(ADA, () => queue.add('n', { about: 'ada' }, { jobId: 'ada-2', delay: 3_600_000 }));
  // Somebody has altered a job of another person: it never runs, nobody can tell any more of whom it is, and the
  // certificate says that it is there.
  const hidden = 'bull:mail~acme:acme~ada2-late';
  const opts = (await connection.hget(hidden, 'opts')) ?? '';
  await connection.hset(hidden, 'data', '{"about":"ada"}');
  const { state, stores } = await erasure.run(id);
  expect(state).toBe('completed_with_retention');
  expect(stores.flatMap(({ kept }) => kept)).toMatchObject([{ kind: 'jobs', count: 1 }]);
  expect(await connection.exists('bull:mail~acme:acme~ada-1', 'bull:mail~acme:acme~ada-2')).toBe(0);
  expect(await connection.hget(hidden, 'opts')).toBe(opts);
});
