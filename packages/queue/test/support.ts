import { Redis } from 'ioredis';
import * as bullmq from 'bullmq';
import { freshRedis } from '@tenantkit/testing';
import type { Processor } from 'bullmq';
import { inject } from 'vitest';
import { auditChannels, type AuditEvent, type TenantRegistry } from '@tenantkit/core';
import { Queue, Worker, type QueueOptions, type WorkerOptions } from '@tenantkit/queue';
import { KEY } from './keys.ts';

export { KEY, OTHER_KEY } from './keys.ts';

/** Who works across tenants in the tests. */
export const OPERATOR = { reason: 'a test', actor: 'vitest' };

/** Everything that one test file works with, on a Redis database of its own. */
export interface Bench extends AsyncDisposable {
  readonly redis: Redis;
  readonly url: string;
  queue(name: string, options?: Partial<QueueOptions>): Queue;
  worker(name: string, processor: Processor | string | URL, options?: Partial<WorkerOptions>): Worker;
  /** BullMQ's own queue: the hostile writer, and the observer. */
  raw(name: string, prefix?: string): bullmq.Queue;
  /** Closes what was made, and empties the database. */
  reset(): Promise<void>;
}

export async function bench(fence?: TenantRegistry): Promise<Bench> {
  const own = await freshRedis(inject('servers').redis);
  const redis = new Redis(own.url, { maxRetriesPerRequest: null });
  const opened: { close(): Promise<void> }[] = [];
  const tenant = { signingKeys: [KEY], ...(fence === undefined ? {} : { fence }) } as const;
  const keep = <T extends { close(): Promise<void>; on(event: 'error', listener: () => void): unknown }>(
    made: T,
  ): T => {
    opened.push(made);
    return made;
  };
  const reset = async (): Promise<void> => {
    for (const made of opened.splice(0).toReversed()) await made.close();
    await redis.flushdb();
  };
  return {
    redis,
    url: own.url,
    queue: (name, options) => keep(new Queue(name, { connection: redis, tenant, ...options })),
    worker: (name, processor, options) =>
      keep(new Worker(name, processor, { connection: redis, tenant, ...options })),
    raw: (name, prefix) =>
      keep(new bullmq.Queue(name, { connection: redis, ...(prefix === undefined ? {} : { prefix }) })),
    reset,
    async [Symbol.asyncDispose]() {
      await reset();
      redis.disconnect();
      await own.cleanup();
    },
  };
}

/** What became of the jobs of a worker, in the order in which it came. */
export interface Finished {
  readonly event: 'completed' | 'failed';
  readonly id: string | undefined;
  readonly error?: Error;
  readonly result?: unknown;
}

/** Resolves when the worker has finished `count` jobs: an attempt that will be retried does not count. */
export function finished(worker: Worker, count: number): Promise<readonly Finished[]> {
  return new Promise((resolve) => {
    const all: Finished[] = [];
    const done = (one: Finished): void => {
      all.push(one);
      if (all.length === count) resolve(all);
    };
    worker.on('completed', (job, result) => done({ event: 'completed', id: job.id, result }));
    worker.on('failed', (job, error) => {
      if (job === undefined || job.finishedOn !== undefined) done({ event: 'failed', id: job?.id, error });
    });
  });
}

/** Collects audit events of one kind until disposed. */
export function audited(kind: keyof typeof auditChannels): Disposable & { readonly events: AuditEvent[] } {
  const events: AuditEvent[] = [];
  const listener = (event: unknown): void => void events.push(event as AuditEvent);
  auditChannels[kind].subscribe(listener);
  return { events, [Symbol.dispose]: () => auditChannels[kind].unsubscribe(listener) };
}

/** Counts the commands that it is given. */
export class CountingRedis extends Redis {
  sent = 0;

  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    this.sent += 1;
    return super.sendCommand(...args);
  }
}
