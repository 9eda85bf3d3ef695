import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  RedisGroup,
  callNode,
  checked,
  commonSettings,
  groupOptions,
  type GroupOptions,
  type RedisNode,
  type StartedGroup,
} from './redis-group.ts';

/** Options of {@link startRedisSentinel}. */
export interface RedisSentinelOptions extends GroupOptions {
  /** How many replicas the master has, by default 1. */
  readonly replicas?: number | undefined;
  /** How many sentinels watch them, by default 1. A failover takes the majority. */
  readonly sentinels?: number | undefined;
  /** How long a master may be silent before it is given up, in milliseconds, by default 1000. */
  readonly downAfter?: number | undefined;
}

/** A master, its replicas, and the sentinels that watch them. */
export interface RedisSentinel extends StartedGroup {
  /** What clients ask the sentinels for. */
  readonly name: string;
  readonly sentinels: readonly RedisNode[];
  /** All servers with data; the first was the master at the beginning. */
  readonly servers: readonly RedisNode[];
  /** The server that the first sentinel takes for the master now. */
  master(): Promise<RedisNode>;
  /** Makes a replica the master, and resolves when it is. */
  failOver(): Promise<RedisNode>;
}

const NAME = 'main';
const DOWN_AFTER_MS = 1_000;
const FAILOVER_WITHIN_MS = 5_000;

const schema = z.strictObject({
  replicas: z.number().int().min(1).max(8).optional(),
  sentinels: z.number().int().min(1).max(9).optional(),
  downAfter: z.number().int().min(100).optional(),
  ...groupOptions,
});

/**
 * Starts a Redis with replicas and sentinels on free loopback ports, and waits until the sentinels know all of them.
 * Ends as {@link startRedisCluster} says.
 *
 * @param options - how many of each, and which release
 * @throws {@link ServerUnavailableError} when the program cannot be had
 * @throws {@link ServerFailedError} when a server does not come up, or they do not find each other
 * @throws ConfigError for an unknown option
 *
 * @example
 * ```ts
 * import { startRedisSentinel } from '@tenantkit/testing/servers';
 * await using servers = await startRedisSentinel();
 * const redis = new Redis({ sentinels: [...servers.sentinels], name: servers.name });
 * ```
 */
export async function startRedisSentinel(options: RedisSentinelOptions = {}): Promise<RedisSentinel> {
  const parsed = checked('startRedisSentinel', schema, options);
  const { replicas = 1, sentinels: count = 1, downAfter = DOWN_AFTER_MS, ...rest } = parsed;
  return RedisGroup.start('A Redis with sentinels', rest, async (group) => {
    const first = await data(group, 'server-1');
    const more = await Promise.all(
      Array.from({ length: replicas }, (_, n) => data(group, `server-${n + 2}`, first)),
    );
    const servers = [first, ...more];
    const quorum = Math.floor(count / 2) + 1;
    const sentinels = await Promise.all(
      Array.from({ length: count }, (_, n) =>
        sentinel(group, `sentinel-${n + 1}`, { first, quorum, downAfter }),
      ),
    );
    for (const node of sentinels)
      await group.until('that a sentinel knows all others', async () => {
        const said = fieldsOf(await callNode(node, 'SENTINEL', 'MASTER', NAME));
        return said.get('num-slaves') === `${replicas}` && said.get('num-other-sentinels') === `${count - 1}`;
      });

    const master = async (): Promise<RedisNode> => {
      const [asked] = sentinels;
      const address =
        asked && ((await callNode(asked, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)) as string[]);
      const found = servers.find(({ port }) => `${port}` === address?.[1]);
      if (found === undefined) throw new Error('the sentinels know no master');
      return found;
    };
    const failOver = async (): Promise<RedisNode> => {
      const before = await master();
      const [asked] = sentinels;
      await group.until('that a replica is fit to be the master', () => begun(asked));
      await group.until('a failover', async () => (await master()) !== before);
      return master();
    };
    return {
      name: NAME,
      sentinels: Object.freeze(sentinels),
      servers: Object.freeze(servers),
      master,
      failOver,
    };
  });
}

// Right after a failover the old master is no replica yet, and the sentinel says so.
async function begun(node: RedisNode | undefined): Promise<boolean> {
  try {
    if (node !== undefined) await callNode(node, 'SENTINEL', 'FAILOVER', NAME);
    return true;
  } catch (error) {
    if (/^(?:NOGOODSLAVE|INPROG)/.test((error as Error).message)) return false;
    throw error;
  }
}

async function data(group: RedisGroup, name: string, master?: RedisNode): Promise<RedisNode> {
  const node = await group.node({
    name,
    settings([port = 0], dir) {
      const own = [...commonSettings(dir), '--port', `${port}`, '--repl-diskless-sync-delay', '0'];
      return master === undefined ? own : [...own, '--replicaof', master.host, `${master.port}`];
    },
  });
  if (master !== undefined)
    await group.until('that a replica has its data', async () =>
      String(await callNode(node, 'INFO', 'replication')).includes('master_link_status:up'),
    );
  return node;
}

interface Watched {
  readonly first: RedisNode;
  readonly quorum: number;
  readonly downAfter: number;
}

function sentinel(
  group: RedisGroup,
  name: string,
  { first, quorum, downAfter }: Watched,
): Promise<RedisNode> {
  return group.node({
    name,
    async settings([port = 0], dir) {
      const file = join(dir, 'sentinel.conf');
      // It writes into this file what it learns.
      const lines = [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${dir}`,
        `sentinel monitor ${NAME} ${first.host} ${first.port} ${quorum}`,
        `sentinel down-after-milliseconds ${NAME} ${downAfter}`,
        `sentinel failover-timeout ${NAME} ${FAILOVER_WITHIN_MS}`,
      ];
      await writeFile(file, `${lines.join('\n')}\n`);
      return [file, '--sentinel'];
    },
  });
}

function fieldsOf(reply: unknown): ReadonlyMap<string, string> {
  if (!Array.isArray(reply)) return new Map(Object.entries(reply as Record<string, string>));
  const fields = new Map<string, string>();
  for (let place = 0; place + 1 < reply.length; place += 2)
    fields.set(String(reply[place]), String(reply[place + 1]));
  return fields;
}
