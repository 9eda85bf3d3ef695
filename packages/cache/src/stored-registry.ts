import { EntryPages } from './entry-pages.ts';
import type { Argument } from './keyspec.ts';
import { escapeGlob, type TenantNames } from './names.ts';
import { portionsOfNames, startOf } from './portions.ts';
import { numberOf } from './raw-call.ts';
import type { RawStore } from './raw-store.ts';
import type { Wiring } from './wiring.ts';
import {
  hasFixedSlot,
  indexedName,
  isOwnTag,
  keyEntry,
  keysName,
  parseEntry,
  parseRegistryName,
  slotOf,
  slotTag,
  slotTags,
  subjectEntry,
  subjectName,
} from './registry-names.ts';

// Marks that were found to be wrong, by the client that has found it: not everybody may remove them.
const disproved = new WeakMap<Wiring, string>();

/** Some keys of a registry: what they are called in the store, and where their entries are. */
export interface EnteredKeys {
  readonly keys: readonly Buffer[];
  /** Entries of persons, with the names of their sets. */
  readonly subjects: readonly string[];
  /** Removes the entries. */
  readonly forget: () => Promise<unknown>;
}

/** What is stored about one tenant's keys, as an eraser and an auditor see it. */
export class StoredRegistry {
  readonly #raw: RawStore;
  readonly #names: TenantNames;

  constructor(raw: RawStore, names: TenantNames) {
    this.#raw = raw;
    this.#names = names;
  }

  /**
   * Whether no key of the tenant can be missing in the registry: it was completed for all tenants, and the server
   * does not evict keys that have no time to live, as registries have none.
   */
  async isComplete(): Promise<boolean> {
    return (await this.mark()) !== undefined && !(await this.#raw.mayEvict());
  }

  /** The same, unless a recount has disproved it. */
  async isTrusted(): Promise<boolean> {
    return (await this.isComplete()) && (await this.mark()) !== disproved.get(this.#raw.wiring);
  }

  /** What says that the registries were completed, another one each time; `undefined` where none were. */
  async mark(): Promise<string | undefined> {
    try {
      const mark = (await this.#raw.ask('get', this.#markName)) as Buffer | null;
      return mark?.toString();
    } catch (error) {
      // Somebody else's: it says nothing.
      if (error instanceof Error && error.message.startsWith('WRONGTYPE')) return undefined;
      throw error;
    }
  }

  /**
   * Makes everybody walk, since there is a key that no registry has led to: takes the mark away, until
   * {@link indexCache} writes another one. Where that is not permitted, this client walks.
   */
  async disprove(mark: string): Promise<void> {
    disproved.set(this.#raw.wiring, mark);
    // Another one speaks of a later completion.
    if ((await this.mark()) !== mark) return;
    try {
      await this.#raw.ask('del', this.#markName);
    } catch (error) {
      if (!(error instanceof Error && error.name === 'ReplyError')) throw error;
    }
  }

  /** The registry itself, or a person's set: as many entries as there are now, so that writers cannot prolong it. */
  async *entered(subject?: string, signal?: AbortSignal): AsyncGenerator<EnteredKeys> {
    for (const tag of await this.#used(subject)) yield* this.#entered(this.#name(subject, tag), tag, signal);
  }

  /**
   * The same of a person's sets under names that this client does not write, and then these go: left by clients that
   * did, of a Cluster that is none any more, or by somebody else. They are found by walking the keyspace.
   */
  async *strays(subject: string, signal?: AbortSignal): AsyncGenerator<EnteredKeys> {
    const names = (await this.find(subject, signal)).filter((name) => this.isStray(name));
    const types = await this.#raw.askEach(names.map((name) => ['type', name]));
    for (const [place, name] of names.entries())
      if (String(types[place]) === 'zset') yield* this.#entered(name, undefined, signal);
    await this.drop(names);
  }

  /** Whether a name that {@link StoredRegistry.find} has found is none that this client writes. */
  isStray(name: string): boolean {
    return !isOwnTag(parseRegistryName(name)?.tag, this.#names.prefix, this.#raw.isCluster);
  }

  /** Every entry once, without changing any. */
  async *all(subject: string | undefined): AsyncGenerator<readonly Buffer[]> {
    for (const tag of await this.#used(subject)) {
      const pages = await EntryPages.of(this.#raw, this.#name(subject, tag));
      for await (const entries of pages.all()) yield this.#read(entries, tag).keys;
    }
  }

  /** Forgets keys in the tenant's registry. */
  async forgetKeys(keys: readonly Buffer[]): Promise<void> {
    const byName = new Map<string, Argument[]>();
    for (const key of keys) {
      const name = keysName(this.#names.prefix, this.#tagOf(key));
      const entries = byName.get(name) ?? [];
      byName.set(name, entries);
      entries.push(keyEntry(this.#names.decode(key, 'erase')));
    }
    for (const [name, entries] of byName) await this.#remove(name, entries);
  }

  /** Forgets that there is a set of this person. */
  async forgetSubject(subject: string): Promise<void> {
    for (const tag of await this.#used(undefined))
      await this.#remove(keysName(this.#names.prefix, tag), [subjectEntry(subject)]);
  }

  /** Names of registries and sets of the tenant, or of one person of it, by walking the keyspace. */
  async find(subject?: string, signal?: AbortSignal): Promise<string[]> {
    const { prefix } = this.#names;
    const start = subject === undefined ? 'tk!*:' : `tk!subject*:${subject}:`;
    const match = start + escapeGlob(prefix);
    const found = new Set<string>();
    for await (const { keys } of this.#raw.pages({ match, ...(signal && { signal }) })) {
      for (const key of keys) {
        const name = startOf(key);
        const parsed = parseRegistryName(name);
        // A pattern with `*` also finds those of others whose prefix ends alike.
        if (parsed?.of !== prefix || parsed.kind === 'indexed') continue;
        if (subject === undefined || parsed.subject === subject) found.add(name);
      }
    }
    return [...found];
  }

  /** How many entries there are under these names. */
  async size(names: readonly string[]): Promise<number> {
    const counts = await this.#raw.tryEach(names.map((name) => ['zcard', name]));
    return counts.reduce<number>((sum, count) => sum + sizeOf(count), 0);
  }

  /** Removes registries and sets as a whole. */
  async drop(names: readonly string[]): Promise<void> {
    await this.#raw.askEach(names.map((name) => ['unlink', name]));
  }

  /** Removes what stands in the place of the registry and is none. @returns whether there was something */
  async dropBroken(): Promise<boolean> {
    const broken = await this.#typed(undefined, (type) => type !== 'zset' && type !== 'none');
    await this.drop(broken.map((tag) => this.#name(undefined, tag)));
    return broken.length > 0;
  }

  #used(subject: string | undefined): Promise<readonly (string | undefined)[]> {
    return this.#typed(subject, (type) => type === 'zset');
  }

  async #typed(
    subject: string | undefined,
    wanted: (type: string) => boolean,
  ): Promise<readonly (string | undefined)[]> {
    // Looking for 16,384 of them is for those who have them.
    const isFound = !this.#perSlot || this.#raw.wiring.tenant.index === true;
    const tags = this.#perSlot ? slotTags() : [undefined];
    if (!isFound) return [];
    const types = await this.#raw.askEach(tags.map((tag) => ['type', this.#name(subject, tag)]));
    return tags.filter((_, place) => wanted(String(types[place])));
  }

  async *#entered(
    name: string,
    tag: string | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EnteredKeys> {
    const pages = await EntryPages.of(this.#raw, name);
    for (let seen = 0; seen < pages.total;) {
      // From the beginning: what was seen has been removed.
      const entries = await pages.first(signal);
      if (entries.length === 0) break;
      seen += entries.length;
      yield { ...this.#read(entries, tag), forget: () => this.#remove(name, entries) };
    }
  }

  get #markName(): string {
    return indexedName(this.#names.template);
  }

  get #perSlot(): boolean {
    return this.#raw.isCluster && !hasFixedSlot(this.#names.prefix);
  }

  #tagOf(key: Argument): string | undefined {
    return this.#perSlot ? slotTag(slotOf(key)) : undefined;
  }

  #name(subject: string | undefined, tag: string | undefined): string {
    const { prefix } = this.#names;
    return subject === undefined ? keysName(prefix, tag) : subjectName(prefix, subject, tag);
  }

  // Of what this version has not written nothing is taken for a key.
  #read(entries: readonly Buffer[], tag: string | undefined): Pick<EnteredKeys, 'keys' | 'subjects'> {
    const keys: Buffer[] = [];
    const subjects: string[] = [];
    for (const entry of entries) {
      const parsed = parseEntry(entry);
      if (parsed === undefined) continue;
      if ('key' in parsed) {
        const key = this.#names.encode(parsed.key);
        // Nobody of ours notes a key of another slot here; together they could not be removed.
        if (tag === undefined || slotTag(slotOf(key)) === tag) keys.push(key);
      } else subjects.push(this.#name(parsed.subject, tag));
    }
    return { keys, subjects };
  }

  async #remove(name: string, entries: readonly Argument[]): Promise<void> {
    for (const some of portionsOfNames(entries)) await this.#raw.ask('zrem', name, ...some);
  }
}

// What is there in the place of a registry is left over as well.
function sizeOf(count: unknown): number {
  if (count instanceof Error && count.message.startsWith('WRONGTYPE')) return 1;
  return numberOf(count);
}
