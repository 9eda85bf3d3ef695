import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../src/canonical.ts';
import { HEADER, signHeader, type JobBinding } from '../src/header.ts';
import { jobNames } from '../src/names.ts';
import { verifyJob } from '../src/verify.ts';
import { BOUND, KINDS, errorOf, reasonOf } from './header-support.ts';

const CLAIMS = { tenant: 'acme', issuedAt: 1 };
const OPTIONS = { attempts: 0, jobId: BOUND.id };

describe.each(KINDS)('a stored job, $kind', ({ ring: ringOf }) => {
  const verifier = { prefix: 'bull', queue: 'mail', ring: ringOf(), names: jobNames() };
  const stored = (
    bound: Partial<JobBinding> = {},
    fields: Readonly<Record<string, string>> = {},
    options: object = OPTIONS,
  ): Record<string, string> => ({
    name: 'welcome',
    data: BOUND.data,
    opts: JSON.stringify({ [HEADER]: signHeader(verifier.ring, CLAIMS, { ...BOUND, ...bound }), ...options }),
    ...fields,
  });
  const reason = (hash: Readonly<Record<string, string>>, id = BOUND.id): string =>
    reasonOf(() => verifyJob(verifier, hash, id, 'acme'));

  it('is bound to its fields, under the names by which they are stored', () => {
    expect(verifyJob(verifier, stored(), BOUND.id, 'acme')).toEqual(CLAIMS);
    for (const [field, at] of [
      ['scheduler', 'rjk'],
      ['deduplication', 'deid'],
      ['name', 'name'],
      ['data', 'data'],
    ] as const) {
      expect(verifyJob(verifier, stored({ [field]: 'x' }, { [at]: 'x' }), BOUND.id, 'acme'), field).toEqual(
        CLAIMS,
      );
      expect(reason(stored({ [field]: 'x' }, { [at]: 'y' })), field).toBe('mismatch');
    }
  });

  it('is bound to its parent, under one key, in a lane of its own tenant', () => {
    const link = (id: string, queueKey: string, parentKey = `${queueKey}:${id}`) => {
      const parent = { queueKey, id, fpof: true };
      return {
        bound: { parentKey, parent: canonicalJson(parent) },
        fields: { parentKey, parent: JSON.stringify(parent) },
      };
    };
    const judged = ({ bound, fields }: ReturnType<typeof link>) =>
      verifyJob(verifier, stored(bound, fields), BOUND.id, 'acme');
    const good = link('acme~p', 'bull:reports~acme');
    expect(good.bound.parent).toBe('{"fpof":true,"id":"acme~p","queueKey":"bull:reports~acme"}');
    expect(judged(good)).toEqual(CLAIMS);
    expect(judged(link('acme~p~1', 'bull:mail~acme'))).toEqual(CLAIMS);
    const { parentKey, parent } = good.fields;
    for (const fields of [{ parentKey }, { parent }, { parentKey, parent: '{}' }, { parentKey: '', parent }])
      expect(reason(stored(good.bound, fields)), JSON.stringify(fields)).toBe('mismatch');
    expect(reason(stored({}, good.fields))).toBe('mismatch');
    // Signed, by whoever has the key, and still nowhere that BullMQ's scripts may be led.
    const signed: Record<string, ReturnType<typeof link>> = {
      'another tenant': link('acme2~p', 'bull:reports~acme2'),
      'another tenant’s id': link('acme2~p', 'bull:reports~acme'),
      'another tenant’s lane': link('acme~p', 'bull:reports~acme2'),
      'a raw queue': link('acme~p', 'bull:reports'),
      'another prefix': link('acme~p', 'raw:reports~acme'),
      'a queue without a name': link('acme~p', 'bull:~acme'),
      'a queue with two tenants': link('acme~p', 'bull:reports~acme2~acme'),
      'two keys': link('acme~p', 'bull:reports~acme', 'bull:reports~acme:acme~q'),
      'a job of a scheduler': link('repeat:x:1732000000000', 'bull:reports~acme'),
      'an id with a colon': link('acme~p:x', 'bull:reports~acme'),
    };
    for (const [what, one] of Object.entries(signed))
      expect(reason(stored(one.bound, one.fields)), what).toBe('mismatch');
    for (const odd of [
      '[]',
      '7',
      '{"id":["acme~p"],"queueKey":"bull:reports~acme"}',
      '{"id":"acme~p","queueKey":["bull:reports~acme"]}',
    ])
      expect(
        reason(stored({ parentKey, parent: canonicalJson(JSON.parse(odd)) }, { parentKey, parent: odd })),
        odd,
      ).toBe('mismatch');
    expect(reason(stored({ parentKey: '', parent: good.bound.parent }, { parent }))).toBe('mismatch');
    expect(reason(stored({ parentKey, parent: '' }, { parentKey }))).toBe('mismatch');
  });

  it('whose field is missing has the empty text there', () => {
    const { data: _data, ...rest } = stored({ data: '' });
    expect(verifyJob(verifier, rest, BOUND.id, 'acme')).toEqual(CLAIMS);
    expect(verifyJob(verifier, { ...rest, data: '' }, BOUND.id, 'acme')).toEqual(CLAIMS);
  });

  it('whose name is missing is none with an empty name', () => {
    const { name: _name, ...rest } = stored({ name: '' });
    expect(reason(rest)).toBe('mismatch');
    expect(verifyJob(verifier, { ...rest, name: '' }, BOUND.id, 'acme')).toEqual(CLAIMS);
  });

  it.each(['rjk', 'parentKey', 'deid'])('whose field %s is there and empty is another one', (field) => {
    expect(verifyJob(verifier, stored(), BOUND.id, 'acme')).toEqual(CLAIMS);
    expect(reason(stored({}, { [field]: '' }))).toBe('mismatch');
  });

  it('is bound to the verifier’s queue and prefix, and to the id under which it was found', () => {
    const { opts = '', ...rest } = stored();
    for (const elsewhere of [{ prefix: 'elsewhere' }, { queue: 'other' }])
      expect(
        reasonOf(() => verifyJob({ ...verifier, ...elsewhere }, { ...rest, opts }, BOUND.id, 'acme')),
      ).toBe('mismatch');
    expect(reason(stored(), 'acme~w-2')).toBe('mismatch');
    expect(reason(stored({}, { id: BOUND.id }), 'acme~w-2')).toBe('mismatch');
    expect(verifyJob(verifier, stored({}, { id: 'acme~w-2' }), BOUND.id, 'acme')).toEqual(CLAIMS);
  });

  it('without a header, or with options that are no object, is refused', () => {
    const { opts: _opts, ...rest } = stored();
    expect(reason(rest)).toBe('missing');
    expect(reason({})).toBe('missing');
    for (const opts of ['{}', '{"tk":"x"}', '{"__proto__":{"tk!":"x"}}'])
      expect(reason({ ...rest, opts }), opts).toBe('missing');
    for (const opts of [
      '',
      '{',
      'null',
      '[]',
      '["tk!"]',
      '"tk!"',
      '7',
      'true',
      '{"tk!":null}',
      '{"tk!":7}',
      '{"tk!":{}}',
      '{"tk!":""}',
    ])
      expect(reason({ ...rest, opts }), opts).toBe('malformed');
    for (const parent of ['', '{', 'null', '"\\ud800"', '123456789012345'])
      expect(reason(stored({}, { parent })), parent).toBe('malformed');
    expect(reason(stored({}, {}, { ...OPTIONS, n: 123_456_789_012_345 }))).toBe('malformed');
  });

  it('is told of without a word of what is in it', () => {
    for (const hash of [stored({}, { opts: '{a secret' }), stored({}, { parent: '{a secret' })]) {
      const error = errorOf(() => verifyJob(verifier, hash, BOUND.id, 'acme'));
      expect(`${error.stack}`).not.toContain('secret');
      expect(error.cause).toBeUndefined();
    }
  });
});
