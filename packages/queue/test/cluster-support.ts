import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import type { Processor } from 'bullmq';
import { Cluster, type ClusterOptions } from 'ioredis';
import {
  FlowProducer,
  Queue,
  QueueEvents,
  Worker,
  type QueueEventsOptions,
  type QueueOptions,
  type WorkerOptions,
} from '@tenantkit/queue';
import { KEY } from './keys.ts';

/** As BullMQ asks for it: the part in braces decides the slot, so that all keys are in one. */
export const PREFIX = '{bull}';

/** As whom somebody connects. */
interface Login {
  readonly username?: string;
  readonly password?: string;
}

/** Queues and workers on a Redis Cluster of their own. */
export interface ClusterBench extends AsyncDisposable {
  readonly servers: RedisCluster;
  readonly cluster: Cluster;
  /** With what a client begins. */
  readonly startup: { readonly host: string; readonly port: number }[];
  /** One more client, which the bench closes. */
  client(options?: Pick<ClusterOptions, 'scaleReads'>, login?: Login): Cluster;
  queue(name: string, options?: Partial<QueueOptions>): Queue;
  worker(name: string, processor: Processor, options?: Partial<WorkerOptions>): Worker;
  flows(): FlowProducer;
  events(name: string, options?: Partial<QueueEventsOptions>): QueueEvents;
  /** Every key of every node. */
  keys(): Promise<readonly string[]>;
  /** Closes what was made, and empties all nodes. */
  reset(): Promise<void>;
}

export async function clusterBench(): Promise<ClusterBench> {
  const servers = await startRedisCluster({ masters: 3 });
  const startup = servers.masters.map(({ port }) => ({ host: '127.0.0.1', port }));
  const clients: Cluster[] = [];
  const opened: { close(): Promise<void> }[] = [];
  const client: ClusterBench['client'] = (options = {}, login = {}) => {
    const made = new Cluster(startup, {
      ...options,
      redisOptions: { maxRetriesPerRequest: null, ...login },
    });
    clients.push(made);
    return made;
  };
  const cluster = client();
  const tenant = { signingKeys: [KEY] } as const;
  const common = { connection: cluster, prefix: PREFIX, tenant };
  const keep = <T extends { close(): Promise<void> }>(made: T): T => {
    opened.push(made);
    return made;
  };
  const nodes = async (): Promise<ReturnType<Cluster['nodes']>> => {
    await cluster.ping();
    return cluster.nodes('master');
  };
  return {
    servers,
    startup,
    cluster,
    client,
    queue: (name, options) => keep(new Queue(name, { ...common, ...options })),
    worker: (name, processor, options) => keep(new Worker(name, processor, { ...common, ...options })),
    flows: () => keep(new FlowProducer(common)),
    events: (name, options) => keep(new QueueEvents(name, { ...common, ...options })),
    async keys() {
      return (await Promise.all((await nodes()).map((node) => node.keys('*')))).flat().toSorted();
    },
    async reset() {
      for (const made of opened.splice(0).toReversed()) await made.close();
      for (const node of await nodes()) await node.flushall();
    },
    async [Symbol.asyncDispose]() {
      for (const made of opened.splice(0).toReversed()) await made.close();
      for (const made of clients) made.disconnect();
      await servers.stop();
    },
  };
}
