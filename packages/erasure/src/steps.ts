import type { Eraser } from '@tenantkit/core';
import {
  ErasureConfigChangedError,
  ErasureNotVerifiedError,
  PlanStaleError,
  StoresFailedError,
} from './errors.ts';
import type { EventBody } from './events.ts';
import { drain, fenceMode, holdFence } from './fence.ts';
import { issueCertificate } from './issue.ts';
import { scopeOf } from './plan.ts';
import type { ErasureRecord, StoreRecord } from './record.ts';
import type { Attempt, Run } from './run.ts';
import type { Runnable } from './states.ts';

/** What is done in each state; the answer is written, and moves the erasure on. */
export const STEPS = {
  async approved({ id, input }, record) {
    assertSameStores(record, input.stores, false);
    const { at } = record.plan ?? { at: '' };
    if (input.journal.now() - Date.parse(at) > input.planMaxAge)
      throw new PlanStaleError({ erasure: id, plannedAt: at });
    return [{ type: 'advanced', to: 'frozen' }];
  },

  async frozen({ input: { fence } }, { tenant, subjectDigest }) {
    const fenced = fenceMode(fence, subjectDigest !== undefined);
    if (fence !== undefined && fenced.mode === 'tenant') await fence.freeze(tenant);
    return [
      { type: 'fenced', fence: fenced },
      { type: 'advanced', to: 'draining' },
    ];
  },

  async draining(run, record) {
    await drain(run, record);
    return [{ type: 'advanced', to: 'grace' }];
  },

  grace: async () => [{ type: 'advanced', to: 'purging' }],

  async purging(run, record) {
    await eraseStages(run, record, ['purge']);
    return [{ type: 'advanced', to: 'shredding' }];
  },

  async shredding(run, record) {
    await eraseStages(run, record, ['purge', 'shred']);
    return [{ type: 'advanced', to: 'verifying' }];
  },

  async verifying(run, record) {
    // Counted under a freeze that was lifted meanwhile is not counted.
    do {
      await eraseStages(run, record, ['purge', 'shred']);
      await verifyStores(run);
    } while (!(await holdFence(run)));
    return complete(run);
  },
} as const satisfies Record<Runnable, (run: Run, record: ErasureRecord) => Promise<readonly EventBody[]>>;

/**
 * Erases what is pending, stage by stage; the stores of one stage at the same time, since they are different
 * servers. A later stage begins only when nothing of the earlier one is left: with the keys destroyed, a purge
 * that fails could no longer be looked into.
 */
async function eraseStages(
  run: Run,
  planned: ErasureRecord,
  stages: readonly StoreRecord['stage'][],
): Promise<void> {
  assertSameStores(planned, run.input.stores, true);
  await holdFence(run);
  for (const stage of stages) {
    const record = await run.load();
    const due = record.stores.filter((store) => store.stage === stage && store.state === 'pending');
    await settle(
      run,
      due.map((store) => run.erase(store, scopeOf(record))),
    );
  }
}

async function verifyStores(run: Run): Promise<void> {
  const record = await run.load();
  const due = record.stores.filter(({ state }) => state !== 'verified');
  await settle(
    run,
    due.map((store) => run.verify(store, scopeOf(record))),
  );
  const { stores } = await run.load();
  const open = stores.filter(({ state }) => state === 'pending');
  if (open.length > 0) {
    throw new ErasureNotVerifiedError({
      erasure: run.id,
      verifications: open.flatMap(({ verification }) => verification ?? []),
    });
  }
}

/** Every store has its turn; then the failures are told together. */
async function settle(run: Run, attempts: readonly Promise<Attempt>[]): Promise<void> {
  const settled = await Promise.allSettled(attempts);
  run.signal.throwIfAborted();
  // Only the ledger and the configuration can throw here: attempts answer the failures of stores.
  for (const result of settled) if (result.status === 'rejected') throw result.reason;
  const failed = settled.flatMap((result) => (result.status === 'fulfilled' ? (result.value ?? []) : []));
  if (failed.length === 0) return;
  throw new StoresFailedError({
    operation: 'run',
    erasure: run.id,
    failures: failed.map(({ failure }) => failure),
    errors: failed.map(({ error }) => error),
  });
}

async function complete(run: Run): Promise<readonly EventBody[]> {
  const { fence, journal, signer } = run.input;
  let record = await run.load();
  if (record.fence?.mode === 'tenant' && record.tombstonedAt === undefined) {
    await fence?.markErased(record.tenant);
    await run.append({ type: 'tombstoned' });
    record = await run.load();
  }
  return [await issueCertificate(record, await journal.ledger.verify(), signer, journal.now())];
}

function assertSameStores(
  { id, stores }: ErasureRecord,
  configured: readonly Eraser[],
  begun: boolean,
): void {
  const key = ({ store, stage = 'purge' }: Pick<Eraser, 'store' | 'stage'>): string => `${store} (${stage})`;
  const [planned, present] = [stores.map(key), configured.map(key)];
  const missing = planned.filter((store) => !present.includes(store));
  const added = present.filter((store) => !planned.includes(store));
  if (missing.length + added.length > 0) throw configChanged(id, { missing, added, begun });
}

/** Once a run has begun, its stores and its fence are settled. */
export function configChanged(
  erasure: string,
  {
    missing = [],
    added = [],
    begun = true,
  }: { missing?: readonly string[]; added?: readonly string[]; begun?: boolean },
): ErasureConfigChangedError {
  return new ErasureConfigChangedError({ erasure, missing, added, begun });
}
