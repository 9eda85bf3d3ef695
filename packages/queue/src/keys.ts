import { createPublicKey, hash, hkdfSync, sign, timingSafeEqual, verify, type KeyObject } from 'node:crypto';
import { ConfigError } from '@tenantkit/core';
import { lengthPrefixed, roomFor, writeFields } from './bytes.ts';
import type { CheckedKey } from './options.ts';

/** Part of the header's format: salt of the key derivation, and the first field of what Ed25519 signs. */
const CONTEXT = 'tenantkit/queue/v1';
const SECRET_BYTES = 32;

/**
 * A key of one queue. How a header is checked follows from the key that the service has configured under the header's
 * key id, never from anything in the header: no header can ask for a public key to be used as a secret.
 */
export interface QueueKey {
  readonly kid: string;
  /** The form of its signatures in base64url, each of which has one spelling. */
  readonly form: RegExp;
  /** Signs a list of fields; `undefined` when only the public half is known. */
  readonly sign: ((fields: readonly string[]) => string) | undefined;
  /** @param signature - of the key's {@link form} */
  readonly verify: (fields: readonly string[], signature: string) => boolean;
}

/** A key that can sign. */
export interface Signer extends QueueKey {
  readonly sign: (fields: readonly string[]) => string;
}

/** The keys of one queue. */
export interface QueueKeyRing {
  /** The key that signs new jobs, if it can. */
  readonly current: QueueKey;
  /** The key that a header names. There is no trial verification: an unknown id has no key. */
  byId(kid: string): QueueKey | undefined;
}

/**
 * Makes the keys of one queue. From secrets they are derived with HKDF-SHA-256 (RFC 5869): a header that was signed
 * for one queue or prefix cannot be verified with the keys of another. Ed25519 keys are the same for all queues; what
 * they sign names queue and prefix.
 *
 * @param signingKeys - the first signs, all verify
 * @param prefix - BullMQ's key prefix
 * @param queue - the queue's name
 */
export function queueKeyRing(
  signingKeys: readonly [CheckedKey, ...CheckedKey[]],
  prefix: string,
  queue: string,
): QueueKeyRing {
  const current = queueKey(signingKeys[0], prefix, queue);
  const keys = new Map([[current.kid, current]]);
  for (const given of signingKeys.slice(1)) keys.set(given.kid, queueKey(given, prefix, queue));
  return { current, byId: (kid) => keys.get(kid) };
}

/**
 * The key that signs new jobs.
 *
 * @param operation - what needs it
 * @throws {@link ConfigError} when the first key of the ring cannot sign
 */
export function signerOf({ current }: QueueKeyRing, operation: string): Signer {
  if (canSign(current)) return current;
  throw new ConfigError({
    surface: 'queue',
    operation,
    problem: 'tenant.signingKeys.0 has a public key alone, and cannot sign',
    hint: 'Put an entry with secret or privateKey first; who only runs jobs needs a Worker, and no Queue.',
  });
}

function canSign(key: QueueKey): key is Signer {
  return key.sign !== undefined;
}

function queueKey(given: CheckedKey, prefix: string, queue: string): QueueKey {
  if ('secret' in given) return hmacKey(given.kid, deriveKey(given.secret, prefix, queue));
  if ('publicKey' in given) return ed25519Key(given.kid, given.publicKey, undefined);
  return ed25519Key(given.kid, createPublicKey(given.privateKey), given.privateKey);
}

/** 32 bytes: the last character has two unused bits, which are zero. */
const HMAC_FORM = /^[\w-]{42}[AEIMQUYcgkosw048]$/;

/** What SHA-256 takes at a time, in bytes. */
const BLOCK = 64;

/** Where the fields of nearly all jobs are written for their MAC, which takes them at once. */
const SCRATCH = Buffer.alloc(16_384);

/**
 * HMAC-SHA-256 (RFC 2104) of fields, with `hash` and not with `createHmac`: that one makes an object in native code per
 * call, which the garbage collector has to follow, and takes twice as long for a job of 1 KiB.
 *
 * @param key - of a block or less
 */
export function macOf(key: Uint8Array): (fields: readonly string[]) => string {
  const inner = padded(key, 0x36);
  const outer = Buffer.concat([padded(key, 0x5c)], BLOCK + SECRET_BYTES);
  return (fields) => {
    const room = BLOCK + roomFor(fields);
    const bytes = room <= SCRATCH.length ? SCRATCH : Buffer.allocUnsafe(room);
    bytes.set(inner);
    const end = writeFields(fields, bytes, BLOCK);
    // As text, one character per byte: a digest in a Buffer of its own takes longer than the hash.
    outer.write(hash('sha256', bytes.subarray(0, end), 'binary'), BLOCK, 'latin1');
    return hash('sha256', outer, 'base64url');
  };
}

function padded(key: Uint8Array, pad: number): Uint8Array {
  const block = new Uint8Array(BLOCK);
  block.set(key);
  return block.map((byte) => byte ^ pad);
}

function hmacKey(kid: string, key: Uint8Array): QueueKey {
  const mac = macOf(key);
  return { kid, form: HMAC_FORM, sign: mac, verify: (fields, given) => isSame(given, mac(fields)) };
}

/** 64 bytes, with four unused bits. */
const ED25519_FORM = /^[\w-]{85}[AQgw]$/;

// RFC 8032 without prehashing. The context comes first in what is signed: a key pair that also signs something else, as
// a JWS, has never signed a job by that.
function ed25519Key(kid: string, publicKey: KeyObject, privateKey: KeyObject | undefined): QueueKey {
  const signed = (fields: readonly string[]): Buffer => lengthPrefixed([CONTEXT, ...fields]);
  return {
    kid,
    form: ED25519_FORM,
    sign: privateKey && ((fields) => sign(null, signed(fields), privateKey).toString('base64url')),
    verify: (fields, given) => verify(null, signed(fields), publicKey, Buffer.from(given, 'base64url')),
  };
}

/** A MAC in base64url, where it is compared. */
const ONE = Buffer.alloc(43);
const OTHER = Buffer.alloc(43);

/** Compares two MACs in constant time, as text: each has one spelling, and decoding both would cost more. */
function isSame(one: string, other: string): boolean {
  if (one.length !== ONE.length || other.length !== ONE.length) return false;
  ONE.write(one, 'latin1');
  OTHER.write(other, 'latin1');
  return timingSafeEqual(ONE, OTHER);
}

function deriveKey(secret: string | Uint8Array, prefix: string, queue: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, CONTEXT, lengthPrefixed([prefix, queue]), SECRET_BYTES));
}
