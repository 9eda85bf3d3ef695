import { SignatureError, isId, type SignatureReason } from '@tenantkit/core';
import { decodeBase64url } from './bytes.ts';
import { signerOf, type QueueKeyRing } from './keys.ts';

/**
 * The key in a job's options under which the header is stored. A string in the options is what survives
 * retries, delays, bulk adds and stalls; an object would not, since Lua's cjson reorders its keys.
 */
export const HEADER = 'tk!';

const VERSION = 'v1';
const KID = /^[A-Za-z0-9_-]{1,32}$/;
const MAX_ACTOR = 256;
/** A header that is longer was not written by us: ids have at most 64 characters, an actor 256. */
const MAX_LENGTH = 4_096;

/** What a header says about a job. */
export interface JobClaims {
  readonly tenant: string;
  readonly subject?: string;
  readonly actor?: string;
  /** When it was signed, in milliseconds since the epoch. */
  readonly issuedAt: number;
}

/** What a header is bound to: all of it is read from the job itself when the header is verified. */
export interface JobBinding {
  readonly prefix: string;
  readonly queue: string;
  readonly name: string;
  /** The id under which the job was picked up, never one that the job states about itself. */
  readonly id: string;
  readonly scheduler: string;
  readonly parentKey: string;
  /** Canonical JSON of the parent link, empty without one. */
  readonly parent: string;
  readonly deduplication: string;
  /** Canonical JSON of all stored options but the header. */
  readonly options: string;
  /** The stored JSON text, byte for byte. */
  readonly data: string;
}

/**
 * Signs a job: `v1.<kid>.<claims>.<signature>`. The format is documented byte by byte in docs/job-header.md.
 *
 * @param ring - the keys of the job's queue
 * @throws {@link ConfigError} when the ring can only verify
 */
export function signHeader(ring: QueueKeyRing, claims: JobClaims, binding: JobBinding): string {
  const { kid, sign } = signerOf(ring, 'sign');
  const signed = `${VERSION}.${kid}.${Buffer.from(claimsText(claims)).toString('base64url')}`;
  return `${signed}.${sign(fieldsOf(signed, binding))}`;
}

/**
 * Verifies a header against the job that carries it.
 *
 * @throws {@link SignatureError} with the reason `malformed`, `unknownKey` or `mismatch`
 */
export function verifyHeader(ring: QueueKeyRing, header: string, binding: JobBinding): JobClaims {
  const parts = header.length > MAX_LENGTH ? [] : header.split('.');
  const [version, kid, claims, signature] = parts;
  if (
    parts.length !== 4 ||
    version !== VERSION ||
    kid === undefined ||
    claims === undefined ||
    signature === undefined
  ) {
    throw signatureError('malformed');
  }
  const key = ring.byId(kid);
  if (key === undefined) throw signatureError(isKid(kid) ? 'unknownKey' : 'malformed');
  const text = decodeBase64url(claims);
  if (!key.form.test(signature) || text === undefined) throw signatureError('malformed');
  if (!key.verify(fieldsOf(`${VERSION}.${kid}.${claims}`, binding), signature))
    throw signatureError('mismatch');
  return parseClaims(text.toString());
}

/** Whether a header names a key as the one that it was signed with. Says nothing of whether it verifies. */
export function isSignedWith(header: string, kid: string): boolean {
  return header.startsWith(`${VERSION}.${kid}.`);
}

/** Whether a text can be the id of a signing key. */
export function isKid(kid: string): boolean {
  return KID.test(kid);
}

/** The error for a job whose header was not accepted. Says nothing about the job: its data may be anybody's. */
export function signatureError(reason: SignatureReason, hint?: string, where?: string): SignatureError {
  return new SignatureError({
    surface: 'queue',
    operation: 'process',
    what: 'this job',
    reason,
    hint,
    where,
  });
}

/** What is signed, in the order of the format. */
function fieldsOf(signed: string, binding: JobBinding): readonly string[] {
  const { prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data } = binding;
  return [signed, prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data];
}

function claimsText({ tenant, subject, actor, issuedAt }: JobClaims): string {
  // An id holds nothing that JSON would write in another way. JSON.stringify of the list takes three times as long.
  const person = subject === undefined ? 'null' : `"${subject}"`;
  return `["${tenant}",${person},${actor === undefined ? 'null' : JSON.stringify(actor)},${issuedAt}]`;
}

// Whoever holds a key could still sign claims in a shape that only one of two readers understands.
function parseClaims(text: string): JobClaims {
  const [tenant, subject, actor, issuedAt, ...more] = toList(text);
  if (
    more.length > 0 ||
    !isId(tenant) ||
    !(subject === null || isId(subject)) ||
    !(actor === null || (typeof actor === 'string' && actor !== '' && actor.length <= MAX_ACTOR)) ||
    !Number.isSafeInteger(issuedAt)
  ) {
    throw signatureError('malformed');
  }
  const claims: JobClaims = {
    tenant,
    ...(subject === null ? {} : { subject }),
    ...(actor === null ? {} : { actor }),
    issuedAt: Number(issuedAt),
  };
  if (claimsText(claims) !== text) throw signatureError('malformed');
  return claims;
}

function toList(text: string): readonly unknown[] {
  try {
    const parsed: unknown = JSON.parse(text);
    if (Array.isArray(parsed)) return parsed;
  } catch {
    throw signatureError('malformed');
  }
  throw signatureError('malformed');
}
