import { SignatureError, tenantId, type SignatureReason } from '@tenantkit/core';
import { z } from 'zod';
import { CertificateError } from './errors.ts';
import {
  askedSchema,
  controlSchema,
  itemSchema,
  keptSchema,
  line,
  moment,
  subjectDigestSchema,
} from './events.ts';

/** The `typ` of a certificate's header: a JWS of another purpose, signed by the same key, is none. */
export const CERTIFICATE_TYPE = 'tenantkit-erasure+jws';

/** Longer texts are refused before they are looked at. */
const MAX_LENGTH = 1_048_576;

const items = z.array(itemSchema).readonly();

const storeSchema = z.strictObject({
  store: line(256),
  stage: z.enum(['purge', 'shred']),
  /** Counted just before the first thing was erased. */
  before: items,
  erased: items,
  remaining: items,
  control: controlSchema,
  kept: z.array(keptSchema).readonly(),
  verifiedAt: moment,
  /** When other processes are certain to have dropped a destroyed key from memory. */
  completeAt: z.iso.datetime({ offset: true }).exactOptional(),
});

const certificateSchema = z.strictObject({
  version: z.literal(1),
  erasure: z.uuid(),
  tenant: tenantId,
  /** Only when one person was erased and not the tenant. */
  subject: subjectDigestSchema.exactOptional(),
  outcome: z.enum(['completed', 'completed_with_retention']),
  ...askedSchema.shape,
  approvedBy: line(256),
  times: z.strictObject({
    requestedAt: moment,
    plannedAt: moment,
    approvedAt: moment,
    startedAt: moment,
    completedAt: moment,
  }),
  /** From when on all of it holds: the latest of `completedAt` and every store's `completeAt`. */
  completeAt: z.iso.datetime({ offset: true }),
  stores: z.array(storeSchema).min(1).readonly(),
  fence: z.discriminatedUnion('mode', [
    /** From `frozenAt` on the tenant was refused; purging began `maxStaleness` milliseconds later. */
    z.strictObject({
      mode: z.literal('tenant'),
      frozenAt: moment,
      maxStaleness: z.number().min(0),
      tombstonedAt: moment,
    }),
    /** Nothing kept others from writing meanwhile: what the recounts saw is all that is stated. */
    z.strictObject({ mode: z.literal('none'), why: z.enum(['not_configured', 'subject_scope']) }),
  ]),
  /** The end of the ledger's history when this was signed. */
  ledger: z.strictObject({ seq: z.int().min(1), hash: z.base64url().length(43) }),
  issuer: z.strictObject({ name: z.literal('tenantkit'), version: z.string() }),
});

/** What a certificate states. */
export type Certificate = z.infer<typeof certificateSchema>;

/**
 * Reads what a certificate states, without verifying anything: for showing it. Never a ground for trust.
 *
 * @throws {@link SignatureError} when the text is not a compact JWS, {@link CertificateError} when its payload is
 * not a certificate's
 */
export function readCertificate(certificate: string): Certificate {
  const [, payload] = split(certificate);
  return parsePayload(Buffer.from(payload, 'base64url'));
}

/** The payload as it is signed. @throws ZodError when a part of it is not as stated in the schema */
export function encodeCertificate(certificate: Certificate): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(certificateSchema.parse(certificate)));
}

/** @throws {@link CertificateError} */
export function parsePayload(payload: Uint8Array): Certificate {
  const parsed = certificateSchema.safeParse(parseJson(payload));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new CertificateError({
    reason: 'payload',
    problem: `its payload is not that of a certificate (${[...(issue?.path ?? [])].join('.') || 'not an object'})`,
  });
}

function parseJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch {
    return undefined; // refused by the schema
  }
}

/** Three parts of canonical base64url: decoders ignore stray bits, so one certificate would have many texts. */
export function split(certificate: string): readonly [string, string, string] {
  if (typeof certificate !== 'string' || certificate.length > MAX_LENGTH) throw refused('malformed');
  const parts = certificate.split('.');
  const canonical = parts.every(
    (part) => part !== '' && Buffer.from(part, 'base64url').toString('base64url') === part,
  );
  const [header, payload, signature] = parts;
  if (
    !canonical ||
    parts.length !== 3 ||
    header === undefined ||
    payload === undefined ||
    signature === undefined
  ) {
    throw refused('malformed');
  }
  return [header, payload, signature];
}

/** The text is not a certificate that was signed by a trusted key. */
export function refused(reason: SignatureReason, cause?: unknown): SignatureError {
  return new SignatureError({
    surface: 'erasure',
    operation: 'verifyCertificate',
    what: 'the certificate',
    reason,
    cause,
  });
}
