import type { Finding } from '@tenantkit/core';
import type { KeyRecord } from './record.ts';

/** What a store reports about itself; the auditor adds which store it is. */
export interface StoreFinding extends Omit<Finding, 'store'> {
  /** The tenant whose record cannot be read, so that the auditor does not trip over it. */
  readonly tenant?: string;
}

/**
 * Where wrapped secrets are kept. It never sees a secret in the clear. One record per tenant; every change is
 * one compare-and-set on its revision, so that of many processes exactly one wins and the others read again.
 *
 * @example
 * ```ts
 * import { Keyring, memoryKeyStore, type KeyStore } from '@tenantkit/crypto';
 * const store: KeyStore = memoryKeyStore();
 * const keyring = await Keyring.open({ master: { env: 'TENANTKIT_MASTER_KEY' }, store });
 * ```
 */
export interface KeyStore {
  /** `memory`, `file`. */
  readonly kind: string;
  /** Called once before use: makes what is missing. @throws {@link ConfigError} when the store is unsafe to use */
  prepare(): Promise<void>;
  /** The record that holds, or `undefined` when the tenant never had one. */
  read(tenant: string): Promise<KeyRecord | undefined>;
  /**
   * Makes `record` the one that holds, durably, if revision `record.revision - 1` holds until then (revision 1:
   * if there is none). A tombstone is never replaced. What it replaces is destroyed before this resolves.
   *
   * @returns whether it was written; `false` means that somebody else was faster: read again
   */
  write(record: KeyRecord): Promise<boolean>;
  /** Counts wrapped secrets that are physically there, also ones that a crash left behind. */
  secrets(tenant: string): Promise<number>;
  /** Destroys what a crash left behind. Idempotent. */
  sweep(tenant: string): Promise<void>;
  /** Every tenant with a record, in no particular order. */
  tenants(): AsyncIterable<string>;
  /** Removes every trace of a throw-away tenant of a positive control, its tombstone included. */
  removeControl(tenant: string): Promise<void>;
  /** What is wrong with the store itself: permissions, leftovers, unreadable records. Reads only. */
  audit(signal: AbortSignal): AsyncIterable<StoreFinding>;
}

/** What {@link Keyring.open} looks for. */
export const KEY_STORE_METHODS: readonly (keyof KeyStore)[] = [
  'prepare',
  'read',
  'write',
  'secrets',
  'sweep',
  'tenants',
  'removeControl',
  'audit',
];
