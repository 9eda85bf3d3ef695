import { startRedisCluster } from '@tenantkit/testing/servers';
import { witnessOf, type Witnessed } from './cluster-node.ts';

/** A Redis Cluster of two masters and a replica of the first, on this machine. */
export interface ClusterNodes extends AsyncDisposable {
  readonly first: Witnessed;
  readonly second: Witnessed;
  readonly replica: Witnessed;
  /** Moves a slot from the first master to the second, and says so to both. */
  move(slot: number): Promise<void>;
  /** Moves keys of a slot, by default all, and leaves the slot where it is: in the midst of a migration. */
  moveKeysOnly(slot: number, keys?: readonly string[]): Promise<void>;
  /** Ends the migration of {@link ClusterNodes.moveKeysOnly}. */
  finish(slot: number): Promise<void>;
}

/** Starts three servers, of the release that the run is on. */
export async function startClusterNodes(): Promise<ClusterNodes> {
  const servers = await startRedisCluster({ masters: 2, replicas: 1 });
  const [first, second, replica] = [...servers.masters, ...servers.replicas].map(witnessOf) as [
    Witnessed,
    Witnessed,
    Witnessed,
  ];
  return {
    first,
    second,
    replica,
    moveKeysOnly: (slot, keys) => servers.beginMove(slot, second.node, keys),
    finish: (slot) => servers.finishMove(slot, second.node),
    move: (slot) => servers.move(slot, second.node),
    async [Symbol.asyncDispose]() {
      for (const { raw } of [first, second, replica]) raw.disconnect();
      await servers.stop();
    },
  };
}
