import type { Surface } from './errors.ts';

const GUARDED: unique symbol = Symbol.for('tenantkit.guarded');

/**
 * Marks the prototype of a class as a client that an adapter guards.
 *
 * @param surface - the adapter's
 */
export function markGuarded(prototype: object, surface: Surface): void {
  Object.defineProperty(prototype, GUARDED, { value: surface });
}

/**
 * Which adapter guards a client, or `undefined` for a raw one: for an adapter that needs a raw client and does not
 * know the others.
 *
 * @example
 * ```ts
 * import { guardedBy } from '@tenantkit/core';
 * if (guardedBy(connection) !== undefined) throw new TypeError('Give me a raw ioredis client.');
 * ```
 */
export function guardedBy(client: object): Surface | undefined {
  return (client as { readonly [GUARDED]?: Surface })[GUARDED];
}
