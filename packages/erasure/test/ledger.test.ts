import { randomUUID } from 'node:crypto';
import { chmodSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '@tenantkit/core';
import {
  ErasureConflictError,
  LeaseLostError,
  LedgerError,
  sqliteLedger,
  type EventBody,
  type Ledger,
} from '@tenantkit/erasure';
import { describe, expect, it } from 'vitest';
import { digestSubject } from '../src/subject.ts';
import { directoryEraser, fill, snapshot } from './directory.ts';
import { approved, asked, erasureOf, folder, ledgerIn, rejection } from './setup.ts';

const at = '2026-11-21T12:00:00.000Z';

async function open(ledger: Ledger, tenant: string, subject?: string): Promise<string> {
  const digest = subject === undefined ? {} : { subject: digestSubject(tenant, subject) };
  const { id } = await ledger.open({
    id: randomUUID(),
    scope: { tenant, ...(subject === undefined ? {} : { subject }) },
    at,
    requested: { type: 'requested', tenant, ...digest, ...asked },
    joined: { type: 'joined', ...asked },
  });
  return id;
}

/** Changes the file past the ledger, as somebody with the rights of its owner could. */
function alter(path: string, sql: string): void {
  const db = new DatabaseSync(join(path, 'ledger.db'));
  db.exec('DROP TRIGGER IF EXISTS event_is_not_changed; DROP TRIGGER IF EXISTS event_is_not_removed');
  db.exec(sql);
  db.close();
}

describe('the file of a ledger', () => {
  it('is for its owner only, with the files beside it', async () => {
    const path = folder();
    const ledger = ledgerIn(path);
    await open(ledger, 'acme');
    const modes = readdirSync(path).map((name) => [name, statSync(join(path, name)).mode & 0o777]);
    expect(modes).toEqual([
      ['ledger.db', 0o600],
      ['ledger.db-shm', 0o600],
      ['ledger.db-wal', 0o600],
    ]);
  });

  it('is closed to others again when it was opened to them', async () => {
    const path = folder();
    await sqliteLedger(join(path, 'ledger.db')).close();
    chmodSync(join(path, 'ledger.db'), 0o644);
    ledgerIn(path);
    expect(statSync(join(path, 'ledger.db')).mode & 0o777).toBe(0o600);
  });

  it('keeps what was written', async () => {
    const path = folder();
    const first = sqliteLedger(join(path, 'ledger.db'));
    const id = await open(first, 'acme');
    await first.close();
    expect(await ledgerIn(path).list()).toMatchObject([
      { id, tenant: 'acme', state: 'received', person: false },
    ]);
  });

  it('is refused, and left as it was, when it is a database of something else', () => {
    const path = folder();
    const file = join(path, 'app.db');
    const db = new DatabaseSync(file);
    db.exec('CREATE TABLE users (id TEXT)');
    db.close();
    chmodSync(file, 0o644);
    const before = readFileSync(file);
    expect(() => sqliteLedger(file)).toThrow(ConfigError);
    expect(readFileSync(file)).toEqual(before);
    expect(statSync(file).mode & 0o777).toBe(0o644);
  });

  it.each([
    ['no database', (file: string) => writeFileSync(file, 'x'.repeat(4_096))],
    ['in no folder', () => undefined],
  ])('is refused when it is %s', (what, prepare) => {
    const file = join(folder(), what === 'in no folder' ? 'missing/ledger.db' : 'ledger.db');
    prepare(file);
    expect(() => sqliteLedger(file)).toThrow(ConfigError);
  });

  it('is refused when a newer version wrote it', async () => {
    const path = folder();
    await sqliteLedger(join(path, 'ledger.db')).close();
    alter(path, 'PRAGMA user_version = 99');
    expect(() => sqliteLedger(join(path, 'ledger.db'))).toThrow(/schema 99.*Upgrade/);
  });

  it('holds no byte of a person who was erased', async () => {
    const path = folder();
    const root = folder();
    await fill(root, 'acme', 3, 'person-0815');
    const ledger = ledgerIn(path);
    const erasure = erasureOf([directoryEraser({ root, store: 'files' })], { ledger });
    const id = await approved(erasure, 'acme', 'person-0815');
    const bytes = (): string =>
      readdirSync(path)
        .map((name) => readFileSync(join(path, name), 'latin1'))
        .join('');
    expect(bytes()).toContain('person-0815');
    await erasure.run(id);
    expect(bytes()).not.toContain('person-0815');
    expect(bytes()).toContain(id);
  });
});

describe('the history', () => {
  it('can be added to and nothing else', async () => {
    const path = folder();
    const ledger = ledgerIn(path);
    await open(ledger, 'acme');
    const db = new DatabaseSync(join(path, 'ledger.db'));
    for (const sql of ["UPDATE event SET at = 'x'", 'DELETE FROM event']) {
      expect(() => db.exec(sql)).toThrow(/append-only/);
    }
    db.close();
    expect((await ledger.verify()).seq).toBe(1);
  });

  it.each([
    ['its time', "UPDATE event SET at = '2020-01-01T00:00:00.000Z' WHERE seq = 4"],
    ['its content', `UPDATE event SET data = replace(data, '"dpo"', '"boss"') WHERE seq = 4`],
    ['its erasure', 'UPDATE event SET erasure = (SELECT erasure FROM event WHERE seq = 1) WHERE seq = 4'],
    ['its hash', "UPDATE event SET hash = 'x' WHERE seq = 4"],
    ['its presence', 'DELETE FROM event WHERE seq = 4'],
    ['its place', 'UPDATE event SET seq = 9 WHERE seq = 4'],
  ])('shows when an entry has lost %s', async (_, sql) => {
    const path = folder();
    const ledger = ledgerIn(path);
    await open(ledger, 'acme2');
    const id = await open(ledger, 'acme');
    await ledger.append(id, [planned, { type: 'approved', by: 'dpo' }], { at });
    await open(ledger, 'a');
    expect((await ledger.verify()).seq).toBe(5);
    expect((await ledger.read(id))?.events.map(({ seq }) => seq)).toEqual([2, 3, 4]);
    alter(path, sql);
    expect(await rejection(ledger.verify())).toMatchObject({ code: 'LEDGER_FAILED', reason: 'tampered' });
  });

  it('is not built upon when one of its entries was altered', async () => {
    const path = folder();
    const ledger = ledgerIn(path);
    const id = await open(ledger, 'acme');
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })], { ledger });
    expect((await erasure.status(id)).requests).toHaveLength(1);
    alter(path, "UPDATE event SET data = replace(data, 'ops@', 'dev@')");
    for (const work of [erasure.status(id), erasure.plan(id), erasure.run(id)]) {
      expect(await rejection(work)).toMatchObject({ reason: 'tampered' });
    }
  });

  it('is walked before a certificate is signed, also where it is about others', async () => {
    const path = folder();
    const ledger = ledgerIn(path);
    await open(ledger, 'acme2');
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })], { ledger });
    const ids = [await approved(erasure, 'acme'), await approved(erasure, 'a')] as const;
    expect((await erasure.run(ids[0])).state).toBe('completed');
    alter(path, "UPDATE event SET data = replace(data, 'ops@', 'dev@') WHERE seq = 1");
    expect(await rejection(erasure.run(ids[1]))).toMatchObject({ reason: 'tampered' });
    expect((await erasure.status(ids[1])).state).toBe('verifying');
  });

  it('does not run backwards when the clock does', async () => {
    const ledger = ledgerIn(folder());
    const id = await open(ledger, 'acme');
    await ledger.append(id, [planned], { at: '2026-11-21T13:00:00.000Z' });
    await ledger.append(id, [planned], { at: '2026-11-21T12:30:00.000Z' });
    const times = (await ledger.read(id))?.events.map((event) => event.at);
    expect(times).toEqual([at, '2026-11-21T13:00:00.000Z', '2026-11-21T13:00:00.000Z']);
  });

  it('takes no event that it does not know, and then none of them', async () => {
    const ledger = ledgerIn(folder());
    const id = await open(ledger, 'acme');
    const unknown = { type: 'forgotten' } as never;
    expect(await rejection(ledger.append(id, [planned, unknown], { at }))).toBeInstanceOf(LedgerError);
    expect((await ledger.read(id))?.events).toHaveLength(1);
    await ledger.append(id, [planned], { at });
    expect((await ledger.read(id))?.events).toHaveLength(2);
  });

  it('holds no move that the table of states does not have', async () => {
    const ledger = ledgerIn(folder());
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })], { ledger });
    const id = await open(ledger, 'acme');
    await ledger.append(id, [planned], { at });
    expect((await erasure.status(id)).state).toBe('planned');
    await ledger.append(id, [{ type: 'advanced', to: 'verifying' }], { at });
    expect(await rejection(erasure.status(id))).toMatchObject({ reason: 'tampered' });
  });
});

describe('the scope beside the history', () => {
  it.each([
    ['the person is lost, who alone was to be erased', 'UPDATE erasure SET subject = NULL'],
    ['the person is another', "UPDATE erasure SET subject = 'p2'"],
    ['the tenant is another', "UPDATE erasure SET tenant = 'acme2'"],
  ])('is refused when %s', async (_, sql) => {
    const path = folder();
    const root = folder();
    for (const tenant of ['acme', 'acme2'])
      for (const person of ['p1', 'p2']) await fill(root, tenant, 2, person);
    const erasure = erasureOf([directoryEraser({ root, store: 'files' })], { ledger: ledgerIn(path) });
    const id = await approved(erasure, 'acme', 'p1');
    alter(path, sql);
    expect(await rejection(erasure.run(id))).toMatchObject({ code: 'LEDGER_FAILED', reason: 'tampered' });
    expect(await snapshot(root)).toHaveLength(8);

    alter(path, "UPDATE erasure SET subject = 'p1', tenant = 'acme'");
    expect((await erasure.run(id)).state).toBe('completed');
    expect(await snapshot(root)).toHaveLength(6);
  });
});

describe('writing at once', () => {
  it('from an older version is refused', async () => {
    const ledger = ledgerIn(folder());
    const id = await open(ledger, 'acme');
    const version = await ledger.append(id, [planned], { at, version: 1 });
    expect(await rejection(ledger.append(id, [planned], { at, version: 1 }))).toBeInstanceOf(
      ErasureConflictError,
    );
    expect(await ledger.append(id, [planned], { at, version })).toBe(version + 1);
  });

  it('through two handles opens one erasure', async () => {
    const path = folder();
    const handles = [ledgerIn(path), ledgerIn(path), ledgerIn(path)];
    const ids = await Promise.all(handles.map((ledger) => open(ledger, 'acme')));
    expect(new Set(ids).size).toBe(1);
    expect(await handles[0]?.list()).toHaveLength(1);
  });
});

describe('a lease', () => {
  const owner = JSON.stringify({ host: 'elsewhere', pid: 7 });

  it('is held by one until it ends, and its token outlives nobody', async () => {
    let now = Date.now();
    const ledger = ledgerIn(folder(), { clock: () => now });
    const id = await open(ledger, 'acme');
    const first = await ledger.acquire(id, owner, 1_000);
    if (!first.ok) throw new Error('It was free.');
    expect(await ledger.acquire(id, 'other', 1_000)).toMatchObject({ ok: false, holder: 'elsewhere:7' });

    now += 900;
    expect(await ledger.renew(first.lease, 1_000)).toBe(true);
    now += 900;
    expect(await ledger.acquire(id, 'other', 1_000)).toMatchObject({ ok: false });
    await ledger.saveCheckpoint(first.lease, 'files', 'here');
    now += 101;

    const second = await ledger.acquire(id, 'other', 1_000);
    if (!second.ok) throw new Error('It had ended.');
    expect(second.lease.token).toBeGreaterThan(first.lease.token);
    expect(await ledger.renew(first.lease, 1_000)).toBe(false);
    expect(await rejection(ledger.saveCheckpoint(first.lease, 'files', 'there'))).toBeInstanceOf(
      LeaseLostError,
    );
    expect(await rejection(ledger.append(id, [planned], { at, lease: first.lease }))).toBeInstanceOf(
      LeaseLostError,
    );
    await ledger.release(first.lease); // not its own any more: nothing happens
    expect(await ledger.loadCheckpoint(id, 'files')).toBe('here');
    await ledger.append(id, [planned], { at, lease: second.lease });
    await ledger.release(second.lease);
    expect(await rejection(ledger.append(id, [planned], { at, lease: second.lease }))).toBeInstanceOf(
      LeaseLostError,
    );
    expect(await ledger.acquire(id, owner, 1_000)).toMatchObject({ ok: true, lease: { token: 3 } });
  });

  it('of a process that lives here is not taken, whatever its owner is called', async () => {
    const ledger = ledgerIn(folder());
    const id = await open(ledger, 'acme');
    expect(await ledger.acquire(id, 'not JSON', 60_000)).toMatchObject({ ok: true });
    expect(await ledger.acquire(id, owner, 60_000)).toMatchObject({ ok: false, holder: 'another process' });
  });
});

const planned = {
  type: 'planned',
  stores: [{ store: 'files', stage: 'purge', inventory: { store: 'files', items: [], kept: [] } }],
} as const satisfies EventBody;
