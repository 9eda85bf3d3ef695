import { astray } from './astray.ts';
import { ownBytes } from './body.ts';
import type { Call } from './call.ts';
import type { OutgoingRequest } from './guard.ts';

// Servers that speak CGI take an underscore for a hyphen.
const OWN_HEADER = /^x-amz-meta-tk[-_]/;

/**
 * What was decided from a request still stands when it leaves: whom it is about, and of what it is a copy.
 *
 * @param headers - in lower case
 * @throws CrossTenantError
 */
export function assertPinned(headers: ReadonlyMap<string, string>, call: Call): void {
  for (const [name, value] of call.pinned) {
    if (headers.get(name) !== value) throw astray(call, `its header ${name} was taken away or changed`);
  }
  for (const name of headers.keys()) {
    if (OWN_HEADER.test(name) && !call.pinned.has(name))
      throw astray(call, 'it carries metadata that is reserved');
  }
}

/**
 * A request of the client's own does what it was made for.
 *
 * @throws CrossTenantError
 */
export function assertErrand(
  { body = '' }: OutgoingRequest,
  query: ReadonlyMap<string, unknown>,
  call: Call,
): void {
  const text = typeof body === 'string' ? body : ownBytes(body)?.toString();
  if (text !== call.errand?.body) throw astray(call, 'the body of its marker was changed');
  if (query.get('versionId') !== call.sealed.get('versionId'))
    throw astray(call, 'it would look at another version of its source');
}
