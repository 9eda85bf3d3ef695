import { publish, type EraseRun, type InventoryItem, type TenantState } from '@tenantkit/core';
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from './client.ts';
import { controlKeys, controlOf } from './control.ts';
import type { TenantNames } from './names.ts';
import type { RawStore } from './raw-store.ts';
import { notEntered } from './audit-registry.ts';
import { BELIEF } from './beliefs.ts';
import { idOf, isFull } from './portions.ts';
import { unlinkKeys } from './raw-call.ts';
import { StoredRegistry } from './stored-registry.ts';

/** What an eraser does to one tenant, or one person. */
export interface Erasable {
  /** What is there: keys, and the entries that name them. */
  count(): Promise<InventoryItem[]>;
  /** Counts again when an erasure has ended, and tells the next one what it has passed by. */
  recount(): Promise<InventoryItem[]>;
  erase(run: EraseRun, progress: Progress): Promise<void>;
  /** Plants what {@link Erasable.count} has to find, and counts. */
  control(): Promise<{ readonly planted: number; readonly found: number; readonly method: string }>;
}

/** The same in several places, one after the other: what is left in one of them is left. */
export class Everywhere implements Erasable {
  readonly #places: readonly Erasable[];

  constructor(places: readonly Erasable[]) {
    this.#places = places;
  }

  count(): Promise<InventoryItem[]> {
    return this.#sum((place) => place.count());
  }

  recount(): Promise<InventoryItem[]> {
    return this.#sum((place) => place.recount());
  }

  async erase(run: EraseRun, progress: Progress): Promise<void> {
    for (const place of this.#places) await place.erase(run, progress);
  }

  async control(): ReturnType<Erasable['control']> {
    const controls = [];
    for (const place of this.#places) controls.push(await place.control());
    const method = controls[0]?.method ?? '';
    return {
      planted: controls.reduce((sum, { planted }) => sum + planted, 0),
      found: controls.reduce((sum, { found }) => sum + found, 0),
      method: controls.length === 1 ? method : `in each of ${controls.length} places: ${method}`,
    };
  }

  async #sum(itemsOf: (place: Erasable) => Promise<InventoryItem[]>): Promise<InventoryItem[]> {
    const counts = new Map<string, number>();
    for (const place of this.#places)
      for (const { kind, count } of await itemsOf(place)) counts.set(kind, (counts.get(kind) ?? 0) + count);
    return [...counts].map(([kind, count]) => ({ kind, count }));
  }
}

/** How far an erasure is, over all of its runs. */
export interface Progress {
  /** Whether an earlier run came to its end: it is run again because the recount has found something. */
  readonly again: boolean;
  add(removed: number): Promise<void>;
}

// Somebody who writes all the time is stopped by the fence, not by an eraser that never ends.
export const MAX_PASSES = 10;

export const CONTROL_SECONDS = 300;

// Longer than a client takes an entry that was removed for one that is there, and than its command takes.
const FORGOTTEN = BELIEF + 250;

/** All of a tenant: by its registry, and by walking the keyspace unless the registry is known to name every key. */
export class TenantStore implements Erasable {
  readonly #raw: RawStore;
  readonly #names: TenantNames;
  readonly #registry: StoredRegistry;

  constructor(raw: RawStore, tenant: string) {
    this.#raw = raw;
    this.#names = raw.wiring.guard.names.of(tenant);
    this.#registry = new StoredRegistry(raw, this.#names);
  }

  async count(): Promise<InventoryItem[]> {
    const keys: InventoryItem = { kind: 'keys', count: await this.#countOf(this.#names) };
    if (!isIndexed(this.#raw)) return [keys];
    return [keys, { kind: 'entries', count: await this.#registry.size(await this.#registry.find()) }];
  }

  /** Finds more than the registry has led to: then that is not complete, and the next erasure must not go by it. */
  async recount(): Promise<InventoryItem[]> {
    const mark = isIndexed(this.#raw) ? await this.#registry.mark() : undefined;
    if (mark === undefined) return this.count();
    let isDisproved = false;
    const keys = await this.#countOf(this.#names, async (some) => {
      if (!isDisproved) isDisproved = await this.#isPassedBy(some);
    });
    const names = await this.#registry.find();
    const entries = await this.#registry.size(names);
    // Under any other name than this client writes, only a walk finds a registry.
    if (isDisproved || names.some((name) => this.#registry.isStray(name))) {
      await this.#registry.disprove(mark);
      publish('erasure', {
        surface: 'cache',
        operation: 'verify',
        message: 'Something is in no registry: erasures walk the keyspace until indexCache has run again.',
        tenant: this.#names.tenant,
        actor: 'tenantkit/cacheEraser',
      });
    }
    return [
      { kind: 'keys', count: keys },
      { kind: 'entries', count: entries },
    ];
  }

  async erase({ signal }: EraseRun, progress: Progress): Promise<void> {
    const state = stateOf(this.#raw, this.#names.tenant);
    const stopped = isStopped(this.#raw, this.#names.tenant);
    const indexed = isIndexed(this.#raw);
    // Behind the fence nobody writes any more, and what a client believes to be in a registry does not matter.
    const broken = await this.#registry.dropBroken();
    // What an erased tenant still has, or has again, came past all of this.
    const mayTrust = state === 'frozen' && !broken && indexed && !progress.again;
    const complete = mayTrust && (await this.#registry.isTrusted());
    let waited = stopped || !indexed;
    for (let pass = 1; pass <= MAX_PASSES; pass += 1) {
      let found = await this.#eraseEntered(signal, progress);
      if (!complete) found += await this.#eraseWalked(signal, progress, indexed);
      // Where nobody writes and no slot moves, a walk passes by nothing.
      if (stopped && !this.#raw.isCluster && !complete) break;
      if (found > 0) continue;
      if (waited) break;
      // A client that still takes an entry for written may have written its key meanwhile.
      await untilForgotten(signal);
      waited = true;
    }
  }

  async control(): ReturnType<Erasable['control']> {
    const names = await controlOf(this.#raw, this.#names);
    const keys = controlKeys(this.#raw, names).map((key) => names.encode(key));
    try {
      // They expire by themselves, should this process end before they are removed.
      await this.#raw.askEach(keys.map((key) => ['set', key, '1', 'EX', `${CONTROL_SECONDS}`]));
      return {
        planted: keys.length,
        found: await this.#countOf(names),
        method:
          'keys of a throw-away tenant were written where the tenant’s may be, found by the same SCAN over all masters, and removed',
      };
    } finally {
      await this.#raw.askEach(keys.map((key) => ['unlink', key]));
      await dropControl(this.#raw, names);
    }
  }

  async #eraseEntered(signal: AbortSignal, progress: Progress): Promise<number> {
    let found = 0;
    for await (const { keys, subjects, forget } of this.#registry.entered(undefined, signal)) {
      found += keys.length;
      // Of all persons, whose names are in these.
      await unlinkKeys(this.#raw, subjects);
      await progress.add(await unlinkKeys(this.#raw, keys));
      await forget();
    }
    return found;
  }

  async #eraseWalked(signal: AbortSignal, progress: Progress, indexed: boolean): Promise<number> {
    let found = 0;
    let waiting: { readonly node: Redis; keys: Buffer[] } | undefined;
    const remove = async (): Promise<void> => {
      if (waiting !== undefined) await progress.add(await this.#raw.unlink(waiting));
      waiting = undefined;
    };
    // Few keys of a page are this tenant's: they go together.
    for await (const { node, keys } of this.#raw.pages({ match: this.#names.glob('*'), signal })) {
      found += keys.length;
      if (waiting !== undefined && waiting.node !== node) await remove();
      waiting ??= { node, keys: [] };
      waiting.keys.push(...keys);
      if (isFull(waiting.keys)) await remove();
    }
    await remove();
    const names = indexed ? await this.#registry.find(undefined, signal) : [];
    await this.#registry.drop(names);
    return found + names.length;
  }

  /** Whether one of these keys was there without an entry: a key that is gone may have lost its own since. */
  async #isPassedBy(keys: readonly Buffer[]): Promise<boolean> {
    const missing = await notEntered(this.#raw, this.#names, keys);
    const there = await this.#raw.numbers(missing.map((key) => ['exists', key]));
    return there.includes(1);
  }

  // A walk may meet a key twice, when the server resizes its table meanwhile.
  async #countOf(tenant: TenantNames, look?: (keys: readonly Buffer[]) => Promise<void>): Promise<number> {
    const keys = new Set<string>();
    for await (const page of this.#raw.pages({ match: tenant.glob('*') })) {
      await look?.(page.keys);
      for (const key of page.keys) keys.add(idOf(key));
    }
    return keys.size;
  }
}

/** Waits until no client takes an entry that was removed for one that is there. */
export async function untilForgotten(signal: AbortSignal): Promise<void> {
  await delay(FORGOTTEN, undefined, { signal });
}

/** Removes what the registry of a throw-away tenant has noted. */
export async function dropControl(raw: RawStore, names: TenantNames): Promise<void> {
  if (!isIndexed(raw)) return;
  for await (const { subjects, forget } of new StoredRegistry(raw, names).entered()) {
    await unlinkKeys(raw, subjects);
    await forget();
  }
}

export function isIndexed(raw: RawStore): boolean {
  return raw.wiring.tenant.index === true;
}

type KnownState = TenantState | 'unknown' | undefined;

const STOPPED: ReadonlySet<KnownState> = new Set(['frozen', 'erased']);

/** Whether the fence keeps everybody from writing for the tenant. */
export function isStopped(raw: RawStore, tenant: string): boolean {
  return STOPPED.has(stateOf(raw, tenant));
}

function stateOf(raw: RawStore, tenant: string): KnownState {
  return raw.wiring.guard.fence?.state(tenant);
}
