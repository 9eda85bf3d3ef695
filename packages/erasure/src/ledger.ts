import type { ErasureScope } from '@tenantkit/core';
import type { EventBody, LedgerEvent } from './events.ts';
import type { ErasureState } from './states.ts';

/** The right to run one erasure, held by one process for a while. */
export interface Lease {
  readonly erasure: string;
  /** Grows with every acquisition: what an earlier holder still tries to write is refused by it. */
  readonly token: number;
  /** RFC 3339. */
  readonly until: string;
}

/** The answer to {@link Ledger.acquire}. */
export type Acquired =
  | { readonly ok: true; readonly lease: Lease }
  /** `holder` is `host:pid`; `until` is RFC 3339. */
  | { readonly ok: false; readonly holder: string; readonly until: string };

/** The end of the history: what a certificate signs, so that the history before it cannot change unseen. */
export interface LedgerHead {
  /** 0 when nothing was written yet. */
  readonly seq: number;
  readonly hash: string;
}

/** One erasure in the ledger. */
export interface LedgerEntry {
  /** The subject is there only while the erasure is open; afterwards its digest alone is left. */
  readonly scope: ErasureScope;
  /** In order; never empty. */
  readonly events: readonly LedgerEvent[];
}

/** A line of {@link Ledger.list}. */
export interface ErasureSummary {
  readonly id: string;
  readonly tenant: string;
  /** Whether it is about one person rather than the tenant. */
  readonly person: boolean;
  readonly state: ErasureState;
  /** RFC 3339. */
  readonly requestedAt: string;
  /** RFC 3339. */
  readonly updatedAt: string;
}

/** Under which conditions {@link Ledger.append} writes. */
export interface AppendGuard {
  /** RFC 3339. */
  readonly at: string;
  /** Only if the erasure's last event still is this one. */
  readonly version?: number;
  /** Only while this lease is the current one. */
  readonly lease?: Lease;
}

/**
 * Where erasures are kept. An append-only, hash-chained history is all there is of lasting truth; beside it the
 * ledger holds what a run needs while it lasts: the person's id, leases, and checkpoints. Each method is one
 * transaction, and what it wrote is durable before it resolves.
 */
export interface Ledger {
  /**
   * Opens an erasure. While one of the same scope is open, it writes `joined` to that one instead and answers its
   * id: two requests at once never make two erasures of one scope.
   */
  open(input: {
    readonly id: string;
    readonly scope: ErasureScope;
    readonly at: string;
    readonly requested: EventBody & { readonly type: 'requested' };
    readonly joined: EventBody & { readonly type: 'joined' };
  }): Promise<{ readonly id: string; readonly joined: boolean }>;

  /**
   * Writes events, all or none. A state they move to becomes the erasure's state; `erased` removes the store's
   * checkpoint; a state that ends the erasure removes the person's id.
   *
   * @returns the seq of the last event: the erasure's new version
   * @throws {@link ErasureConflictError} when the version is another, {@link LeaseLostError} when the lease is
   */
  append(id: string, events: readonly EventBody[], guard: AppendGuard): Promise<number>;

  /** @throws {@link LedgerError} when the entry does not fit its own hashes */
  read(id: string): Promise<LedgerEntry | undefined>;
  /** Newest first. */
  list(): Promise<readonly ErasureSummary[]>;

  /** @param ttl - milliseconds until the lease ends unless renewed */
  acquire(id: string, owner: string, ttl: number): Promise<Acquired>;
  /** Whether the lease is still held, and was prolonged. */
  renew(lease: Lease, ttl: number): Promise<boolean>;
  release(lease: Lease): Promise<void>;

  loadCheckpoint(id: string, store: string): Promise<string | undefined>;
  /** @throws {@link LeaseLostError} */
  saveCheckpoint(lease: Lease, store: string, state: string): Promise<void>;

  /**
   * Walks the whole history.
   *
   * @throws {@link LedgerError} with reason `tampered` at the first entry that does not fit
   */
  verify(): Promise<LedgerHead>;
  close(): Promise<void>;
}
