import type { Eraser, ErasureScope } from '@tenantkit/core';
import { ErasureInterruptedError, StoresFailedError, SubjectUnsupportedError } from './errors.ts';
import type { EventBody } from './events.ts';
import { toFailure } from './failures.ts';
import type { ErasureRecord } from './record.ts';
import { planStore, type StoreCall } from './store.ts';

/**
 * Counts in all stores at once.
 *
 * @throws {@link SubjectUnsupportedError} before any store is asked
 * @throws {@link StoresFailedError} when one of them could not count: half a plan would be approved as a whole one
 */
export async function planStores(
  record: ErasureRecord,
  stores: readonly Eraser[],
  call: StoreCall,
): Promise<EventBody & { readonly type: 'planned' }> {
  assertSubjects(record, stores);
  const scope = scopeOf(record);
  const settled = await Promise.all(stores.map((eraser) => count(eraser, scope, call)));
  if (call.signal.aborted) {
    throw new ErasureInterruptedError({ operation: 'plan', erasure: record.id, cause: call.signal.reason });
  }
  const failed = settled.flatMap((result) => ('error' in result ? result : []));
  if (failed.length > 0) {
    throw new StoresFailedError({
      operation: 'plan',
      erasure: record.id,
      failures: failed.map(({ store, error }) => toFailure(store, 'plan', error)),
      errors: failed.map(({ error }) => error),
    });
  }
  return { type: 'planned', stores: settled.flatMap((result) => ('error' in result ? [] : result)) };
}

/** The scope that the stores are asked about. */
export function scopeOf({ tenant, subject }: ErasureRecord): ErasureScope {
  return subject === undefined ? { tenant } : { tenant, subject };
}

type Planned = (EventBody & { readonly type: 'planned' })['stores'][number];

async function count(
  eraser: Eraser,
  scope: ErasureScope,
  call: StoreCall,
): Promise<Planned | { readonly store: string; readonly error: unknown }> {
  const { store, stage = 'purge' } = eraser;
  try {
    return { store, stage, inventory: await planStore(eraser, scope, call) };
  } catch (error) {
    return { store, error };
  }
}

function assertSubjects({ id, subject }: ErasureRecord, stores: readonly Eraser[]): void {
  if (subject === undefined) return;
  const cannot = stores.flatMap(({ store, subjects }) =>
    subjects === 'supported' ? [] : [{ store, why: subjects.unsupported }],
  );
  if (cannot.length > 0) throw new SubjectUnsupportedError({ erasure: id, stores: cannot });
}
