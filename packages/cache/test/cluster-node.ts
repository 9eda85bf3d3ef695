import { startRedisCluster, type RedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';

/** A cluster of one node that holds all slots, on this machine. */
export interface ClusterNode extends AsyncDisposable {
  readonly port: number;
  readonly raw: Raw;
}

/** Starts one, of the release that the run is on. */
export async function startClusterNode(): Promise<ClusterNode> {
  const servers = await startRedisCluster({ masters: 1 });
  const { port, raw } = witnessOf(servers.masters[0]);
  return {
    port,
    raw,
    async [Symbol.asyncDispose]() {
      raw.disconnect();
      await servers.stop();
    },
  };
}

/** A node of a cluster, with plain ioredis as the witness of what is really there. */
export interface Witnessed {
  readonly node: RedisNode;
  readonly port: number;
  readonly raw: Raw;
}

export function witnessOf(node: RedisNode | undefined): Witnessed {
  if (node === undefined) throw new TypeError('there is no such node');
  const raw = new Raw(node.url);
  // A node that is killed by a test: the test sees it in other ways.
  raw.on('error', () => undefined);
  return { node, port: node.port, raw };
}
