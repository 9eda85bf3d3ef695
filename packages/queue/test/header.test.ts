import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signHeader, verifyHeader, type JobBinding, type JobClaims } from '../src/header.ts';
import { jobNames } from '../src/names.ts';
import { verifyJob } from '../src/verify.ts';
import { BOUND, KINDS, errorOf, oddText, reasonOf, signText } from './header-support.ts';

const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const anyText = fc.string();
const FIELDS = {
  prefix: anyText,
  queue: anyText,
  name: anyText,
  id: anyText,
  scheduler: anyText,
  parentKey: anyText,
  parent: anyText,
  deduplication: anyText,
  options: anyText,
  data: anyText,
} satisfies Readonly<Record<keyof JobBinding, unknown>>;
const binding: fc.Arbitrary<JobBinding> = fc.record(FIELDS);
const claims: fc.Arbitrary<JobClaims> = fc.record(
  {
    tenant: id,
    subject: id,
    // Lone surrogates too: core accepts any text as an actor.
    actor: oddText({ minLength: 1, maxLength: 100 }),
    issuedAt: fc.nat(),
  },
  { requiredKeys: ['tenant', 'issuedAt'] },
);

describe.each(KINDS)('header, $kind', ({ ring: ringOf, other, kind }) => {
  const ring = ringOf();

  it('says what was signed', () => {
    fc.assert(
      fc.property(claims, binding, (said, bound) => {
        expect(verifyHeader(ring, signHeader(ring, said, bound), bound)).toEqual(said);
      }),
    );
    const header = signHeader(ring, { tenant: 'acme', issuedAt: 1 }, BOUND);
    expect(header).toMatch(/^v1\.k1\.WyJhY21lIixudWxsLG51bGwsMV0\.[\w-]+$/);
    expect(header.split('.')[3]).toHaveLength(kind === 'HMAC' ? 43 : 86);
  });

  it('does not hold when any one bound field is another', () => {
    const fields = Object.keys(FIELDS) as (keyof JobBinding)[];
    fc.assert(
      fc.property(claims, binding, anyText, fc.constantFrom(...fields), (said, bound, text, field) => {
        fc.pre(text !== bound[field]);
        const header = signHeader(ring, said, bound);
        expect(reasonOf(() => verifyHeader(ring, header, { ...bound, [field]: text }))).toBe('mismatch');
      }),
    );
    const header = signHeader(ring, { tenant: 'acme', issuedAt: 1 }, BOUND);
    for (const field of fields) {
      const changed = { ...BOUND, [field]: `${BOUND[field]} ` };
      expect(
        reasonOf(() => verifyHeader(ring, header, changed)),
        field,
      ).toBe('mismatch');
    }
  });

  it('does not hold when text moves from one field into its neighbour', () => {
    fc.assert(
      fc.property(claims, binding, fc.string({ minLength: 1 }), (said, bound, moved) => {
        const header = signHeader(ring, said, { ...bound, name: bound.name + moved });
        const shifted = { ...bound, id: moved + bound.id };
        expect(reasonOf(() => verifyHeader(ring, header, shifted))).toBe('mismatch');
      }),
    );
  });

  it('does not hold when any character of it is another, and throws nothing else on any text', () => {
    fc.assert(
      fc.property(
        claims,
        binding,
        fc.nat(),
        fc.string({ minLength: 1, maxLength: 1 }),
        (said, bound, at, text) => {
          const header = signHeader(ring, said, bound);
          const index = at % header.length;
          fc.pre(header[index] !== text);
          const altered = header.slice(0, index) + text + header.slice(index + 1);
          expect(reasonOf(() => verifyHeader(ring, altered, bound))).toMatch(
            /^(?:malformed|unknownKey|mismatch)$/,
          );
        },
      ),
    );
    fc.assert(
      fc.property(oddText(), binding, (header, bound) => {
        expect(reasonOf(() => verifyHeader(ring, header, bound))).toBe('malformed');
      }),
    );
  });

  it('has four parts, one version, a key id of its form, and an end', () => {
    const header = signHeader(ring, { tenant: 'acme', issuedAt: 1 }, BOUND);
    const [version = '', kid = '', said = '', signature = ''] = header.split('.');
    const reason = (text: string): string => reasonOf(() => verifyHeader(ring, text, BOUND));
    for (const bad of [
      '',
      '...',
      [version, kid, said].join('.'),
      [version, kid, signature].join('.'),
      `${header}.`,
      `.${header}`,
      `${header}.${signature}`,
      ['v2', kid, said, signature].join('.'),
      ['V1', kid, said, signature].join('.'),
      ['', kid, said, signature].join('.'),
      [version, '', said, signature].join('.'),
      [version, 'k 1', said, signature].join('.'),
      [version, 'k1\n', said, signature].join('.'),
      [version, 'k'.repeat(33), said, signature].join('.'),
      [version, kid, '', ''].join('.'),
      [version, kid, said, ''].join('.'),
      [version, kid, `${said}=`, signature].join('.'),
      [version, kid, `${said}+`, signature].join('.'),
      [version, kid, said, `${signature}=`].join('.'),
      [version, kid, said, `${signature}A`].join('.'),
      [version, kid, said, `A${signature}`].join('.'),
      [version, kid, said, signature.slice(1)].join('.'),
      [version, kid, said, signature.slice(0, -1)].join('.'),
      // The same bytes to a lenient decoder: unused bits of the last character.
      [
        version,
        kid,
        said,
        `${signature.slice(0, -1)}${String.fromCharCode((signature.at(-1) ?? '').charCodeAt(0) + 1)}`,
      ].join('.'),
    ]) {
      expect(reason(bad), bad).toBe('malformed');
    }
    expect(reason([version, 'k'.repeat(32), said, signature].join('.'))).toBe('unknownKey');
    expect(reason([version, '-', said, signature].join('.'))).toBe('unknownKey');
    // Neither of these is the key's, and neither is looked up: the ring is no plain object.
    for (const name of ['__proto__', 'constructor', 'toString'])
      expect(reason([version, name, said, signature].join('.'))).toBe('unknownKey');
  });

  it('is read up to 4,096 characters', () => {
    // As long as a text is asked to be: JSON, in base64url.
    const claimsOf = (spaces: number): string => `["acme",null,null,1${' '.repeat(spaces)}]`;
    const rest =
      signText(ring, claimsOf(0), BOUND).length - Buffer.from(claimsOf(0)).toString('base64url').length;
    const room = Math.floor(((4_096 - rest) * 3) / 4) - claimsOf(0).length;
    const long = signText(ring, claimsOf(room), BOUND);
    const tooLong = signText(ring, claimsOf(room + 3), BOUND);
    expect([long.length <= 4_096, tooLong.length > 4_096]).toEqual([true, true]);
    // Both are malformed, for their spelling: what tells them apart is whether their signature is looked at.
    expect(reasonOf(() => verifyHeader(ring, long, { ...BOUND, name: 'x' }))).toBe('mismatch');
    expect(reasonOf(() => verifyHeader(ring, tooLong, { ...BOUND, name: 'x' }))).toBe('malformed');
  });

  it('is verified with the key that it names and with no other', () => {
    const said = { tenant: 'acme', issuedAt: 1 };
    const old = signHeader(other(), said, BOUND);
    expect(verifyHeader(ring, old, BOUND)).toEqual(said);
    expect(reasonOf(() => verifyHeader(ringOf('k1', { second: false }), old, BOUND))).toBe('unknownKey');
    // The same key under the name of the other one: trial verification would accept it.
    const renamed = signHeader(ringOf('k2', { second: false }), said, BOUND);
    expect(reasonOf(() => verifyHeader(ring, renamed, BOUND))).toBe('mismatch');
  });

  it('is not accepted with claims that its own key has signed in another shape', () => {
    const shapes = [
      '["acme",null,null]',
      '["acme",null,null,1,2]',
      '["acme",null,null,1.5]',
      '["acme",null,null,"1"]',
      '["acme",null,null,9007199254740993]',
      '["acme:2",null,null,1]',
      '[null,null,null,1]',
      '["",null,null,1]',
      '["acme","p:1",null,1]',
      '["acme","",null,1]',
      '["acme",1,null,1]',
      '["acme",null,"",1]',
      '["acme",null,1,1]',
      '["acme",null,{"length":1},1]',
      `["acme",null,"${'x'.repeat(257)}",1]`,
      '["acme", null, null, 1]',
      '["acme",null,null,1e0]',
      '["\\u0061cme",null,null,1]',
      '{"tenant":"acme"}',
      '"acme"',
      'null',
      'not JSON',
      '',
    ];
    for (const shape of shapes) {
      const forged = signText(ring, shape, BOUND);
      expect(
        reasonOf(() => verifyHeader(ring, forged, BOUND)),
        shape,
      ).toBe('malformed');
    }
    expect(verifyHeader(ring, signText(ring, '["acme",null,null,1]', BOUND), BOUND)).toEqual({
      tenant: 'acme',
      issuedAt: 1,
    });
    const longest = `["acme","p","${'x'.repeat(256)}",-1]`;
    expect(verifyHeader(ring, signText(ring, longest, BOUND), BOUND)).toEqual({
      tenant: 'acme',
      subject: 'p',
      actor: 'x'.repeat(256),
      issuedAt: -1,
    });
  });

  it('is not accepted for an id that is not its tenant’s, whoever signed it', () => {
    const verifier = { prefix: 'bull', queue: 'mail', ring, names: jobNames() };
    const stored = (tenant: string): Record<string, string> => ({
      name: BOUND.name,
      data: BOUND.data,
      opts: JSON.stringify({
        'tk!': signHeader(ring, { tenant, issuedAt: 1 }, BOUND),
        ...(JSON.parse(BOUND.options) as object),
      }),
    });
    expect(verifyJob(verifier, stored('acme'), BOUND.id, 'acme').tenant).toBe('acme');
    for (const tenant of ['acme2', 'a', 'ac', 'ACME']) {
      for (const lane of ['acme', tenant])
        expect(reasonOf(() => verifyJob(verifier, stored(tenant), BOUND.id, lane))).toBe('mismatch');
    }
  });

  it('never tells what it was given', () => {
    const header = signHeader(ring, { tenant: 'acme', issuedAt: 1 }, BOUND);
    const error = errorOf(() => verifyHeader(ring, header, { ...BOUND, data: 'a secret payload' }));
    expect(error).toMatchObject({ surface: 'queue', operation: 'process', reason: 'mismatch' });
    expect(error.message).toContain('this job');
    expect(JSON.stringify([error, error.message, error.stack, error.cause])).not.toContain('payload');
  });
});

it('a secret gives every queue and prefix a key of its own', () => {
  const [hmac] = KINDS;
  const said = { tenant: 'acme', issuedAt: 1 };
  const elsewhere = signHeader(hmac?.ring('k1', { queue: 'other' }) ?? expect.unreachable(), said, BOUND);
  expect(reasonOf(() => verifyHeader(hmac?.ring() ?? expect.unreachable(), elsewhere, BOUND))).toBe(
    'mismatch',
  );
});
