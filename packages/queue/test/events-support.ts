import * as bullmq from 'bullmq';
import { QueueEvents, QueueEventsProducer, type QueueEventsOptions } from '@tenantkit/queue';
import { bench, KEY, type Bench } from './support.ts';

/** A {@link Bench} with events. */
export interface EventBench extends Bench {
  events(name: string, options?: Partial<QueueEventsOptions>): QueueEvents;
  producer(name: string): QueueEventsProducer;
  rawEvents(name: string): bullmq.QueueEvents;
  /** Writes an entry into the stream of a lane, as anybody could who can write to Redis. */
  forge(lane: string, ...fields: readonly string[]): Promise<unknown>;
}

export async function eventBench(...args: Parameters<typeof bench>): Promise<EventBench> {
  const on = await bench(...args);
  const [fence] = args;
  const tenant = { signingKeys: [KEY], ...(fence === undefined ? {} : { fence }) } as const;
  const opened: { close(): Promise<void> }[] = [];
  const keep = <T extends { close(): Promise<void> }>(made: T): T => {
    opened.push(made);
    return made;
  };
  const closed = async (): Promise<void> => {
    for (const made of opened.splice(0)) await made.close();
  };
  return {
    ...on,
    events: (name, options) => keep(new QueueEvents(name, { connection: on.redis, tenant, ...options })),
    producer: (name) => keep(new QueueEventsProducer(name, { connection: on.redis, tenant })),
    rawEvents: (name) => keep(new bullmq.QueueEvents(name, { connection: on.redis })),
    forge: (lane, ...fields) => on.redis.xadd(`bull:${lane}:events`, '*', ...fields),
    async reset() {
      await closed();
      await on.reset();
    },
    async [Symbol.asyncDispose]() {
      await closed();
      await on[Symbol.asyncDispose]();
    },
  };
}

/** What a listener has heard, and a way to wait for it. */
export function recorder(): {
  readonly heard: unknown[][];
  readonly listener: (...args: unknown[]) => void;
  /** Resolves when there are so many. */
  readonly until: (count: number) => Promise<readonly unknown[][]>;
} {
  const heard: unknown[][] = [];
  const waiting: (() => void)[] = [];
  return {
    heard,
    listener(...args) {
      heard.push(args);
      for (const wake of waiting.splice(0)) wake();
    },
    async until(count) {
      while (heard.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
      return heard;
    },
  };
}
