import { Cluster as RawCluster, Command, type Redis as RawRedis } from 'ioredis';
import { CLUSTER_INNER } from './inner-names.ts';

/** What the routing of a Cluster and its sharded channels rely on. No server is asked. */
export const CLUSTER = {
  'a cluster changes its status and queue in members of these names': () =>
    CLUSTER_INNER.every((name) => typeof Reflect.get(RawCluster.prototype, name) === 'function'),
  'nodes of a cluster are made in createRedisFromOptions of its pool, which then tells +node': () => {
    const { connectionPool } = cluster();
    const told: unknown[] = [];
    connectionPool.prependListener('+node', (node: unknown) => told.push(node));
    const create = connectionPool.createRedisFromOptions.bind(connectionPool);
    connectionPool.createRedisFromOptions = (node, readOnly) => {
      const made = create(node, readOnly);
      told.push(made);
      return made;
    };
    const node = connectionPool.findOrCreate({ ...NODE });
    return told.length === 2 && told.every((one) => one === node) && node.options.port === NODE.port;
  },
  'the nodes of a cluster are found in its pool with getNodes and getInstanceByKey': () => {
    const { connectionPool } = cluster();
    const node = connectionPool.findOrCreate({ ...NODE });
    return connectionPool.getNodes()[0] === node && connectionPool.getInstanceByKey(KEY) === node;
  },
  'a command goes to the first of the nodes that slots has for its slot': () => {
    const client = cluster();
    const { node, sent } = knowing(client);
    const command = new Command('get', ['key']);
    client.slots[command.getSlot() ?? 0] = [KEY];
    // Another one that it could go to.
    client.connectionPool.findOrCreate({ host: NODE.host, port: 2 });
    client.sendCommand(command);
    return client.connectionPool.getInstanceByKey(KEY) === node && sent.join() === 'get';
  },
  'redirections go through handleError, and ASKING right before the command': () => {
    const client = cluster();
    const { sent } = knowing(client);
    const command = new Command('get', ['key']);
    client.slots[command.getSlot() ?? 0] = [KEY];
    client.sendCommand(command);
    let told = 0;
    const handleError = client.handleError.bind(client);
    client.handleError = (...args) => {
      told += 1;
      handleError(...args);
    };
    command.reject(new Error(`ASK 1 ${KEY}`));
    return told === 1 && sent.join() === 'get,asking,get';
  },
  'a cluster keeps the nodes that it was given in startupNodes': () => {
    const [node] = cluster().startupNodes;
    return node?.port === NODE.port;
  },
  'refreshSlotsCache tells by a callback, and so does delayUntilReady': () => {
    const client = cluster();
    const told: boolean[] = [];
    // Nobody is asked: it knows no node.
    client.refreshSlotsCache((error) => told.push(error instanceof Error));
    return told.join() === 'true' && typeof client.delayUntilReady === 'function';
  },
} satisfies Readonly<Record<string, () => boolean>>;

const NODE = { host: '127.0.0.1', port: 1 } as const;
const KEY = `${NODE.host}:${NODE.port}`;

interface Pool {
  findOrCreate(node: object): RawRedis;
  createRedisFromOptions(node: object, readOnly: boolean): RawRedis;
  getNodes(): readonly RawRedis[];
  getInstanceByKey(key: string): RawRedis | undefined;
  prependListener(event: string, listener: (node: unknown) => void): void;
}

// What ioredis has, whether its types show it or not.
interface Known {
  readonly connectionPool: Pool;
  readonly slots: string[][];
  readonly startupNodes: readonly { readonly port?: number }[];
  sendCommand(command: Command): unknown;
  handleError(...args: unknown[]): void;
  readonly delayUntilReady: unknown;
  refreshSlotsCache(callback: (error?: unknown) => void): void;
}

// It waits for a first command, and its nodes do, too: nothing is connected.
function cluster(): Known {
  return new RawCluster([{ ...NODE }], { lazyConnect: true }) as unknown as Known;
}

/** Lets a cluster take itself to be connected, to one node that only remembers what it was to send. */
function knowing(client: Known): { readonly node: RawRedis; readonly sent: string[] } {
  const sent: string[] = [];
  const node = client.connectionPool.findOrCreate({ ...NODE });
  node.sendCommand = (command) => {
    sent.push(command.name);
    return command.promise;
  };
  Object.assign(client, { status: 'ready' });
  return { node, sent };
}
