import { createPrivateKey, createPublicKey, type KeyObject, type webcrypto } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../src/canonical.ts';
import { readKey } from '../src/ed25519.ts';
import { signHeader, verifyHeader } from '../src/header.ts';
import { queueKeyRing, type QueueKeyRing } from '../src/keys.ts';
import { jobNames } from '../src/names.ts';
import { verifyJob } from '../src/verify.ts';
import { reasonOf } from './header-support.ts';
import { VECTORS, bindingOf, claimsOf, hashOf, type MacVector, type PairVector } from './header-vectors.ts';

const { vectors: macs, invalid: invalidMacs, salt, ed25519 } = VECTORS;
const unhex = (text: string): Buffer<ArrayBuffer> => Buffer.from(text, 'hex');
const encoder = new TextEncoder();

const privateKeyOf = ({ seedHex, publicKeyHex }: PairVector): KeyObject =>
  createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'OKP',
      crv: 'Ed25519',
      d: unhex(seedHex).toString('base64url'),
      x: unhex(publicKeyHex).toString('base64url'),
    },
  });
/** The ring that signs, and the one that only verifies. */
const ringsOf = (v: Any): readonly [QueueKeyRing, QueueKeyRing] => {
  const { kid, prefix, queue } = v;
  if ('secretHex' in v) {
    const ring = queueKeyRing([{ kid, secret: unhex(v.secretHex) }], prefix, queue);
    return [ring, ring];
  }
  const privateKey = privateKeyOf(v);
  const publicKey = createPublicKey(privateKey);
  return [
    queueKeyRing([{ kid, privateKey }], prefix, queue),
    queueKeyRing([{ kid, publicKey }], prefix, queue),
  ];
};

type Any = MacVector | PairVector;
const KINDS: readonly { kind: string; vectors: readonly [Any, ...Any[]]; invalid: typeof invalidMacs }[] = [
  { kind: 'HMAC', vectors: macs, invalid: invalidMacs },
  { kind: 'Ed25519', vectors: ed25519.vectors, invalid: ed25519.invalid },
];

describe.each(KINDS)('test vectors, $kind', ({ vectors, invalid }) => {
  it.each(vectors)('$comment: signed and verified by the package', (v) => {
    const [signs, verifies] = ringsOf(v);
    expect(signHeader(signs, claimsOf(v), bindingOf(v))).toBe(v.header);
    expect(verifyHeader(verifies, v.header, bindingOf(v))).toEqual(claimsOf(v));
    expect(canonicalJson(JSON.parse(v.storedOptions))).toBe(v.canonicalOptions);
  });

  it.each(vectors)('$comment: verified as it is stored', (v) => {
    const verifier = { prefix: v.prefix, queue: v.queue, ring: ringsOf(v)[1], names: jobNames() };
    const said = claimsOf(v);
    expect(verifyJob(verifier, hashOf(v), v.id, said.tenant)).toEqual(said);
    // Genuine, and in a lane that is not its tenant's, or in none.
    for (const lane of ['other', undefined])
      expect(reasonOf(() => verifyJob(verifier, hashOf(v), v.id, lane))).toBe('mismatch');
  });

  it.each(invalid)('invalid: $comment', ({ header, reason }) => {
    const [first] = vectors;
    expect(reasonOf(() => verifyHeader(ringsOf(first)[1], header, bindingOf(first)))).toBe(reason);
  });
});

// A second implementation, from the page alone: WebCrypto, and bytes put together in another way.
describe('the same by WebCrypto', () => {
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
  const signedOf = (v: Any): string => v.header.slice(0, v.header.lastIndexOf('.'));
  const fieldsOf = (v: Any): readonly string[] => [
    signedOf(v),
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
  ];

  it.each(macs)('HMAC: $comment', async (v) => {
    const secret = await crypto.subtle.importKey('raw', unhex(v.secretHex), 'HKDF', false, ['deriveBits']);
    const info = prefixed([v.prefix, v.queue]);
    const bits = await crypto.subtle.deriveBits(
      { name: 'HKDF', hash: 'SHA-256', salt: encoder.encode(salt), info },
      secret,
      256,
    );
    expect(Buffer.from(bits).toString('hex')).toBe(v.keyHex);
    const input = prefixed(fieldsOf(v));
    expect(Buffer.from(input).toString('hex')).toBe(v.macInputHex);
    const hmac = { name: 'HMAC', hash: 'SHA-256' };
    const key = await crypto.subtle.importKey('raw', bits, hmac, false, ['sign']);
    const mac = Buffer.from(await crypto.subtle.sign('HMAC', key, input)).toString('base64url');
    expect(`${signedOf(v)}.${mac}`).toBe(v.header);
    expect(Buffer.from(signedOf(v).split('.')[2] ?? '', 'base64url').toString()).toBe(v.claims);
  });

  it.each(ed25519.vectors)('Ed25519: $comment', async (v) => {
    const message = prefixed([salt, ...fieldsOf(v)]);
    expect(Buffer.from(message).toString('hex')).toBe(v.messageHex);
    const jwk = privateKeyOf(v).export({ format: 'jwk' }) as webcrypto.JsonWebKey;
    const key = await crypto.subtle.importKey('jwk', jwk, 'Ed25519', false, ['sign']);
    const signature = await crypto.subtle.sign('Ed25519', key, message);
    expect(`${signedOf(v)}.${Buffer.from(signature).toString('base64url')}`).toBe(v.header);
    const reader = await crypto.subtle.importKey('raw', unhex(v.publicKeyHex), 'Ed25519', false, ['verify']);
    expect(await crypto.subtle.verify('Ed25519', reader, signature, message)).toBe(true);
  });
});

it.each(ed25519.refusedKeys)('no public key: $comment', ({ publicKeyHex }) => {
  const x = unhex(publicKeyHex).toString('base64url');
  expect(readKey('public', { kty: 'OKP', crv: 'Ed25519', x })).toMatch(/^is no point/);
});
