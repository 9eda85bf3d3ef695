import type { CrossTenantError } from '@tenantkit/core';
import { astray as stopped } from './astray.ts';
import { timestamp } from './life.ts';
import type { PresignedPost } from './post.ts';
import type { FormParts } from './post-fields.ts';
import type { Call } from './call.ts';

/** What a form was asked to be. */
export interface ExpectedForm extends FormParts {
  readonly url: string;
  readonly bucket: string;
  /** Physical. */
  readonly key: string;
  /** Seconds. */
  readonly Expires: number;
}

/**
 * The last check of a form: the policy that was signed, as a server will read it, allows this key of this bucket for
 * this time, and nothing that was not asked for.
 *
 * @param signed - what the signing library has answered
 * @returns a copy of it, which is what was checked
 * @throws CrossTenantError when it is anything else
 */
export function assertForm(signed: PresignedPost, call: Call, expected: ExpectedForm): PresignedPost {
  const { url } = signed;
  const fields: Record<string, string> = { ...signed.fields };
  const { bucket, key } = expected;
  if (typeof url !== 'string' || url.replace(/\/$/, '') !== expected.url)
    throw astray(call, 'it would be sent to another host or bucket');
  const own: Record<string, string> = { ...expected.fields, bucket };
  for (const [name, shape] of Object.entries(SIGNATURE)) {
    const value = fields[name];
    if (value === undefined && name === TOKEN) continue;
    if (typeof value !== 'string' || !shape.test(value)) throw astray(call, `its field ${name} is malformed`);
    own[name] = value;
  }
  const { Policy: policy, 'X-Amz-Signature': signature, ...rest } = fields;
  if (!same(rest, { ...own, key })) throw astray(call, 'its fields are not those that were asked for');
  if (typeof signature !== 'string' || !/^[0-9a-f]{64}$/.test(signature))
    throw astray(call, 'its signature is malformed');
  const { expiration, conditions } = readPolicy(call, policy);
  assertExpiration(call, expiration, fields['X-Amz-Date'], expected.Expires);
  const asked = [
    ...expected.conditions,
    ...Object.entries({ ...own, key }).map(([name, value]) => ({ [name]: value })),
  ];
  const known = new Set(asked.map((one) => JSON.stringify(one)));
  const found = new Set(conditions.map((one) => JSON.stringify(one)));
  if (known.size !== found.size || [...known].some((one) => !found.has(one)))
    throw astray(call, 'its policy does not hold the conditions that were asked for, and those alone');
  return { url, fields };
}

const TOKEN = 'X-Amz-Security-Token';

/** What the library adds to the fields and, with the same values, to the conditions. */
const SIGNATURE: Readonly<Record<string, RegExp>> = {
  'X-Amz-Algorithm': /^AWS4-HMAC-SHA256$/,
  'X-Amz-Credential': /^[^/]+\/\d{8}\/[^/]+\/s3\/aws4_request$/,
  'X-Amz-Date': /^\d{8}T\d{6}Z$/,
  [TOKEN]: /^[!-~]+$/,
};

interface Policy {
  readonly expiration: string;
  readonly conditions: readonly unknown[];
}

function readPolicy(call: Call, encoded: unknown): Policy {
  const text = typeof encoded === 'string' ? Buffer.from(encoded, 'base64').toString() : '';
  const policy = parsed(text);
  // Only the one spelling: in another, such as with a name that stands twice, a server could read something else.
  const plain = JSON.stringify(policy) === text && Buffer.from(text).toString('base64') === encoded;
  if (plain && typeof policy === 'object' && policy !== null) {
    const { expiration, conditions, ...more } = policy as Readonly<Record<string, unknown>>;
    const complete = typeof expiration === 'string' && Array.isArray(conditions);
    if (complete && Object.keys(more).length === 0) return { expiration, conditions };
  }
  throw astray(call, 'its policy is not one that can be read in one way only');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function assertExpiration(call: Call, expiration: string, date: unknown, expires: number): void {
  const end = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(expiration) ? Date.parse(expiration) : Number.NaN;
  const now = Date.now();
  if (!(end <= now + expires * 1000) || !(timestamp(date) <= now))
    throw astray(call, 'it would live longer than asked for');
}

function same(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): boolean {
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
  );
}

function astray(call: Call, why: string): CrossTenantError {
  return stopped(call, why, 'form');
}
