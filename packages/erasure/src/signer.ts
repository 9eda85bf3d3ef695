import {
  KeyObject,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKeyInput,
} from 'node:crypto';
import { ConfigError } from '@tenantkit/core';
import { CompactSign, calculateJwkThumbprint } from 'jose';
import { line } from './events.ts';

/** A JSON Web Key as it comes from elsewhere (RFC 7517). Our own type: @types/node names it differently in every major. */
export interface Jwk {
  readonly kty?: string | undefined;
}

/** The public half of a signing key, as it is given to whoever verifies certificates. */
export type PublicJwk = {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
  readonly kid: string;
  readonly alg: 'EdDSA';
  readonly use: 'sig';
};

/** The private half; keep it where only the orchestrator can read it. */
export type PrivateJwk = PublicJwk & { readonly d: string };

/** Signs certificates; made by {@link createSigner}. An interface, so that a key can also stay in a KMS or HSM. */
export interface Signer {
  readonly kid: string;
  readonly publicKey: PublicJwk;
  /** @returns the compact JWS of `payload`, with `alg`, `typ` and `kid` in its header and nothing else */
  sign(payload: Uint8Array, typ: string): Promise<string>;
}

/** Options of {@link createSigner}. */
export interface SignerOptions {
  /** Ed25519: a private JWK, PKCS #8 in PEM, or a KeyObject. */
  readonly privateKey: PrivateJwk | Jwk | string | KeyObject;
  /** Names the key in certificates. Default: the JWK's own, else the key's RFC 7638 thumbprint. */
  readonly kid?: string;
}

/**
 * Makes a signer from an Ed25519 private key.
 *
 * @throws {@link ConfigError} when the key is no Ed25519 private key; the message never shows it
 *
 * @example
 * ```ts
 * import { createSigner } from '@tenantkit/erasure';
 * const signer = await createSigner({ privateKey: JSON.parse(process.env.ERASURE_KEY ?? '') });
 * ```
 */
export async function createSigner({ privateKey, kid }: SignerOptions): Promise<Signer> {
  const key = toPrivate(privateKey);
  if (key?.type !== 'private' || key.asymmetricKeyType !== 'ed25519') throw notAKey();
  const own = typeof privateKey === 'object' && 'kid' in privateKey ? privateKey.kid : undefined;
  const publicKey = await publicJwk(createPublicKey(key), kid ?? own);
  return Object.freeze({
    kid: publicKey.kid,
    publicKey,
    sign: (payload: Uint8Array, typ: string) =>
      new CompactSign(payload).setProtectedHeader({ alg: 'EdDSA', typ, kid: publicKey.kid }).sign(key),
  });
}

/**
 * Makes a new Ed25519 key for certificates. Publish the public half where the recipients of certificates find it.
 *
 * @example
 * ```ts
 * import { writeFile } from 'node:fs/promises';
 * import { generateSigningKey } from '@tenantkit/erasure';
 * const { privateKey, publicKey } = await generateSigningKey();
 * await writeFile('erasure-key.json', JSON.stringify(privateKey), { mode: 0o600 });
 * ```
 */
export async function generateSigningKey(): Promise<{
  readonly kid: string;
  readonly privateKey: PrivateJwk;
  readonly publicKey: PublicJwk;
}> {
  const pair = generateKeyPairSync('ed25519');
  const publicKey = await publicJwk(pair.publicKey);
  const { d } = pair.privateKey.export({ format: 'jwk' });
  if (d === undefined) throw notAKey();
  return { kid: publicKey.kid, privateKey: { ...publicKey, d }, publicKey };
}

/** The public JWK of an Ed25519 key, with its `kid`: the given one, else the RFC 7638 thumbprint. */
export async function publicJwk(key: KeyObject, kid?: unknown): Promise<PublicJwk> {
  const { x } = key.export({ format: 'jwk' });
  if (x === undefined) throw notAKey();
  const named = kid ?? (await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x }));
  const valid = line(256).safeParse(named);
  if (!valid.success) {
    throw new ConfigError({
      surface: 'erasure',
      operation: 'createSigner',
      problem: 'kid is not one line of 1 to 256 characters',
      hint: 'Leave it out: the thumbprint of the key then names it.',
    });
  }
  return Object.freeze({ kty: 'OKP', crv: 'Ed25519', x, kid: valid.data, alg: 'EdDSA', use: 'sig' });
}

function toPrivate(given: SignerOptions['privateKey']): KeyObject | undefined {
  if (given instanceof KeyObject) return given;
  try {
    return typeof given === 'string'
      ? createPrivateKey(given)
      : createPrivateKey({ key: { ...given } as JsonWebKeyInput['key'], format: 'jwk' });
  } catch {
    // The error of the parser may quote what it was given, which is a secret: it is not passed on as a cause.
    return undefined;
  }
}

function notAKey(): ConfigError {
  return new ConfigError({
    surface: 'erasure',
    operation: 'createSigner',
    problem: 'privateKey is not an Ed25519 private key',
    hint: 'Give a private JWK (kty OKP, crv Ed25519, with d), PKCS #8 in PEM, or a KeyObject; generateSigningKey() makes one.',
  });
}
