import type { Inventory, InventoryItem, Kept, Verification } from '@tenantkit/core';
import { LedgerError, type StoreFailure } from './errors.ts';
import { movesTo, type EventBody, type FenceMode, type LedgerEvent, type SubjectDigest } from './events.ts';
import type { LedgerEntry } from './ledger.ts';
import { canMove, isTerminal, type ErasureState } from './states.ts';
import { isDigestOf } from './subject.ts';

/** How far one store is. */
export interface StoreRecord {
  readonly store: string;
  readonly stage: 'purge' | 'shred';
  /** `pending` has to be erased (again), `erased` has to be verified. */
  readonly state: 'pending' | 'erased' | 'verified';
  readonly planned: Inventory;
  /** Counted anew just before the first thing was erased. */
  readonly counted?: Inventory;
  /** Summed up by kind over all attempts. */
  readonly erased: readonly InventoryItem[];
  readonly kept: readonly Kept[];
  readonly completeAt?: string;
  readonly verification?: Verification;
  readonly verifiedAt?: string;
  /** The last failure, until a later attempt succeeds. */
  readonly failure?: StoreFailure | undefined;
}

/** An erasure, as its history tells it. */
export interface ErasureRecord {
  readonly id: string;
  readonly tenant: string;
  /** Only while it is open. */
  readonly subject?: string;
  readonly subjectDigest?: SubjectDigest;
  readonly state: ErasureState;
  /** The seq of its last event. */
  readonly version: number;
  readonly requests: readonly {
    readonly at: string;
    readonly reason: string;
    readonly requestedBy: string;
  }[];
  /** `revision` names this plan in an approval. */
  readonly plan?: { readonly at: string; readonly revision: number };
  readonly approval?: { readonly at: string; readonly by: string } | undefined;
  readonly startedAt?: string;
  readonly fence?: FenceMode;
  readonly frozenAt?: string;
  readonly tombstonedAt?: string;
  /** Whether nobody could write since `frozenAt`. */
  readonly fenceHeld: boolean;
  readonly stores: readonly StoreRecord[];
  readonly completedAt?: string;
  readonly certificate?: string;
}

/**
 * Computes an erasure from its history.
 *
 * @throws {@link LedgerError} when the history holds a move that the table of states does not have, or was not that
 * of this scope
 */
export function recordOf({ scope, events }: LedgerEntry): ErasureRecord {
  const [first] = events;
  if (first?.body.type !== 'requested') throw impossible('an erasure does not begin with its request');
  const { tenant, subject: subjectDigest } = first.body;
  const start: ErasureRecord = {
    id: first.erasure,
    ...scope,
    ...(subjectDigest === undefined ? {} : { subjectDigest }),
    state: 'received',
    version: first.seq,
    requests: [],
    fenceHeld: false,
    stores: [],
  };
  const record = events.reduce(step, start);
  assertScope(record, tenant);
  return record;
}

/** The scope stands beside the history. Were the person lost from it, the whole tenant would be erased. */
function assertScope({ tenant, subject, subjectDigest, state }: ErasureRecord, requested: string): void {
  if (tenant !== requested) throw impossible('the tenant of an erasure was exchanged');
  if (subject === undefined) {
    if (subjectDigest !== undefined && !isTerminal(state))
      throw impossible('the person of an erasure is missing');
  } else if (subjectDigest === undefined || !isDigestOf(subjectDigest, tenant, subject)) {
    throw impossible('the person of an erasure was exchanged');
  }
}

function step(record: ErasureRecord, { seq, at, body }: LedgerEvent): ErasureRecord {
  const to = movesTo(body);
  if (to !== undefined && body.type !== 'requested' && !canMove(record.state, to)) {
    throw impossible(`an erasure went from ${record.state} to ${to}`);
  }
  return { ...record, version: seq, state: to ?? record.state, ...change(record, body, at, seq) };
}

type Change<Body> = (record: ErasureRecord, body: Body, at: string, seq: number) => Partial<ErasureRecord>;

function change(record: ErasureRecord, body: EventBody, at: string, seq: number): Partial<ErasureRecord> {
  return (CHANGES[body.type] as Change<EventBody>)(record, body, at, seq);
}

const asked: Change<{ readonly reason: string; readonly requestedBy: string }> = (
  { requests },
  { reason, requestedBy },
  at,
) => ({ requests: [...requests, { at, reason, requestedBy }] });

const nothing = (): Partial<ErasureRecord> => ({});

// What each kind of event means.
const CHANGES = {
  requested: asked,
  joined: asked,
  // A new plan is not the one that was approved.
  planned: (_, { stores }, at, revision) => ({
    plan: { at, revision },
    approval: undefined,
    stores: stores.map(fresh),
  }),
  approved: (_, { by }, at) => ({ approval: { at, by } }),
  // What an earlier run has counted is no ground for what this one will sign: somebody may have written since.
  run_started: ({ stores }) => ({ stores: stores.map(uncounted) }),
  run_interrupted: nothing,
  // Before `frozen` a run only looks whether it may begin.
  advanced: (_, { to }, at) => (to === 'frozen' ? { startedAt: at } : {}),
  fenced: (_, { fence }, at) => ({ fence, frozenAt: at, fenceHeld: fence.mode === 'tenant' }),
  fence_lost: () => ({ fenceHeld: false }),
  fence_restored: ({ stores }, _, at) => ({ fenceHeld: true, frozenAt: at, stores: stores.map(pending) }),
  tombstoned: (_record, _body, at) => ({ tombstonedAt: at }),
  counted: (record, { inventory }) => inStore(record, inventory.store, () => ({ counted: inventory })),
  erased: (record, { outcome: { store, erased, kept, completeAt } }) =>
    inStore(record, store, (known) => ({
      state: 'erased',
      erased: sum(known.erased, erased),
      kept,
      ...(completeAt === undefined ? {} : { completeAt }),
      failure: undefined,
    })),
  failed: (record, { failure }) => inStore(record, failure.store, () => ({ failure })),
  verified: (record, { verification }, verifiedAt) =>
    inStore(record, verification.store, () => ({
      state: 'verified',
      verification,
      verifiedAt,
      kept: verification.kept,
      failure: undefined,
    })),
  unverified: (record, { verification }) =>
    inStore(record, verification.store, () => ({ state: 'pending', verification })),
  completed: (_, { certificate }, at) => ({ completedAt: at, certificate }),
} as const satisfies { readonly [Type in EventBody['type']]: Change<Extract<EventBody, { type: Type }>> };

function fresh({ store, stage, inventory }: PlannedStore): StoreRecord {
  return { store, stage, state: 'pending', planned: inventory, erased: [], kept: inventory.kept };
}

type PlannedStore = (EventBody & { readonly type: 'planned' })['stores'][number];

function uncounted(store: StoreRecord): StoreRecord {
  return store.state === 'verified' ? { ...store, state: 'erased' } : store;
}

function pending(store: StoreRecord): StoreRecord {
  return { ...store, state: 'pending' };
}

function inStore(
  { stores }: ErasureRecord,
  name: string,
  changed: (store: StoreRecord) => Partial<StoreRecord>,
): Partial<ErasureRecord> {
  if (!stores.some(({ store }) => store === name)) throw impossible('a store is not in the plan');
  return { stores: stores.map((known) => (known.store === name ? { ...known, ...changed(known) } : known)) };
}

function sum(before: readonly InventoryItem[], more: readonly InventoryItem[]): readonly InventoryItem[] {
  const kinds = new Map(before.map((item) => [item.kind, item]));
  for (const { kind, count, bytes } of more) {
    const known = kinds.get(kind);
    const total =
      known?.bytes === undefined && bytes === undefined ? undefined : (known?.bytes ?? 0) + (bytes ?? 0);
    kinds.set(kind, {
      kind,
      count: (known?.count ?? 0) + count,
      ...(total === undefined ? {} : { bytes: total }),
    });
  }
  return [...kinds.values()];
}

function impossible(problem: string): LedgerError {
  return new LedgerError({
    reason: 'tampered',
    problem,
    hint: 'Its history was altered outside of tenantkit: restore it from a backup and find out who wrote to it.',
  });
}
