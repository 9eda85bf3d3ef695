import type { IRedisClient } from 'bullmq';
import { laneKeys } from '../lanes/names.ts';
import { TouchBatch } from '../lanes/touch.ts';
import { flowClient, run } from './scripts.ts';

/** What notes of other queues are written with. */
export interface ParentTouchTarget {
  readonly prefix: string;
  /** The connection of the queue whose jobs have ended. */
  readonly client: () => Promise<IRedisClient>;
  /** Hears of a note that could not be written. */
  readonly failed: (error: unknown) => void;
}

/**
 * Notes lanes in which the end of a child may have freed its parent, in whichever logical queue: BullMQ's scripts put it
 * there, and know nothing of lanes.
 */
export class ParentTouches {
  readonly #target: ParentTouchTarget;
  readonly #queues = new Map<string, TouchBatch>();

  constructor(target: ParentTouchTarget) {
    this.#target = target;
  }

  /** To be called when the script that may have freed the parent is written, never before. */
  touch(queue: string, tenant: string): void {
    const batch = this.#queues.get(queue) ?? this.#batchOf(queue);
    batch.touch(tenant);
  }

  /** Resolves when every note up to now is written or has failed. */
  async settled(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((batch) => batch.settled()));
  }

  // One for each queue that parents of jobs were signed for: few, and never a name that somebody has only written.
  #batchOf(queue: string): TouchBatch {
    const { prefix, client, failed } = this.#target;
    const { ready, wake, lanePrefix } = laneKeys(prefix, queue);
    const batch = new TouchBatch({
      write: async (tenants) =>
        run(await flowClient({ client: client() }), 'touchFreed', [ready, wake, lanePrefix, ...tenants]),
      failed,
    });
    this.#queues.set(queue, batch);
    return batch;
  }
}
