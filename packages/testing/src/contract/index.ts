import { auditCases } from './audit.ts';
import { eraseCases } from './erase.ts';
import { isolationCases } from './isolation.ts';
import { refusalCases } from './refusals.ts';
import type { AdapterContract, Case } from './types.ts';

/**
 * The behaviour that every adapter shares, as one suite: five tenants with near-identical ids own the same
 * logical ids in one store.
 *
 * - own reads work, the same id of another tenant reads that tenant's value, also when calls are interleaved;
 * - replies and listings are logical; no logical name reaches another tenant's physical one;
 * - without a tenant, with an invalid id, for a refused operation: the typed error, and nothing is sent;
 * - erasing one tenant (or person) leaves all others byte for byte the same, is idempotent, can be interrupted,
 *   and its verification is shown to see what is left;
 * - the auditor finds nothing in a sound store and finds what is planted.
 *
 * Cases that need `list`, `remove`, `eraser` or `auditor` are there when these are given. Assertions are those of
 * `node:assert`, so that the suite runs under any runner.
 *
 * @param contract - how to reach the adapter
 *
 * @example
 * ```ts
 * import { describe, inject, it } from 'vitest';
 * import { adapterContract, freshRedis } from '@tenantkit/testing';
 * adapterContract({
 *   store: 'cache',
 *   runner: { describe, it },
 *   open: openCache, // the clients, on an empty store; the README of this package shows it whole
 *   write: ({ redis }, id, value) => redis.set(id, value),
 *   read: ({ redis }, id) => redis.get(id),
 *   refused: [{ operation: 'config', call: ({ redis }) => redis.config('GET', '*') }],
 *   dump: ({ raw }) => everythingIn(raw),
 *   sent: ({ redis }) => redis.stream.bytesWritten,
 *   eraser: ({ redis }) => cacheEraser(redis),
 * });
 * ```
 */
export function adapterContract<Opened extends AsyncDisposable>(contract: AdapterContract<Opened>): void {
  const { store, runner, open } = contract;
  const groups: Readonly<Record<string, Readonly<Record<string, Case<Opened>>>>> = {
    isolation: isolationCases(contract),
    refusals: refusalCases(contract),
    erasure: eraseCases(contract),
    audit: auditCases(contract),
  };
  runner.describe(`contract of ${store}`, () => {
    for (const [group, cases] of Object.entries(groups)) {
      if (Object.keys(cases).length === 0) continue;
      runner.describe(group, () => {
        for (const [name, body] of Object.entries(cases)) {
          runner.it(name, async () => {
            await using opened = await open();
            await body(opened);
          });
        }
      });
    }
  });
}

export type { AdapterContract, ContractRunner } from './types.ts';
