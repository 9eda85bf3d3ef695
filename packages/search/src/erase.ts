import {
  ConfigError,
  eraseRun,
  erasureScope,
  parseOptions,
  publish,
  type Checkpoint,
  type EraseRun,
  type Eraser,
  type ErasureScope,
  type InventoryItem,
  type Kept,
} from '@tenantkit/core';
import { z } from 'zod';
import { guardOf, type Client } from './client.ts';
import { operator } from './operate.ts';
import { TenantIndex } from './tenant-index.ts';

/** Options of {@link searchEraser}. */
export interface SearchEraserOptions {
  /** Where to erase, by default everywhere the client may work. */
  readonly indices?: readonly string[] | undefined;
  /** The name of this store in plans and certificates, by default `search`. */
  readonly store?: string | undefined;
  /**
   * Merges each index to one segment per shard afterwards, by default `false`, so that deleted documents leave
   * the disk at once. Costs a rewrite of the whole index, and a wait of up to a minute: the server keeps deleted
   * documents for replicas that catch up, and lets go of them twice a minute.
   */
  readonly forceMerge?: boolean | undefined;
}

const schema: z.ZodType<SearchEraserOptions> = z.strictObject({
  indices: z.array(z.string()).min(1).optional(),
  store: z.string().min(1).max(100).optional(),
  forceMerge: z.boolean().optional(),
});

// Rounds without a single deletion, one after the other. Somebody who writes all the time is stopped by the
// fence, not by an eraser that never ends.
const MAX_STALLED = 10;

const METHOD =
  'a document of a throw-away tenant was written to each index, found by the same query, and removed';

/**
 * The eraser of one OpenSearch client: deletes every document of a tenant, or of one person inside it, by query,
 * until a count finds none.
 *
 * Documents are found by the fields that the client has stamped. A document that was written past the client
 * without them is not found: see {@link searchAuditor}. Snapshots are not looked at.
 *
 * @param client - of this package
 * @throws {@link ConfigError} for unknown options, or an index that the client does not know
 *
 * @example
 * ```ts
 * import { Client, searchEraser } from '@tenantkit/search';
 * const eraser = searchEraser(new Client({ node, tenant: { indices: ['orders'] } }));
 * const { items } = await eraser.plan({ tenant: 'acme' }); // [{ kind: 'documents', count: 1204 }]
 * ```
 */
export function searchEraser(client: Client, options: SearchEraserOptions = {}): Eraser {
  const { store = 'search', forceMerge = false, indices: given } = parseOptions('search', schema, options);
  const { settings } = guardOf(client);
  const indices = given ?? [...settings.indices];
  for (const index of indices) if (!settings.indices.has(index)) throw unknownIndex();

  const open = async (name: string, scope: ErasureScope): Promise<readonly TenantIndex[]> => {
    erasureScope('search', `searchEraser.${name}`, scope);
    const operate = operator(client, `searchEraser.${name}`);
    const opened = indices.map((index) => new TenantIndex(index, operate, settings));
    for (const index of opened) await index.check();
    return opened;
  };

  return {
    store,
    subjects: 'supported',
    async plan(scope) {
      const opened = await open('plan', scope);
      return { store, items: [await countAll(opened, scope)], kept: await keptOf(opened) };
    },
    async erase(scope, given) {
      const run = eraseRun('search', 'searchEraser.erase', given);
      run.signal.throwIfAborted();
      const opened = await open('erase', scope);
      const count = await eraseAll(opened, scope, run);
      if (forceMerge) for (const index of opened) await index.merge(run.signal);
      publish('erasure', {
        surface: 'search',
        operation: 'erase',
        message: `${count} documents removed from ${store}.`,
        tenant: scope.tenant,
        actor: 'tenantkit/searchEraser',
        extra: { store, count },
      });
      return { store, erased: [{ kind: 'documents', count }], kept: await keptOf(opened) };
    },
    async verify(scope) {
      const opened = await open('verify', scope);
      let found = 0;
      for (const index of opened) found += await index.findControl(scope.subject !== undefined);
      return {
        store,
        remaining: [await countAll(opened, scope)],
        kept: await keptOf(opened),
        control: { planted: opened.length, found, method: METHOD },
      };
    },
  };
}

async function countAll(indices: readonly TenantIndex[], scope: ErasureScope): Promise<InventoryItem> {
  let count = 0;
  for (const index of indices) count += await index.count(scope);
  return { kind: 'documents', count };
}

async function eraseAll(
  indices: readonly TenantIndex[],
  scope: ErasureScope,
  run: EraseRun,
): Promise<number> {
  const { signal, checkpoint } = run;
  let done = await load(checkpoint);
  let left = (await countAll(indices, scope)).count;
  for (const index of indices) {
    let stalled = 0;
    // At least once, also when nothing was counted: a document that is not refreshed yet is not counted either.
    do {
      signal.throwIfAborted();
      const deleted = await index.deleteBatch(scope);
      stalled = deleted === 0 ? stalled + 1 : 0;
      if (stalled > MAX_STALLED) throw beingWritten(index.name);
      done += deleted;
      left = Math.max(0, left - deleted);
      if (deleted > 0) await checkpoint.save(JSON.stringify({ done }));
      run.progress({ kind: 'documents', done, total: done + left });
    } while ((await index.count(scope)) > 0);
  }
  return done;
}

async function keptOf(indices: readonly TenantIndex[]): Promise<readonly Kept[]> {
  const kept: Kept[] = [];
  for (const index of indices) {
    const count = await index.deletedOnDisk();
    if (count === 0) continue;
    kept.push({
      kind: 'deleted documents on disk',
      count,
      why: `${index.name} holds deleted documents, of all tenants together, that no request can reach; they leave the disk when the server merges their segments, or with forceMerge`,
    });
  }
  return kept;
}

const state = z.strictObject({ done: z.number().int().nonnegative() });

async function load(checkpoint: Checkpoint): Promise<number> {
  const saved = await checkpoint.load();
  if (saved === undefined) return 0;
  try {
    return state.parse(JSON.parse(saved)).done;
  } catch (cause) {
    throw new ConfigError({
      surface: 'search',
      operation: 'searchEraser',
      problem: 'the checkpoint was not saved by this eraser',
      hint: 'Start the erasure of this store anew; what was removed is not counted again.',
      cause,
    });
  }
}

function beingWritten(index: string): ConfigError {
  return new ConfigError({
    surface: 'search',
    operation: 'searchEraser.erase',
    problem: `documents of the tenant in ${index} change faster than they can be deleted`,
    hint: 'Freeze the tenant first (option fence), and run the erasure again.',
  });
}

function unknownIndex(): ConfigError {
  return new ConfigError({
    surface: 'search',
    operation: 'searchEraser',
    problem: 'indices names an index that is not one of tenant.indices',
    hint: 'Add it to the options of the client.',
  });
}
