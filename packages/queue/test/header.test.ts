import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SignatureError } from '@tenantkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { lengthPrefixed } from '../src/bytes.ts';
import { canonicalJson } from '../src/canonical.ts';
import { signHeader, verifyHeader, type JobBinding, type JobClaims } from '../src/header.ts';
import { queueKeyRing } from '../src/keys.ts';
import { verifyJob } from '../src/verify.ts';
import { jobNames } from '../src/names.ts';
import { KEY, OTHER_KEY } from './support.ts';

const text = z.string();
const vector = z.strictObject({
  comment: text,
  secretHex: text,
  kid: text,
  prefix: text,
  queue: text,
  keyHex: text,
  claims: text,
  name: text,
  id: text,
  scheduler: text,
  parentKey: text,
  parent: text,
  deduplication: text,
  storedOptions: text,
  canonicalOptions: text,
  data: text,
  macInputHex: text,
  header: text,
});
const file = z.strictObject({
  description: text,
  salt: text,
  vectors: z.tuple([vector], vector),
  invalid: z.array(z.strictObject({ comment: text, header: text, reason: text })),
});
const { vectors, invalid, salt } = file.parse(
  JSON.parse(readFileSync(new URL('../../../docs/vectors/job-header.json', import.meta.url), 'utf8')),
);
type Vector = z.infer<typeof vector>;

const ringOf = ({ kid, secretHex, prefix, queue }: Vector) =>
  queueKeyRing([{ kid, secret: Buffer.from(secretHex, 'hex') }], prefix, queue);
const bindingOf = (v: Vector): JobBinding => ({
  prefix: v.prefix,
  queue: v.queue,
  name: v.name,
  id: v.id,
  scheduler: v.scheduler,
  parentKey: v.parentKey,
  parent: v.parent,
  deduplication: v.deduplication,
  options: v.canonicalOptions,
  data: v.data,
});
const claimsOf = (json: string): JobClaims => {
  const [tenant, subject, actor, issuedAt] = z
    .tuple([text, text.nullable(), text.nullable(), z.number()])
    .parse(JSON.parse(json));
  return {
    tenant,
    ...(subject === null ? {} : { subject }),
    ...(actor === null ? {} : { actor }),
    issuedAt,
  };
};

describe('test vectors', () => {
  it.each(vectors)('$comment: signed and verified by the package', (v) => {
    expect(signHeader(ringOf(v), claimsOf(v.claims), bindingOf(v))).toBe(v.header);
    expect(verifyHeader(ringOf(v), v.header, bindingOf(v))).toEqual(claimsOf(v.claims));
    expect(canonicalJson(JSON.parse(v.storedOptions))).toBe(v.canonicalOptions);
  });

  it.each(vectors)('$comment: verified as it is stored', (v) => {
    const hash = {
      name: v.name,
      data: v.data,
      opts: JSON.stringify({ 'tk!': v.header, ...(JSON.parse(v.storedOptions) as object) }),
      ...(v.scheduler === '' ? {} : { rjk: v.scheduler }),
      ...(v.parentKey === '' ? {} : { parentKey: v.parentKey, parent: v.parent }),
      ...(v.deduplication === '' ? {} : { deid: v.deduplication }),
    };
    const verifier = { prefix: v.prefix, queue: v.queue, ring: ringOf(v), names: jobNames() };
    const said = claimsOf(v.claims);
    expect(verifyJob(verifier, hash, v.id, said.tenant)).toEqual(said);
    // Genuine, and in a lane that is not its tenant's, or in none.
    for (const lane of ['other', undefined])
      expect(reasonOf(() => verifyJob(verifier, hash, v.id, lane))).toBe('mismatch');
  });

  // A second implementation, from the page alone: WebCrypto, and bytes put together in another way.
  it.each(vectors)('$comment: the same by WebCrypto', async (v) => {
    const encoder = new TextEncoder();
    const prefixed = (fields: readonly string[]): Uint8Array<ArrayBuffer> => {
      const parts = fields.map((field) => encoder.encode(field));
      const bytes = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0));
      const view = new DataView(bytes.buffer);
      let at = 0;
      for (const part of parts) {
        view.setUint32(at, part.length, false);
        bytes.set(part, at + 4);
        at += 4 + part.length;
      }
      return bytes;
    };
    const secret = await crypto.subtle.importKey('raw', Buffer.from(v.secretHex, 'hex'), 'HKDF', false, [
      'deriveBits',
    ]);
    const bits = await crypto.subtle.deriveBits(
      { name: 'HKDF', hash: 'SHA-256', salt: encoder.encode(salt), info: prefixed([v.prefix, v.queue]) },
      secret,
      256,
    );
    expect(Buffer.from(bits).toString('hex')).toBe(v.keyHex);
    const signed = v.header.slice(0, v.header.lastIndexOf('.'));
    const input = prefixed([
      signed,
      v.prefix,
      v.queue,
      v.name,
      v.id,
      v.scheduler,
      v.parentKey,
      v.parent,
      v.deduplication,
      v.canonicalOptions,
      v.data,
    ]);
    expect(Buffer.from(input).toString('hex')).toBe(v.macInputHex);
    const key = await crypto.subtle.importKey('raw', bits, { name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
    ]);
    const mac = Buffer.from(await crypto.subtle.sign('HMAC', key, input)).toString('base64url');
    expect(`${signed}.${mac}`).toBe(v.header);
    expect(Buffer.from(signed.split('.')[2] ?? '', 'base64url').toString()).toBe(v.claims);
  });

  it.each(invalid)('invalid: $comment', ({ header, reason }) => {
    const [first] = vectors;
    expect(reasonOf(() => verifyHeader(ringOf(first), header, bindingOf(first)))).toBe(reason);
  });
});

const ring = queueKeyRing([KEY, OTHER_KEY], 'bull', 'mail');
const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const anyText = fc.string({ unit: 'grapheme' });
const binding: fc.Arbitrary<JobBinding> = fc.record({
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
});
const claims: fc.Arbitrary<JobClaims> = fc.record(
  {
    tenant: id,
    subject: id,
    // Lone surrogates too: core accepts any text as an actor.
    actor: fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }),
    issuedAt: fc.nat(),
  },
  { requiredKeys: ['tenant', 'issuedAt'] },
);

describe('header', () => {
  it('says what was signed', () => {
    fc.assert(
      fc.property(claims, binding, (said, bound) => {
        expect(verifyHeader(ring, signHeader(ring, said, bound), bound)).toEqual(said);
      }),
    );
  });

  it('does not hold when any one bound field is another', () => {
    const fields = [
      'prefix',
      'queue',
      'name',
      'id',
      'scheduler',
      'parentKey',
      'parent',
      'deduplication',
      'options',
      'data',
    ] as const satisfies readonly (keyof JobBinding)[];
    fc.assert(
      fc.property(claims, binding, anyText, fc.constantFrom(...fields), (said, bound, other, field) => {
        fc.pre(other !== bound[field]);
        const header = signHeader(ring, said, bound);
        expect(reasonOf(() => verifyHeader(ring, header, { ...bound, [field]: other }))).toBe('mismatch');
      }),
    );
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
        (said, bound, at, other) => {
          const header = signHeader(ring, said, bound);
          const index = at % header.length;
          fc.pre(header[index] !== other);
          const altered = header.slice(0, index) + other + header.slice(index + 1);
          expect(reasonOf(() => verifyHeader(ring, altered, bound))).toMatch(
            /^(?:malformed|unknownKey|mismatch)$/,
          );
        },
      ),
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), binding, (header, bound) => {
        expect(reasonOf(() => verifyHeader(ring, header, bound))).toBe('malformed');
      }),
    );
  });

  it('is verified with the key that it names and with no other', () => {
    const [bound] = fc.sample(binding, 1);
    if (bound === undefined) throw new Error('no sample');
    const said = { tenant: 'acme', issuedAt: 1 };
    const old = signHeader(queueKeyRing([OTHER_KEY], 'bull', 'mail'), said, bound);
    expect(verifyHeader(ring, old, bound)).toEqual(said);
    expect(reasonOf(() => verifyHeader(queueKeyRing([KEY], 'bull', 'mail'), old, bound))).toBe('unknownKey');
    // The same secret under the name of the other key: trial verification would accept it.
    const renamed = signHeader(queueKeyRing([{ ...KEY, kid: 'k2' }], 'bull', 'mail'), said, bound);
    expect(reasonOf(() => verifyHeader(ring, renamed, bound))).toBe('mismatch');
    // A queue's keys are its own.
    const elsewhere = signHeader(queueKeyRing([KEY], 'bull', 'other'), said, bound);
    expect(reasonOf(() => verifyHeader(ring, elsewhere, bound))).toBe('mismatch');
  });

  it('is not accepted with claims that its own key has signed in another shape', () => {
    const bound = bindingOf(vectors[0]);
    const shapes = [
      '["acme",null,null]',
      '["acme",null,null,1,2]',
      '["acme",null,null,1.5]',
      '["acme",null,null,"1"]',
      '["acme:2",null,null,1]',
      '["acme","p:1",null,1]',
      '["acme",null,"",1]',
      `["acme",null,"${'x'.repeat(257)}",1]`,
      '["acme", null, null, 1]',
      '["\\u0061cme",null,null,1]',
      '{"tenant":"acme"}',
      'not JSON',
      '',
    ];
    for (const shape of shapes) {
      const forged = signText(shape, bound);
      expect(
        reasonOf(() => verifyHeader(ring, forged, bound)),
        shape,
      ).toBe('malformed');
    }
    expect(verifyHeader(ring, signText('["acme",null,null,1]', bound), bound)).toEqual({
      tenant: 'acme',
      issuedAt: 1,
    });
  });

  it('is not accepted for an id that is not its tenant’s, whoever signed it', () => {
    const [v] = vectors;
    const verifier = { prefix: v.prefix, queue: v.queue, ring: ringOf(v), names: jobNames() };
    const stored = (said: JobClaims): Record<string, string> => ({
      name: v.name,
      data: v.data,
      opts: JSON.stringify({
        'tk!': signHeader(ringOf(v), said, bindingOf(v)),
        ...(JSON.parse(v.storedOptions) as object),
      }),
    });
    expect(verifyJob(verifier, stored({ tenant: 'acme', issuedAt: 1 }), v.id, 'acme').tenant).toBe('acme');
    for (const tenant of ['acme2', 'a', 'ac', 'ACME']) {
      const signed = stored({ tenant, issuedAt: 1 });
      for (const lane of ['acme', tenant])
        expect(reasonOf(() => verifyJob(verifier, signed, v.id, lane))).toBe('mismatch');
    }
  });

  it('never tells what it was given', () => {
    const bound = { ...bindingOf(vectors[0]), data: 'a secret payload' };
    const error = errorOf(() => verifyHeader(ring, vectors[0].header, bound));
    expect(JSON.stringify([error, error.message, error.stack, error.cause])).not.toContain('payload');
  });
});

/** Signs claims of any shape: what a careless holder of the key could produce. */
function signText(claimsText: string, bound: JobBinding): string {
  const signed = `v1.${KEY.kid}.${Buffer.from(claimsText).toString('base64url')}`;
  const { prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data } = bound;
  const fields = [
    signed,
    prefix,
    queue,
    name,
    id,
    scheduler,
    parentKey,
    parent,
    deduplication,
    options,
    data,
  ];
  const mac = createHmac('sha256', ring.current.key).update(lengthPrefixed(fields)).digest('base64url');
  return `${signed}.${mac}`;
}

function errorOf(call: () => unknown): SignatureError {
  try {
    call();
  } catch (error) {
    if (error instanceof SignatureError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

function reasonOf(call: () => unknown): string {
  return errorOf(call).reason;
}
