import { withTenant, type TenantRegistry } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import { readUnsigned, signUnsigned, type UnsignedJob } from '../src/adopt/judge.ts';
import type { RawState, RawStored } from '../src/adopt/scripts.ts';
import { queueKeyRing } from '../src/keys.ts';
import { jobNames } from '../src/names.ts';
import { MAX_AGE } from '../src/replay.ts';
import type { StoreContext } from '../src/store.ts';
import { verifyJob } from '../src/verify.ts';
import { SECRETS } from './header-support.ts';

const MISMATCH = expect.objectContaining({ code: 'SIGNATURE_INVALID', reason: 'mismatch' });
const NOW = 1_795_000_000_000;
const hash = {
  name: 'welcome',
  data: '{"to":"ada"}',
  opts: '{"attempts":3,"de":{"id":"d"}}',
  timestamp: String(NOW),
};
type Hash = Readonly<Record<string, string | undefined>>;
const stored = (more: Hash = {}, id = 'w-1', isParent = false): RawStored => ({
  id,
  hash: { ...hash, ...more },
  isParent,
});
const read = (job: RawStored, state: RawState = 'wait', until = NOW): UnsignedJob | string =>
  readUnsigned(job, state, until);

const names = jobNames();
const ring = queueKeyRing([SECRETS[0]], 'bull', 'mail');
const context: StoreContext = {
  prefix: 'bull',
  queue: 'mail',
  ring,
  names,
  fence: undefined,
  place: undefined,
  of: () => context,
  maxAge: MAX_AGE,
};
const fenced = (state: string): StoreContext => ({
  ...context,
  fence: { state: () => state } as unknown as TenantRegistry,
});

function unsigned(more: Partial<UnsignedJob> = {}): UnsignedJob {
  return {
    id: 'w-1',
    name: 'welcome',
    data: {},
    opts: { attempts: 3 },
    timestamp: NOW,
    state: 'waiting',
    ...more,
  };
}

describe('a job that nobody has signed', () => {
  it('is read as raw BullMQ knows it', () => {
    expect(read(stored())).toEqual({
      id: 'w-1',
      name: 'welcome',
      data: { to: 'ada' },
      opts: { attempts: 3, deduplication: { id: 'd' } },
      timestamp: NOW,
      state: 'waiting',
    });
    const states = ['wait', 'paused', 'delayed', 'prioritized', 'completed', 'failed'] as const;
    expect(states.map((state) => (read(stored(), state) as UnsignedJob).state)).toEqual([
      'waiting',
      'waiting',
      'delayed',
      'prioritized',
      'completed',
      'failed',
    ]);
  });

  it.each([
    ['scheduler', { rjk: 'nightly' }],
    ['scheduler', { rjk: '' }],
    ['flow', { parentKey: 'bull:reports:1' }],
    ['flow', { parent: '{}' }],
    ['unreadable', { name: undefined }],
    ['unreadable', { data: undefined }],
    ['unreadable', { data: '{' }],
    ['unreadable', { opts: undefined }],
    ['unreadable', { opts: '{' }],
    ['unreadable', { timestamp: undefined }],
    ['unreadable', { timestamp: 'soon' }],
    ['option', { timestamp: '1.5' }],
    ['option', { timestamp: '-1' }],
    ['option', { timestamp: '1700000000000001' }],
    ['unreadable', { opts: 'null' }],
    ['unreadable', { opts: '[]' }],
    ['tooYoung', { timestamp: String(NOW + 1) }],
  ] as const)('is left as %s with %j', (why, more) => {
    expect(read(stored(more))).toBe(why);
  });

  it('is left where its id is none of a job here', () => {
    expect(read(stored({}, 'repeat:nightly:1700000000000'))).toBe('scheduler');
    expect(read(stored({}, 'w-1', true))).toBe('flow');
    for (const id of ['a:b', ':', 'lone \uFFFD']) expect(read(stored({}, id))).toBe('id');
    for (const id of ['42', 'ü', 'a~b']) expect(read(stored({}, id))).toMatchObject({ id });
  });
});

describe('an adopted job', () => {
  const sign = (job: UnsignedJob, more: Hash = {}, of = context): ReturnType<typeof signUnsigned> =>
    signUnsigned(of, stored(more), job, { tenant: 'acme', subject: 'ada', actor: 'ops' });

  it('verifies in the lane of its tenant, for its subject and its actor, and in no other lane', () => {
    const signed = sign(unsigned());
    if (typeof signed === 'string') throw new Error(signed);
    expect(signed).toMatchObject({ id: 'w-1', read: hash.opts, tenant: 'acme', inLane: 'acme~w-1' });
    expect(signed.digest).toMatch(/^[0-9a-f]{40}$/);
    const job = { ...hash, opts: signed.opts };
    const claims = verifyJob({ prefix: 'bull', queue: 'mail', ring, names }, job, 'acme~w-1', 'acme');
    expect(claims).toMatchObject({ tenant: 'acme', subject: 'ada', actor: 'ops' });
    expect(JSON.parse(signed.opts)).toMatchObject({ timestamp: NOW, attempts: 3 });
    expect(JSON.parse(signed.opts)).not.toHaveProperty('jobId');
    expect(() => verifyJob({ prefix: 'bull', queue: 'mail', ring, names }, job, 'acme~w-1', 'acme2')).toThrow(
      MISMATCH,
    );
    expect(() =>
      verifyJob({ prefix: 'bull', queue: 'mail', ring, names }, { ...job, data: '{}' }, 'acme~w-1', 'acme'),
    ).toThrow(MISMATCH);
  });

  it('has claims of nobody where nobody was named', () => {
    const signed = withTenant('acme', () => signUnsigned(context, stored(), unsigned(), { tenant: 'acme' }));
    if (typeof signed === 'string') throw new Error(signed);
    const claims = verifyJob(
      { prefix: 'bull', queue: 'mail', ring, names },
      { ...hash, opts: signed.opts },
      'acme~w-1',
      'acme',
    );
    expect(Object.keys(claims).toSorted()).toEqual(['issuedAt', 'tenant']);
  });

  it('is the one that was read: data and name are in its digest, and its own id in its options', () => {
    const digest = (more: Hash): unknown => (sign(unsigned(), more) as { digest: string }).digest;
    const all = [{}, { data: '{"to":"eve"}' }, { name: 'other' }, { name: 'welcome\n{', data: '"to"' }];
    expect(new Set(all.map(digest)).size).toBe(all.length);
    const named = sign(unsigned({ opts: { jobId: 'w-1' } })) as { opts: string };
    expect(JSON.parse(named.opts)).toMatchObject({ jobId: 'acme~w-1' });
    expect(sign(unsigned(), { opts: undefined })).toMatchObject({ read: '' });
    // The service's own time of adding comes first.
    const early = sign(unsigned({ opts: { timestamp: 5 } })) as { opts: string };
    expect(JSON.parse(early.opts)).toMatchObject({ timestamp: 5 });
  });

  it('is none whose options no signed job may have', () => {
    expect(sign(unsigned({ opts: { repeat: { every: 1 } } as never }))).toBe('option');
    expect(sign(unsigned({ opts: { unheardOf: 1 } as never }))).toBe('option');
    // It would stand before everybody for as long as it fails.
    expect(sign(unsigned({ opts: { lifo: true, attempts: 5 } }))).toBe('option');
    // What the hash says of its deduplication is what BullMQ's scripts act on.
    expect(sign(unsigned(), { deid: 'd' })).toBe('option');
    const opts = { deduplication: { id: 'd' } };
    expect(sign(unsigned({ opts }))).toBe('option');
    expect(sign(unsigned({ opts }), { deid: 'other' })).toBe('option');
    expect(sign(unsigned({ opts }), { deid: 'd' })).toMatchObject({ inLane: 'acme~w-1' });
    expect(sign(unsigned(), { deid: '' })).toBe('option');
    expect(sign(unsigned())).toMatchObject({ inLane: 'acme~w-1' });
  });

  it('is none of a tenant that is frozen or erased', () => {
    for (const state of ['frozen', 'erased', 'unknown'])
      expect(sign(unsigned(), {}, fenced(state))).toBe('fenced');
    expect(sign(unsigned(), {}, fenced('active'))).toMatchObject({ tenant: 'acme' });
  });

  it('fails with what is no matter of options', () => {
    const broken = {
      get attempts(): never {
        throw new RangeError('not ours');
      },
    };
    expect(() => sign(unsigned({ opts: broken }))).toThrow('not ours');
  });
});
