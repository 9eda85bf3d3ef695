import {
  runInScope,
  type Checkpoint,
  type EraseProgress,
  type Eraser,
  type ErasureScope,
  type Inventory,
  type Outcome,
  type Verification,
} from '@tenantkit/core';
import type { z } from 'zod';
import { StoreContractError, StoreSilentError } from './errors.ts';
import { inventorySchema, outcomeSchema, verificationSchema } from './events.ts';

/** How long a store may go on after it was told to stop, in milliseconds. */
const ABORT_GRACE = 5_000;

/** What a call into a store needs besides the scope. */
export interface StoreCall {
  readonly signal: AbortSignal;
  /** Longest silence, in milliseconds. */
  readonly timeout: number;
}

/** Counts. @throws {@link StoreSilentError}, {@link StoreContractError}, and what the eraser throws */
export function planStore(eraser: Eraser, scope: ErasureScope, call: StoreCall): Promise<Inventory> {
  return guarded(eraser, 'plan', inventorySchema, call, ({ signal }) => eraser.plan(scope, signal));
}

/** Erases. A call of `progress` or of the checkpoint shows that the store is alive. */
export function eraseStore(
  eraser: Eraser,
  scope: ErasureScope,
  call: StoreCall & { readonly checkpoint: Checkpoint; progress(progress: EraseProgress): void },
): Promise<Outcome> {
  return guarded(eraser, 'erase', outcomeSchema, call, ({ signal, alive }) =>
    eraser.erase(scope, {
      signal,
      checkpoint: {
        load: () => (alive(), call.checkpoint.load()),
        save: (state) => (alive(), call.checkpoint.save(state)),
      },
      progress: (progress) => (alive(), call.progress(progress)),
    }),
  );
}

/** Recounts. */
export function verifyStore(eraser: Eraser, scope: ErasureScope, call: StoreCall): Promise<Verification> {
  return guarded(eraser, 'verify', verificationSchema, call, ({ signal }) => eraser.verify(scope, signal));
}

interface Watch {
  readonly signal: AbortSignal;
  readonly alive: () => void;
}

async function guarded<T extends { readonly store: string }>(
  { store }: Eraser,
  operation: 'plan' | 'erase' | 'verify',
  schema: z.ZodType<T>,
  { signal, timeout }: StoreCall,
  work: (watch: Watch) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const silence = new AbortController();
  const { ended, alive, clear } = watchdog(signal, timeout, () => {
    const error = new StoreSilentError({ store, operation, silentFor: timeout });
    silence.abort(error);
    return error;
  });
  try {
    // Outside of any tenant: an eraser states its own bypass, and must not inherit the tenant of a request
    // handler that happened to call run().
    const working = runInScope(undefined, async () =>
      work({ signal: AbortSignal.any([signal, silence.signal]), alive }),
    );
    return parse(store, operation, schema, await Promise.race([working, ended]));
  } finally {
    clear();
  }
}

/**
 * Rejects after a silence: a client that retries for ever (ioredis with maxRetriesPerRequest: null) would never
 * answer. Also rejects a while after an abort, for erasers that cannot be told to stop.
 */
function watchdog(
  signal: AbortSignal,
  timeout: number,
  silent: () => Error,
): { readonly ended: Promise<never>; readonly alive: () => void; readonly clear: () => void } {
  let reject: (reason: unknown) => void;
  const ended = new Promise<never>((_, fail) => {
    reject = fail;
  });
  let grace: NodeJS.Timeout | undefined;
  const stop = (): void => {
    grace = setTimeout(() => reject(signal.reason), Math.min(ABORT_GRACE, timeout));
  };
  const timer = setTimeout(() => reject(silent()), timeout);
  signal.addEventListener('abort', stop, { once: true });
  return {
    ended,
    alive: () => void timer.refresh(),
    clear() {
      signal.removeEventListener('abort', stop);
      clearTimeout(timer);
      clearTimeout(grace);
    },
  };
}

function parse<T extends { readonly store: string }>(
  store: string,
  operation: string,
  schema: z.ZodType<T>,
  value: unknown,
): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const path = (issue?.path ?? []).join('.') || 'the answer';
    throw new StoreContractError({
      store,
      operation,
      problem: `${path}: ${issue?.message ?? 'not accepted'}`,
    });
  }
  if (parsed.data.store !== store) {
    throw new StoreContractError({ store, operation, problem: 'the answer names another store' });
  }
  return parsed.data;
}
