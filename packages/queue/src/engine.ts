import { AsyncLocalStorage } from 'node:async_hooks';
import { currentTenant, runInScope } from '@tenantkit/core';

/** Whose code runs. One storage for both: each `run` of one copies all of them. */
interface Running {
  /**
   * Set in BullMQ's own loops, which serve all tenants and speak physical names. It is not the bypass of core: it
   * means nothing to any other adapter, and to another queue neither, so that a callback of the user that is called
   * from a loop by mistake has no power at all.
   */
  readonly owner: object | undefined;
  /**
   * Whether a listener is running that was registered outside of any tenant. It runs inside the tenant of the job
   * that it hears of, but it is the service's code, and may close the worker after the last job.
   */
  readonly ofService: boolean;
}

const running = new AsyncLocalStorage<Running>();

const OF_TENANT: Running = { owner: undefined, ofService: false };
const OF_SERVICE: Running = { owner: undefined, ofService: true };

/** Runs a loop of `owner` outside of any tenant, whoever starts it. */
export function runEngine<T>(owner: object, fn: () => T): T {
  return runInScope(undefined, () => running.run({ owner, ofService: false }, fn));
}

/** Runs a listener that a loop calls. @param outside - whether it was registered outside of any tenant */
export function runListener<T>(outside: boolean, fn: () => T): T {
  return running.run(outside ? OF_SERVICE : OF_TENANT, fn);
}

/** The tenant whose code is running; `undefined` for the service's own. */
export function actingTenant(): string | undefined {
  return running.getStore()?.ofService === true ? undefined : currentTenant()?.tenant;
}

/** Runs code of the user that a loop calls: what it does is judged by its tenant again. */
export function leaveEngine<T>(fn: () => T): T {
  return running.run(OF_TENANT, fn);
}

/** Whether the current call comes from the loops of `owner`. */
export function isEngineOf(owner: object): boolean {
  return running.getStore()?.owner === owner;
}
