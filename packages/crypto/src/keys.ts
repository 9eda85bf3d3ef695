import type { KeyObject } from 'node:crypto';
import { LABELS, hkdf, intoKey, lengthPrefixed } from './derive.ts';
import { SUITE, header } from './format.ts';
import { Lru } from './lru.ts';
import type { LiveRecord } from './record.ts';

/** A moment, by both clocks. */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

export function now(): Moment {
  return { monotonic: performance.now(), wall: Date.now() };
}

/** The key of one column in one epoch, and the bytes that everything under it is bound to. */
export interface ColumnKey {
  readonly key: KeyObject;
  readonly epoch: number;
  /** Length-prefixed header, tenant, table and column; a row's bytes follow. */
  readonly context: Buffer;
}

/** Milliseconds between two searches for epochs that are not there; a rotation elsewhere is seen after them. */
const SEARCH_EVERY = 1_000;

/**
 * One tenant's unwrapped secrets, as KeyObjects: no secret stays in a Buffer. After {@link TenantKeys.drop}
 * nothing can be derived any more, whoever still holds this object. Keys that were merely evicted are not dropped:
 * a call that has them in hand still ends.
 */
export class TenantKeys {
  readonly tenant: string;
  readonly revision: number;
  /** The epoch that encrypts. */
  readonly newest: number;
  /** An epoch that a synchronous call could not look for: the next load does. */
  wanted: number | undefined;
  readonly #secrets: Map<number, KeyObject>;
  readonly #columns: Lru<string, ColumnKey>;
  #readAt: Moment;
  #searchedAt = -Infinity;

  constructor(record: LiveRecord, secrets: Map<number, KeyObject>, readAt: Moment, maxColumns: number) {
    this.tenant = record.tenant;
    this.revision = record.revision;
    this.newest = record.epochs.at(-1)?.epoch ?? 0;
    this.#secrets = secrets;
    this.#columns = new Lru(maxColumns);
    this.#readAt = readAt;
  }

  get dropped(): boolean {
    return this.#secrets.size === 0;
  }

  /**
   * How long ago the store was asked, in milliseconds. The greater of what two clocks say: the monotonic one
   * stands still while the machine is suspended, the wall clock can be set; one that was set back counts as
   * for ever.
   */
  get age(): number {
    const wall = Date.now() - this.#readAt.wall;
    return wall < 0 ? Infinity : Math.max(wall, performance.now() - this.#readAt.monotonic);
  }

  /** The store was asked again, and had nothing new. */
  renew(readAt: Moment): void {
    this.#readAt = readAt;
  }

  /**
   * Whether the store has to be asked before it can be said that `epoch` does not exist. After one search none
   * is made for a while, whichever epoch it was for: a header is anybody's to write, and a read of the store per
   * forged one would be an amplifier.
   */
  mustSearch(epoch: number | undefined): boolean {
    return epoch !== undefined && epoch > this.newest && performance.now() - this.#searchedAt >= SEARCH_EVERY;
  }

  /** The store was asked for an epoch that is not among these. */
  searched(at: Moment): void {
    this.#searchedAt = at.monotonic;
  }

  /** The key of a column, or `undefined` when there is no such epoch. */
  column(epoch: number, table: string, column: string): ColumnKey | undefined {
    const id = `${epoch}:${table.length}:${table}${column}`;
    const held = this.#columns.get(id);
    if (held !== undefined) return held;
    const secret = this.#secrets.get(epoch);
    if (secret === undefined) return undefined;
    const derived = columnKey(secret, { tenant: this.tenant, epoch, table, column });
    this.#columns.set(id, derived);
    return derived;
  }

  drop(): void {
    this.#secrets.clear();
    this.#columns.clear();
  }
}

/** Derives the key of a column from a tenant's secret; see docs/crypto-format.md. */
export function columnKey(
  secret: KeyObject,
  { tenant, epoch, table, column }: { tenant: string; epoch: number; table: string; column: string },
): ColumnKey {
  const info = lengthPrefixed(LABELS.column, SUITE_BYTE, tenant, table, column);
  return {
    key: intoKey(hkdf('sha512', secret, info, 32)),
    epoch,
    context: lengthPrefixed(header(epoch), tenant, table, column),
  };
}

const SUITE_BYTE = Buffer.of(SUITE);
