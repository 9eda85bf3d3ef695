import { AsyncLocalStorage } from 'node:async_hooks';
import { currentTenant, runInScope } from '@tenantkit/core';

/**
 * Marks the code of BullMQ's own loops, which serve all tenants and speak physical names. It is not the bypass
 * of core: it means nothing to any other adapter, and to another queue neither, so that a callback of the user
 * that is called from a loop by mistake has no power at all.
 */
const running = new AsyncLocalStorage<object | undefined>();

/**
 * Whether a listener is running that was registered outside of any tenant. It runs inside the tenant of the job
 * that it hears of, but it is the service's code, and may close the worker after the last job.
 */
const ofService = new AsyncLocalStorage<boolean>();

/** Runs a loop of `owner` outside of any tenant, whoever starts it. */
export function runEngine<T>(owner: object, fn: () => T): T {
  return runInScope(undefined, () => ofService.run(false, () => running.run(owner, fn)));
}

/** Runs a listener. @param outside - whether it was registered outside of any tenant */
export function runListener<T>(outside: boolean, fn: () => T): T {
  return ofService.run(outside, fn);
}

/** The tenant whose code is running; `undefined` for the service's own. */
export function actingTenant(): string | undefined {
  return ofService.getStore() === true ? undefined : currentTenant()?.tenant;
}

/** Runs code of the user that a loop calls: what it does is judged by its tenant again. */
export function leaveEngine<T>(fn: () => T): T {
  return running.run(undefined, fn);
}

/** Whether the current call comes from the loops of `owner`. */
export function isEngineOf(owner: object): boolean {
  return running.getStore() === owner;
}
