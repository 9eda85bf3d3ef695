import { AsyncLocalStorage } from 'node:async_hooks';
import pMap from 'p-map';
import {
  ConfigError,
  MissingTenantError,
  TenantSwitchError,
  isTenantkitError,
  type Surface,
} from './errors.ts';
import { publish } from './events.ts';
import { assertId } from './ids.ts';
import { assertRuntime } from './runtime.ts';

assertRuntime();

/** Who the current work is for. */
export interface TenantContext {
  /** The tenant's id; see {@link tenantId} for its form. */
  readonly tenant: string;
  /** The data subject (a person) inside the tenant that written data is about. Tags what is written. */
  readonly subject?: string;
  /** Who acts, for the audit trail: a user, a service, a job. Free text of at most 256 characters. */
  readonly actor?: string;
}

/** Why and by whom the tenant boundary is crossed. */
export interface Bypass {
  /** Why, in words that an auditor will read. */
  readonly reason: string;
  /** Who: a person, a job, a service account. */
  readonly actor: string;
}

/** What an adapter works under: one tenant, or a stated bypass. Never both, never neither. */
export type Scope =
  | { readonly tenant: TenantContext; readonly bypass: undefined }
  | { readonly tenant: undefined; readonly bypass: Bypass };

/** Where a tenant was asked for: shown in errors and audit events. */
export interface Where {
  readonly surface: Surface;
  readonly operation: string;
  /** What was called where a surface has several objects, for the text: `worker` in `worker.pause`. */
  readonly caller?: string | undefined;
}

// A service may well load two copies of core (two versions in its tree, or a bundle beside a package). With
// one AsyncLocalStorage each, an adapter of the one copy would not see the tenant that the other has set, so
// the storage hangs on globalThis. Frames are plain data for the same reason.
const KEY = Symbol.for('tenantkit.context');
const storage: AsyncLocalStorage<Scope | undefined> = shared();

/**
 * Runs `fn` inside a tenant. Everything it calls, at any depth and across awaits, timers and promises, is
 * confined to that tenant; the outer context is back when `fn` returns, throws or settles.
 *
 * Entering the tenant one is already in is allowed; a subject or actor that is not given is kept, so that a
 * helper's inner `withTenant` cannot lose the tag by which a person's data is found again. {@link withoutSubject}
 * leaves the person.
 *
 * @param tenant - the id, or a {@link TenantContext} with subject and actor
 * @returns what `fn` returns
 * @throws {@link InvalidTenantError} when an id has not the form of {@link tenantId}
 * @throws {@link TenantSwitchError} when called inside another tenant
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { Redis } from '@tenantkit/cache';
 * const redis = new Redis();
 * await withTenant('acme', async () => {
 *   await redis.set('user:1', 'Ada'); // stored as tk:acme:user:1
 * });
 * ```
 */
export function withTenant<T>(tenant: string | TenantContext, fn: () => T): T {
  const outer = storage.getStore();
  const context = toContext(tenant, outer?.tenant);
  return storage.run(Object.freeze({ tenant: context, bypass: undefined }), fn);
}

/**
 * Runs `fn` in the same tenant, but about nobody. What a request of a person writes is tagged with that person and goes
 * when the person is erased; what belongs to all of the tenant, such as a stock or a leaderboard, must not go along. The
 * actor stays: who acts is another question than whom the data is about.
 *
 * @returns what `fn` returns
 * @throws {@link MissingTenantError} outside of any tenant, also inside {@link acrossTenants}
 *
 * @example
 * ```ts
 * import { withTenant, withoutSubject } from '@tenantkit/core';
 * await withTenant({ tenant: 'acme', subject: 'person-7' }, async () => {
 *   await redis.hset('cart:person-7', 'apple', 2);                       // erased with person-7
 *   await withoutSubject(() => redis.hincrby('stock', 'apple', -2));     // stays
 * });
 * ```
 */
export function withoutSubject<T>(fn: () => T): T {
  const { tenant, actor } = requireTenant({ surface: 'core', operation: 'withoutSubject' });
  const context = Object.freeze({ tenant, ...(actor === undefined ? {} : { actor }) });
  return storage.run(Object.freeze({ tenant: context, bypass: undefined }), fn);
}

/** The tenant that the current work runs in, or `undefined` outside of any and inside {@link acrossTenants}. */
export function currentTenant(): TenantContext | undefined {
  return storage.getStore()?.tenant;
}

/**
 * The tenant that the current work runs in.
 *
 * @param where - surface and operation that ask, for the error and the audit event
 * @throws {@link MissingTenantError} outside of any tenant, also inside {@link acrossTenants}
 */
export function requireTenant(where: Partial<Where> = {}): TenantContext {
  const context = storage.getStore()?.tenant;
  if (context === undefined) throw missing(where);
  return context;
}

/**
 * What an adapter calls before anything else: the tenant, or the bypass under which raw names pass.
 *
 * @throws {@link MissingTenantError} when there is neither
 */
export function requireScope(where: Where): Scope {
  const scope = storage.getStore();
  if (scope === undefined) throw missing(where);
  return scope;
}

/** Like {@link requireScope}, for the places where an adapter has to act without a tenant, such as connecting. */
export function currentScope(): Scope | undefined {
  return storage.getStore();
}

/**
 * Runs `fn` with the tenant boundary lifted: adapters pass raw, physical names through. The only bypass there
 * is; each use is one `tenantkit:bypass` audit event. `withTenant` inside it may enter any tenant, and is
 * confined to that tenant again.
 *
 * @param bypass - `reason` and `actor`, both non-empty
 * @throws {@link ConfigError} when the reason or the actor is missing
 *
 * @example
 * ```ts
 * import { acrossTenants } from '@tenantkit/core';
 * const keys = await acrossTenants({ reason: 'capacity report', actor: 'ops@example.com' }, () => redis.dbsize());
 * ```
 */
export function acrossTenants<T>(bypass: Bypass, fn: () => T): T {
  const { reason, actor } = { ...bypass };
  for (const [name, value] of Object.entries({ reason, actor })) {
    if (typeof value !== 'string' || value.trim() === '') {
      throw new ConfigError({
        surface: 'core',
        operation: 'acrossTenants',
        problem: `${name} is empty`,
        hint: 'State why and by whom the boundary is crossed: an auditor reads it.',
      });
    }
  }
  const stated: Bypass = Object.freeze({ reason, actor });
  publish('bypass', {
    surface: 'core',
    operation: 'acrossTenants',
    message: reason,
    actor,
    tenant: storage.getStore()?.tenant?.tenant,
  });
  return storage.run(Object.freeze({ tenant: undefined, bypass: stated }), fn);
}

/**
 * Runs `fn` once per tenant, each in its own context, at most `concurrency` at a time. One tenant's failure
 * does not keep the others from their turn.
 *
 * @param tenants - ids or contexts; an async iterable is read only as fast as it is worked off
 * @param options - `concurrency`: how many at once, default 1; `signal`: stops before the next tenant
 * @returns the results, in the order of `tenants`
 * @throws AggregateError with every tenant's error, after all of them had their turn; the error of `tenants` itself
 *   when it breaks off
 *
 * @example
 * ```ts
 * import { forEachTenant } from '@tenantkit/core';
 * await forEachTenant(['acme', 'globex'], ({ tenant }) => sendInvoice(tenant), { concurrency: 4 });
 * ```
 */
export async function forEachTenant<R>(
  tenants: Iterable<string | TenantContext> | AsyncIterable<string | TenantContext>,
  fn: (context: TenantContext) => R | Promise<R>,
  { concurrency = 1, signal }: { readonly concurrency?: number; readonly signal?: AbortSignal } = {},
): Promise<R[]> {
  let broken: { readonly error: unknown } | undefined;
  // An error of the list is caught here: with several tenants asked for at once, p-map may hear that there are no more
  // of them before it hears of the error, and then resolves as if all had had their turn.
  async function* listed(): AsyncGenerator<string | TenantContext, void, undefined> {
    try {
      yield* tenants;
    } catch (error) {
      broken = { error };
    }
  }
  const results = await pMap(
    listed(),
    (tenant) =>
      withTenant(tenant, async () => {
        const result: R = await fn(requireTenant());
        return result;
      }),
    { concurrency, stopOnError: false, ...(signal === undefined ? {} : { signal }) },
  ).catch((error: unknown) => {
    if (!(error instanceof AggregateError)) throw error;
    throw failures(error.errors as unknown[], broken);
  });
  if (broken !== undefined) throw broken.error;
  return results;
}

// A text, since it is what logs show and a queue keeps of a job. Of an error only its code: its own text may hold data of
// a tenant, and this one is about several.
function failures(
  errors: readonly unknown[],
  broken: { readonly error: unknown } | undefined,
): AggregateError {
  const codes = new Set(errors.map((error) => (isTenantkitError(error) ? error.code : 'other errors')));
  const many = errors.length === 1 ? '1 tenant' : `${errors.length} tenants`;
  const list = broken === undefined ? '' : ', and the list of tenants broke off';
  const text = `forEachTenant: it failed for ${many} (${[...codes].join(', ')})${list}. Each error is in errors.`;
  return new AggregateError(broken === undefined ? errors : [...errors, broken.error], text);
}

/**
 * Binds a callback to the tenant it is made in, for emitters and callbacks that something else calls: a
 * listener would otherwise run in the tenant of whoever caused the event.
 *
 * @throws {@link MissingTenantError} when there is no tenant to bind to
 *
 * @example
 * ```ts
 * import { bindTenant } from '@tenantkit/core';
 * emitter.on('paid', bindTenant((invoice: { id: string }) => redis.set('last', invoice.id)));
 * ```
 */
export function bindTenant<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => R {
  const scope = requireScope({ surface: 'core', operation: 'bindTenant' });
  return (...args) => storage.run(scope, () => fn(...args));
}

/**
 * Runs `fn` in a scope that was captured before, with {@link currentScope} or {@link requireScope}; plumbing for
 * adapters, whose replies and listeners arrive in the context of whoever opened the connection. It trusts its caller:
 * it enters the scope of any tenant from within any other, and checks nothing. A service uses {@link bindTenant}.
 *
 * @param scope - `undefined` for outside of any tenant
 *
 * @example
 * ```ts
 * import { currentScope, runInScope } from '@tenantkit/core';
 * const scope = currentScope(); // when the command is called
 * emitter.once('reply', (reply: string) => runInScope(scope, () => console.log(reply)));
 * ```
 */
export function runInScope<T>(scope: Scope | undefined, fn: () => T): T {
  return storage.run(scope, fn);
}

function missing({ surface = 'core', operation, caller }: Partial<Where>): MissingTenantError {
  const error = new MissingTenantError({ surface, operation, caller });
  publish('refused', { surface, operation: operation ?? 'requireTenant', message: error.message });
  return error;
}

function toContext(given: string | TenantContext, outer: TenantContext | undefined): TenantContext {
  const { tenant, subject, actor } = typeof given === 'string' ? { tenant: given } : read(given);
  assertId(tenant, 'tenant');
  if (subject !== undefined) assertId(subject, 'subject');
  if (actor !== undefined && (typeof actor !== 'string' || actor === '' || actor.length > 256)) {
    throw new ConfigError({
      surface: 'core',
      operation: 'withTenant',
      problem: 'actor is not a text of 1 to 256 characters',
      hint: 'Give the name of the user, service or job that acts.',
    });
  }
  if (outer !== undefined && outer.tenant !== tenant) {
    const error = new TenantSwitchError({ surface: 'core', operation: 'withTenant' });
    publish('refused', {
      surface: 'core',
      operation: 'withTenant',
      message: error.message,
      tenant: outer.tenant,
    });
    throw error;
  }
  const kept = { subject: subject ?? outer?.subject, actor: actor ?? outer?.actor };
  return Object.freeze({
    tenant,
    ...(kept.subject === undefined ? {} : { subject: kept.subject }),
    ...(kept.actor === undefined ? {} : { actor: kept.actor }),
  });
}

// Read once: a getter that answers differently the second time must not pass the check with one id and be
// used with another.
function read(given: TenantContext): Partial<TenantContext> {
  if (typeof given !== 'object' || given === null) return { tenant: given };
  const { tenant, subject, actor } = given;
  return { tenant, ...(subject === undefined ? {} : { subject }), ...(actor === undefined ? {} : { actor }) };
}

function shared(): AsyncLocalStorage<Scope | undefined> {
  const host = globalThis as { [KEY]?: unknown };
  if (host[KEY] === undefined) {
    Object.defineProperty(globalThis, KEY, { value: new AsyncLocalStorage(), enumerable: false });
  }
  const found = host[KEY];
  if (!(found instanceof AsyncLocalStorage)) {
    throw new ConfigError({
      surface: 'core',
      problem: "globalThis[Symbol.for('tenantkit.context')] is not an AsyncLocalStorage",
      hint: 'Something else has taken this symbol: remove it, the tenant context cannot be trusted.',
    });
  }
  return found as AsyncLocalStorage<Scope | undefined>;
}
