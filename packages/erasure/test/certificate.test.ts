import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { ConfigError, SignatureError } from '@tenantkit/core';
import {
  CERTIFICATE_TYPE,
  CertificateError,
  createSigner,
  generateSigningKey,
  readCertificate,
  verifyCertificate,
  type Certificate,
} from '@tenantkit/erasure';
import { describe, expect, it } from 'vitest';
import { digestSubject } from '../src/subject.ts';
import { rejection, signer, signingKey } from './setup.ts';

const keys = { keys: [signingKey.publicKey] };
const time = (minute: number): string => new Date(Date.UTC(2026, 10, 21, 12, minute)).toISOString();

const statement: Certificate = {
  version: 1,
  erasure: randomUUID(),
  tenant: 'acme',
  subject: digestSubject('acme', 'p1'),
  outcome: 'completed_with_retention',
  reason: 'contract ended',
  requestedBy: 'ops',
  approvedBy: 'dpo',
  times: {
    requestedAt: time(0),
    plannedAt: time(1),
    approvedAt: time(2),
    startedAt: time(3),
    completedAt: time(9),
  },
  completeAt: time(12),
  stores: [
    {
      store: 'cache',
      stage: 'purge',
      before: [{ kind: 'keys', count: 3 }],
      erased: [{ kind: 'keys', count: 3 }],
      remaining: [{ kind: 'keys', count: 0 }],
      control: { planted: 1, found: 1, method: 'a key' },
      kept: [{ kind: 'keys', count: 1, why: 'legal hold' }],
      verifiedAt: time(8),
    },
    {
      store: 'keys',
      stage: 'shred',
      before: [],
      erased: [],
      remaining: [],
      control: { planted: 1, found: 1, method: 'a secret' },
      kept: [],
      verifiedAt: time(8),
      completeAt: time(12),
    },
  ],
  fence: { mode: 'tenant', frozenAt: time(3), maxStaleness: 30_000, tombstonedAt: time(9) },
  ledger: { seq: 20, hash: 'A'.repeat(43) },
  issuer: { name: 'tenantkit', version: '1.0.0' },
};

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const sign = (value: unknown, typ: string = CERTIFICATE_TYPE): Promise<string> =>
  signer.sign(new TextEncoder().encode(JSON.stringify(value)), typ);
const jws = await sign(statement);
const [header = '', payload = '', signature = ''] = jws.split('.');

describe('a certificate', () => {
  it.each([
    ['a JWKS', keys],
    ['a list of JWKs', [signingKey.publicKey]],
    [
      'a JWK without kid, known by its thumbprint',
      [{ kty: 'OKP', crv: 'Ed25519', x: signingKey.publicKey.x }],
    ],
    ['a KeyObject', [createPublicKeyObject()]],
    ['a JWKS with keys of other kinds', { keys: [...otherKeys(), signingKey.publicKey] }],
  ])('is verified by %s', async (_, given) => {
    const verified = await verifyCertificate(jws, { keys: given, subject: 'p1' });
    expect(verified).toEqual({ kid: signer.kid, certificate: statement });
  });

  it('can be read without being verified', () => {
    expect(readCertificate(jws)).toEqual(statement);
  });

  it('fails when any one character is another', async () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const survivors: number[] = [];
    for (let index = 0; index < jws.length; index += 1) {
      if (jws[index] === '.') continue;
      const old = alphabet.indexOf(jws[index] ?? '');
      // The neighbour in the alphabet differs in the last bit: the one that lenient decoders drop.
      const flipped = `${jws.slice(0, index)}${alphabet[old ^ 1]}${jws.slice(index + 1)}`;
      await verifyCertificate(flipped, { keys }).then(
        () => survivors.push(index),
        (error: unknown) => expect(error).toBeInstanceOf(SignatureError),
      );
    }
    expect(survivors).toEqual([]);
  });

  it.each([
    ['no text', undefined, 'malformed'],
    ['an empty text', '', 'malformed'],
    ['two parts', `${header}.${payload}`, 'malformed'],
    ['four parts', `${jws}.${signature}`, 'malformed'],
    ['padding', `${jws}=`, 'malformed'],
    ['white space', `${jws}\n`, 'malformed'],
    ['no signature', `${header}.${payload}.`, 'malformed'],
    ['too long a text', `${header}.${'A'.repeat(2 ** 21)}.${signature}`, 'malformed'],
    ['another payload', `${header}.${encode({ ...statement, tenant: 'acme2' })}.${signature}`, 'mismatch'],
    [
      'the algorithm none',
      `${encode({ alg: 'none', typ: CERTIFICATE_TYPE, kid: signer.kid })}.${payload}.${signature}`,
      'malformed',
    ],
    ['an HMAC with the public key', hmacForgery(), 'malformed'],
    [
      'a key of its own in the header',
      `${encode({ alg: 'EdDSA', typ: CERTIFICATE_TYPE, kid: signer.kid, jwk: signingKey.publicKey })}.${payload}.${signature}`,
      'malformed',
    ],
    [
      'a critical extension',
      `${encode({ alg: 'EdDSA', typ: CERTIFICATE_TYPE, kid: signer.kid, crit: ['b64'], b64: false })}.${payload}.${signature}`,
      'malformed',
    ],
    ['no kid', `${encode({ alg: 'EdDSA', typ: CERTIFICATE_TYPE })}.${payload}.${signature}`, 'malformed'],
    [
      'an unknown kid',
      `${encode({ alg: 'EdDSA', typ: CERTIFICATE_TYPE, kid: 'x' })}.${payload}.${signature}`,
      'unknownKey',
    ],
  ])('with %s is refused', async (_, text, reason) => {
    const error = await rejection(verifyCertificate(text as string, { keys }));
    expect(error).toBeInstanceOf(SignatureError);
    expect(error).toMatchObject({ code: 'SIGNATURE_INVALID', surface: 'erasure', reason });
  });

  it('signed for another purpose by the same key is refused', async () => {
    const token = await sign(statement, 'JWT');
    expect(await rejection(verifyCertificate(token, { keys }))).toMatchObject({ reason: 'malformed' });
  });

  it('signed by another key under the same kid is refused', async () => {
    const { privateKey } = await generateSigningKey();
    const forger = await createSigner({ privateKey, kid: signer.kid });
    const forged = await forger.sign(new TextEncoder().encode(JSON.stringify(statement)), CERTIFICATE_TYPE);
    expect(await rejection(verifyCertificate(forged, { keys }))).toMatchObject({ reason: 'mismatch' });
    // The same text is fine for whoever trusts that key: it was not refused for its form.
    expect((await verifyCertificate(forged, { keys: [forger.publicKey] })).kid).toBe(signer.kid);
  });
});

const [cache, shredded] = statement.stores as [Certificate['stores'][number], Certificate['stores'][number]];

describe('a good signature over', () => {
  it.each([
    ['no certificate', { hello: 'world' }, 'payload'],
    ['a newer version', { ...statement, version: 2 }, 'payload'],
    ['an unknown field', { ...statement, note: 'x' }, 'payload'],
    ['no store', { ...statement, stores: [] }, 'payload'],
    ['a store that is named twice', { ...statement, stores: [cache, cache] }, 'payload'],
    [
      'a negative count',
      { ...statement, stores: [{ ...cache, erased: [{ kind: 'keys', count: -1 }] }] },
      'payload',
    ],
    ['a tenant id with a separator', { ...statement, tenant: 'acme:2' }, 'payload'],
    [
      'something that remains',
      { ...statement, stores: [{ ...cache, remaining: [{ kind: 'keys', count: 1 }] }] },
      'remaining',
    ],
    [
      'a recount without control',
      { ...statement, stores: [{ ...cache, control: { planted: 0, found: 0, method: 'none' } }] },
      'control',
    ],
    [
      'a recount that did not see',
      { ...statement, stores: [{ ...cache, control: { planted: 2, found: 1, method: 'x' } }] },
      'control',
    ],
    ['retention that is not in its outcome', { ...statement, outcome: 'completed' }, 'retention'],
    [
      'an outcome without its retention',
      { ...statement, stores: [{ ...cache, kept: [] }, shredded] },
      'retention',
    ],
    [
      'an approval after the start',
      { ...statement, times: { ...statement.times, approvedAt: time(5) } },
      'times',
    ],
    [
      'a recount before the start',
      { ...statement, stores: [{ ...cache, verifiedAt: time(2) }, shredded] },
      'times',
    ],
    [
      'a tombstone after completion',
      { ...statement, fence: { ...statement.fence, tombstonedAt: time(10) } },
      'times',
    ],
    ['a completeAt that is too early', { ...statement, completeAt: time(9) }, 'times'],
  ])('%s proves nothing', async (_, value, reason) => {
    const text = await sign(value);
    const error = await rejection(verifyCertificate(text, { keys }));
    expect(error).toBeInstanceOf(CertificateError);
    expect(error).toMatchObject({ code: 'CERTIFICATE_INVALID', reason });
  });

  it('another person proves nothing about this one', async () => {
    expect(await rejection(verifyCertificate(jws, { keys, subject: 'p10' }))).toMatchObject({
      reason: 'subject',
    });
    const { subject: _, ...whole } = statement;
    const text = await sign(whole);
    expect(await rejection(verifyCertificate(text, { keys, subject: 'p1' }))).toMatchObject({
      reason: 'subject',
    });
    expect((await verifyCertificate(text, { keys })).certificate.tenant).toBe('acme');
  });
});

describe('keys that cannot verify', () => {
  it.each([
    ['nothing', undefined],
    ['an empty JWKS', { keys: [] }],
    ['a private JWK', [signingKey.privateKey]],
    ['a private KeyObject', [createPrivateKey({ key: signingKey.privateKey, format: 'jwk' })]],
    ['keys of other kinds only', otherKeys()],
    ['two keys of one kid', [signingKey.publicKey, signingKey.publicKey]],
    ['no keys at all', ['secret']],
  ])('%s are refused', async (_, given) => {
    const error = await rejection(verifyCertificate(jws, { keys: given as never }));
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).not.toContain(signingKey.privateKey.d);
  });
});

describe('a signer', () => {
  const key = createPrivateKey({ key: signingKey.privateKey, format: 'jwk' });

  it.each([
    ['a JWK', signingKey.privateKey],
    ['PKCS #8', key.export({ format: 'pem', type: 'pkcs8' }) as string],
    ['a KeyObject', key],
  ])('is made from %s', async (_, privateKey) => {
    const made = await createSigner({ privateKey });
    expect(made.publicKey).toEqual(signingKey.publicKey);
    expect(Object.keys(made.publicKey)).not.toContain('d');
  });

  it('can be given a name', async () => {
    const made = await createSigner({ privateKey: key, kid: 'erasure-2026' });
    expect(made.publicKey.kid).toBe('erasure-2026');
    await expect(createSigner({ privateKey: key, kid: 'a\nb' })).rejects.toBeInstanceOf(ConfigError);
  });

  it.each([
    ['a public key', signingKey.publicKey],
    ['an RSA key', generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey],
    ['a key for agreement', generateKeyPairSync('x25519').privateKey],
    ['a text that is none', 'supersecret'],
    ['a JWK that is none', { kty: 'OKP', crv: 'Ed25519', x: 'x', d: 'supersecret' }],
    ['nothing', undefined],
  ])('is not made from %s, which is not shown', async (_, privateKey) => {
    const error = await rejection(createSigner({ privateKey: privateKey as never }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(`${(error as Error).stack} ${JSON.stringify(error)}`).not.toContain('supersecret');
    expect((error as Error).cause).toBeUndefined();
  });
});

function createPublicKeyObject(): KeyObject {
  return createPublicKey({ key: signingKey.publicKey, format: 'jwk' });
}

function otherKeys(): JsonWebKey[] {
  return [
    generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey.export({ format: 'jwk' }),
    { kty: 'unheard-of', kid: 'x' },
    { ...signingKey.publicKey, use: 'enc' },
  ];
}

function hmacForgery(): string {
  const text = `${encode({ alg: 'HS256', typ: CERTIFICATE_TYPE, kid: signer.kid })}.${payload}`;
  const secret = Buffer.from(signingKey.publicKey.x, 'base64url');
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}
