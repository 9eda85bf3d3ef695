import type { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '@tenantkit/core';

/** "tkld": tells a ledger from any other SQLite file, so that nobody's database gets our tables by mistake. */
const APPLICATION_ID = 0x746b6c64;

/** One step each; a ledger's `user_version` says how many it has. Steps are never edited, only added. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    erasure TEXT NOT NULL REFERENCES erasure (id),
    at TEXT NOT NULL,
    data TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE
  ) STRICT;
  CREATE INDEX event_of_erasure ON event (erasure, seq);
  CREATE TRIGGER event_is_not_changed BEFORE UPDATE ON event
    BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
  CREATE TRIGGER event_is_not_removed BEFORE DELETE ON event
    BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

  CREATE TABLE erasure (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    person INTEGER NOT NULL CHECK (person IN (0, 1)),
    subject TEXT,
    open INTEGER NOT NULL DEFAULT 1 CHECK (open IN (0, 1)),
    state TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX one_open_per_scope ON erasure (tenant, ifnull(subject, '')) WHERE open = 1;

  CREATE TABLE lease (
    erasure TEXT PRIMARY KEY REFERENCES erasure (id),
    owner TEXT,
    token INTEGER NOT NULL,
    until INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE checkpoint (
    erasure TEXT NOT NULL REFERENCES erasure (id),
    store TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (erasure, store)
  ) STRICT;
  `,
];

/**
 * Brings a ledger to the newest schema, in one transaction, so that two processes that open it at once do it once.
 */
export function migrate(db: DatabaseSync): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    assertLedger(db);
    for (const step of MIGRATIONS.slice(pragma(db, 'user_version'))) db.exec(step);
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}`);
    db.exec('COMMIT');
  } catch (error) {
    db.exec('ROLLBACK');
    throw error;
  }
}

/**
 * Asked before anything is changed in the file.
 *
 * @throws {@link ConfigError} when it is some other database, or was written by a newer version
 */
export function assertLedger(db: DatabaseSync): void {
  const tables = db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'];
  if (tables === 0) return;
  if (pragma(db, 'application_id') !== APPLICATION_ID) {
    throw new ConfigError({
      surface: 'erasure',
      operation: 'sqliteLedger',
      problem: 'the file is a database of something else',
      hint: 'Give the ledger a file of its own.',
    });
  }
  const version = pragma(db, 'user_version');
  if (version > MIGRATIONS.length) {
    throw new ConfigError({
      surface: 'erasure',
      operation: 'sqliteLedger',
      problem: `the ledger has schema ${version}, this version of tenantkit knows ${MIGRATIONS.length}`,
      hint: 'Upgrade @tenantkit/erasure.',
    });
  }
}

function pragma(db: DatabaseSync, name: 'user_version' | 'application_id'): number {
  return Number(db.prepare(`PRAGMA ${name}`).get()?.[name]);
}
