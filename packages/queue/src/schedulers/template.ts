import { HEADER, signatureError, verifyHeader, type JobBinding, type JobClaims } from '../header.ts';
import { parseOptions, type JobHash, type Verifier } from '../verify.ts';
import { schedulerBinding } from './binding.ts';
import { isScheduled } from './schedule.ts';

/** A scheduler as it is stored, and signed. */
export interface Template {
  readonly claims: JobClaims;
  /** The options that each of its jobs has, with the schedule and the header. */
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * Verifies a scheduler as it is stored, before it makes a job or is shown to anyone.
 *
 * @param lane - the tenant in whose lane it was found
 * @throws {@link SignatureError} with the reason `missing`, `malformed`, `unknownKey` or `mismatch`
 */
export function verifyTemplate(
  verifier: Verifier,
  hash: JobHash,
  scheduler: string,
  lane: string | undefined,
): Template {
  const options = parseOptions(hash['opts']);
  const header = options[HEADER];
  if (header === undefined) throw signatureError('missing');
  if (typeof header !== 'string') throw signatureError('malformed');
  const { name = '', data = '{}' } = hash;
  const binding = bound(() => schedulerBinding(verifier, scheduler, { name, options, data }));
  const claims = verifyHeader(verifier.ring, header, binding);
  if (claims.tenant !== lane || !isScheduled(hash, options['repeat'])) throw signatureError('mismatch');
  return { claims, options };
}

function bound(make: () => JobBinding): JobBinding {
  try {
    return make();
  } catch {
    // Without the cause: its message quotes the text that it met, and this text is anybody's.
    throw signatureError('malformed');
  }
}
