import { randomBytes, type KeyObject } from 'node:crypto';
import { LABELS, hkdf, intoKey, lengthPrefixed, u32 } from './derive.ts';
import { NONCE_LENGTH, gcmOpen, gcmSeal } from './gcm.ts';

const SECRET_LENGTH = 32;

/** What a wrapped secret is bound to: unwrapping it as anything else fails. */
interface WrapBinding {
  readonly tenant: string;
  readonly epoch: number;
  /** What the secret is for; today only the root of a tenant's column keys. */
  readonly purpose: 'tenant';
}

/**
 * What wraps the tenants' secrets. Asynchronous, because a key service would be asked over the network.
 */
export interface MasterKey {
  /** Tells master keys apart; not secret. Stored beside each wrapped secret. */
  readonly id: string;
  /** Makes a random secret of 32 bytes and wraps it; the secret itself is only had by unwrapping. */
  generate(binding: WrapBinding): Promise<Buffer>;
  /** The secret, or `undefined` when `wrapped` was not made by this master for this binding. */
  unwrap(wrapped: Uint8Array, binding: WrapBinding): Promise<KeyObject | undefined>;
}

/**
 * Wraps with AES-256-GCM under a key that HKDF-SHA-512 derives from the 32-byte master: `nonce 12 | secret 32 |
 * tag 16`. The nonce is random, so one master may wrap 2^32 secrets (NIST SP 800-38D, section 8.3).
 */
export function localMasterKey(master: KeyObject): MasterKey {
  const kek = intoKey(hkdf('sha512', master, lengthPrefixed(LABELS.kek), 32));
  const id = hkdf('sha512', master, lengthPrefixed(LABELS.masterId), 8).toString('hex');
  return {
    id,
    generate(binding) {
      const secret = randomBytes(SECRET_LENGTH);
      const wrapped = wrap(kek, secret, binding);
      secret.fill(0);
      return Promise.resolve(wrapped);
    },
    unwrap: (wrapped, binding) => Promise.resolve(unwrap(kek, wrapped, binding)),
  };
}

function wrap(kek: KeyObject, secret: Uint8Array, binding: WrapBinding): Buffer {
  const nonce = randomBytes(NONCE_LENGTH);
  const { body, tag } = gcmSeal(kek, nonce, bound(binding), secret);
  return Buffer.concat([nonce, body, tag]);
}

function unwrap(kek: KeyObject, wrapped: Uint8Array, binding: WrapBinding): KeyObject | undefined {
  // Whatever is too short or too long leaves no tag of 16 bytes, which gcmOpen refuses.
  const tagAt = NONCE_LENGTH + SECRET_LENGTH;
  const secret = gcmOpen(kek, wrapped.subarray(0, NONCE_LENGTH), bound(binding), {
    body: wrapped.subarray(NONCE_LENGTH, tagAt),
    tag: wrapped.subarray(tagAt),
  });
  return secret && intoKey(secret);
}

function bound({ tenant, epoch, purpose }: WrapBinding): Buffer {
  return lengthPrefixed(LABELS.wrap, tenant, u32(epoch), purpose);
}
