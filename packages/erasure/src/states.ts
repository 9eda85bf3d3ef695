/** The states of an erasure, in their order. */
export const STATES = [
  'received',
  'planned',
  'approved',
  'frozen',
  'draining',
  'grace',
  'purging',
  'shredding',
  'verifying',
  'completed',
  'completed_with_retention',
] as const;

/** Where an erasure is. There is no failed state: what went wrong is tried again from where it stands. */
export type ErasureState = (typeof STATES)[number];

/**
 * Every move there is. `planned` and `approved` may go back to `planned`, because a plan that is too old has to be
 * made again and a new plan needs a new approval. From `frozen` on there is only forward: half of a tenant that
 * was unfrozen again would be worse than either end.
 */
export const TRANSITIONS = table({
  received: ['planned'],
  planned: ['planned', 'approved'],
  approved: ['planned', 'frozen'],
  frozen: ['draining'],
  draining: ['grace'],
  grace: ['purging'],
  purging: ['shredding'],
  shredding: ['verifying'],
  verifying: ['completed', 'completed_with_retention'],
  completed: [],
  completed_with_retention: [],
});

/** States in which nothing was asked of a store but to count. */
export type BeforeRun = 'received' | 'planned';
/** States that end an erasure. */
export type Terminal = 'completed' | 'completed_with_retention';
/** States that a run works on. */
export type Runnable = Exclude<ErasureState, BeforeRun | Terminal>;

/** Whether the erasure is over. */
export function isTerminal(state: ErasureState): state is Terminal {
  return TRANSITIONS[state].length === 0;
}

/** Whether the erasure was approved and is not over. */
export function isRunnable(state: ErasureState): state is Runnable {
  return state !== 'received' && state !== 'planned' && !isTerminal(state);
}

/** Whether the first irreversible step may have been taken. */
export function hasBegun(state: ErasureState): boolean {
  return STATES.indexOf(state) >= STATES.indexOf('frozen');
}

/** Whether the table has this move. */
export function canMove(from: ErasureState, to: ErasureState): boolean {
  return TRANSITIONS[from].includes(to);
}

function table(
  rows: Readonly<Record<ErasureState, readonly ErasureState[]>>,
): Readonly<Record<ErasureState, readonly ErasureState[]>> {
  return Object.freeze(Object.assign(Object.create(null) as typeof rows, rows));
}
