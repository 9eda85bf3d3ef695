import { StoreUnreachableError } from '@tenantkit/core';
import type { ClusterOptions, RedisOptions } from 'ioredis';
import type { Kind } from './channels.ts';
import { JoinTries, unlessGone } from './join-tries.ts';
import { Joins } from './joins.ts';
import { Subscriber, lineOptions, type Heard, type Lines } from './lines.ts';
import { asPlumbing } from './plumbing.ts';
import { slotOf } from './registry-names.ts';
import { Rejoins, isReply } from './rejoins.ts';
import { bySlot, groupBy } from './groups.ts';
import { keyFor } from './holdings.ts';

/** What a cluster has for {@link ClusterLines}. */
interface Cluster {
  readonly status: string;
  readonly options: ClusterOptions;
  /** The keys of the nodes that hold a slot, the master's first. */
  readonly slots: readonly (readonly string[] | undefined)[];
  refreshSlotsCache(callback: (error?: Error | null) => void): void;
}

interface Pool {
  getNodes(): readonly { readonly options: RedisOptions }[];
  getInstanceByKey(key: string): { readonly options: RedisOptions } | undefined;
}

// Milliseconds until another node is tried, or the same one again.
const PAUSE = 100;

// How often somebody is sent on before the cluster is taken to be at odds with itself, as with ioredis.
const REDIRECTIONS = 16;

/**
 * The lines of a cluster: one to any node, which hears all channels and patterns, and for sharded channels one to
 * each master that has some. ioredis's own subscribers of a cluster are plain clients that anybody can ask for; it
 * subscribes by texts after a reconnect, and to sharded channels on one node only unless it is told otherwise.
 */
export class ClusterLines implements Lines {
  readonly #cluster: Cluster;
  readonly #heard: Heard;
  readonly #plain: Subscriber;
  /** By the key of the node. */
  readonly #sharded = new Map<string, Subscriber>();
  /** The node on which a sharded channel is subscribed to, by the channel. */
  readonly #homes = new Map<string, string>();
  readonly #joins = new Joins();
  readonly #tries: JoinTries;
  readonly #rejoins: Rejoins;
  #timer: NodeJS.Timeout | undefined;

  constructor(cluster: object, heard: Heard) {
    this.#cluster = cluster as Cluster;
    this.#heard = heard;
    this.#tries = new JoinTries(this.#cluster, () => this.#refresh());
    this.#plain = new Subscriber(
      ['subscribe', 'psubscribe'],
      () => nodeOptions(sample(poolOf(cluster).getNodes())),
      {
        ...this.#listening(),
        wanted: (kind) => heard.wanted(kind),
      },
    );
    this.#rejoins = new Rejoins(heard, {
      join: (names) => this.#joins.run(keysFor('ssubscribe', names), () => this.#joinShards(names)),
      soon: () => this.#later(),
      again: () => void this.#retry(),
    });
    silence(cluster);
  }

  join(kind: Kind, names: readonly Buffer[]): Promise<unknown> {
    const join = async (left: readonly Buffer[]): Promise<unknown> =>
      kind === 'ssubscribe' ? this.#joinShards(left) : this.#plain.join(kind, left);
    const wanted = (): readonly Buffer[] => this.#heard.wanted(kind);
    return this.#joins.run(keysFor(kind, names), () => this.#tries.run(names, wanted, join));
  }

  async leave(kind: Kind, names: readonly Buffer[]): Promise<unknown> {
    const joined = this.#joins.ended(keysFor(kind, names));
    if (joined === undefined) return this.#leaveNow(kind, names);
    await joined;
    // What somebody has joined anew meanwhile stays.
    const left = names.filter((name) => !this.#heard.wants(kind, name));
    return this.#leaveNow(kind, left);
  }

  async #leaveNow(kind: Kind, names: readonly Buffer[]): Promise<unknown> {
    if (kind !== 'ssubscribe') return unlessGone(this.#plain.leave(kind, names));
    const homes = groupBy(names, (name) => this.#homes.get(keyFor(name)));
    for (const name of names) this.#homes.delete(keyFor(name));
    return Promise.all(
      [...homes].map(async ([home, left]) => {
        const line = home === undefined ? undefined : this.#sharded.get(home);
        if (line !== undefined) await unlessGone(line.leave(kind, left));
      }),
    );
  }

  open(): void {
    this.#tries.open();
    this.#rejoins.clear();
    this.#plain.open();
    this.#settle();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#rejoins.clear();
    this.#plain.close();
    for (const line of this.#sharded.values()) line.close();
    this.#sharded.clear();
    this.#homes.clear();
    this.#tries.close();
  }

  async #joinShards(names: readonly Buffer[]): Promise<void> {
    for (let redirections = 0; ; redirections += 1) {
      try {
        await Promise.all(
          [...groupBy(names, (name) => this.#ownerOf(name))].map(async ([owner, own]) => {
            await this.#lineTo(owner).join('ssubscribe', own);
            for (const name of own) this.#homes.set(keyFor(name), owner ?? '');
          }),
        );
        return;
      } catch (error) {
        if (!(error as Error).message.startsWith('MOVED ') || redirections === REDIRECTIONS) throw error;
        await this.#refresh();
      }
    }
  }

  // Brings every sharded channel that has lost its node to the one that has its slot now.
  #settle(): void {
    const wanted = this.#heard.wanted('ssubscribe');
    const lost = this.#rejoins.due(wanted).filter((name) => !this.#homes.has(keyFor(name)));
    if (lost.length === 0 || this.#cluster.status !== 'ready') return;
    void this.#rejoins.begin(lost);
  }

  // After a node has gone, or has said that it no longer has a slot.
  #later(): void {
    this.#timer ??= asPlumbing(() =>
      setTimeout(() => {
        this.#timer = undefined;
        void this.#retry();
      }, PAUSE),
    );
  }

  async #retry(): Promise<void> {
    // Otherwise `open` does it, when the cluster is there again.
    if (this.#cluster.status !== 'ready') return;
    await this.#refresh();
    // It may have ended or lost all of its nodes meanwhile: there is none to connect to.
    if (this.#cluster.status !== 'ready') return;
    this.#plain.open();
    this.#settle();
  }

  #lineTo(owner: string | undefined): Subscriber {
    const key = owner ?? '';
    let line = this.#sharded.get(key);
    if (line === undefined) {
      const forget = (): void => {
        for (const [name, home] of this.#homes) if (home === key) this.#homes.delete(name);
        this.#later();
      };
      const options = (): RedisOptions => nodeOptions(poolOf(this.#cluster).getInstanceByKey(key));
      line = new Subscriber(
        ['ssubscribe'],
        options,
        {
          ...this.#listening(),
          ended: forget,
          moved: forget,
          wanted: () => this.#heard.wanted('ssubscribe').filter((name) => this.#ownerOf(name) === key),
        },
        bySlot,
      );
      this.#sharded.set(key, line);
    }
    return line;
  }

  // Another node is tried when one cannot be reached, which the cluster itself tells about.
  #listening(): Omit<Heard, 'wanted'> {
    return {
      wants: (kind, name) => this.#heard.wants(kind, name),
      message: (...parts) => this.#heard.message(...parts),
      error: (error) => {
        if (isReply(error)) this.#heard.error(error);
      },
      again: (names) => this.#heard.again(names),
      ended: () => this.#later(),
      moved: () => undefined,
    };
  }

  #ownerOf(name: Buffer): string | undefined {
    return this.#cluster.slots[slotOf(name)]?.[0];
  }

  // A failure is told by the cluster, and what is known stays.
  #refresh(): Promise<void> {
    return new Promise((resolve) => asPlumbing(() => this.#cluster.refreshSlotsCache(() => resolve())));
  }
}

// What ioredis starts and stops with a cluster.
function silence(cluster: object): void {
  const nothing = { start: ignore, stop: ignore, isStarted: () => false, getInstance: () => null };
  Object.defineProperty(cluster, 'subscriber', { value: Object.freeze(nothing), writable: false });
}

function poolOf(cluster: object): Pool {
  return (cluster as { connectionPool: Pool }).connectionPool;
}

function nodeOptions(node: { readonly options: RedisOptions } | undefined): RedisOptions {
  if (node === undefined)
    throw new StoreUnreachableError({
      surface: 'cache',
      operation: 'subscribe',
      target: 'a node of the cluster',
    });
  // Another node may be there when this one is not.
  return lineOptions(node.options, { retryStrategy: () => null, readOnly: false });
}

function sample<T>(items: readonly T[]): T | undefined {
  return items[Math.floor(Math.random() * items.length)];
}

function keysFor(kind: Kind, names: readonly Buffer[]): string[] {
  return names.map((name) => `${kind} ${keyFor(name)}`);
}

function ignore(): void {
  // There is nothing to do.
}
