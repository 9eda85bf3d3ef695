import {
  ConfigError,
  OperationRefusedError,
  eraseRun,
  erasureScope,
  parseOptions,
  publish,
  type Checkpoint,
  type Eraser,
  type ErasureScope,
  type InventoryItem,
} from '@tenantkit/core';
import { z } from 'zod';
import type { Cluster, Redis } from './client.ts';
import { SubjectStore } from './erase-subject.ts';
import { Everywhere, TenantStore, type Erasable } from './erase-tenant.ts';
import { TenantUsers } from './erase-users.ts';
import { assertGuarded } from './fit.ts';
import { RawStore, type RawStoreOptions } from './raw-store.ts';

/** Options of {@link cacheEraser}. */
export interface CacheEraserOptions extends RawStoreOptions {
  /** The name of this store in plans and certificates, by default `cache`. */
  readonly store?: string | undefined;
  /**
   * Whether the ACL users of a tenant, as {@link cacheBackstop} makes them, are counted and removed with it; by default
   * `true`, for which the client needs the rights `+acl|list` and `+acl|deluser`. `false` is for where no tenant has a
   * user, or where somebody else removes them: plans and certificates then say nothing about users.
   */
  readonly users?: boolean | undefined;
}

const schema = z.strictObject({
  store: z.string().min(1).optional(),
  users: z.boolean().optional(),
  timeout: z.number().int().positive().optional(),
});

const UNSUPPORTED =
  'keys do not say which person they are about; set tenant.index or tenant.subjects, erase the tenant, or remove the person’s keys by name';

const USERS = 'acl-user';

/** All that is erased together. */
interface Scoped extends Disposable {
  readonly data: Erasable;
  /** `undefined` for a person, who has none, and where they are left to somebody else. */
  readonly users: TenantUsers | undefined;
  readonly places: readonly RawStore[];
}

/**
 * The eraser of one Redis or Cluster: removes every key of a tenant from the database that the client uses.
 *
 * It removes with UNLINK, in batches: what the tenant's registry names, if there is one, and what a walk with SCAN
 * finds, until there is nothing. The walk costs what the whole keyspace does, whatever the size of the tenant. It
 * is left out where the registry is known to be complete: with `index` in the options of the client, after
 * {@link indexCache}, on servers that do not evict registries, and behind a fence that keeps everybody from writing.
 *
 * Before the keys it removes the ACL users that {@link cacheBackstop} has made for the tenant, on every server, which
 * ends their connections: no fence stops those. And it ends what the tenant has subscribed to on this client.
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
  const {
    store = 'cache',
    timeout,
    users: takesUsers = true,
  } = parseOptions('cache', schema, options, 'cacheEraser');
  const { tenant: own, silos } = assertGuarded(client);
  const { index, subjects } = own;
  const knowsSubjects = index === true || (subjects !== undefined && subjects.length > 0);
  const open = (operation: string, scope: ErasureScope): Scoped => {
    const { tenant, subject } = erasureScope('cache', `cacheEraser.${operation}`, scope);
    // Taken for the tenant's, a person's erasure would remove everybody.
    if (subject !== undefined && !knowsSubjects) throw refuseSubject(operation);
    const whose = subject === undefined ? 'a tenant' : 'a person';
    const reach = (one: Redis | Cluster): RawStore =>
      new RawStore(one, `cacheEraser.${operation}`, `${operation} of ${whose}`, { timeout });
    // The pool first: what is refused there leaves no client of a silo held.
    const pool = reach(client);
    const others = silos?.everywhereOf(tenant);
    const places = [pool, ...(others?.clients ?? []).map(reach)];
    const stores = places.map((raw): Erasable =>
      subject === undefined
        ? new TenantStore(raw, tenant)
        : new SubjectStore(raw, raw.wiring.guard.names.of(tenant), subject),
    );
    const users = takesUsers && subject === undefined ? new TenantUsers(places, tenant) : undefined;
    return {
      data: new Everywhere(stores),
      users,
      places,
      [Symbol.dispose]: () => others?.[Symbol.dispose](),
    };
  };

  return {
    store,
    subjects: knowsSubjects ? 'supported' : { unsupported: UNSUPPORTED },
    async plan(scope) {
      using scoped = open('plan', scope);
      const { data, users } = scoped;
      return { store, items: [...(await data.count()), ...some(await users?.count())], kept: [] };
    },
    async erase(scope, given) {
      const run = eraseRun('cache', 'cacheEraser.erase', given);
      run.signal.throwIfAborted();
      using scoped = open('erase', scope);
      const { data, users, places } = scoped;
      const { ended = false, ...reached } = await load(run.checkpoint);
      let { erased: count, users: userCount = 0 } = reached;
      const save = (isEnd?: true): Promise<void> =>
        run.checkpoint.save(
          JSON.stringify(
            state.parse({
              erased: count,
              ...(userCount > 0 && { users: userCount }),
              ...(isEnd && { ended: true }),
            }),
          ),
        );
      if (scope.subject === undefined)
        for (const { wiring } of places) wiring.subscriptions.forget(scope.tenant);
      // First, since a user writes past every fence. What is wrong with users keeps no data from being erased.
      const wrong = await attempt(() =>
        users?.erase(run.signal, async (removed) => {
          userCount += removed;
          await save();
          run.progress({ kind: USERS, done: userCount });
        }),
      );
      await data.erase(run, {
        again: ended,
        async add(removed) {
          count += removed;
          await save();
          run.progress({ kind: 'keys', done: count });
        },
      });
      if (wrong !== undefined) throw wrong.error;
      await save(true);
      const also = userCount === 0 ? '' : ` and ${userCount} ACL users`;
      publish('erasure', {
        surface: 'cache',
        operation: 'erase',
        message: `${count} keys${also} removed from ${store}.`,
        tenant: scope.tenant,
        actor: 'tenantkit/cacheEraser',
        extra: { store, count, ...(userCount > 0 && { users: userCount }) },
      });
      return { store, erased: [{ kind: 'keys', count }, ...some(userCount)], kept: [] };
    },
    async verify(scope) {
      using scoped = open('verify', scope);
      const { data, users } = scoped;
      const control = await data.control();
      const left = users === undefined ? [] : [{ kind: USERS, count: await users.count() }];
      return { store, remaining: [...(await data.recount()), ...left], kept: [], control };
    },
  };
}

/** Users are told of in plans and outcomes only where there are some: few tenants have one. */
function some(count = 0): InventoryItem[] {
  return count === 0 ? [] : [{ kind: USERS, count }];
}

/** @returns what has gone wrong; a run that was stopped ends with the keys */
async function attempt(
  work: () => Promise<void> | undefined,
): Promise<{ readonly error: unknown } | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return { error };
  }
}

const state = z.strictObject({
  erased: z.number().int().nonnegative(),
  users: z.number().int().positive().optional(),
  ended: z.literal(true).optional(),
});

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

function refuseSubject(operation: string): OperationRefusedError {
  return new OperationRefusedError({
    surface: 'cache',
    operation: `cacheEraser.${operation}`,
    why: UNSUPPORTED,
    instead: 'Leave subject away to erase the whole tenant.',
  });
}
