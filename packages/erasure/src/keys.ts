import { KeyObject, createPublicKey, type JsonWebKeyInput } from 'node:crypto';
import { ConfigError } from '@tenantkit/core';
import { publicJwk, type Jwk, type PublicJwk } from './signer.ts';

/** A JWKS or a list of Ed25519 public keys. A key without `kid` is known by its RFC 7638 thumbprint. */
export type VerificationKeys =
  | { readonly keys: readonly (PublicJwk | Jwk)[] }
  | readonly (PublicJwk | Jwk | KeyObject)[];

/** The keys by their `kid`. @throws {@link ConfigError} */
export async function keyRing(given: VerificationKeys): Promise<ReadonlyMap<string, KeyObject>> {
  const list: unknown = Array.isArray(given) ? given : (given as { keys?: unknown } | undefined)?.keys;
  if (!Array.isArray(list)) throw notKeys('it is neither a JWKS nor a list');
  const ring = new Map<string, KeyObject>();
  for (const entry of list as readonly unknown[]) {
    const key = toPublic(entry);
    if (key === undefined) continue;
    const { kid } = await publicJwk(
      key,
      entry instanceof KeyObject ? undefined : (entry as { readonly kid?: unknown }).kid,
    );
    if (ring.has(kid)) throw notKeys('two keys have the same kid');
    ring.set(kid, key);
  }
  if (ring.size === 0) throw notKeys('there is no Ed25519 key for signatures in it');
  return ring;
}

/** A published JWKS also holds keys of other kinds and uses: they are passed over, as RFC 7517, section 5 asks. */
function toPublic(entry: unknown): KeyObject | undefined {
  if (typeof entry !== 'object' || entry === null) throw notKeys('an entry is not a key');
  const { d, use, alg, type } = entry as Record<string, unknown>;
  if (entry instanceof KeyObject ? type !== 'public' : d !== undefined)
    throw notKeys('a key in it is private');
  if (use !== undefined && use !== 'sig') return undefined;
  if (alg !== undefined && alg !== 'EdDSA' && alg !== 'Ed25519') return undefined;
  const key = entry instanceof KeyObject ? entry : importPublic(entry);
  return key?.asymmetricKeyType === 'ed25519' ? key : undefined;
}

function importPublic(entry: object): KeyObject | undefined {
  try {
    return createPublicKey({ key: { ...entry } as JsonWebKeyInput['key'], format: 'jwk' });
  } catch {
    return undefined; // of a kind that this Node does not know
  }
}

function notKeys(problem: string): ConfigError {
  return new ConfigError({
    surface: 'erasure',
    operation: 'verifyCertificate',
    problem: `keys: ${problem}`,
    hint: 'Give a JWKS or a list of Ed25519 public keys; verifying never needs a private one.',
  });
}
