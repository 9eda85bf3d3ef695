import { type EraseRun, type InventoryItem } from '@tenantkit/core';
import {
  CONTROL_SECONDS,
  MAX_PASSES,
  dropControl,
  isIndexed,
  isStopped,
  untilForgotten,
  type Erasable,
  type Progress,
} from './erase-tenant.ts';
import { controlKeys, controlOf } from './control.ts';
import { escapeGlob, type TenantNames } from './names.ts';
import { idOf } from './portions.ts';
import type { RawStore } from './raw-store.ts';
import { keyEntry, slotOf, slotTag, hasFixedSlot, subjectName } from './registry-names.ts';
import { unlinkKeys } from './raw-call.ts';
import { StoredRegistry } from './stored-registry.ts';

const TOKEN = '{subject}';

/**
 * One person of a tenant: the keys in the person's set, and those whose names match the patterns.
 *
 * A key that was written for two persons is removed with the first of them: nobody can tell what in it is about
 * whom, and a key that stays would keep data of somebody who was erased.
 */
export class SubjectStore implements Erasable {
  readonly #raw: RawStore;
  readonly #subject: string;
  readonly #names: TenantNames;
  readonly #registry: StoredRegistry;

  constructor(raw: RawStore, names: TenantNames, subject: string) {
    this.#raw = raw;
    this.#subject = subject;
    this.#names = names;
    this.#registry = new StoredRegistry(raw, names);
  }

  async count(): Promise<InventoryItem[]> {
    const keys: InventoryItem = { kind: 'keys', count: await this.#countKeys() };
    if (!isIndexed(this.#raw)) return [keys];
    const names = await this.#registry.find(this.#subject);
    return [keys, { kind: 'entries', count: await this.#registry.size(names) }];
  }

  recount(): Promise<InventoryItem[]> {
    return this.count();
  }

  async erase({ signal }: EraseRun, progress: Progress): Promise<void> {
    const indexed = isIndexed(this.#raw);
    let waited = !indexed || isStopped(this.#raw, this.#names.tenant);
    // What stands in the place of the set and is none stays: nobody knows what the set has named, as the recount tells.
    const removed = new Map<string, Buffer>();
    for (let pass = 1; pass <= MAX_PASSES; pass += 1) {
      let found = 0;
      for await (const keys of this.#pages(signal, pass === 1)) {
        found += keys.length;
        for (const key of keys) removed.set(idOf(key), key);
        await progress.add(await this.#remove(keys));
      }
      if (indexed) await this.#registry.forgetSubject(this.#subject);
      if (found > 0) continue;
      if (waited) break;
      // Whoever took an entry for written may have written one of these keys again without a new one.
      await untilForgotten(signal);
      waited = true;
      await progress.add(await this.#remove([...removed.values()]));
    }
  }

  async control(): ReturnType<Erasable['control']> {
    const raw = this.#raw;
    const names = await controlOf(raw, this.#names);
    const control = new SubjectStore(raw, names, this.#subject);
    const planted = new Set(this.#patterns().flatMap((pattern) => controlsOf(raw, names, pattern)));
    const entered = isIndexed(raw) ? controlKeys(raw, names) : [];
    for (const key of entered) planted.add(key);
    const keys = [...planted].map((key) => names.encode(key));
    try {
      await raw.askEach(keys.map((key) => ['set', key, '1', 'EX', `${CONTROL_SECONDS}`]));
      for (const key of entered) await control.#enter(key);
      return {
        planted: keys.length,
        found: await control.#countKeys(),
        method: this.#method(),
      };
    } finally {
      await raw.askEach(keys.map((key) => ['unlink', key]));
      await control.#registry.drop(entered.map((key) => control.#setOf(key)));
      await dropControl(raw, names);
    }
  }

  // It goes into certificates: they must not tell of a set that nobody has kept.
  #method(): string {
    const indexed = isIndexed(this.#raw);
    const places = [
      ...(indexed ? ['in the set of the person'] : []),
      ...(this.#patterns().length > 0 ? ['for every pattern'] : []),
    ];
    const done = `keys of a throw-away tenant were written where the tenant’s may be, ${places.join(' and ')}, found in the same way, and removed`;
    return indexed
      ? done
      : `${done}; without index no set of the person is kept, and other names were not looked at`;
  }

  // Keys that are there, each once: a set also names keys that have expired.
  async #countKeys(): Promise<number> {
    const keys = new Map<string, Buffer>();
    if (isIndexed(this.#raw)) {
      for await (const some of this.#registry.all(this.#subject))
        for (const key of some) keys.set(idOf(key), key);
    }
    for await (const some of this.#matching()) for (const key of some) keys.set(idOf(key), key);
    return sumOf(await this.#raw.numbers([...keys.values()].map((key) => ['exists', key])));
  }

  async *#pages(signal: AbortSignal, isFirst: boolean): AsyncGenerator<readonly Buffer[]> {
    if (isIndexed(this.#raw)) {
      const sets = [this.#registry.entered(this.#subject, signal)];
      if (isFirst) sets.push(this.#registry.strays(this.#subject, signal));
      for (const set of sets) {
        for await (const { keys, forget } of set) {
          yield keys;
          await forget();
        }
      }
    }
    yield* this.#matching(signal);
  }

  async *#matching(signal?: AbortSignal): AsyncGenerator<readonly Buffer[]> {
    for (const pattern of this.#patterns()) {
      if (!/[*?]/.test(pattern)) {
        const key = Buffer.from(this.#names.encode(pattern));
        if ((await this.#raw.number('exists', key)) === 1) yield [key];
        continue;
      }
      // Of a glob only `*` and `?` have a meaning here.
      const match = this.#names.glob(escapeGlob(pattern).replace(/\\([*?])/g, '$1'));
      for await (const { keys } of this.#raw.pages({ match, ...(signal && { signal }) })) yield keys;
    }
  }

  async #remove(keys: readonly Buffer[]): Promise<number> {
    const removed = this.#raw.isCluster
      ? sumOf(await this.#raw.numbers(keys.map((key) => ['unlink', key])))
      : await unlinkKeys(this.#raw, keys);
    if (isIndexed(this.#raw)) await this.#registry.forgetKeys(keys);
    return removed;
  }

  #patterns(): string[] {
    const { subjects = [] } = this.#raw.wiring.tenant;
    return subjects.map((pattern) => pattern.replace(TOKEN, () => this.#subject));
  }

  #setOf(key: string): string {
    const { prefix } = this.#names;
    const perSlot = this.#raw.isCluster && !hasFixedSlot(prefix);
    const tag = perSlot ? slotTag(slotOf(this.#names.encode(key))) : undefined;
    return subjectName(prefix, this.#subject, tag);
  }

  async #enter(key: string): Promise<void> {
    await this.#raw.ask('zadd', this.#setOf(key), `${Date.now()}`, keyEntry(key));
  }
}

// A pattern with a star matches names in any slot; any other one is a single name, or nearly so.
function controlsOf(raw: RawStore, names: TenantNames, pattern: string): string[] {
  const nameOf = (label: string): string => pattern.replace(/\*/g, label).replace(/\?/g, 'c');
  return pattern.includes('*') ? controlKeys(raw, names, nameOf) : [nameOf('')];
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
