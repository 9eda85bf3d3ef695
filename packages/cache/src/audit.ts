import { auditSignal, parseOptions, tenantId, type Auditor } from '@tenantkit/core';
import { z } from 'zod';
import { Audit, FINDINGS } from './audit-walk.ts';
import type { Cluster, Redis } from './client.ts';
import { assertGuarded } from './fit.ts';
import { RawStore, type RawStoreOptions } from './raw-store.ts';

/** Options of {@link cacheAuditor}. */
export interface CacheAuditorOptions extends RawStoreOptions {
  /** The name of this store in findings, by default `cache`. */
  readonly store?: string | undefined;
  /**
   * What the names of keys begin with that something else keeps in the same database and looks after itself, such
   * as `bull:` for BullMQ, whose jobs `queueAuditor` looks at.
   */
  readonly known?: readonly string[] | undefined;
  /**
   * Which tenants there are: a list, or what tells whether there is one. Without it every well-formed id passes,
   * since a fence knows only of those that are frozen or erased. With the option `place` of the client, a list also
   * says whose places are looked at.
   */
  readonly tenants?: readonly string[] | ((tenant: string) => boolean | Promise<boolean>) | undefined;
  /**
   * Whether keys without a time to live, and entries of registries whose key is gone, are counted per tenant, by
   * default `false`: every key is asked for.
   */
  readonly details?: boolean | undefined;
}

const schema = z.strictObject({
  store: z.string().min(1).optional(),
  known: z.array(z.string().min(1)).optional(),
  tenants: z
    .union([
      z.array(tenantId),
      z.custom<(tenant: string) => boolean | Promise<boolean>>((value) => typeof value === 'function'),
    ])
    .optional(),
  details: z.boolean().optional(),
  timeout: z.number().int().positive().optional(),
});

// Of a longer name that much is shown, in bytes.
const SHOWN = 1_024;

/**
 * The auditor of one Redis or Cluster: walks every key of the database that the client uses, and reports those
 * that no tenant owns. It reads names only, and changes nothing.
 *
 * With the option `place` of the client it looks at the pool, at the places that tenants were in since the client was
 * made, and at those of the tenants in the list `tenants`. Others it cannot know: a silo that nobody is in any more is
 * audited with a client of its own.
 *
 * @param client - a client of this package; with a `fence` in its options, keys of erased tenants are found too
 * @throws {@link ConfigError} for another client, or unknown options
 *
 * @example
 * ```ts
 * import { Redis, cacheAuditor } from '@tenantkit/cache';
 * for await (const finding of cacheAuditor(new Redis()).audit(AbortSignal.timeout(60_000))) {
 *   console.log(finding.severity, finding.name, finding.message);
 * }
 * ```
 */
export function cacheAuditor(client: Redis | Cluster, options: CacheAuditorOptions = {}): Auditor {
  const {
    store = 'cache',
    timeout,
    known = [],
    tenants,
    details = false,
  } = parseOptions('cache', schema, options, 'cacheAuditor');
  const prefixes = known.map((prefix) => Buffer.from(prefix).toString('latin1'));
  assertGuarded(client);
  const isTenant = Array.isArray(tenants) ? (tenant: string) => tenants.includes(tenant) : tenants;
  return {
    store,
    async *audit(given) {
      const signal = auditSignal('cache', 'cacheAuditor.audit', given);
      const listed = Array.isArray(tenants) ? tenants : [];
      using others = assertGuarded(client).silos?.everywhere(listed);
      for (const one of [client, ...(others?.clients ?? [])]) {
        const raw = new RawStore(one, 'cacheAuditor.audit', 'audit of all keys', { timeout });
        const isHere = (tenant: string): boolean => assertGuarded(client).silos?.isAt(tenant, one) ?? true;
        const where = one === client ? '' : ` It is in ${raw.target}.`;
        const audit = new Audit(raw, prefixes, isTenant, isHere, details, signal);
        for await (const { node, keys } of raw.pages({ signal })) {
          for (const { code, name } of await audit.page(node, keys)) {
            const { message, ...finding } = FINDINGS[code];
            yield { store, code, name: printable(name), ...finding, message: message + where };
          }
        }
        for (const { code, name, count } of audit.counts()) {
          const { message, ...finding } = FINDINGS[code];
          const full = `${message} There are ${count}.${where}`;
          yield { store, code, name: printable(name), ...finding, message: full };
        }
      }
    },
  };
}

// A key may hold any bytes, also those that drive a terminal, and more than fit into a text.
function printable(key: Buffer): string {
  const shown = key
    .toString('utf8', 0, SHOWN)
    .replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
  return key.length > SHOWN ? `${shown}… (${key.length} bytes)` : shown;
}
