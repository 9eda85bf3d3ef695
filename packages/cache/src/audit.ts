import { ConfigError, type Auditor, type Finding } from '@tenantkit/core';
import { z } from 'zod';
import type { Cluster, Redis } from './client.ts';
import { RESERVED } from './names.ts';
import { RawStore, assertGuarded, type RawStoreOptions } from './raw-store.ts';
import type { Guard } from './guard.ts';

/** Options of {@link cacheAuditor}. */
export interface CacheAuditorOptions extends RawStoreOptions {
  /** The name of this store in findings, by default `cache`. */
  readonly store?: string | undefined;
  /**
   * What the names of keys begin with that something else keeps in the same database and looks after itself, such
   * as `bull:` for BullMQ, whose jobs `queueAuditor` looks at.
   */
  readonly known?: readonly string[] | undefined;
}

const schema = z.strictObject({
  store: z.string().min(1).optional(),
  known: z.array(z.string().min(1)).optional(),
  timeout: z.number().int().positive().optional(),
});

const FINDINGS = {
  outside_every_tenant: {
    severity: 'high',
    message: 'A key belongs to no tenant: no tenant can read it, and no erasure finds it.',
    hint: 'Find out who writes past @tenantkit/cache. Where it is another program, such as BullMQ, name its prefix in the option known; else rename the key under its tenant, or remove it.',
  },
  unknown_reserved_name: {
    severity: 'medium',
    message: 'A key begins with tk!, which is reserved, and is none that this version writes.',
    hint: 'Remove it, unless a newer version of tenantkit shares this store.',
  },
  erased_tenant: {
    severity: 'critical',
    message: 'A key belongs to a tenant that was erased.',
    hint: 'Find out who still writes for that tenant, then run its erasure again.',
  },
} as const satisfies Record<string, Pick<Finding, 'severity' | 'message' | 'hint'>>;

/**
 * The auditor of one Redis or Cluster: walks every key of the database that the client uses, and reports those
 * that no tenant owns. It reads names only, and changes nothing.
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
  const { store = 'cache', timeout, known = [] } = parse(options);
  const prefixes = known.map((prefix) => Buffer.from(prefix).toString('latin1'));
  const { guard } = assertGuarded(client);
  return {
    store,
    async *audit(signal) {
      const raw = new RawStore(client, 'cacheAuditor.audit', 'audit of all keys', { timeout });
      for await (const { keys } of raw.pages({ signal })) {
        for (const key of keys) {
          const code = codeOf(key, guard, prefixes);
          if (code !== undefined) yield { store, code, name: printable(key), ...FINDINGS[code] };
        }
      }
    },
  };
}

function codeOf(
  key: Buffer,
  { names, fence }: Guard,
  known: readonly string[],
): keyof typeof FINDINGS | undefined {
  // Every prefix is plain ASCII, which this keeps byte for byte.
  const name = key.toString('latin1');
  if (name.startsWith(RESERVED)) return 'unknown_reserved_name';
  const tenant = names.codec.tenantOf(name);
  if (tenant === undefined) {
    return known.some((prefix) => name.startsWith(prefix)) ? undefined : 'outside_every_tenant';
  }
  return fence?.state(tenant) === 'erased' ? 'erased_tenant' : undefined;
}

// A key may hold any bytes, also those that drive a terminal.
function printable(key: Buffer): string {
  return key
    .toString('utf8')
    .replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

function parse(options: CacheAuditorOptions): z.infer<typeof schema> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  throw new ConfigError({
    surface: 'cache',
    operation: 'cacheAuditor',
    problem: z.prettifyError(result.error),
    hint: 'It takes store, known and timeout; how keys are named comes from the client.',
  });
}
