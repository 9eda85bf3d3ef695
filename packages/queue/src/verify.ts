import { SignatureError, type NameCodec } from '@tenantkit/core';
import { canonicalJson } from './canonical.ts';
import { isLinkSound } from './flows/link.ts';
import { HEADER, signatureError, verifyHeader, type JobBinding, type JobClaims } from './header.ts';
import type { QueueKeyRing } from './keys.ts';
import { logicalId } from './lanes/ids.ts';
import { iterationBinding } from './schedulers/binding.ts';

/** What a job of one queue is verified with. */
export interface Verifier {
  readonly prefix: string;
  readonly queue: string;
  readonly ring: QueueKeyRing;
  readonly names: NameCodec;
}

/** What BullMQ writes with a text in it, or not at all. */
const NEVER_EMPTY = ['rjk', 'parentKey', 'deid'] as const;

/** The fields of a job's hash, as the server has them. */
export type JobHash = Readonly<Record<string, string>>;

/**
 * Verifies a job as it is stored, before any of it is parsed into a Job or shown to anyone.
 *
 * @param hash - the fields of the job's hash
 * @param id - the physical id under which it was found; the hash's own field `id` is not believed
 * @param lane - the tenant in whose lane it was found; `undefined` for a place that is no lane, where nothing is accepted
 * @throws {@link SignatureError} with the reason `missing`, `malformed`, `unknownKey` or `mismatch`
 */
export function verifyJob(
  verifier: Verifier,
  hash: JobHash,
  id: string,
  lane: string | undefined,
): JobClaims {
  return verifyWhole(verifier, hash, id, lane).claims;
}

/** The same, with the options of the job: for who runs it, and need not parse them again. */
export function verifyWhole(
  { prefix, queue, ring, names }: Verifier,
  hash: JobHash,
  id: string,
  lane: string | undefined,
): { readonly claims: JobClaims; readonly options: Readonly<Record<string, unknown>> } {
  const options = parseOptions(hash['opts']);
  const header = options[HEADER];
  if (header === undefined) throw signatureError('missing');
  if (typeof header !== 'string') throw signatureError('malformed');
  const binding = bindingOf(hash, options, { prefix, queue, id });
  const claims = verifyHeader(ring, header, binding);
  // A genuine job that somebody has copied into another tenant's lane would run, and be shown there.
  if (claims.tenant !== lane || logicalId(names, lane, id) === undefined) throw signatureError('mismatch');
  if (!isLinkSound({ prefix, names }, lane, hash['parentKey'], hash['parent']))
    throw signatureError('mismatch');
  return { claims, options };
}

/**
 * What a header of the job is bound to.
 *
 * @throws {@link SignatureError} with the reason `malformed`, or `mismatch` for a job that contradicts itself
 */
export function bindingOf(
  hash: JobHash,
  options: Readonly<Record<string, unknown>>,
  where: Pick<JobBinding, 'prefix' | 'queue' | 'id'>,
): JobBinding {
  try {
    const made = iterationBinding(hash, options, where);
    if (made !== undefined) return made;
    // BullMQ reads a field that is there, and empty: a job would be taken for one of a scheduler without a name.
    if (NEVER_EMPTY.some((field) => hash[field] === '') || hash['name'] === undefined)
      throw signatureError('mismatch');
    return {
      ...where,
      name: hash['name'] ?? '',
      scheduler: hash['rjk'] ?? '',
      parentKey: hash['parentKey'] ?? '',
      parent: hash['parent'] === undefined ? '' : canonicalJson(JSON.parse(hash['parent'])),
      deduplication: hash['deid'] ?? '',
      options: canonicalJson(options, HEADER),
      data: hash['data'] ?? '',
    };
  } catch (error) {
    if (error instanceof SignatureError) throw error;
    // Without the cause: the message of a SyntaxError quotes the text that it met, and this text is anybody's.
    throw signatureError('malformed');
  }
}

/**
 * The options of a job, with the header.
 *
 * @throws {@link SignatureError} with the reason `missing` or `malformed`
 */
export function parseOptions(text: string | undefined): Readonly<Record<string, unknown>> {
  if (text === undefined) throw signatureError('missing');
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw signatureError('malformed');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw signatureError('malformed');
  }
  return parsed as Readonly<Record<string, unknown>>;
}
