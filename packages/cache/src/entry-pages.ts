import { PageSize } from './page-size.ts';
import { BATCH, BYTES } from './portions.ts';
import { isLate, numberOf } from './raw-call.ts';
import type { RawStore } from './raw-store.ts';

type Entries = readonly Buffer[];

/** The entries of one registry, or of one person's set, some at a time. */
export class EntryPages {
  /** How many there were at first. */
  readonly total: number;
  readonly #raw: RawStore;
  readonly #name: string;
  readonly #size: PageSize;

  /** Looks at both ends before the first page is asked for, with the command that counts: entries are in order of time. */
  static async of(raw: RawStore, name: string): Promise<EntryPages> {
    const [total, ...ends] = await raw.askEach([
      ['zcard', name],
      ['zrange', name, '0', '0'],
      ['zrange', name, '-1', '-1'],
    ]);
    const longest = Math.max(0, ...(ends as Buffer[][]).flat().map(({ length }) => length));
    return new EntryPages(raw, name, numberOf(total), new PageSize(BYTES / longest, BATCH));
  }

  private constructor(raw: RawStore, name: string, total: number, size: PageSize) {
    this.#raw = raw;
    this.#name = name;
    this.total = total;
    this.#size = size;
  }

  /** Those at the beginning; none when there are none. */
  async first(signal: AbortSignal | undefined): Promise<Entries> {
    return (await this.#read(0, signal)).entries;
  }

  /** All, while nobody changes any. */
  async *all(): AsyncGenerator<Entries> {
    for (let from = 0, isLast = false; !isLast;) {
      const { entries, asked } = await this.#read(from, undefined);
      if (entries.length > 0) yield entries;
      from += entries.length;
      isLast = entries.length < asked;
    }
  }

  /** @throws {@link StoreUnreachableError} when not even one entry comes in time */
  async #read(from: number, signal: AbortSignal | undefined): Promise<{ entries: Entries; asked: number }> {
    for (;;) {
      signal?.throwIfAborted();
      const asked = this.#size.count;
      try {
        const reply = await this.#raw.ask('zrange', this.#name, `${from}`, `${from + asked - 1}`);
        const entries = reply as Buffer[];
        this.#size.came(entries);
        return { entries, asked };
      } catch (error) {
        // Between the ends may be what neither of them has shown.
        if (!isLate(error) || !this.#size.late()) throw error;
      }
    }
  }
}
