import { AsyncLocalStorage } from 'node:async_hooks';
import type { TenantNames } from './names.ts';
import { atRest, inNoContext, inScope } from './plumbing.ts';

/** Runs a function, with these arguments. */
export type Entrance = <A extends readonly unknown[], R>(fn: (...args: A) => R, ...args: A) => R;

const entrances = new WeakMap<TenantNames, Entrance>();

/**
 * Runs code of a tenant from within ioredis's own work. Made once for each tenant, since it is gone through for
 * every reply: the tenant is the caller's, its subject and actor and the request are not known there.
 */
export function entranceOf(names: TenantNames): Entrance {
  let entrance = entrances.get(names);
  if (entrance === undefined) {
    const scope = Object.freeze({ tenant: Object.freeze({ tenant: names.tenant }), bypass: undefined });
    // A snapshot keeps all that is around it: here nothing of whoever has called first.
    const enter = inNoContext<Entrance>(() => inScope(scope, () => AsyncLocalStorage.snapshot()));
    entrance = (fn, ...args) => atRest(() => enter(fn, ...args));
    entrances.set(names, entrance);
  }
  return entrance;
}
