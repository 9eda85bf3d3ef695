import {
  ConfigError,
  OperationRefusedError,
  assertId,
  eraseRun,
  publish,
  type Checkpoint,
  type Eraser,
  type ErasureScope,
} from '@tenantkit/core';
import { z } from 'zod';
import type { Cluster, Redis } from './client.ts';
import { SubjectStore } from './erase-subject.ts';
import { Everywhere, TenantStore, type Erasable } from './erase-tenant.ts';
import { RawStore, assertGuarded, type RawStoreOptions } from './raw-store.ts';

/** Options of {@link cacheEraser}. */
export interface CacheEraserOptions extends RawStoreOptions {
  /** The name of this store in plans and certificates, by default `cache`. */
  readonly store?: string | undefined;
}

const schema = z.strictObject({
  store: z.string().min(1).optional(),
  timeout: z.number().int().positive().optional(),
});

const UNSUPPORTED =
  'keys do not say which person they are about; set tenant.index or tenant.subjects, erase the tenant, or remove the person’s keys by name';

/**
 * The eraser of one Redis or Cluster: removes every key of a tenant from the database that the client uses.
 *
 * It removes with UNLINK, in batches: what the tenant's registry names, if there is one, and what a walk with SCAN
 * finds, until there is nothing. The walk costs what the whole keyspace does, whatever the size of the tenant. It
 * is left out where the registry is known to be complete: with `index` in the options of the client, after
 * {@link indexCache}, on servers that do not evict registries, and behind a fence that keeps everybody from writing.
 *
 * With the option `place` it erases where the tenant is, where it was when it was frozen, and in the pool, where a move
 * may have left something behind. A former silo is erased with an eraser of its own, for a client that is made for it.
 *
 * @param client - a client of this package; its `tenant` options say how keys are named
 * @throws {@link ConfigError} for another client, or unknown options
 *
 * @example
 * ```ts
 * import { Redis, cacheEraser } from '@tenantkit/cache';
 * const eraser = cacheEraser(new Redis());
 * const { items } = await eraser.plan({ tenant: 'acme' }); // [{ kind: 'keys', count: 1204 }]
 * ```
 */
export function cacheEraser(client: Redis | Cluster, options: CacheEraserOptions = {}): Eraser {
  const { store = 'cache', timeout } = parse(options);
  const { tenant: own, silos } = assertGuarded(client);
  const { index, subjects } = own;
  const knowsSubjects = index === true || (subjects !== undefined && subjects.length > 0);
  const open = (operation: string, { tenant, subject }: ErasureScope): Erasable => {
    assertId(tenant, 'tenant');
    if (subject !== undefined) assertId(subject, 'subject');
    // Taken for the tenant's, a person's erasure would remove everybody.
    if (subject !== undefined && !knowsSubjects) throw refuseSubject(operation);
    const whose = subject === undefined ? 'a tenant' : 'a person';
    const stores = [client, ...(silos?.everywhereOf(tenant) ?? [])].map((one): Erasable => {
      const raw = new RawStore(one, `cacheEraser.${operation}`, `${operation} of ${whose}`, { timeout });
      return subject === undefined
        ? new TenantStore(raw, tenant)
        : new SubjectStore(raw, raw.wiring.guard.names.of(tenant), subject);
    });
    return new Everywhere(stores);
  };

  return {
    store,
    subjects: knowsSubjects ? 'supported' : { unsupported: UNSUPPORTED },
    async plan(scope) {
      return { store, items: await open('plan', scope).count(), kept: [] };
    },
    async erase(scope, given) {
      const run = eraseRun('cache', 'cacheEraser.erase', given);
      run.signal.throwIfAborted();
      const own = open('erase', scope);
      let { erased: count, ended = false } = await load(run.checkpoint);
      await own.erase(run, {
        again: ended,
        async add(removed) {
          count += removed;
          await run.checkpoint.save(JSON.stringify({ erased: count }));
          run.progress({ kind: 'keys', done: count });
        },
      });
      await run.checkpoint.save(JSON.stringify({ erased: count, ended: true }));
      publish('erasure', {
        surface: 'cache',
        operation: 'erase',
        message: `${count} keys removed from ${store}.`,
        tenant: scope.tenant,
        actor: 'tenantkit/cacheEraser',
        extra: { store, count },
      });
      return { store, erased: [{ kind: 'keys', count }], kept: [] };
    },
    async verify(scope) {
      const own = open('verify', scope);
      const control = await own.control();
      return { store, remaining: await own.count(), kept: [], control };
    },
  };
}

const state = z.strictObject({ erased: z.number().int().nonnegative(), ended: z.literal(true).optional() });

async function load(checkpoint: Checkpoint): Promise<z.infer<typeof state>> {
  const saved = await checkpoint.load();
  if (saved === undefined) return { erased: 0 };
  const result = z
    .string()
    .transform((text, context) => {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        context.addIssue('not JSON');
        return z.NEVER;
      }
    })
    .pipe(state)
    .safeParse(saved);
  if (result.success) return result.data;
  throw new ConfigError({
    surface: 'cache',
    operation: 'erase',
    problem: 'the checkpoint was not saved by this eraser',
    hint: 'Start the erasure of this store anew; what was removed is not counted again.',
    cause: result.error,
  });
}

function parse(options: CacheEraserOptions): z.infer<typeof schema> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  throw new ConfigError({
    surface: 'cache',
    operation: 'cacheEraser',
    problem: z.prettifyError(result.error),
    hint: 'It takes store and timeout; how keys are named comes from the client.',
  });
}

function refuseSubject(operation: string): OperationRefusedError {
  return new OperationRefusedError({
    surface: 'cache',
    operation: `cacheEraser.${operation}`,
    why: UNSUPPORTED,
    instead: 'Leave subject away to erase the whole tenant.',
  });
}
