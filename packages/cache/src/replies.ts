import { breach } from '@tenantkit/core';
import type { Argument } from './keyspec.ts';
import type { TenantNames } from './names.ts';

/** Makes the key at the beginning of `[key, …]` logical; null is the reply of a blocking command that timed out. */
export function nameFirst(reply: unknown, names: TenantNames, operation: string): unknown {
  if (!Array.isArray(reply) || reply.length === 0) return expectStatus(reply, names, operation);
  const [first, ...rest]: unknown[] = reply;
  return [logical(first, names, operation), ...rest];
}

/** Makes the keys in `[cursor, [key, …]]` logical. */
export function namePage(reply: unknown, names: TenantNames, operation: string): unknown {
  if (!Array.isArray(reply)) return expectStatus(reply, names, operation);
  const [cursor, page]: unknown[] = reply;
  if (!Array.isArray(page))
    throw breach('cache', operation, 'a page of an unknown form came back', names.tenant);
  return [cursor, page.map((key: unknown) => logical(key, names, operation))];
}

/**
 * Makes the keys of `key → entries` logical: pairs under RESP2, and under RESP3 a flat array or an object, as the
 * option `replyMapping` has it.
 */
export function nameStreams(reply: unknown, names: TenantNames, operation: string): unknown {
  if (!Array.isArray(reply)) {
    if (typeof reply !== 'object' || reply === null || Buffer.isBuffer(reply))
      return expectStatus(reply, names, operation);
    return fromEntries(
      Object.entries(reply).map(([key, entries]) => [names.decode(key, operation), entries] as const),
    );
  }
  if (!Array.isArray(reply[0]))
    return reply.map((item: unknown, place) => (place % 2 === 0 ? logical(item, names, operation) : item));
  return reply.map((pair: unknown) => nameFirst(pair, names, operation));
}

// A stream may be called __proto__.
function fromEntries(entries: readonly (readonly [string, unknown])[]): object {
  const object = {};
  for (const [key, value] of entries)
    Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true });
  return object;
}

function logical(key: unknown, names: TenantNames, operation: string): Argument {
  if (typeof key !== 'string' && !Buffer.isBuffer(key))
    throw breach('cache', operation, 'a key of an unknown form came back', names.tenant);
  return names.decode(key, operation);
}

// No reply at all, or QUEUED inside a transaction: anything else may hold a key that nobody has looked at.
function expectStatus(reply: unknown, names: TenantNames, operation: string): unknown {
  if (reply === null || reply === undefined || (Array.isArray(reply) && reply.length === 0)) return reply;
  if ((Buffer.isBuffer(reply) || typeof reply === 'string') && reply.toString() === 'QUEUED') return reply;
  throw breach('cache', operation, 'a reply of an unknown form came back', names.tenant);
}
