import { currentTenant, withTenant } from '@tenantkit/core';
import { expect, it } from 'vitest';
import { baseOf, put, withFields, type Stored } from './attacks-support.ts';
import { FORGERIES, MAKERS, RUNNER, craft, type Made } from './attacks-kinds.ts';
import { audited, bench } from './support.ts';

const FORGED = 10_000;
const TENANTS = ['acme', 'acme2', 'globex', 'a-b_C', 'z'.repeat(64)];
const ADDED = 100;
const CRAFTED = 100;
/** How many jobs are written at once. */
const BATCH = 500;

it('ten thousand forged jobs of every kind: none runs, all genuine ones do, each failure is on record', async () => {
  await using on = await bench();
  const queues = {
    mac: on.queue('mail', { tenant: { signingKeys: MAKERS.mac } }),
    pair: on.queue('mail', { tenant: { signingKeys: MAKERS.pair } }),
  };
  const bases = new Map<string, string>();
  const genuine = new Set<string>();
  const add = async (tenant: string, jobId: string, made: Made): Promise<void> => {
    await withTenant(tenant, () => queues[made].add('n', { n: jobId }, { jobId }));
    genuine.add(`${tenant}~${jobId}`);
  };
  for (const tenant of TENANTS) {
    await add(tenant, 'first', 'mac');
    bases.set(tenant, await baseOf(on.redis, 'bull', 'mail', `${tenant}~first`));
  }
  const write = async (jobs: readonly Stored[]): Promise<void> => {
    await Promise.all(jobs.map((job) => put(on.redis, bases.get(job.id.split('~')[0] ?? '') ?? '', job)));
  };

  // Every kind with either key and with jobs of every tenant, and genuine jobs among them: some that Queue has added, and
  // some that came into Redis as the forged ones did.
  const kinds = Object.entries(FORGERIES);
  const reasons = new Map<string, string>();
  const shown = new Map<string, number>();
  for (let n = 0; n < FORGED; n += BATCH) {
    const batch: Stored[] = [];
    for (let at = n; at < n + BATCH; at += 1) {
      const [name, { reason, forge }] = kinds[at % kinds.length] ?? expect.unreachable();
      const turn = Math.floor(at / kinds.length);
      const made = turn % 2 === 0 ? 'mac' : 'pair';
      const id = `${TENANTS[turn % TENANTS.length]}~f${at}`;
      batch.push(forge(craft(made, id), made, at));
      reasons.set(id, reason);
      shown.set(name, (shown.get(name) ?? 0) + 1);
    }
    const share = (BATCH * (ADDED + CRAFTED)) / FORGED / 2;
    for (let at = 0; at < share; at += 1) {
      const id = `${TENANTS[at % TENANTS.length]}~g${n}-${at}`;
      batch.splice(at * 7, 0, withFields(craft(at % 2 === 0 ? 'mac' : 'pair', id), { more: 'x' }));
      genuine.add(id);
    }
    await write(batch);
    for (let at = 0; at < share; at += 1)
      await add(TENANTS[at % TENANTS.length] ?? '', `q${n}-${at}`, at % 2 === 0 ? 'mac' : 'pair');
  }
  for (const tenant of TENANTS) await add(tenant, 'last', 'pair');
  expect(Math.min(...shown.values())).toBeGreaterThan(100);
  expect(genuine.size).toBe(ADDED + CRAFTED + 2 * TENANTS.length);

  using refusals = audited('refused');
  const ran: string[] = [];
  const worker = on.worker('mail', async (job) => void ran.push(`${currentTenant()?.tenant}~${job.id}`), {
    tenant: { signingKeys: RUNNER },
    concurrency: 50,
    autorun: false,
  });
  const errors: unknown[] = [];
  worker.on('error', (error) => void errors.push(error));
  const failures: unknown[] = [];
  const isDone = (): boolean => ran.length >= genuine.size && failures.length >= FORGED;
  const done = Promise.withResolvers<void>();
  worker.on('failed', (job, error) => {
    failures.push([job, (error as { code?: unknown }).code]);
    if (isDone()) done.resolve();
  });
  worker.on('completed', () => {
    if (isDone()) done.resolve();
  });
  void worker.run();
  await done.promise;

  // Each genuine one once, in its own tenant, and nothing else.
  expect(ran.toSorted()).toEqual([...genuine].toSorted());
  expect(errors).toEqual([]);
  // A failed job that nobody may see is an event without a job.
  expect(new Set(failures.map((failure) => JSON.stringify(failure)))).toEqual(
    new Set([JSON.stringify([undefined, 'SIGNATURE_INVALID'])]),
  );
  expect(countOf(refusals.events.map(({ data }) => String(data.unmapped?.['reason'])))).toEqual(
    countOf(reasons.values()),
  );
  // On record in Redis, each with the reason of its kind.
  const recorded = new Map<string, string>();
  for (const base of new Set(bases.values())) {
    for (const id of await on.redis.zrange(`${base}failed`, 0, '-1')) {
      const reason = await on.redis.hget(base + id, 'failedReason');
      recorded.set(id, /\((\w+)\)/.exec(reason ?? '')?.[1] ?? '');
    }
    expect(await on.redis.llen(`${base}active`)).toBe(0);
    expect(await on.redis.llen(`${base}wait`)).toBe(0);
  }
  expect(recorded.size).toBe(FORGED);
  const wrong = [...reasons].filter(([id, reason]) => recorded.get(id) !== reason);
  expect(wrong).toEqual([]);

  // The queue goes on.
  const ranBefore = ran.length;
  await add('acme', 'after', 'pair');
  await expect.poll(() => ran.length).toBe(ranBefore + 1);
});

function countOf(values: Iterable<string>): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
