import { refusal, refuse } from '@tenantkit/core';
import { word, type Argument } from './keyspec.ts';
import { RAW, type Mark } from './mark.ts';
import type { Row } from './rows.ts';
import { SHARED_CONNECTION } from './rules.ts';

/** What may be sent from where a command was called. */
export interface Place {
  /** Whether a command may wait: on a connection of one's own, and inside of a transaction. */
  readonly mayBlock: boolean;
  /** Whether a command may end the connection. */
  readonly mayEnd: boolean;
  /** Whether keys may be watched there, and a transaction opened. */
  readonly mayHold?: boolean;
  /** Whether it is queued in a pipeline, where it has to be one command with one reply. */
  readonly isQueued?: boolean;
}

/** A connection that all tenants share. */
export const SHARED: Place = Object.freeze({ mayBlock: false, mayEnd: false });

/** Why something is refused that ioredis has not chosen. */
export const NOT_ADMITTED = refuse(
  'it reached the connection without passing the guard',
  'Use the pipelines that redis.pipeline() and redis.multi() make.',
);
const WAITS = refuse(
  'everybody on the connection would wait for its reply',
  'Call it on a connection of its own: redis.dedicated((own) => …) lends one; redis.duplicate(), called inside the same tenant or inside acrossTenants, makes one, which disconnect() ends.',
);
const HOLDS = refuse(
  'on a shared connection what is watched belongs to nobody, and a transaction swallows the commands of others',
  'Use redis.multi(), which sends a transaction at once; redis.dedicated((own) => …) lends a connection for WATCH and multi({ pipeline: false }), in a Cluster with hashTag.',
);
// Without a tenant there is no slot, by which a Cluster finds the node to lend a connection to.
const WAITS_ACROSS = refuse(
  WAITS.why,
  'Call it on a client of its own: cluster.duplicate(), called inside acrossTenants, makes one, which disconnect() ends.',
);
const HOLDS_ACROSS = refuse(
  HOLDS.why,
  "Use multi() for keys of one slot; or dedicated() of that one of cluster.nodes('master') which has the keys.",
);
const HOLDS_QUEUED = refuse(
  'in a pipeline MULTI and EXEC come in pairs, in the method form',
  'Use redis.multi(), or pipeline.multi() … exec() in the method form.',
);
/** Why nobody's connection is ended. */
export const ENDS = refuse(
  'it ends the connection of all tenants',
  'End the client outside of any tenant, when the service stops; a tenant may end what dedicated() or duplicate() gave it.',
);
const WALKED = refuse(
  'it walks the keys of the tenant page by page, which is more than one command with one reply',
  'Call it on the client, before or after the pipeline or transaction.',
);
const QUEUED = refuse(
  'what it begins outlives the pipeline, and its replies are no replies to the pipeline',
  'Call it on the client itself: redis.subscribe(…).',
);
/** Why a command of a tenant must not be sent from there. */
export function misplaced(row: Row, args: readonly Argument[], place: Place): Error | undefined {
  if (row.holds && isHeldElsewhere(row, place))
    return refusal('cache', row.where.operation, place.mayHold === true ? HOLDS_QUEUED : HOLDS);
  if (!place.mayBlock && row.blocks(args)) return refusal('cache', row.where.operation, WAITS);
  if (row.walk !== undefined && place.isQueued === true) return refusal('cache', row.where.operation, WALKED);
  if (row.subscribes && place.isQueued === true) return refusal('cache', row.where.operation, QUEUED);
  return row.ends && !place.mayEnd ? refusal('cache', row.where.operation, ENDS) : undefined;
}

// What is watched may be said in a pipeline.
function isHeldElsewhere({ name }: Row, { mayHold, isQueued }: Place): boolean {
  return mayHold !== true || (isQueued === true && name !== 'watch' && name !== 'unwatch');
}

/** For whom a command is sent inside acrossTenants, or why it is not. @param isCluster - whether the client is one */
export function across(
  name: string,
  args: readonly Argument[],
  row: Row,
  place: Place,
  isCluster: boolean,
): Mark | Error {
  const lower = name.toLowerCase();
  if (row.holds && isCluster && place.isQueued !== true)
    return refusal('cache', row.where.operation, HOLDS_ACROSS);
  if (row.holds) return misplaced(row, args, place) ?? RAW;
  if (SHARED_CONNECTION.has(lower) || SHARED_CONNECTION.has(`${lower} ${word(args[0])}`))
    return row.rule.kind === 'refuse'
      ? refusal('cache', lower, row.rule)
      : refusal('cache', lower, NOT_ADMITTED);
  if (row.subscribes && place.isQueued === true) return refusal('cache', lower, QUEUED);
  if (place.mayBlock || !row.blocks(args)) return RAW;
  return refusal('cache', lower, isCluster ? WAITS_ACROSS : WAITS);
}
