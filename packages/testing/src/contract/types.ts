import type { Auditor, Eraser } from '@tenantkit/core';

/** `describe` and `it` of Vitest, Jest, Mocha or node:test. */
export interface ContractRunner {
  readonly describe: (name: string, body: () => void) => unknown;
  readonly it: (name: string, body: () => Promise<void>) => unknown;
}

/**
 * What an adapter hands to {@link adapterContract}. Every function gets what `open` has returned. The functions
 * of the guarded client are called inside a tenant; `dump` and `sent` are called outside of any.
 */
export interface AdapterContract<Opened extends AsyncDisposable> {
  /** For the names of the tests: `cache`. */
  readonly store: string;
  /** The runner's `describe` and `it`. */
  readonly runner: ContractRunner;
  /** A fresh, empty store (own database, bucket, index …) and a guarded client of it. Called for every test. */
  readonly open: () => Promise<Opened>;

  /** Writes through the guarded client, so that a following read sees it. Gives the client's reply as it is. */
  readonly write: (opened: Opened, id: string, value: string) => Promise<unknown>;
  /** Reads through the guarded client; `undefined` or `null` when there is nothing. */
  readonly read: (opened: Opened, id: string) => Promise<string | null | undefined>;
  /** The ids that the guarded client lists. Leave it out when the surface cannot list inside a tenant. */
  readonly list?: (opened: Opened) => Promise<readonly string[]>;
  /** Removes through the guarded client. Leave it out when the surface cannot. */
  readonly remove?: (opened: Opened, id: string) => Promise<unknown>;
  /** Calls that the rules table refuses, at least one of them unknown to it. */
  readonly refused: readonly { readonly operation: string; readonly call: (opened: Opened) => unknown }[];

  /**
   * Everything in the store, seen with the raw client: physical name → content, or a digest of it. Leave out
   * only what is no tenant's data, such as a stream of the whole queue.
   */
  readonly dump: (opened: Opened) => Promise<Readonly<Record<string, string>>>;
  /** How many requests the guarded client has sent so far. A refusal must not raise it. */
  readonly sent: (opened: Opened) => number | Promise<number>;

  readonly eraser?: (opened: Opened) => Eraser;
  /**
   * Kinds that the outcome of an erasure may list as kept, because the store frees space in its own time: deleted
   * documents in a search index. By default none.
   */
  readonly keeps?: readonly string[];
  readonly auditor?: (opened: Opened) => Auditor;
  /** With the raw client, puts something into the store that the auditor has to find. */
  readonly plant?: (opened: Opened) => Promise<unknown>;
}

/** One `it` of the suite. */
export type Case<Opened extends AsyncDisposable> = (opened: Opened) => Promise<void>;
