import type { KeyObject } from 'node:crypto';
import { isVerified } from '@tenantkit/core';
import { compactVerify, decodeProtectedHeader } from 'jose';
import { z } from 'zod';
import { CERTIFICATE_TYPE, parsePayload, refused, split, type Certificate } from './certificate.ts';
import { CertificateError, type CertificateReason } from './errors.ts';
import { keyRing, type VerificationKeys } from './keys.ts';
import { isDigestOf } from './subject.ts';

/** What {@link verifyCertificate} answers. */
export interface VerifiedCertificate {
  /** The key that signed it. */
  readonly kid: string;
  readonly certificate: Certificate;
}

/**
 * Verifies a certificate without any server: its signature (EdDSA and nothing else, by a key given here), its
 * form, and that what it states is an erasure, i.e. nothing remains, every recount was shown to see, and what is
 * kept is said.
 *
 * @param certificate - the compact JWS
 * @param options - `keys` that are trusted; `tenant`, `subject`, `erasure`: what it has to be about. Without them any
 * genuine certificate of the issuer is accepted, another tenant's and an older one's too
 * @throws {@link SignatureError} when the text is not a certificate signed by one of the keys
 * @throws {@link CertificateError} when it is, but does not prove an erasure (of this person)
 * @throws {@link ConfigError} when there is no Ed25519 public key among the keys, or a private one
 *
 * @example
 * ```ts
 * import { verifyCertificate } from '@tenantkit/erasure';
 * const { certificate } = await verifyCertificate(text, { keys: jwks });
 * console.log(certificate.tenant, certificate.times.completedAt);
 * ```
 */
export async function verifyCertificate(
  certificate: string,
  { keys, ...expected }: { readonly keys: VerificationKeys } & Expected,
): Promise<VerifiedCertificate> {
  const ring = await keyRing(keys);
  const { kid, payload } = await openJws(certificate, ring);
  const statement = parsePayload(payload);
  for (const [reason, check] of Object.entries(CHECKS) as [CertificateReason, Check][]) {
    const problem = check(statement, expected);
    if (problem !== undefined) throw new CertificateError({ reason, problem });
  }
  return { kid, certificate: statement };
}

/** What a certificate has to be about. */
export interface Expected {
  readonly tenant?: string;
  readonly subject?: string;
  /** The id of the erasure. */
  readonly erasure?: string;
}

type Check = (certificate: Certificate, expected: Expected) => string | undefined;

// One row per thing that a signature alone does not say.
const CHECKS = {
  payload: ({ stores }) =>
    new Set(stores.map(({ store }) => store)).size === stores.length ? undefined : 'it names a store twice',
  remaining: ({ stores }) => {
    const left = stores.filter(({ remaining }) => remaining.some(({ count }) => count > 0));
    return left.length === 0 ? undefined : `it states that something remains in ${names(left)}`;
  },
  control: ({ stores }) => {
    const blind = stores.filter((store) => !isVerified(store));
    return blind.length === 0 ? undefined : `the recount was not shown to see in ${names(blind)}`;
  },
  retention: ({ stores, outcome }) => {
    const keeps = stores.some(({ kept }) => kept.some(({ count }) => count > 0));
    return keeps === (outcome === 'completed_with_retention')
      ? undefined
      : `its outcome ${outcome} does not fit what it says is kept`;
  },
  times: ({ times, stores, completeAt, fence }) => {
    const { requestedAt, plannedAt, approvedAt, startedAt, completedAt } = times;
    const order = [requestedAt, plannedAt, approvedAt, startedAt, completedAt].map(Date.parse);
    if (order.some((time, index) => time < (order[index - 1] ?? time))) return 'its times are out of order';
    const within = [
      ...stores.map(({ verifiedAt }) => verifiedAt),
      ...(fence.mode === 'tenant' ? [fence.frozenAt, fence.tombstonedAt] : []),
    ].map(Date.parse);
    const [start, end] = [Date.parse(startedAt), Date.parse(completedAt)];
    if (within.some((time) => time < start || time > end)) return 'a step lies outside of its times';
    const late = Math.max(end, ...stores.map((store) => Date.parse(store.completeAt ?? completedAt)));
    return Date.parse(completeAt) === late ? undefined : 'its completeAt is not the latest of its stores';
  },
  tenant: ({ tenant }, expected) =>
    expected.tenant === undefined || expected.tenant === tenant ? undefined : 'it is about another tenant',
  erasure: ({ erasure }, expected) =>
    expected.erasure === undefined || expected.erasure === erasure
      ? undefined
      : 'it is about another erasure',
  subject: ({ tenant, subject: digest }, { subject }) => {
    if (subject === undefined) return undefined;
    if (digest === undefined) return 'it is about a whole tenant and names no person';
    return isDigestOf(digest, tenant, subject) ? undefined : 'it is about another person';
  },
} as const satisfies Record<CertificateReason, Check>;

function names(stores: readonly { readonly store: string }[]): string {
  return stores.map(({ store }) => store).join(', ');
}

const headerSchema = z.strictObject({
  alg: z.literal('EdDSA'),
  typ: z.literal(CERTIFICATE_TYPE),
  kid: z.string(),
});

async function openJws(
  certificate: string,
  ring: ReadonlyMap<string, KeyObject>,
): Promise<{ readonly kid: string; readonly payload: Uint8Array }> {
  split(certificate);
  // The header is checked as a whole before a key is chosen: `crit`, `jwk`, `jku`, `b64` have no business here.
  const header = headerSchema.safeParse(headerOf(certificate));
  if (!header.success) throw refused('malformed');
  const { kid } = header.data;
  const key = ring.get(kid);
  if (key === undefined) throw refused('unknownKey');
  try {
    const { payload } = await compactVerify(certificate, key, { algorithms: ['EdDSA'] });
    return { kid, payload };
  } catch (error) {
    throw refused('mismatch', error);
  }
}

function headerOf(certificate: string): unknown {
  try {
    return decodeProtectedHeader(certificate);
  } catch {
    return undefined; // refused by the schema
  }
}
