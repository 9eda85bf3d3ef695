import { Database, type Row } from './database.ts';
import { ErasureConflictError, LeaseLostError, LedgerError } from './errors.ts';
import { GENESIS, bodySchema, chainHash, movesTo, type EventBody, type LedgerEvent } from './events.ts';
import type { AppendGuard, ErasureSummary, Lease, Ledger, LedgerEntry, LedgerHead } from './ledger.ts';
import { isGone, showOwner } from './owner.ts';
import { STATES, isTerminal, type ErasureState } from './states.ts';

/** Options of {@link sqliteLedger}. */
export interface SqliteLedgerOptions {
  /** Now, in milliseconds since the epoch, for leases. Default `Date.now`. */
  readonly clock?: () => number;
}

/**
 * A ledger in one SQLite file, through `node:sqlite`. Several processes of one machine may share it; it must not
 * lie on a network file system, where SQLite's locks do not hold.
 *
 * @param file - path of the file, made with mode 0600 when it is not there; `:memory:` keeps nothing
 * @throws {@link ConfigError} when the file cannot be opened, is not a ledger, or was written by a newer version
 *
 * @example
 * ```ts
 * import { sqliteLedger } from '@tenantkit/erasure';
 * const ledger = sqliteLedger('/var/lib/tenantkit/erasures.db');
 * ```
 */
export function sqliteLedger(file: string, { clock = Date.now }: SqliteLedgerOptions = {}): Ledger {
  return new SqliteLedger(new Database(file), clock);
}

class SqliteLedger implements Ledger {
  readonly #db: Database;
  readonly #clock: () => number;

  constructor(db: Database, clock: () => number) {
    this.#db = db;
    this.#clock = clock;
  }

  async open({
    id,
    scope,
    at,
    requested,
    joined,
  }: Parameters<Ledger['open']>[0]): ReturnType<Ledger['open']> {
    return this.#db.write('open', () => {
      const subject = scope.subject ?? null;
      const found = this.#db.get(
        'SELECT id FROM erasure WHERE tenant = ? AND subject IS ? AND open = 1',
        scope.tenant,
        subject,
      );
      if (found !== undefined) {
        const existing = text(found['id']);
        this.#insert(existing, [joined], at);
        return { id: existing, joined: true };
      }
      this.#db.run(
        'INSERT INTO erasure (id, tenant, person, subject, state, requested_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
        id,
        scope.tenant,
        subject === null ? 0 : 1,
        subject,
        'received',
        at,
        at,
      );
      this.#insert(id, [requested], at);
      return { id, joined: false };
    });
  }

  async append(
    id: string,
    events: readonly EventBody[],
    { at, version, lease }: AppendGuard,
  ): Promise<number> {
    const appended = this.#db.write('append', () => {
      if (lease !== undefined) this.#assertLease(lease);
      const last = this.#db.get('SELECT max(seq) AS seq FROM event WHERE erasure = ?', id)?.['seq'];
      if (version !== undefined && last !== version) {
        throw new ErasureConflictError({
          operation: 'append',
          erasure: id,
          what: 'The erasure was changed by somebody else meanwhile',
        });
      }
      return this.#insert(id, events, at);
    });
    // Without this the person's id would stay in the write-ahead log until something else fills it.
    if (events.some(ends)) this.#db.truncateLog();
    return appended;
  }

  async read(id: string): Promise<LedgerEntry | undefined> {
    return this.#db.read('read', () => {
      const row = this.#db.get('SELECT tenant, subject FROM erasure WHERE id = ?', id);
      if (row === undefined) return undefined;
      // The entry before each one is read with it: an entry that was altered does not fit its own hash.
      const rows = this.#db.all(
        'SELECT e.seq, e.erasure, e.at, e.data, e.hash, p.hash AS previous FROM event e LEFT JOIN event p ON p.seq = e.seq - 1 WHERE e.erasure = ? ORDER BY e.seq',
        id,
      );
      const events = rows.map((stored) => toEvent(stored, optionalText(stored['previous']) ?? GENESIS));
      const subject = optionalText(row['subject']);
      return {
        scope: { tenant: text(row['tenant']), ...(subject === undefined ? {} : { subject }) },
        events,
      };
    });
  }

  async list(): Promise<readonly ErasureSummary[]> {
    return this.#db.read('list', () =>
      this.#db
        .all(
          'SELECT id, tenant, person, state, requested_at, updated_at FROM erasure ORDER BY requested_at DESC, id',
        )
        .map((row) => ({
          id: text(row['id']),
          tenant: text(row['tenant']),
          person: row['person'] === 1,
          state: toState(text(row['state'])),
          requestedAt: text(row['requested_at']),
          updatedAt: text(row['updated_at']),
        })),
    );
  }

  async acquire(id: string, owner: string, ttl: number): ReturnType<Ledger['acquire']> {
    return this.#db.write('acquire', () => {
      const held = this.#db.get('SELECT owner, until FROM lease WHERE erasure = ? AND owner IS NOT NULL', id);
      if (held !== undefined) {
        const [holder, until] = [text(held['owner']), Number(held['until'])];
        if (until > this.#clock() && !isGone(holder)) {
          return { ok: false, holder: showOwner(holder), until: iso(until) };
        }
      }
      const until = this.#clock() + ttl;
      const row = this.#db.get(
        'INSERT INTO lease (erasure, owner, token, until) VALUES (?, ?, 1, ?) ON CONFLICT (erasure) DO UPDATE SET owner = excluded.owner, token = token + 1, until = excluded.until RETURNING token',
        id,
        owner,
        until,
      );
      return { ok: true, lease: { erasure: id, token: Number(row?.['token']), until: iso(until) } };
    });
  }

  async renew({ erasure, token }: Lease, ttl: number): Promise<boolean> {
    return this.#db.write(
      'renew',
      () =>
        this.#db.run(
          'UPDATE lease SET until = ? WHERE erasure = ? AND token = ? AND owner IS NOT NULL',
          this.#clock() + ttl,
          erasure,
          token,
        ) === 1,
    );
  }

  async release({ erasure, token }: Lease): Promise<void> {
    this.#db.write('release', () =>
      this.#db.run('UPDATE lease SET owner = NULL WHERE erasure = ? AND token = ?', erasure, token),
    );
  }

  async loadCheckpoint(id: string, store: string): Promise<string | undefined> {
    return this.#db.read('loadCheckpoint', () =>
      optionalText(
        this.#db.get('SELECT state FROM checkpoint WHERE erasure = ? AND store = ?', id, store)?.['state'],
      ),
    );
  }

  async saveCheckpoint(lease: Lease, store: string, state: string): Promise<void> {
    this.#db.write('saveCheckpoint', () => {
      this.#assertLease(lease);
      this.#db.run(
        'INSERT INTO checkpoint (erasure, store, state) VALUES (?, ?, ?) ON CONFLICT (erasure, store) DO UPDATE SET state = excluded.state',
        lease.erasure,
        store,
        state,
      );
    });
  }

  async verify(): Promise<LedgerHead> {
    return this.#db.read('verify', () => {
      let head: LedgerHead = { seq: 0, hash: GENESIS };
      for (const row of this.#db.iterate('SELECT seq, erasure, at, data, hash FROM event ORDER BY seq')) {
        const event = toEvent(row, head.hash);
        head = { seq: event.seq, hash: event.hash };
      }
      return head;
    });
  }

  async close(): Promise<void> {
    this.#db.close();
  }

  #insert(id: string, bodies: readonly EventBody[], at: string): number {
    const previous = this.#db.get('SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1');
    let seq = previous === undefined ? 0 : Number(previous['seq']);
    let hash = previous === undefined ? GENESIS : text(previous['hash']);
    // A clock that was set back must not make history run backwards: a certificate with such times is refused.
    const last = optionalText(this.#db.get('SELECT max(at) AS at FROM event WHERE erasure = ?', id)?.['at']);
    const time = last !== undefined && last > at ? last : at;
    for (const body of bodies) {
      seq += 1;
      const stored = { seq, erasure: id, at: time, data: JSON.stringify(bodySchema.parse(body)) };
      hash = chainHash(hash, stored);
      this.#db.run(
        'INSERT INTO event (seq, erasure, at, data, hash) VALUES (?, ?, ?, ?, ?)',
        seq,
        id,
        time,
        stored.data,
        hash,
      );
      this.#project(id, body, time);
    }
    return seq;
  }

  /** What can be looked up without reading history, and what must not outlive its use. */
  #project(id: string, body: EventBody, at: string): void {
    this.#db.run('UPDATE erasure SET updated_at = ? WHERE id = ?', at, id);
    if (body.type === 'erased') {
      this.#db.run('DELETE FROM checkpoint WHERE erasure = ? AND store = ?', id, body.outcome.store);
    }
    const state = movesTo(body);
    if (state === undefined) return;
    this.#db.run('UPDATE erasure SET state = ? WHERE id = ?', state, id);
    if (!isTerminal(state)) return;
    this.#db.run('UPDATE erasure SET open = 0, subject = NULL WHERE id = ?', id);
    this.#db.run('DELETE FROM checkpoint WHERE erasure = ?', id);
  }

  #assertLease({ erasure, token }: Lease): void {
    const row = this.#db.get(
      'SELECT 1 FROM lease WHERE erasure = ? AND token = ? AND owner IS NOT NULL',
      erasure,
      token,
    );
    if (row === undefined) throw new LeaseLostError({ erasure });
  }
}

function toEvent(row: Row, previous: string): LedgerEvent {
  const stored = {
    seq: Number(row['seq']),
    erasure: text(row['erasure']),
    at: text(row['at']),
    data: text(row['data']),
  };
  const hash = chainHash(previous, stored);
  if (hash !== row['hash']) throw tampered(`entry ${stored.seq} does not fit its hash`);
  const { seq, erasure, at } = stored;
  return { seq, erasure, at, hash, body: bodySchema.parse(JSON.parse(stored.data)) };
}

function ends(body: EventBody): boolean {
  const state = movesTo(body);
  return state !== undefined && isTerminal(state);
}

function tampered(problem: string): LedgerError {
  return new LedgerError({
    reason: 'tampered',
    problem,
    hint: 'Its history was altered outside of tenantkit: restore the file from a backup and find out who wrote to it.',
  });
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw tampered('a text is missing');
  return value;
}

function optionalText(value: unknown): string | undefined {
  return value === null || value === undefined ? undefined : text(value);
}

function toState(value: string): ErasureState {
  const state = STATES.find((known) => known === value);
  if (state === undefined) throw tampered('a state is unknown');
  return state;
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
