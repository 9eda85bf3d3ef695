import type { Cluster, Redis } from './client.ts';

/** The masters of a cluster at one moment, and what tells whether a key may have moved since. */
export interface Topology {
  readonly masters: readonly Redis[];
  /** Equal as long as no slot has moved, or has begun to or ended. */
  readonly lines: string;
  /** The same; `undefined` while a slot is moving. */
  readonly settled: string | undefined;
}

/**
 * Asks every master itself: what the client knows is as old as the last redirection.
 *
 * @param nodesOf - asks a node for what CLUSTER NODES says
 */
export async function topologyOf(
  cluster: Cluster,
  run: <T>(call: () => Promise<T>) => Promise<T>,
  nodesOf: (node: Redis) => Promise<unknown>,
): Promise<Topology> {
  await run(() => refreshed(cluster));
  const masters = cluster.nodes('master');
  const own = await Promise.all(masters.map(async (node) => ownLine(await nodesOf(node))));
  const isMoving = own.some((line) => line.includes(MOVING));
  const lines = own.sort().join('\n');
  return { masters, lines, settled: isMoving ? undefined : lines };
}

/** How a node writes that a slot comes to it or leaves it. */
const MOVING = '[';

function refreshed(cluster: Cluster): Promise<void> {
  return new Promise((resolve, reject) => {
    cluster.refreshSlotsCache((error) => (error ? reject(error) : resolve()));
  });
}

/** What a node says about itself: its id, its epoch, which a slot that arrives makes another one, and its slots. */
function ownLine(nodes: unknown): string {
  const lines = String(nodes).split('\n');
  const [id = '', , , , , , epoch = '', , ...slots] =
    lines.find((line) => /^\S+ \S+ \S*myself/.test(line))?.split(' ') ?? [];
  return [id, epoch, ...slots].join(' ');
}
