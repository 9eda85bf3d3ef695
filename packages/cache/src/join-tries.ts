import { StoreUnreachableError } from '@tenantkit/core';
import type { ClusterOptions } from 'ioredis';
import { keyFor } from './holdings.ts';
import { asPlumbing } from './plumbing.ts';

/** What a cluster has for {@link JoinTries}. */
interface Cluster {
  readonly status: string;
  readonly options: ClusterOptions;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly timer?: NodeJS.Timeout;
}

// The text of ioredis, for whatever was sent or waits when a connection ends.
const CLOSED = 'Connection is closed.';

// What a Cluster has unless it is told otherwise.
const REDIRECTIONS = 16;
const DELAY = 100;

/**
 * Tries again what could not be joined since the connection has gone, or could not be made, as a Cluster of ioredis
 * does with a command: after `retryDelayOnFailover`, by the slots as they are then, `maxRedirections` times.
 */
export class JoinTries {
  readonly #cluster: Cluster;
  readonly #refresh: () => Promise<void>;
  readonly #waiting = new Set<Waiting>();

  /** @param refresh - asks the cluster for its nodes. Never rejects. */
  constructor(cluster: Cluster, refresh: () => Promise<void>) {
    this.#cluster = cluster;
    this.#refresh = refresh;
  }

  /**
   * Calls `join` as soon as the cluster is ready.
   *
   * @param wanted - everything that somebody wants at that moment: a further try is for those of `names` only
   */
  async run(
    names: readonly Buffer[],
    wanted: () => readonly Buffer[],
    join: (names: readonly Buffer[]) => Promise<unknown>,
  ): Promise<void> {
    if (this.#cluster.status !== 'ready') await this.#opened();
    const { maxRedirections = REDIRECTIONS, redisOptions } = this.#cluster.options;
    const until = Date.now() + (redisOptions?.commandTimeout ?? Infinity);
    let left = names;
    for (let tries = maxRedirections; left.length > 0; tries -= 1) {
      try {
        await join(left);
        return;
      } catch (error) {
        await this.#pause(error as Error, tries, until);
      }
      const still = new Set(wanted().map(keyFor));
      left = names.filter((name) => still.has(keyFor(name)));
    }
  }

  /** The cluster is ready. */
  open(): void {
    for (const { resolve } of this.#taken()) resolve();
  }

  /** The cluster has ended. */
  close(): void {
    for (const { reject } of this.#taken()) reject(new Error(CLOSED));
  }

  async #pause(error: Error, tries: number, until: number): Promise<void> {
    const { retryDelayOnFailover = DELAY } = this.#cluster.options;
    const { status } = this.#cluster;
    if (!isGone(error) || status === 'end' || !(retryDelayOnFailover > 0)) throw error;
    if (tries <= 0) throw new Error(`Too many Cluster redirections. Last error: ${String(error)}`);
    const delay = Math.min(retryDelayOnFailover, until - Date.now());
    // A cluster that is connecting again has ended what was sent as well: it goes on, or ends, with the cluster.
    if (status !== 'ready') await this.#opened();
    else if (delay > 0) await this.#passed(delay);
    if (Date.now() >= until) throw new Error('Command timed out');
  }

  #opened(): Promise<void> {
    return new Promise((resolve, reject) => this.#waiting.add({ resolve, reject }));
  }

  // Ends with the cluster, in the midst of its answer too.
  #passed(delay: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = asPlumbing(() =>
        setTimeout(async () => {
          await this.#refresh();
          // Otherwise it goes on, or ends, with the cluster.
          if (this.#cluster.status === 'ready' && this.#waiting.delete(waiting)) resolve();
        }, delay),
      );
      const waiting = { resolve, reject, timer };
      this.#waiting.add(waiting);
    });
  }

  #taken(): readonly Waiting[] {
    const taken = [...this.#waiting];
    this.#waiting.clear();
    for (const { timer } of taken) clearTimeout(timer);
    return taken;
  }
}

/** What was subscribed to on a connection ends with it: to leave it there is done. */
export async function unlessGone(left: Promise<unknown>): Promise<void> {
  try {
    await left;
  } catch (error) {
    if (!isGone(error as Error)) throw error;
  }
}

// The second one is ours, when the cluster knows of no node for it.
function isGone(error: Error): boolean {
  return error.message === CLOSED || error instanceof StoreUnreachableError;
}
