import { z } from 'zod';
import {
  RedisGroup,
  callNode,
  callNodeBuffer,
  checked,
  commonSettings,
  groupOptions,
  settingsOf,
  type GroupOptions,
  type RedisNode,
  type StartedGroup,
} from './redis-group.ts';

/** Options of {@link startRedisCluster}. */
export interface RedisClusterOptions extends GroupOptions {
  /** How many masters share the slots, by default 3. */
  readonly masters?: number | undefined;
  /** How many replicas there are in all, by default none; the first is one of the first master, and so on. */
  readonly replicas?: number | undefined;
  /** Settings of every server, as in redis.conf: `{ 'cluster-node-timeout': '1000' }`. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

/** A Redis Cluster on this machine. */
export interface RedisCluster extends StartedGroup {
  readonly masters: readonly RedisNode[];
  readonly replicas: readonly RedisNode[];
  /** The master that holds a slot, 0 to 16383. */
  ownerOf(slot: number): RedisNode;
  /** Moves a slot with its keys to another master, while clients may be at work. */
  move(slot: number, to: RedisNode): Promise<void>;
  /**
   * Begins to move a slot, and leaves it in the midst: clients are asked (ASK) to look at the other master for keys
   * that have left.
   *
   * @param keys - which keys leave; by default all that there are at that moment
   */
  beginMove(slot: number, to: RedisNode, keys?: readonly string[]): Promise<void>;
  /** Ends what {@link RedisCluster.beginMove} has begun: moves the keys that are left, and tells all masters. */
  finishMove(slot: number, to: RedisNode): Promise<void>;
}

const SLOTS = 16_384;
const KEYS_AT_ONCE = 100;
const MIGRATE_TIMEOUT_MS = 5_000;

const schema = z.strictObject({
  masters: z.number().int().min(1).max(32).optional(),
  replicas: z.number().int().min(0).max(32).optional(),
  settings: z.record(z.string(), z.string()).optional(),
  ...groupOptions,
});

/**
 * Starts a Redis Cluster of real servers on free loopback ports, and waits until every server knows all others. It
 * ends with {@link RedisCluster.stop}, and within seconds also when this process ends in any other way. Needs
 * `ioredis`, and programs of this machine; see the README.
 *
 * @param options - how many masters and replicas, and which release
 * @throws {@link ServerUnavailableError} when the program cannot be had
 * @throws {@link ServerFailedError} when a server does not come up, or they do not find each other
 * @throws ConfigError for an unknown option
 *
 * @example
 * ```ts
 * import { startRedisCluster } from '@tenantkit/testing/servers';
 * import { Cluster } from 'ioredis';
 * await using servers = await startRedisCluster({ masters: 3 });
 * const cluster = new Cluster([...servers.masters]);
 * ```
 */
export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { masters = 3, replicas = 0, settings, ...rest } = checked('startRedisCluster', schema, options);
  return RedisGroup.start('A Redis Cluster', rest, async (group) => {
    const start = (name: string): Promise<Member> => member(group, name, settings);
    const [own, copies] = await Promise.all([
      Promise.all(Array.from({ length: masters }, (_, n) => start(`master-${n + 1}`))),
      Promise.all(Array.from({ length: replicas }, (_, n) => start(`replica-${n + 1}`))),
    ]);
    await join(group, own, copies);
    return slotsOf(group, own, copies);
  });
}

interface Member {
  readonly node: RedisNode;
  readonly busPort: number;
  readonly id: string;
}

async function member(
  group: RedisGroup,
  name: string,
  settings: Readonly<Record<string, string>> | undefined,
): Promise<Member> {
  let busPort = 0;
  const node = await group.node({
    name,
    ports: 2,
    settings(ports, dir) {
      const [port = 0, bus = 0] = ports;
      busPort = bus;
      return commonSettings(dir).concat(
        ['--port', `${port}`, '--cluster-enabled', 'yes', '--cluster-port', `${bus}`],
        // It tells its clients where it is: without this, before it has met another, nowhere.
        ['--cluster-announce-ip', '127.0.0.1', '--repl-diskless-sync-delay', '0'],
        settingsOf(settings),
      );
    },
  });
  return { node, busPort, id: String(await callNode(node, 'CLUSTER', 'MYID')) };
}

async function join(
  group: RedisGroup,
  masters: readonly Member[],
  replicas: readonly Member[],
): Promise<void> {
  const all = [...masters, ...replicas];
  for (const [index, { node }] of masters.entries()) {
    const range = [boundary(index, masters), boundary(index + 1, masters) - 1];
    // Two that claim one epoch would have to settle that first.
    await callNode(node, 'CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    await callNode(node, 'CLUSTER', 'ADDSLOTSRANGE', ...range);
  }
  const [first, ...others] = all;
  for (const { node, busPort } of others)
    if (first !== undefined) await callNode(first.node, 'CLUSTER', 'MEET', node.host, node.port, busPort);
  for (const { node } of all)
    await group.until('that all servers of the cluster know each other', async () => {
      const lines = String(await callNode(node, 'CLUSTER', 'NODES'))
        .trim()
        .split('\n');
      return lines.length === all.length && lines.every((line) => / connected( |$)/.test(line));
    });
  for (const [index, { node }] of replicas.entries()) {
    const master = masters[index % masters.length];
    if (master !== undefined) await callNode(node, 'CLUSTER', 'REPLICATE', master.id);
  }
  for (const { node } of replicas)
    await group.until('that a replica has its data', async () =>
      String(await callNode(node, 'INFO', 'replication')).includes('master_link_status:up'),
    );
  // A replica is named to clients once it has received something.
  if (replicas.length > 0) for (const { node } of masters) await callNode(node, 'FLUSHALL');
  const complete = masters.length + replicas.length;
  for (const { node } of all)
    await group.until('that the cluster is complete', async () => {
      const slots = (await callNode(node, 'CLUSTER', 'SLOTS')) as readonly (readonly unknown[])[];
      const named = slots.reduce((sum, range) => sum + range.length - 2, 0);
      const state = String(await callNode(node, 'CLUSTER', 'INFO'));
      return named === complete && state.includes('cluster_state:ok');
    });
}

function boundary(index: number, masters: readonly unknown[]): number {
  return Math.round((index * SLOTS) / masters.length);
}

/**
 * Whether all masters have heard of every move. Each move gives the new owner the highest epoch that
 * it has heard of, and one more. An owner that has not heard of the last move yet takes an epoch that is in use: then
 * the masters settle between themselves who has it, and a slot may go back to where it came from.
 */
async function agreed(masters: readonly Member[]): Promise<boolean> {
  const views = await Promise.all(masters.map(({ node }) => epochsSeenBy(node)));
  const [first = []] = views;
  return new Set(first).size === masters.length && new Set(views.map((view) => view.join())).size === 1;
}

async function epochsSeenBy(node: RedisNode): Promise<string[]> {
  const lines = String(await callNode(node, 'CLUSTER', 'NODES'))
    .trim()
    .split('\n');
  // A line begins with the id of a server, so that all views are in one order.
  const fields = lines.toSorted().map((line) => line.split(' '));
  return fields.filter(([, , flags]) => flags?.includes('master')).map(([, , , , , , epoch = '']) => epoch);
}

function slotsOf(
  group: RedisGroup,
  masters: readonly Member[],
  replicas: readonly Member[],
): Omit<RedisCluster, keyof StartedGroup> {
  const moved = new Map<number, Member>();
  const owner = (slot: number): Member => {
    const found = moved.get(slot) ?? masters.find((_, index) => slot < boundary(index + 1, masters));
    if (found === undefined || slot < 0)
      throw new RangeError(`${slot} is no slot: there are 0 to ${SLOTS - 1}`);
    return found;
  };
  const memberOf = (node: RedisNode): Member => {
    const found = masters.find((master) => master.node === node);
    if (found === undefined)
      throw new TypeError('a slot can only move to one of the masters of this cluster');
    return found;
  };
  const keysIn = async ({ node }: Member, slot: number): Promise<Buffer[]> =>
    (await callNodeBuffer(node, 'CLUSTER', 'GETKEYSINSLOT', slot, KEYS_AT_ONCE)) as Buffer[];
  const migrate = async (from: Member, to: Member, keys: readonly (string | Buffer)[]): Promise<void> => {
    if (keys.length === 0) return;
    const where = [to.node.host, to.node.port, '', 0, MIGRATE_TIMEOUT_MS];
    await callNode(from.node, 'MIGRATE', ...where, 'REPLACE', 'KEYS', ...keys);
  };
  const migrateAll = async (from: Member, to: Member, slot: number): Promise<void> => {
    for (let keys = await keysIn(from, slot); keys.length > 0; keys = await keysIn(from, slot))
      await migrate(from, to, keys);
  };
  const cluster: Omit<RedisCluster, keyof StartedGroup> = {
    masters: Object.freeze(masters.map(({ node }) => node)),
    replicas: Object.freeze(replicas.map(({ node }) => node)),
    ownerOf: (slot) => owner(slot).node,
    async move(slot, to) {
      await cluster.beginMove(slot, to, []);
      await cluster.finishMove(slot, to);
    },
    async beginMove(slot, to, keys) {
      const [from, target] = [owner(slot), memberOf(to)];
      if (from === target) throw new TypeError(`slot ${slot} is there already`);
      await callNode(target.node, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
      await callNode(from.node, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', target.id);
      await (keys === undefined ? migrateAll(from, target, slot) : migrate(from, target, keys));
    },
    async finishMove(slot, to) {
      const [from, target] = [owner(slot), memberOf(to)];
      await migrateAll(from, target, slot);
      // The new owner first: between the two nobody would hold the slot otherwise.
      for (const { node } of new Set([target, from, ...masters]))
        await callNode(node, 'CLUSTER', 'SETSLOT', slot, 'NODE', target.id);
      moved.set(slot, target);
      await group.until('that all masters agree on a moved slot', () => agreed(masters));
    },
  };
  return cluster;
}
