import { FlowProducer, type FlowJob, type FlowProducerOptions } from '@tenantkit/queue';
import { KEY, bench, type Bench } from './support.ts';

/** A bench with producers of flows. */
export interface FlowBench extends Bench {
  flows(options?: Partial<FlowProducerOptions>): FlowProducer;
  /** A worker that never looks for what nobody has noted, and sleeps for ten minutes where nobody wakes it. */
  readonly asleep: { readonly stalledInterval: number; readonly drainDelay: number };
  /** What is stored under the keys of a lane: types and contents, but for its events and settings. */
  lane(queue: string, tenant: string): Promise<Record<string, unknown>>;
}

export async function flowBench(...args: Parameters<typeof bench>): Promise<FlowBench> {
  const on = await bench(...args);
  const [fence] = args;
  const tenant = { signingKeys: [KEY], ...(fence === undefined ? {} : { fence }) } as const;
  const opened: FlowProducer[] = [];
  const reset = async (): Promise<void> => {
    for (const made of opened.splice(0)) await made.close();
    await on.reset();
  };
  return {
    ...on,
    asleep: { stalledInterval: 600_000, drainDelay: 600 },
    flows(options) {
      const made = new FlowProducer({ connection: on.redis, tenant, ...options });
      made.on('error', () => undefined);
      opened.push(made);
      return made;
    },
    async lane(queue, name) {
      const found: Record<string, unknown> = {};
      for (const key of (await on.redis.keys(`bull:${queue}~${name}:*`)).toSorted()) {
        if (!/:(?:events|meta|id|marker)$/.test(key)) found[key] = await on.redis.dump(key);
      }
      return found;
    },
    reset,
    async [Symbol.asyncDispose]() {
      await reset();
      await on[Symbol.asyncDispose]();
    },
  };
}

/** A report of two mails. */
export const REPORT: FlowJob = {
  name: 'report',
  queueName: 'reports',
  opts: { jobId: 'r' },
  children: [
    { name: 'fetch', queueName: 'mail', data: { n: 1 }, opts: { jobId: 'a' } },
    { name: 'fetch', queueName: 'mail', data: { n: 2 }, opts: { jobId: 'b' } },
  ],
};

/** A flow with one child, whose failure does to its parent what an option says. */
export const single = (opts: object, jobId = 'c'): FlowJob => ({
  name: 'report',
  queueName: 'reports',
  opts: { jobId: 'r' },
  children: [{ name: 'fetch', queueName: 'mail', opts: { jobId, ...opts } }],
});
