import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { ConfigError } from '@tenantkit/core';
import { LedgerError, isErasureError } from './errors.ts';
import { assertLedger, migrate } from './schema.ts';

/** How long a statement waits for another process's transaction, in milliseconds. */
const BUSY_TIMEOUT = 5_000;

/** Only its owner: a ledger names tenants, the people who asked, and those who have to be forgotten. */
const FILE_MODE = 0o600;

// FULL: with NORMAL a power cut may lose the last transactions of a WAL, and a purge would have begun of which the
// ledger knows nothing. secure_delete: the id of a person who was erased leaves no bytes behind.
const PRAGMAS =
  'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF';

/** A value of a column, and what a row looks like. */
export type Value = string | number | null;
/** See {@link Value}. */
export type Row = Readonly<Record<string, unknown>>;

/** A SQLite file with transactions, prepared statements and our errors. */
export class Database {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(file: string) {
    this.#db = openFile(file);
  }

  /** One transaction that writes: all of `work` or nothing. */
  write<T>(operation: string, work: () => T): T {
    // IMMEDIATE: a transaction that begins by reading and then writes fails at once when another one wrote in
    // between, without waiting for the busy timeout.
    return this.#transaction(operation, 'BEGIN IMMEDIATE', work);
  }

  /** One transaction that reads: all of `work` sees the same moment. */
  read<T>(operation: string, work: () => T): T {
    return this.#transaction(operation, 'BEGIN', work);
  }

  get(sql: string, ...values: readonly Value[]): Row | undefined {
    return this.#statement(sql).get(...values);
  }

  all(sql: string, ...values: readonly Value[]): readonly Row[] {
    return this.#statement(sql).all(...values);
  }

  iterate(sql: string): Iterable<Row> {
    return this.#statement(sql).iterate() as Iterable<Row>;
  }

  /** How many rows were changed. */
  run(sql: string, ...values: readonly Value[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  /** Empties the write-ahead log, unless somebody reads from it: then the next one does. */
  truncateLog(): void {
    this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }

  #transaction<T>(operation: string, begin: string, work: () => T): T {
    try {
      this.#db.exec(begin);
      try {
        const result = work();
        this.#db.exec('COMMIT');
        return result;
      } catch (error) {
        this.#rollback();
        throw error;
      }
    } catch (error) {
      if (isErasureError(error)) throw error;
      throw new LedgerError({
        operation,
        reason: 'unusable',
        problem: 'the operation could not be done',
        hint: 'See the cause; nothing was written. A file that is busy is free again when the other process is done.',
        cause: error,
      });
    }
  }

  #rollback(): void {
    try {
      this.#db.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back by itself (disk full, I/O error); the error that led here tells more.
    }
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql) ?? this.#db.prepare(sql);
    this.#statements.set(sql, known);
    return known;
  }
}

function openFile(file: string): DatabaseSync {
  const inMemory = file === ':memory:';
  try {
    // Made by us with its mode: SQLite would make it readable by everybody, and gives the files beside it
    // (-wal, -shm) the mode that the database file has.
    if (!inMemory) closeSync(openSync(file, 'a', FILE_MODE));
    const db = new DatabaseSync(file);
    try {
      db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
      assertLedger(db);
      if (!inMemory && (statSync(file).mode & 0o077) !== 0) chmodSync(file, FILE_MODE);
      db.exec(PRAGMAS);
      migrate(db);
    } catch (error) {
      db.close();
      throw error;
    }
    return db;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError({
      surface: 'erasure',
      operation: 'sqliteLedger',
      problem: 'the ledger file cannot be opened',
      hint: 'Check that its folder is there and writable, and that the file is a tenantkit ledger.',
      cause: error,
    });
  }
}
