import { optsEncodeMap } from 'bullmq';
import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { JobBinding, JobClaims } from '../src/header.ts';
import { jobOptionRules } from '../src/job-options.ts';
import {
  baseOf,
  partsOf,
  put,
  take,
  withBit,
  withClaim,
  withFields,
  withOptions,
  withParts,
  type Stored,
} from './attacks-support.ts';
import { PAIRS, SECRETS } from './header-support.ts';
import { bench, finished, type Bench } from './support.ts';

/** The parts of a header beside its claims. */
type Part = 'version' | 'kid' | 'signature';

interface Attack {
  /** Changes this field, and nothing else. */
  readonly change: (job: Stored) => Stored;
  readonly reason?: 'malformed' | 'unknownKey';
}

/** An attack for every field that a header binds or holds. One that has none does not compile. */
const ATTACKS = {
  prefix: { change: (job) => ({ ...job, prefix: 'elsewhere' }) },
  queue: { change: (job) => ({ ...job, queue: 'other' }) },
  id: { change: (job) => ({ ...job, id: 'acme~other' }) },
  name: { change: (job) => withFields(job, { name: 'other' }) },
  data: { change: (job) => withFields(job, { data: `${job.hash['data']} ` }) },
  options: { change: (job) => withOptions(job, { attempts: 9 }) },
  scheduler: { change: (job) => withFields(job, { rjk: 'acme~s' }) },
  parentKey: { change: (job) => withFields(job, { parentKey: 'bull:mail:acme~p' }) },
  parent: { change: (job) => withFields(job, { parent: '{"id":"acme~p","queueKey":"bull:mail"}' }) },
  deduplication: { change: (job) => withFields(job, { deid: 'acme~d' }) },
  tenant: { change: (job) => withClaim(job, 0, 'acme2') },
  subject: { change: (job) => withClaim(job, 1, 'p2') },
  actor: { change: (job) => withClaim(job, 2, 'eve') },
  issuedAt: { change: (job) => withClaim(job, 3, 1) },
  version: { change: (job) => withParts(job, { 0: 'v2' }), reason: 'malformed' },
  kid: { change: (job) => withParts(job, { 1: 'k9' }), reason: 'unknownKey' },
  signature: { change: (job) => withBit(job, 77) },
} satisfies Readonly<Record<keyof JobBinding | keyof JobClaims | Part, Attack>>;

/** What stands in the stored options when one of them is another. An option that has no value does not compile. */
const OPTIONS = {
  jobId: 'acme~other',
  timestamp: 1,
  priority: 1,
  delay: 1,
  attempts: 9,
  backoff: { type: 'fixed', delay: 1 },
  lifo: true,
  removeOnComplete: true,
  removeOnFail: true,
  keepLogs: 1,
  stackTraceLimit: 1,
  sizeLimit: 1,
  telemetry: 'x',
  deduplication: { id: 'acme~d' },
  debounce: { id: 'acme~d' },
  parent: { id: 'acme~p', queue: 'bull:mail' },
  failParentOnFailure: true,
  continueParentOnFailure: true,
  ignoreDependencyOnFailure: true,
  removeDependencyOnFailure: true,
  repeat: { every: 1_000 },
  repeatJobKey: 'acme~s',
  prevMillis: 1,
} satisfies Readonly<Record<keyof typeof jobOptionRules, unknown>>;

const [{ privateKey, publicKey }] = PAIRS;
const RINGS = [
  { kind: 'HMAC', makes: [SECRETS[0]], runs: [SECRETS[0]] },
  { kind: 'Ed25519', makes: [{ kid: 'k1', privateKey }], runs: [{ kid: 'k1', publicKey }] },
] as const;

const TENANT = { tenant: 'acme', subject: 'p1', actor: 'ada' };
const JOB = { attempts: 1, timestamp: 1_732_000_000_000 };

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

describe.each(RINGS)('a job signed with $kind, changed in one field alone', ({ makes, runs }) => {
  it.each(Object.entries<Attack>(ATTACKS))(
    '%s: fails, and its unchanged twin runs',
    async (_field, { change, reason = 'mismatch' }) => {
      const tenant = { signingKeys: makes };
      const add = (queue: string, prefix: string, jobId: string) =>
        withTenant(TENANT, () => on.queue(queue, { prefix, tenant }).add('n', { n: 1 }, { ...JOB, jobId }));
      await add('mail', 'bull', 'victim');
      const genuine = await take(on.redis, 'bull', 'mail', 'acme~victim');
      const changed = change(genuine);
      expect(fieldsThatDiffer(genuine, changed)).toHaveLength(1);
      const { prefix, queue, id } = changed;
      // The twin takes the same way, from where it was to where it was.
      await add(queue, prefix, 'guide');
      await add(queue, prefix, 'twin');
      const base = await baseOf(on.redis, prefix, queue, 'acme~guide');
      const twin = await take(on.redis, prefix, queue, 'acme~twin');
      await put(on.redis, base, changed);
      await put(on.redis, base, twin);

      const ran: string[] = [];
      const worker = on.worker(queue, async (job) => void ran.push(job.id ?? ''), {
        prefix,
        tenant: { signingKeys: runs },
        autorun: false,
      });
      const done = finished(worker, 3);
      void worker.run();
      expect((await done).filter(({ event }) => event === 'failed')).toMatchObject([
        { id: undefined, error: { code: 'SIGNATURE_INVALID', reason } },
      ]);
      expect(ran.toSorted()).toEqual(['guide', 'twin']);
      expect(await on.redis.zrange(`${base}failed`, 0, '-1')).toEqual([id]);
    },
  );

  it('each of the options: fails, and the unchanged one runs', async () => {
    const tenant = { signingKeys: makes };
    const queue = on.queue('mail', { tenant });
    const names = Object.entries<unknown>(OPTIONS);
    for (const [name] of [...names, ['guide']]) {
      for (const jobId of [`${name}-victim`, `${name}-twin`])
        await withTenant(TENANT, () => queue.add('n', { n: 1 }, { ...JOB, jobId }));
    }
    const base = await baseOf(on.redis, 'bull', 'mail', 'acme~guide-twin');
    for (const [name, value] of names) {
      const genuine = await take(on.redis, 'bull', 'mail', `acme~${name}-victim`);
      const changed = withOptions(genuine, { [STORED_AS[name] ?? name]: value });
      expect(changed, name).not.toEqual(genuine);
      await put(on.redis, base, changed);
      await put(on.redis, base, await take(on.redis, 'bull', 'mail', `acme~${name}-twin`));
    }
    const ran: string[] = [];
    const worker = on.worker('mail', async (job) => void ran.push(job.id ?? ''), {
      tenant: { signingKeys: runs },
      autorun: false,
    });
    const done = finished(worker, 2 * (names.length + 1));
    void worker.run();
    await done;
    expect(ran.toSorted()).toEqual(
      [...names.map(([name]) => `${name}-twin`), 'guide-twin', 'guide-victim'].toSorted(),
    );
    const failed = await on.redis.zrange(`${base}failed`, 0, '-1');
    expect(failed.toSorted()).toEqual(names.map(([name]) => `acme~${name}-victim`).toSorted());
    for (const id of failed)
      expect(await on.redis.hget(base + id, 'failedReason'), id).toContain('not accepted (mismatch)');
  });
});

it('a further field without an attack does not compile', () => {
  interface NewerBinding extends JobBinding {
    readonly place: string;
  }
  // @ts-expect-error -- nobody has written an attack on `place`
  const attacks: Readonly<Record<keyof NewerBinding, Attack>> = ATTACKS;
  expect(Object.keys(attacks)).toHaveLength(17);
});

const STORED_AS: Readonly<Record<string, string>> = optsEncodeMap;

/** Which of what a header is bound to, and of what it says, is not the same in two jobs. */
function fieldsThatDiffer(one: Stored, other: Stored): readonly string[] {
  const flat = (job: Stored): Record<string, unknown> => {
    const { opts = '{}', ...hash } = job.hash;
    const { 'tk!': _header, ...options } = JSON.parse(opts) as Record<string, unknown>;
    const [version, kid, claims = '', signature] = partsOf(job);
    const said = JSON.parse(Buffer.from(claims, 'base64url').toString()) as object;
    const { prefix, queue, id } = job;
    return {
      prefix,
      queue,
      id,
      ...hash,
      ...prefixed('option', options),
      ...prefixed('claim', said),
      version,
      kid,
      signature,
    };
  };
  const [a, b] = [flat(one), flat(other)];
  return Object.keys({ ...a, ...b }).filter((key) => JSON.stringify(a[key]) !== JSON.stringify(b[key]));
}

function prefixed(name: string, members: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).map(([key, value]) => [`${name} ${key}`, value]));
}
