import { assertControl } from '../control.ts';
import type { KeyRecord } from '../record.ts';
import type { KeyStore } from '../store.ts';

/**
 * A key store in this process's memory: for tests, for one short-lived process, and for trying things out. With
 * the process every secret is gone, and what was encrypted stays unreadable.
 *
 * @example
 * ```ts
 * import { Keyring, memoryKeyStore } from '@tenantkit/crypto';
 * const keyring = await Keyring.open({ master: { env: 'TENANTKIT_MASTER_KEY' }, store: memoryKeyStore() });
 * ```
 */
export function memoryKeyStore(): KeyStore {
  const records = new Map<string, KeyRecord>();
  return {
    kind: 'memory',
    prepare: () => Promise.resolve(),
    read: (tenant) => Promise.resolve(structuredClone(records.get(tenant))),
    write(record) {
      const held = records.get(record.tenant);
      if (held?.state === 'shredded' || record.revision !== (held?.revision ?? 0) + 1) {
        return Promise.resolve(false);
      }
      records.set(record.tenant, structuredClone(record));
      return Promise.resolve(true);
    },
    secrets(tenant) {
      const held = records.get(tenant);
      return Promise.resolve(held?.state === 'live' ? held.epochs.length : 0);
    },
    // A record is replaced in one step: nothing is ever left behind.
    sweep: () => Promise.resolve(),
    async *tenants() {
      yield* records.keys();
    },
    removeControl(tenant) {
      assertControl(tenant);
      records.delete(tenant);
      return Promise.resolve();
    },
    // Memory has neither permissions nor leftovers.
    async *audit() {},
  };
}
