import { currentScope } from '@tenantkit/core';
import type { Subscriptions } from './subscriptions.ts';
import type { Wiring } from './wiring.ts';

const wirings = new WeakMap<object, Wiring>();

/** Makes `wiring` that of a client. */
export function wire(client: object, wiring: Wiring): void {
  wirings.set(client, wiring);
}

/** The subscriptions of a client; `undefined` while it is being made. */
export function subscriptionsOf(client: object): Subscriptions | undefined {
  const subscriptions = wirings.get(client)?.subscriptions;
  return currentScope()?.tenant === undefined ? subscriptions : subscriptions?.listening;
}

/** Whether a client is that of one tenant alone. */
export function isOwned(client: object): boolean {
  return wirings.get(client)?.belonging.isOwned === true;
}

/** The wiring of a client of ours, for the eraser and the auditor; `undefined` for any other object. */
export function wiringOf(client: object): Wiring | undefined {
  return wirings.get(client);
}
