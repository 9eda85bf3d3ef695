import type { Cluster, Redis } from './client.ts';

/** The masters of a cluster at one moment, and what tells whether a key may have moved since. */
export interface Topology {
  readonly masters: readonly Redis[];
  /** Equal as long as no slot has moved; `undefined` while one is moving. */
  readonly settled: string | undefined;
}

/** Asks every master itself: what the client knows is as old as the last redirection. */
export async function topologyOf(
  cluster: Cluster,
  run: <T>(call: () => Promise<T>) => Promise<T>,
): Promise<Topology> {
  await run(() => refreshed(cluster));
  const masters = cluster.nodes('master');
  const own = await Promise.all(masters.map((node) => run(() => ownLine(node))));
  const isMoving = own.some((line) => line.includes(MOVING));
  return { masters, settled: isMoving ? undefined : own.sort().join('\n') };
}

/** How a node writes that a slot comes to it or leaves it. */
const MOVING = '[';

function refreshed(cluster: Cluster): Promise<void> {
  return new Promise((resolve, reject) => {
    cluster.refreshSlotsCache((error) => (error ? reject(error) : resolve()));
  });
}

/** What a node says about itself: its id, its epoch, which a slot that arrives makes another one, and its slots. */
async function ownLine(node: Redis): Promise<string> {
  const lines = String(await node.call('CLUSTER', 'NODES')).split('\n');
  const [id = '', , , , , , epoch = '', , ...slots] =
    lines.find((line) => /^\S+ \S+ \S*myself/.test(line))?.split(' ') ?? [];
  return [id, epoch, ...slots].join(' ');
}
