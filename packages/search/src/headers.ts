import { ConfigError } from '@tenantkit/core';
import { shown, type Refuse } from './refusing.ts';

/** Request headers by lower-case name. */
export type Headers = Readonly<Record<string, unknown>>;

// What a single call may carry. Not here: what makes the server read the body or write the reply in another
// form (content-type, accept, content-encoding), act for somebody else (impersonation) or go elsewhere (host).
const ALLOWED: ReadonlySet<string> = new Set([
  'accept-encoding',
  'authorization',
  'baggage',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-correlation-id',
  'x-opaque-id',
  'x-request-id',
]);

// What the adapter sends itself; a caller who repeats it is not refused.
const OURS: Readonly<Record<string, RegExp>> = {
  accept: /^(?:\*\/\*|application\/json)(?:;\s*charset=utf-8)?$/i,
  'content-type': /^application\/(?:json|x-ndjson)(?:;\s*charset=utf-8)?$/i,
};

// What would make every request or reply of a client unreadable to the checks.
const FRAMING: ReadonlySet<string> = new Set(['content-encoding', 'content-length', 'transfer-encoding']);

/**
 * The headers of one call, from an allow-list.
 *
 * @throws {@link OperationRefusedError} for any other
 */
export function readHeaders(given: unknown, refuse: Refuse): Headers {
  if (given === undefined || given === null) return {};
  const headers: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase();
    if (value === undefined) continue;
    if (ALLOWED.has(lower)) headers[lower] = toText(value, refuse);
    else if (!Object.hasOwn(OURS, lower) || typeof value !== 'string' || OURS[lower]?.test(value) !== true) {
      throw refuse(
        `the header ${shown(lower.replaceAll('-', '_'))} is on no list of what stays inside a tenant`,
        'Leave it out; bodies and replies are JSON.',
      );
    }
  }
  return headers;
}

// Once, here: what answers Node's check with one text and the socket with another would write a second request.
function toText(value: unknown, refuse: Refuse): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  throw refuse('the value of a header is no text', 'Give a text.');
}

/**
 * Checks the headers that a client sends with every request.
 *
 * @throws {@link ConfigError}
 */
export function checkClientHeaders(headers: unknown): void {
  for (const name of Object.keys(headers ?? {})) {
    if (!FRAMING.has(name.toLowerCase())) continue;
    throw new ConfigError({
      surface: 'search',
      operation: 'options',
      problem: `headers sets ${name.toLowerCase()}`,
      hint: 'Leave it out; use the option compression for compressed requests.',
    });
  }
}
