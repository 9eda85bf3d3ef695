import { currentTenant, refusal, refuse } from '@tenantkit/core';
import type { Wiring } from './client.ts';
import { isEngineOf } from './engine.ts';
import type { PickedJob } from './picked.ts';
import type { SiloWorkers } from './silo-workers.ts';
import { stamp } from './stamp.ts';

const INTERNAL = refuse(
  'it belongs to the loop that serves every tenant',
  'Use the methods and options of the Worker.',
);

/** What stands behind a Worker; kept outside of it, so that the store cannot be reached through it. */
export interface Engine extends Wiring {
  /** Present where `tenant.place` is. */
  readonly silos: SiloWorkers | undefined;
}

/** What every Worker has picked up, by BullMQ's own Job: that of the pool tells what those of silos have done. */
export const picked = stamp<PickedJob>();

/** By the Worker. */
export const engines = new WeakMap<object, Engine>();

/** @throws TypeError in the constructor of BullMQ, where there is none yet */
export function engineOf(worker: object): Engine {
  const engine = engines.get(worker);
  if (engine === undefined) throw new TypeError('the Worker is not constructed yet');
  return engine;
}

/** What BullMQ's types hide and JavaScript does not: physical ids, tokens, the loop itself. */
const INTERNALS = ['lockManager', 'mainLoopQueue', 'childPool', 'sandbox', 'limitUntil'] as const;

/** Shows what belongs to the loop to nobody but the loop, and to who is in no tenant. */
export function hideInternals(worker: object, owner: object): void {
  for (const member of INTERNALS) {
    let value: unknown = Reflect.get(worker, member);
    Object.defineProperty(worker, member, {
      get: () => (maySee(owner) ? value : undefined),
      set(next: unknown) {
        if (!maySee(owner)) throw refusal('queue', `Worker.${member}`, INTERNAL);
        value = next;
      },
    });
  }
}

function maySee(owner: object): boolean {
  return isEngineOf(owner) || currentTenant() === undefined;
}
