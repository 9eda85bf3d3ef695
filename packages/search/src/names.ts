import { randomBytes } from 'node:crypto';
import { breach } from '@tenantkit/core';
import type { SearchSettings } from './options.ts';
import { refusing } from './refusing.ts';

/** The longest `_id` that OpenSearch stores, in UTF-8 bytes. */
export const ID_MAX_BYTES = 512;

const LONE_SURROGATE = /\p{Surrogate}/u;

/** `_id` ↔ physical `_id`, and index names, of one tenant. Pure. */
export interface Names {
  readonly tenant: string;
  /**
   * The physical `_id` of a document of the tenant.
   * @throws {@link OperationRefusedError} for what is no `_id`: empty, too long, not well-formed Unicode
   */
  encode(id: unknown): string;
  /**
   * The logical `_id`.
   * @throws {@link IsolationBreachError} when the physical one is not the tenant's
   */
  decode(physical: unknown): string;
  /** A physical `_id` for a document that came without one, of the length that the server itself would use. */
  generate(): string;
  /** Whether the physical `_id` is the tenant's. */
  owns(physical: string): boolean;
  /**
   * The index, unchanged, when it is one of `tenant.indices`.
   * @throws {@link OperationRefusedError} otherwise
   */
  index(name: unknown): string;
  /**
   * The index of a reply, unchanged.
   * @throws {@link IsolationBreachError} when it is not the one that was asked for
   */
  sameIndex(name: unknown, asked: string): string;
}

/**
 * The names of one tenant in one operation.
 *
 * @example
 * ```ts
 * const names = tenantNames(settings, 'acme', 'get');
 * names.encode('1'); // 'acme~1'
 * names.decode('acme2~1'); // throws IsolationBreachError
 * ```
 */
export function tenantNames(settings: SearchSettings, tenant: string, operation: string): Names {
  const { names, indices } = settings;
  const refused = refusing(operation);
  const encode = (id: unknown): string => {
    // A number is what the raw client and the server both turn into a text. Anything else with a text form of
    // its own (an array, an object with toString) could answer differently the second time it is asked.
    const text = typeof id === 'number' && Number.isFinite(id) ? String(id) : id;
    if (typeof text !== 'string' || text === '') {
      throw refused('its _id is not a text', 'Give a text of 1 or more characters, or leave the _id out.');
    }
    // Each lone surrogate becomes the same replacement character on the wire: two ids would be one document.
    if (LONE_SURROGATE.test(text)) {
      throw refused('its _id is not well-formed Unicode', 'Give an _id without lone surrogates.');
    }
    const physical = names.encode(tenant, text);
    if (Buffer.byteLength(physical) > ID_MAX_BYTES) {
      const room = ID_MAX_BYTES - Buffer.byteLength(names.prefix(tenant));
      throw refused(`its _id is longer than ${room} bytes`, 'Use a shorter _id, for example a hash of it.');
    }
    return physical;
  };
  return {
    tenant,
    encode,
    decode(physical) {
      if (typeof physical !== 'string' || !names.owns(tenant, physical)) {
        throw breach('search', operation, 'a document outside the tenant came back', tenant);
      }
      return names.decode(tenant, physical);
    },
    generate: () => encode(randomBytes(15).toString('base64url')),
    owns: (physical) => names.owns(tenant, physical),
    index(name) {
      if (typeof name !== 'string' || name === '') {
        throw refused(
          'it names no index, and would reach every index',
          'Name exactly one of tenant.indices.',
        );
      }
      if (!indices.has(name)) {
        throw refused(
          'its index is not one of tenant.indices: no other name, alias, list, wildcard, date math or remote cluster is accepted',
          'Name exactly one of tenant.indices; for a list, call once per index.',
        );
      }
      return name;
    },
    sameIndex(name, asked) {
      if (name !== asked) throw breach('search', operation, 'a document of another index came back', tenant);
      return asked;
    },
  };
}
