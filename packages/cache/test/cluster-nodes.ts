import type { Redis as Raw } from 'ioredis';
import { startClusterNode, type ClusterNode } from './cluster-node.ts';

const SLOTS = 16_384;

/** A Redis Cluster of two masters and a replica of the first, on this machine. */
export interface ClusterNodes extends AsyncDisposable {
  readonly first: ClusterNode;
  readonly second: ClusterNode;
  readonly replica: ClusterNode;
  /** Moves a slot from the first master to the second, and says so to both. */
  move(slot: number): Promise<void>;
  /** Moves keys of a slot, by default all, and leaves the slot where it is: in the midst of a migration. */
  moveKeysOnly(slot: number, keys?: readonly string[]): Promise<void>;
  /** Ends the migration of {@link ClusterNodes.moveKeysOnly}. */
  finish(slot: number): Promise<void>;
}

/** Starts three `redis-server`, and waits until each knows the others. */
export async function startClusterNodes(): Promise<ClusterNodes> {
  const nodes = await Promise.all([1, 2, 3].map(() => startClusterNode({ alone: false })));
  const [first, second, replica] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const half = SLOTS / 2;
  await cluster(first.raw, 'ADDSLOTSRANGE', 0, half - 1);
  await cluster(second.raw, 'ADDSLOTSRANGE', half, SLOTS - 1);
  for (const other of [second, replica])
    await cluster(first.raw, 'MEET', '127.0.0.1', other.port, other.busPort);
  for (const { raw } of nodes)
    await answered(async () => String(await cluster(raw, 'INFO')).includes('cluster_known_nodes:3'), raw);
  const firstId = String(await cluster(first.raw, 'MYID'));
  const secondId = String(await cluster(second.raw, 'MYID'));
  await cluster(replica.raw, 'REPLICATE', firstId);
  await answered(
    async () => (await replica.raw.info('replication')).includes('master_link_status:up'),
    replica.raw,
  );
  for (const { raw } of nodes) {
    await answered(async () => String(await cluster(raw, 'INFO')).includes('cluster_state:ok'), raw);
    await answered(async () => /slave [0-9a-f]{40}/.test(String(await cluster(raw, 'NODES'))), raw);
  }

  // A replica is named to clients once it has received something.
  await first.raw.flushall();
  await answered(async () => {
    const slots = (await cluster(first.raw, 'SLOTS')) as unknown[][];
    return slots.some((range) => range.length === 4);
  }, first.raw);

  const moveKeysOnly = async (slot: number, some?: readonly string[]): Promise<void> => {
    await cluster(second.raw, 'SETSLOT', slot, 'IMPORTING', firstId);
    await cluster(first.raw, 'SETSLOT', slot, 'MIGRATING', secondId);
    const keys = some ?? ((await cluster(first.raw, 'GETKEYSINSLOT', slot, 1000)) as string[]);
    if (keys.length > 0)
      await first.raw.call('MIGRATE', '127.0.0.1', second.port, '', 0, 5000, 'REPLACE', 'KEYS', ...keys);
  };
  const finish = async (slot: number): Promise<void> => {
    for (const { raw } of [second, first]) await cluster(raw, 'SETSLOT', slot, 'NODE', secondId);
  };
  return {
    first,
    second,
    replica,
    moveKeysOnly,
    finish,
    async move(slot) {
      await moveKeysOnly(slot);
      await finish(slot);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
    },
  };
}

function cluster(raw: Raw, ...args: (string | number)[]): Promise<unknown> {
  return raw.call('CLUSTER', ...args);
}

// Nodes tell each other in their own time, and no event says when they have.
async function answered(condition: () => Promise<boolean>, raw: Raw): Promise<void> {
  while (!(await condition())) await raw.ping();
}
