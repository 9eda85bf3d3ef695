import { isRedisCluster, type ConnectionOptions } from 'bullmq';
import { ConfigError, refusal, refuse } from '@tenantkit/core';
import type { Cluster, Redis } from 'ioredis';

/** The server that has certain keys, and what tells whether some may have moved away since. */
export interface Holder {
  readonly node: Redis;
  /** Equal as long as nothing has moved; `undefined` while something moves. */
  readonly state: string | undefined;
}

/**
 * The part of a key in braces, which alone decides in which slot of a Redis Cluster the key is.
 *
 * @returns `undefined` where there is none, and the whole key decides
 */
export function tagOf(key: string): string | undefined {
  const start = key.indexOf('{');
  const end = key.indexOf('}', start + 1);
  return start === -1 || end <= start + 1 ? undefined : key.slice(start + 1, end);
}

/**
 * Whether the keys of a queue can be on this connection. BullMQ's scripts touch many keys at once, some of which they
 * compute themselves: on a cluster all have to be in one slot, and not almost all of the time.
 *
 * @throws {@link ConfigError} on a cluster where they would not, or where reads would be answered by replicas, which
 * are behind
 */
export function checkCluster(connection: ConnectionOptions, prefix: string, queue: string): void {
  if (!isRedisCluster(connection)) return;
  if (tagOf(`${prefix}:${queue}`) === undefined)
    throw invalid(
      'the connection is a Redis Cluster, and neither prefix nor queue has a hash tag, which would keep the keys of the queue in one slot',
      `Give the option prefix: '{bull}', or the queue a name like '{mail}'; the same in every process. It makes the queue another one.`,
    );
  const { scaleReads = 'master' } = (connection as unknown as Cluster).options;
  if (scaleReads !== 'master')
    throw invalid(
      'the connection is a Redis Cluster whose option scaleReads lets replicas answer, which are behind',
      "Give a Cluster of its own to the queue, with scaleReads: 'master', the default.",
    );
}

function invalid(problem: string, hint: string): ConfigError {
  return new ConfigError({ surface: 'queue', operation: 'connection', problem, hint });
}

const SCATTERED = refuse(
  'the jobs of the flow are in queues with different hash tags, and on a Redis Cluster in different slots',
  "Give all queues of a flow one hash tag: it is simplest in the prefix, '{bull}'.",
);

/**
 * Before a parent and its children are stored together, on a cluster.
 *
 * @throws {@link OperationRefusedError} unless all of these keys have the same tag
 */
export function checkOneSlot(keys: readonly string[]): void {
  if (new Set(keys.map(tagOf)).size > 1) throw refusal('queue', 'add', SCATTERED);
}

/** Finds out which server of a cluster has the keys with the tag of this one. */
export async function holderOf(cluster: Cluster, key: string): Promise<Holder> {
  const slot = await cluster.cluster('KEYSLOT', key);
  // What the client knows is as old as the last redirection.
  await new Promise<void>((resolve, reject) => {
    cluster.refreshSlotsCache((error) => (error ? reject(error) : resolve()));
  });
  for (const node of cluster.nodes('master')) {
    const { id, epoch, slots } = selfOf(String(await node.cluster('NODES')));
    if (!slots.some((range) => holds(range, slot))) continue;
    const isMoving = slots.some((range) => range.startsWith(`[${slot}-`));
    return { node, state: isMoving ? undefined : `${id} ${epoch}` };
  }
  throw new Error(`no server of the cluster has slot ${slot}`);
}

/** What a server says of itself: its id, its epoch, which a slot that arrives makes another one, and its slots. */
function selfOf(nodes: string): { id: string; epoch: string; slots: readonly string[] } {
  const line = nodes.split('\n').find((one) => /^\S+ \S+ \S*myself/.test(one)) ?? '';
  const [id = '', , , , , , epoch = '', , ...slots] = line.split(' ');
  return { id, epoch, slots };
}

function holds(range: string, slot: number): boolean {
  if (range.startsWith('[')) return false;
  const [first, last = first] = range.split('-').map(Number);
  return first !== undefined && last !== undefined && first <= slot && slot <= last;
}
