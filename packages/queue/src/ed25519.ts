import { KeyObject, createPrivateKey, createPublicKey } from 'node:crypto';
import { decodeBase64url } from './bytes.ts';

/** Which half of a key pair is wanted. */
export type Half = 'private' | 'public';

const KEY_BYTES = 32;
const NOT_ED25519 = 'must be an Ed25519 key';
const NOT_READ = 'must be a KeyObject, PEM text or a JWK';
const WEAK = 'is no point of its curve that signatures could be checked with';

/**
 * Reads one half of an Ed25519 key pair. Strict about which half: `createPublicKey` also takes a private key, so that
 * a worker would be given the power to sign by mistake, and nobody would notice.
 *
 * @param given - a KeyObject, PEM text (`PUBLIC KEY`, `PRIVATE KEY`) or a JWK (RFC 8037)
 * @returns the key, or what is wrong with it, which never says what it holds
 */
export function readKey(half: Half, given: unknown): KeyObject | string {
  const key = fromAny(half, given);
  if (typeof key === 'string') return key;
  if (key.asymmetricKeyType !== 'ed25519') return NOT_ED25519;
  if (key.type !== half) return `holds a ${key.type} key, which belongs under ${key.type}Key`;
  // What is derived from a private key is always a sound point.
  return half === 'private' || isSound(rawPublic(key)) ? key : WEAK;
}

function fromAny(half: Half, given: unknown): KeyObject | string {
  if (given instanceof KeyObject) return given;
  if (typeof given === 'string') return fromPem(half, given.trim());
  return fromJwk(half, given);
}

const PEM = /^-----BEGIN ((?:[A-Z0-9]+ )*)KEY-----[\sA-Za-z0-9+/=]+-----END \1KEY-----$/;

function fromPem(half: Half, pem: string): KeyObject | string {
  const label = PEM.exec(pem)?.[1];
  if (label === 'ENCRYPTED PRIVATE ') return 'is encrypted: open it with createPrivateKey of node:crypto';
  try {
    if (label === 'PUBLIC ') return createPublicKey(pem);
    if (label === 'PRIVATE ') return createPrivateKey(pem);
  } catch {
    // Without the cause: messages of a parser may quote what it met.
    return NOT_ED25519;
  }
  return `must be PEM text with one block, BEGIN ${half.toUpperCase()} KEY`;
}

function fromJwk(half: Half, jwk: unknown): KeyObject | string {
  // Each member is read once: a getter could answer the check with one key and the import with another. What is no
  // object has none, and neither have bytes.
  const {
    kty,
    crv,
    x,
    d,
    alg,
    use,
    key_ops: operations,
  }: Readonly<Record<string, unknown>> = { ...Object(jwk) };
  // Such as a CryptoKey, for which there is KeyObject.from.
  if (typeof kty !== 'string') return NOT_READ;
  if (kty !== 'OKP' || crv !== 'Ed25519') return NOT_ED25519;
  if (!(alg === undefined || alg === 'Ed25519' || alg === 'EdDSA')) return 'is a JWK for another algorithm';
  const operation = half === 'private' ? 'sign' : 'verify';
  if (
    !(use === undefined || use === 'sig') ||
    !(operations === undefined || (Array.isArray(operations) && operations.includes(operation)))
  ) {
    return `is a JWK whose use or key_ops do not let it ${operation}`;
  }
  if (!isKeyText(x)) return NOT_ED25519;
  const members = { kty, crv, x };
  if (d === undefined) return createPublicKey({ format: 'jwk', key: members });
  if (!isKeyText(d)) return NOT_ED25519;
  const key = createPrivateKey({ format: 'jwk', key: { ...members, d } });
  // Node takes `d` alone: what it signs would be checked with another key than the one that was written beside it.
  return rawPublic(createPublicKey(key)) === x ? key : 'is a JWK whose two halves do not belong together';
}

function isKeyText(text: unknown): text is string {
  return typeof text === 'string' && decodeBase64url(text)?.length === KEY_BYTES;
}

function rawPublic(key: KeyObject): string {
  return key.export({ format: 'jwk' }).x ?? '';
}

const P = 2n ** 255n - 19n;
const D = mod(-121_665n * power(121_666n, P - 2n));

/**
 * Whether a public key is a point of edwards25519 in its one spelling, and not one of the eight of small order, for
 * which anybody can make signatures that hold for any text. Older releases of Node accept those (nodejs/node#64026 ended
 * it), and none looks at a key when it is imported.
 */
function isSound(raw: string): boolean {
  const bytes = Buffer.from(Buffer.from(raw, 'base64url').toReversed());
  // The first bit is the sign of x.
  const y = BigInt.asUintN(255, BigInt(`0x${bytes.toString('hex')}`));
  if (y >= P) return false;
  const y2 = mod(y * y);
  // Of order 1 and 2: y = ±1. Of order 4: y = 0. Of order 8, so that the double has y = 0: d·y⁴ + 2·y² = 1.
  if (y2 < 2n || mod(D * y2 * y2 + 2n * y2 - 1n) === 0n) return false;
  // x² = (y² − 1) / (d·y² + 1) has to be a square; the divisor is never 0.
  return power((y2 - 1n) * (D * y2 + 1n), (P - 1n) / 2n) === 1n;
}

function mod(value: bigint): bigint {
  return ((value % P) + P) % P;
}

function power(base: bigint, exponent: bigint): bigint {
  if (exponent === 0n) return 1n;
  const half = power(mod(base * base), exponent / 2n);
  return exponent % 2n === 1n ? mod(half * base) : half;
}
