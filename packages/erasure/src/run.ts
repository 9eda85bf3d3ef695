import {
  isVerified,
  type EraseProgress,
  type Eraser,
  type ErasureScope,
  type TenantRegistry,
} from '@tenantkit/core';
import {
  ErasureBusyError,
  ErasureInterruptedError,
  ErasureStateError,
  LeaseLostError,
  type StoreFailure,
} from './errors.ts';
import type { EventBody } from './events.ts';
import { toFailure } from './failures.ts';
import type { Journal } from './journal.ts';
import type { Lease } from './ledger.ts';
import { processOwner } from './owner.ts';
import type { ErasureRecord, StoreRecord } from './record.ts';
import type { Signer } from './signer.ts';
import { isRunnable, isTerminal, type ErasureState } from './states.ts';
import { STEPS, configChanged } from './steps.ts';
import { eraseStore, planStore, verifyStore } from './store.ts';

/** What a run tells while it works. */
export type ErasureProgress =
  | { readonly type: 'state'; readonly state: ErasureState }
  /** The tenant is frozen; `remaining` of `total` milliseconds until no process can still write for it. */
  | { readonly type: 'waiting'; readonly remaining: number; readonly total: number }
  | ({
      readonly type: 'store';
      readonly store: string;
      readonly phase: StoreFailure['phase'];
      readonly status: 'started' | 'working' | 'done' | 'failed';
    } & Partial<EraseProgress>);

/** What a run works with. */
export interface RunInput {
  readonly stores: readonly Eraser[];
  readonly journal: Journal;
  readonly signer: Signer;
  readonly fence: TenantRegistry | undefined;
  readonly storeTimeout: number;
  readonly leaseTtl: number;
  readonly planMaxAge: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: ErasureProgress) => void) | undefined;
}

/**
 * Works on an erasure until it is completed, or until something keeps it from that. Whatever happens, the next
 * run goes on where this one ended.
 */
export async function runErasure(
  { id, tenant }: Pick<ErasureRecord, 'id' | 'tenant'>,
  input: RunInput,
): Promise<ErasureRecord> {
  const { journal, leaseTtl } = input;
  const acquired = await journal.ledger.acquire(id, processOwner(), leaseTtl);
  if (!acquired.ok)
    throw new ErasureBusyError({ erasure: id, holder: acquired.holder, until: acquired.until });
  const run = new Run(id, tenant, acquired.lease, input);
  const renewal = setInterval(() => void run.renew(), leaseTtl / 3).unref();
  try {
    return await run.toEnd();
  } catch (error) {
    throw await run.explain(error);
  } finally {
    clearInterval(renewal);
    await journal.ledger.release(acquired.lease);
  }
}

/** One run: what it may write, when it has to stop, and how it calls a store. */
export class Run {
  readonly id: string;
  readonly input: RunInput;
  readonly signal: AbortSignal;
  readonly #tenant: string;
  readonly #lease: Lease;
  /** Stops everything for a reason of ours: the lease is lost, the ledger fails, the observer threw. */
  readonly #stop = new AbortController();

  constructor(id: string, tenant: string, lease: Lease, input: RunInput) {
    this.id = id;
    this.#tenant = tenant;
    this.input = input;
    this.#lease = lease;
    this.signal = AbortSignal.any([this.#stop.signal, ...(input.signal === undefined ? [] : [input.signal])]);
  }

  async toEnd(): Promise<ErasureRecord> {
    let record = await this.load();
    if (isRunnable(record.state)) await this.append({ type: 'run_started', owner: processOwner() });
    while (!isTerminal(record.state)) {
      this.signal.throwIfAborted();
      if (!isRunnable(record.state)) throw notApproved(record);
      await this.append(...(await STEPS[record.state](this, record)));
      record = await this.load();
      this.report({ type: 'state', state: record.state });
    }
    return record;
  }

  /** The error that the caller of run() gets. */
  async explain(error: unknown): Promise<unknown> {
    if (this.#stop.signal.aborted) return this.#stop.signal.reason;
    if (this.input.signal?.aborted !== true) return error;
    await this.append({ type: 'run_interrupted' });
    return new ErasureInterruptedError({
      operation: 'run',
      erasure: this.id,
      cause: this.input.signal.reason,
    });
  }

  load(): Promise<ErasureRecord> {
    return this.input.journal.load(this.id);
  }

  async append(...events: readonly EventBody[]): Promise<void> {
    await this.input.journal.append({ id: this.id, tenant: this.#tenant }, events, { lease: this.#lease });
  }

  report(progress: ErasureProgress): void {
    try {
      this.input.onProgress?.(progress);
    } catch (error) {
      // Thrown through an eraser it would look like that store's failure.
      this.#stop.abort(error);
    }
  }

  async renew(): Promise<void> {
    try {
      const held = await this.input.journal.ledger.renew(this.#lease, this.input.leaseTtl);
      if (!held) this.#stop.abort(new LeaseLostError({ erasure: this.id }));
    } catch (error) {
      this.#stop.abort(error);
    }
  }

  /** Erases one store; undefined when it went well. */
  async erase(store: StoreRecord, scope: ErasureScope): Promise<Attempt> {
    const eraser = this.#eraser(store);
    const call = { signal: this.signal, timeout: this.input.storeTimeout };
    if (store.counted === undefined) {
      const counted = await this.#attempt(store.store, 'count', () => planStore(eraser, scope, call));
      if ('error' in counted) return counted;
      await this.append({ type: 'counted', inventory: counted.value });
    }
    const erased = await this.#attempt(store.store, 'erase', () =>
      eraseStore(eraser, scope, {
        ...call,
        checkpoint: {
          load: () => this.#fromLedger((ledger) => ledger.loadCheckpoint(this.id, store.store)),
          save: (state) =>
            this.#fromLedger((ledger) => ledger.saveCheckpoint(this.#lease, store.store, state)),
        },
        progress: (progress) =>
          this.report({ ...progress, type: 'store', store: store.store, phase: 'erase', status: 'working' }),
      }),
    );
    if ('error' in erased) return erased;
    await this.append({ type: 'erased', outcome: erased.value });
    return undefined;
  }

  /** Recounts one store. */
  async verify(store: StoreRecord, scope: ErasureScope): Promise<Attempt> {
    const call = { signal: this.signal, timeout: this.input.storeTimeout };
    const result = await this.#attempt(store.store, 'verify', () =>
      verifyStore(this.#eraser(store), scope, call),
    );
    if ('error' in result) return result;
    const verification = result.value;
    await this.append({ type: isVerified(verification) ? 'verified' : 'unverified', verification });
    return undefined;
  }

  async #attempt<T>(
    store: string,
    phase: StoreFailure['phase'],
    work: () => Promise<T>,
  ): Promise<{ readonly value: T } | NonNullable<Attempt>> {
    this.report({ type: 'store', store, phase, status: 'started' });
    try {
      const value = await work();
      this.report({ type: 'store', store, phase, status: 'done' });
      return { value };
    } catch (error) {
      const failure = toFailure(store, phase, error);
      // What a store throws because it was stopped is not its failure.
      if (!this.signal.aborted) {
        await this.append({ type: 'failed', failure });
        this.report({ type: 'store', store, phase, status: 'failed' });
      }
      return { error, failure };
    }
  }

  /** A ledger that fails inside an eraser must not be taken for a failure of that store. */
  async #fromLedger<T>(work: (ledger: Journal['ledger']) => Promise<T>): Promise<T> {
    try {
      return await work(this.input.journal.ledger);
    } catch (error) {
      this.#stop.abort(error);
      throw error;
    }
  }

  #eraser({ store }: StoreRecord): Eraser {
    const eraser = this.input.stores.find((known) => known.store === store);
    if (eraser === undefined) throw configChanged(this.id, { missing: [store] });
    return eraser;
  }
}

/** Undefined when it went well. */
export type Attempt = { readonly error: unknown; readonly failure: StoreFailure } | undefined;

function notApproved({ id, state }: ErasureRecord): ErasureStateError {
  const hint = state === 'planned' ? 'Call approve() first.' : 'Call plan() and approve() first.';
  return new ErasureStateError({ operation: 'run', erasure: id, state, hint });
}
