import { refusal, refuse, type OperationRefusedError } from '@tenantkit/core';
import { SIGNATURE, allowed } from './allowed.ts';
import { astray } from './astray.ts';
import type { Call } from './call.ts';
import { VERSION_ID } from './copy-source.ts';
import type { InputRole } from './fields/index.ts';
import type { OutgoingRequest, Target } from './guard.ts';
import type { StorageNames } from './names.ts';
import { tagKeys } from './tags.ts';

/**
 * The headers of a request by their names in lower case.
 *
 * @throws OperationRefusedError where one stands there in two spellings
 */
export function lowerCased(call: Call, headers: OutgoingRequest['headers']): Map<string, string> {
  const lower = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) {
    // The SDK itself leaves some undefined, which the handler skips, and one or the other a number.
    if (value === undefined) continue;
    const key = name.toLowerCase();
    // Two spellings of one header: which of them counts is the server's guess.
    if (lower.has(key)) throw undecided(call, 'repeated header', name);
    lower.set(key, typeof value === 'number' ? String(value) : value);
  }
  return lower;
}

/**
 * Every parameter is one that the row allows, with a value that it may have; those that decide what is done are there.
 *
 * @param headers - in lower case; those that presigning has moved into the query are added
 * @throws CrossTenantError when one was changed after it was checked
 * @throws OperationRefusedError when there is one that the row does not allow
 */
export function assertQuery(
  query: ReadonlyMap<string, unknown>,
  headers: Map<string, string>,
  call: Call,
  { names }: Target,
  isPresigned: boolean,
): void {
  for (const [name, value] of query) {
    if (isPresigned && SIGNATURE.has(name)) {
      text(call, name, value);
      continue;
    }
    const lower = name.toLowerCase();
    // Presigning moves headers into the query: they are checked as what they are.
    if (isPresigned && lower.startsWith('x-amz-')) {
      if (headers.has(lower)) throw undecided(call, 'header', name);
      headers.set(lower, text(call, name, value));
    } else assertParameter(call, name, value, names);
  }
  for (const [name, value] of [...Object.entries(call.plan.fixed.must), ...call.sealed]) {
    if (query.get(name) !== value) throw astray(call, `its parameter ${name} was taken away or changed`);
  }
}

function assertParameter(call: Call, name: string, value: unknown, names: StorageNames): void {
  const { must, may } = call.plan.fixed;
  if (Object.hasOwn(must, name)) return;
  if (Object.hasOwn(may, name) && may[name] === value) return;
  const field = allowed(call.plan).query.get(name);
  if (field === undefined) throw undecided(call, 'query parameter', name);
  const given = text(call, name, value);
  const listed = field.values?.includes(given) ?? true;
  if (!listed || !PARAMETERS[field.as]?.(given, call, names, name)) {
    throw astray(call, `its parameter ${name} was changed after it was checked`);
  }
}

// What a parameter may say, where that is more than that it is one text.
const PARAMETERS: Readonly<
  Partial<Record<InputRole, (value: string, call: Call, names: StorageNames, name: string) => boolean>>
> = {
  same: () => true,
  // Looked at by itself: a listing without one is a listing of the bucket.
  prefix: () => true,
  marker: (value, { tenant }, names) => names.accepts(tenant, value, 'partial'),
  version: (value) => VERSION_ID.test(value),
  partNumber: (value) => /^[1-9]\d{0,4}$/.test(value),
  token: isSealed,
  uploadId: isSealed,
  uploadIdMarker: isSealed,
};

function isSealed(value: string, { sealed }: Call, _names: StorageNames, name: string): boolean {
  return sealed.get(name) === value;
}

/**
 * Every header is one that the row, a middleware of the client's option or the way of the request allows.
 *
 * @throws OperationRefusedError for any other, and for a value that the row does not allow
 */
export function assertHeaders(headers: ReadonlyMap<string, string>, call: Call, target: Target): void {
  for (const [name, value] of headers) assertHeader(call, name, value, target);
}

function assertHeader(call: Call, name: string, value: string, { headers: further, tags }: Target): void {
  const { headers, families } = allowed(call.plan);
  const known =
    headers.has(name) ||
    further.has(name) ||
    CHECKSUM.test(name) ||
    TELEMETRY.test(name) ||
    families.some((family) => name.startsWith(family));
  if (!known || !TOKEN.test(name)) throw undecided(call, 'header', name);
  // oxlint-disable-next-line no-control-regex -- a line break would begin a header that nobody has checked
  if (typeof value !== 'string' || /[\r\n\u0000]/.test(value))
    throw undecided(call, 'value of the header', name);
  const field = headers.get(name);
  const listed = field?.values?.includes(value) ?? true;
  if (!listed || (field?.as === 'tags' && tagKeys(value)?.every((key) => tags.has(key)) !== true)) {
    throw undecided(call, 'value of the header', name);
  }
}

const TOKEN = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
// What the SDK says of itself: a patch may add one.
const TELEMETRY = /^amz-sdk-[a-z-]+$/;
const CHECKSUM = /^x-amz-checksum-[a-z0-9]+$/;

function text(call: Call, name: string, value: unknown): string {
  if (typeof value !== 'string') throw undecided(call, 'repeated query parameter', name);
  return value;
}

function undecided({ operation }: Call, what: string, name: string): OperationRefusedError {
  const named = /^[\w-]{1,64}$/.test(name) ? ` "${name}"` : '';
  return refusal(
    'storage',
    operation,
    refuse(
      `its request carries a ${what}${named} that the rules do not allow`,
      "Use the command's own fields, or Metadata; name a header of your middleware in the client option tenant.headers.",
    ),
  );
}
