import { markGuarded } from '@tenantkit/core';
import type { EventEmitter } from 'node:events';
import { keepInner } from './inner.ts';
import { bindListeners } from './listeners.ts';
import { ownMethods } from './methods.ts';
import { isOwned, subscriptionsOf } from './wirings.ts';

/**
 * Makes a class of clients one whose inherited members stay inside a tenant.
 *
 * @param prototype - that of the class
 * @param inner - the members that ioredis has for its own work
 */
export function confineClass(prototype: EventEmitter, inner: readonly string[]): void {
  bindListeners(prototype, subscriptionsOf, isOwned);
  markGuarded(prototype, 'cache');
  ownMethods(prototype);
  keepInner(prototype, inner);
}
