import { isNotConnectionError } from 'bullmq';
import { ConfigError, type TenantRegistry } from '@tenantkit/core';
import type { LaneKeys } from '../lanes/names.ts';
import type { LaneStore } from '../lanes/store.ts';
import { Bell } from './bell.ts';
import { BlockedRead, type Streams, type Waiter } from './blocked.ts';
import { endsOf, registeredSince } from './scripts.ts';
import { LINGER, Sources, type Source } from './sources.ts';

/** Above so many lanes the server is asked again and again instead of waiting: to wait at 10,000 costs it 13 ms each time. */
const MOST_WAITED_AT = 500;
/** How many lanes are asked for in one command. */
const AT_ONCE = 500;
/** How many events of one lane are read before those of the others are. */
const MOST_OF_ONE = 100;
/**
 * How long to wait before all lanes are asked again, for each of them, in milliseconds: to ask costs the server 1 µs for
 * each, and where jobs end all the time it would do little else.
 */
const PAUSE_PER_LANE = 0.02;
/** The same where the server waits at all lanes: behind events, after which more may come together. */
const PAUSE_BEHIND = 0.01;
/** While an operator listens to all lanes: how often new ones are looked for, in milliseconds. */
const NEW_LANES = 1_000;
/** The same for those that were missed, since the clocks of those who register them differ. */
const ALL_LANES = 60_000;
/** After so long a stream that is none is tried again, in milliseconds. */
const ASIDE = 10_000;
/** After an error, in milliseconds: as BullMQ. */
const RETRY = 5_000;
/** The highest second part of an entry's id: 2^64 - 1, which no number holds. */
const LAST_OF_A_MS = '18446744073709551615';
/** How long listeners may keep the process before others get a turn, in milliseconds. */
const SLICE = 5;

/** What a reader works with. */
export interface ReaderParts {
  readonly store: LaneStore;
  readonly keys: LaneKeys;
  readonly fence: TenantRegistry | undefined;
  /** Where lanes are read from; where they end when it is left out. */
  readonly from: string | undefined;
  /** How long the server waits for events, in milliseconds; 0 is for ever. */
  readonly timeout: number;
  /** Whether somebody listens to this tenant; to all of them. */
  readonly wants: (tenant: string) => boolean;
  readonly wantsAll: () => boolean;
  /** Whether the lane of a tenant is here: who can write to this Redis can register others as well. */
  readonly isHere: (tenant: string) => boolean;
  readonly deliver: (tenant: string, id: string, fields: readonly string[]) => boolean;
  /** So many entries were not delivered, since they are no events of this tenant. */
  readonly refused: (tenant: string, count: number) => void;
  /** The tenant is erased. */
  readonly erased: (tenant: string) => void;
  readonly failed: (error: unknown, tenant?: string) => void;
}

/**
 * Reads the event streams of those lanes that somebody listens to, on a connection of its own: one command for all of
 * them, which is interrupted when there are others. Of each lane the last entry is remembered, so that nothing is
 * heard twice or missed over a lost connection, as long as the stream still holds it.
 */
export class Reader {
  readonly #parts: ReaderParts;
  readonly #sources: Sources;
  readonly #waiter: Waiter = { id: undefined, client: undefined };
  readonly #bell = new Bell();
  /** Tenants whose lanes were once read from {@link ReaderParts.from}. */
  readonly #replayed = new Set<string>();
  #read: BlockedRead | undefined;
  /** The id at which lanes begin that came to be after an operator has begun to listen to all. */
  #since: Promise<string> | undefined;
  #listedAt = -Infinity;
  #listedAllAt = -Infinity;
  #closed = false;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#sources = new Sources(parts.keys.lanePrefix);
  }

  /** The tenants whose lanes are read. */
  get tenants(): readonly string[] {
    return this.#sources.all().map(({ tenant }) => tenant);
  }

  /** Whether the lane of a tenant is read. */
  reads(tenant: string): boolean {
    return this.#sources.get(tenant) !== undefined;
  }

  /** To be called when somebody has begun or ceased to listen. @param tenant - `undefined` for all */
  changed(tenant: string | undefined): void {
    if (this.#closed) return;
    if (tenant === undefined) {
      if (!this.#parts.wantsAll()) return this.#prune();
      if (this.#since !== undefined) return;
      this.#beginOnce().catch(this.#parts.failed);
    } else {
      const source = this.#sources.get(tenant);
      if (!this.#parts.wants(tenant) && !this.#parts.wantsAll())
        return source === undefined ? undefined : this.#sources.rest(source);
      if (source !== undefined) return this.#sources.wake(source);
      void this.#locate([this.#sources.add(tenant)]);
    }
    this.#ring();
  }

  /** Resolves when no event of a tenant that listens can be missed any more. */
  async ready(tenant?: string): Promise<void> {
    if (this.#parts.wantsAll()) await this.#beginOnce();
    if (tenant !== undefined) await this.#sources.get(tenant)?.located;
  }

  /** Reads until it is closed. */
  async run(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#turn();
      } catch (error) {
        if (this.#closed) return;
        if (isNotConnectionError(error as Error)) this.#parts.failed(error);
        await this.#bell.within(RETRY);
      }
    }
  }

  /** Ends {@link Reader.run}, once the connection is ended. */
  close(): void {
    this.#closed = true;
    this.#sources.clear();
    this.#read?.stop();
    this.#bell.ring();
  }

  async #turn(): Promise<void> {
    this.#bell.reset();
    this.#expelErased();
    this.#sources.forget();
    if (this.#parts.wantsAll()) await this.#discover();
    await Promise.all(this.#sources.all().map((source) => source.located ?? this.#locate([source])));
    const now = performance.now();
    const all = this.#sources.all();
    // One that was added just now rings the bell.
    const sources = all.filter(({ id, asideUntil }) => id !== undefined && asideUntil <= now);
    const limits = [
      this.#parts.timeout,
      this.#parts.wantsAll() ? NEW_LANES : 0,
      sources.length < all.length ? ASIDE : 0,
      this.#sources.hasIdle ? LINGER : 0,
    ];
    const wait = Math.min(...limits.filter((limit) => limit > 0), Infinity);
    if (sources.length === 0) return this.#bell.within(wait);
    if (sources.length <= MOST_WAITED_AT) {
      const found = await this.#ask(sources, wait);
      const pause = sources.length * PAUSE_BEHIND;
      if (found === 'some' && pause >= 1) await this.#bell.within(pause);
      return;
    }
    let isFull = false;
    for (let at = 0; at < sources.length && !this.#closed; at += AT_ONCE)
      isFull = (await this.#ask(sources.slice(at, at + AT_ONCE), undefined)) === 'full' || isFull;
    if (!isFull) await this.#bell.within(sources.length * PAUSE_PER_LANE);
  }

  /**
   * @param wait - for how long the server may wait for the first event; not at all when it is left out
   * @returns `full` where there is more to be read at once
   */
  async #ask(sources: readonly Source[], wait: number | undefined): Promise<'none' | 'some' | 'full'> {
    // Somebody has begun to listen meanwhile: nobody would wake what has not begun to wait.
    if (wait !== undefined && this.#bell.isRung) return 'none';
    const { store, failed } = this.#parts;
    const read = new BlockedRead(store, this.#waiter, failed);
    this.#read = read;
    let streams: Streams;
    try {
      streams = await read.send(
        sources.map(({ key, id = '0-0' }) => ({ key, id })),
        MOST_OF_ONE,
        wait,
      );
    } catch (error) {
      if (!isWrongType(error)) throw error;
      await this.#setAside(sources);
      return 'full';
    } finally {
      this.#read = undefined;
    }
    await this.#take(sources, streams);
    if (streams.some(([, entries]) => entries.length >= MOST_OF_ONE)) return 'full';
    return streams.length > 0 ? 'some' : 'none';
  }

  async #take(sources: readonly Source[], streams: Streams): Promise<void> {
    const byKey = new Map(sources.map((source) => [source.key, source]));
    let began = performance.now();
    for (const [key, entries] of streams) {
      const source = byKey.get(key);
      if (source === undefined) continue;
      let refused = 0;
      for (const [id, fields] of entries) {
        // A listener may have taken itself away, or closed everything.
        if (this.#sources.get(source.tenant) !== source) break;
        if (this.#parts.fence?.state(source.tenant) === 'erased') break;
        source.id = id;
        if (source.idleSince !== undefined) continue;
        if (!this.#parts.deliver(source.tenant, id, fields)) refused += 1;
      }
      if (refused > 0) this.#parts.refused(source.tenant, refused);
      if (performance.now() - began < SLICE) continue;
      await new Promise((resolve) => setImmediate(resolve));
      began = performance.now();
    }
  }

  /** One key that is no stream makes the server refuse the whole command: the others are read without it. */
  async #setAside(sources: readonly Source[]): Promise<void> {
    const { ids } = await this.#ends(sources);
    for (const [at, source] of sources.entries()) {
      if (ids[at] !== '') continue;
      source.asideUntil = performance.now() + ASIDE;
      this.#parts.failed(noStream(), source.tenant);
    }
  }

  /** Finds out where the streams of lanes end. */
  #locate(sources: readonly Source[]): Promise<void> {
    const { from } = this.#parts;
    const looking = (async () => {
      const unread = sources.filter(({ tenant }) => from === undefined || this.#replayed.has(tenant));
      const { ids } = unread.length === 0 ? { ids: [] } : await this.#ends(unread);
      for (const source of sources) {
        const end = ids[unread.indexOf(source)];
        // Set aside when it is read: the server says so then.
        source.id = end === undefined ? from : end === '' ? '0-0' : end;
        if (from !== undefined) this.#replayed.add(source.tenant);
      }
    })();
    for (const source of sources) source.located = looking;
    looking.catch(() => {
      // Whoever waits for it is told; the next turn asks again.
      for (const source of sources) source.located = undefined;
    });
    return looking;
  }

  async #ends(sources: readonly Source[]): Promise<Awaited<ReturnType<typeof endsOf>>> {
    const client = await this.#parts.store.client;
    return endsOf(
      client,
      this.#parts.keys,
      sources.map(({ tenant }) => tenant),
    );
  }

  #beginOnce(): Promise<string> {
    if (this.#since !== undefined) return this.#since;
    const since = this.#begin();
    this.#since = since;
    since.catch(() => {
      // Kept, it would be the answer of a server that is back for ever.
      if (this.#since === since) this.#since = undefined;
    });
    return since;
  }

  async #begin(): Promise<string> {
    const { from } = this.#parts;
    if (from !== undefined) return from;
    const client = await this.#parts.store.client;
    const time = async (): Promise<number> => (await endsOf(client, this.#parts.keys, [])).now;
    // Ids of entries say the millisecond and no more: what was written in this one before and after cannot be told
    // apart. It is over before anybody is told that all is heard. A clock that was put back is not waited for.
    const now = await time();
    while ((await time()) === now);
    return `${now}-${LAST_OF_A_MS}`;
  }

  /** Lanes that have come to be since the last look. */
  async #discover(): Promise<void> {
    const now = performance.now();
    if (now - this.#listedAt < NEW_LANES) return;
    const id = await this.#beginOnce();
    const isAll = now - this.#listedAllAt >= ALL_LANES;
    const client = await this.#parts.store.client;
    const since = isAll ? -Infinity : Date.now() - ALL_LANES;
    const found = await registeredSince(client, this.#parts.keys, since);
    this.#listedAt = now;
    if (isAll) this.#listedAllAt = now;
    for (const tenant of found) {
      if (this.reads(tenant) || this.#parts.fence?.state(tenant) === 'erased') continue;
      if (!this.#parts.isHere(tenant)) continue;
      this.#sources.add(tenant, id);
    }
  }

  #prune(): void {
    this.#since = undefined;
    this.#listedAt = -Infinity;
    this.#listedAllAt = -Infinity;
    for (const source of this.#sources.all())
      if (!this.#parts.wants(source.tenant)) this.#sources.delete(source);
  }

  #expelErased(): void {
    const { fence, erased } = this.#parts;
    if (fence === undefined) return;
    for (const source of this.#sources.all()) {
      if (fence.state(source.tenant) !== 'erased') continue;
      this.#sources.delete(source);
      erased(source.tenant);
    }
  }

  #ring(): void {
    this.#bell.ring();
    void this.#read?.interrupt();
  }
}

function isWrongType(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('WRONGTYPE');
}

function noStream(): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'QueueEvents',
    problem: 'the key of a tenant’s events holds another thing than a stream',
    hint: 'Somebody has written to Redis past BullMQ: remove the key. Its tenant hears nothing until then.',
  });
}
