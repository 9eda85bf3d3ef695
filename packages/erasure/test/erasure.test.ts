import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ConfigError,
  CrossTenantError,
  InvalidTenantError,
  auditChannels,
  acrossTenants,
  currentTenant,
  withTenant,
  type AuditEvent,
  type Eraser,
} from '@tenantkit/core';
import {
  ErasureConfigChangedError,
  ErasureConflictError,
  ErasureNotFoundError,
  ErasureNotVerifiedError,
  ErasureStateError,
  PlanStaleError,
  StoreContractError,
  StoreSilentError,
  StoresFailedError,
  SubjectUnsupportedError,
  createErasure,
  isErasureError,
  readCertificate,
  sqliteLedger,
  verifyCertificate,
} from '@tenantkit/erasure';
import { describe, expect, it } from 'vitest';
import { directoryEraser, fill, snapshot } from './directory.ts';
import { approved, asked, erasureOf, folder, ledgerIn, rejection, signer } from './setup.ts';

// Ids that contain each other, so that a careless prefix takes the neighbour along.
const TENANTS = ['acme', 'acme2', 'a', 'a-b', 'ac'] as const;
const keys = [signer.publicKey];

describe('an erasure', () => {
  it('removes one tenant from every store, leaves the others, and proves it', async () => {
    const root = folder();
    for (const store of ['files', 'keys'])
      for (const tenant of TENANTS) await fill(join(root, store), tenant, 10);
    const others = (await snapshot(root)).filter((path) => !/\/acme\//.test(path));
    const erasure = erasureOf([
      directoryEraser({ root: join(root, 'files'), store: 'files' }),
      directoryEraser({ root: join(root, 'keys'), store: 'keys', stage: 'shred' }),
    ]);

    const { id, joined } = await erasure.request({ tenant: 'acme', ...asked });
    expect(joined).toBe(false);
    expect(await erasure.status(id)).toMatchObject({ state: 'received', tenant: 'acme' });
    const plan = await erasure.plan(id);
    expect(plan.inventories).toEqual([
      { store: 'files', items: [{ kind: 'files', count: 10 }], kept: [] },
      { store: 'keys', items: [{ kind: 'files', count: 10 }], kept: [] },
    ]);
    expect(await snapshot(join(root, 'files', 'acme'))).toHaveLength(10);
    await erasure.approve(id, { by: 'dpo@example.com', revision: plan.revision });
    const status = await erasure.run(id);

    expect(status.state).toBe('completed');
    expect(await snapshot(join(root, 'files', 'acme'))).toEqual([]);
    expect(await snapshot(join(root, 'keys', 'acme'))).toEqual([]);
    expect(await snapshot(root)).toEqual(others);
    const { certificate, kid } = await verifyCertificate(await erasure.certificate(id), { keys });
    expect(kid).toBe(signer.kid);
    expect(certificate).toMatchObject({
      version: 1,
      erasure: id,
      tenant: 'acme',
      outcome: 'completed',
      ...asked,
      approvedBy: 'dpo@example.com',
      fence: { mode: 'none', why: 'not_configured' },
      stores: ['files', 'keys'].map((store) => ({
        store,
        before: [{ kind: 'files', count: 10 }],
        erased: [{ kind: 'files', count: 10 }],
        remaining: [{ kind: 'files', count: 0 }],
        control: { planted: 1, found: 1 },
        kept: [],
      })),
    });
    expect(certificate).not.toHaveProperty('subject');
  });

  it('goes through the states of the table, in its order', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const id = await approved(erasure, 'acme');
    const states: string[] = [];
    await erasure.run(id, { onProgress: (event) => event.type === 'state' && states.push(event.state) });
    expect(states).toEqual(['frozen', 'draining', 'grace', 'purging', 'shredding', 'verifying', 'completed']);
  });

  it('is idempotent: approving, running and certifying again change nothing', async () => {
    const root = folder();
    await fill(root, 'acme', 3);
    const erasure = erasureOf([directoryEraser({ root, store: 'files' })]);
    const id = await approved(erasure, 'acme');
    await erasure.approve(id, { by: 'somebody else' });
    const first = await erasure.run(id);
    expect(first.approval?.by).toBe('dpo@example.com');
    const certificate = await erasure.certificate(id);
    expect(await erasure.run(id)).toEqual(first);
    expect(await erasure.certificate(id)).toBe(certificate);
  });

  it('keeps the approval until a new plan is made', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const id = await approved(erasure, 'acme');
    expect((await erasure.status(id)).state).toBe('approved');
    await erasure.plan(id);
    const status = await erasure.status(id);
    expect(status.state).toBe('planned');
    expect(status.approval).toBeUndefined();
    expect(await rejection(erasure.run(id))).toBeInstanceOf(ErasureStateError);
  });

  it('states what a store keeps', async () => {
    const root = folder();
    const why = 'legal hold until the tax audit is over';
    const kept = [{ kind: 'files', count: 2, why, until: '2030-01-01T00:00:00Z' }];
    const files = directoryEraser({ root, store: 'files' });
    const erasure = erasureOf([
      { ...files, verify: async (scope) => ({ ...(await files.verify(scope)), kept }) },
    ]);
    const id = await approved(erasure, 'acme');
    expect((await erasure.run(id)).state).toBe('completed_with_retention');
    const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys });
    expect(certificate).toMatchObject({ outcome: 'completed_with_retention', stores: [{ kept }] });
  });

  it('states from when on a destroyed key is gone everywhere', async () => {
    const completeAt = new Date(Date.now() + 60_000).toISOString();
    const shred = directoryEraser({ root: folder(), store: 'keys', stage: 'shred' });
    const erasure = erasureOf([
      { ...shred, erase: async (scope, run) => ({ ...(await shred.erase(scope, run)), completeAt }) },
    ]);
    const id = await approved(erasure, 'acme');
    await erasure.run(id);
    const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys });
    expect(certificate.completeAt).toBe(completeAt);
  });
});

describe('two requests', () => {
  it('of one scope are one erasure while it is open, and two after it', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const first = await erasure.request({ tenant: 'acme', ...asked });
    const again = await erasure.request({ tenant: 'acme', reason: 'asked once more', requestedBy: 'x' });
    expect(again).toEqual({ id: first.id, joined: true });
    expect((await erasure.status(first.id)).requests.map(({ reason }) => reason)).toEqual([
      asked.reason,
      'asked once more',
    ]);
    await erasure.plan(first.id);
    await erasure.approve(first.id, { by: 'dpo' });
    await erasure.run(first.id);
    const later = await erasure.request({ tenant: 'acme', ...asked });
    expect(later.joined).toBe(false);
    expect(later.id).not.toBe(first.id);
  });

  it('of a person who was not found is none of the tenant', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const wrong = { tenant: 'acme', subject: undefined, ...asked } as unknown as {
      tenant: string;
    } & typeof asked;
    expect(await rejection(erasure.request(wrong))).toMatchObject({ code: 'CONFIG_INVALID' });
    // As an entity of an ORM: what it has are accessors of its class.
    class Found {
      readonly tenant = 'acme';
      readonly reason = asked.reason;
      readonly requestedBy = asked.requestedBy;
      get subject(): undefined {
        return undefined;
      }
    }
    const found = new Found() as unknown as typeof wrong;
    expect(await rejection(erasure.request(found))).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await erasure.list()).toEqual([]);
  });

  it('of a tenant, of a person and of another tenant are three', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const ids = [
      await erasure.request({ tenant: 'acme', ...asked }),
      await erasure.request({ tenant: 'acme', subject: 'p1', ...asked }),
      await erasure.request({ tenant: 'acme2', subject: 'p1', ...asked }),
    ];
    expect(new Set(ids.map(({ id }) => id)).size).toBe(3);
    expect(await erasure.list()).toHaveLength(3);
    expect(await erasure.list({ tenant: 'acme' })).toHaveLength(2);
    expect(await erasure.list({ open: false })).toEqual([]);
  });
});

describe('a person', () => {
  it('is erased alone, and named in the certificate by a digest only', async () => {
    const root = folder();
    for (const tenant of TENANTS) for (const person of ['p1', 'p10']) await fill(root, tenant, 5, person);
    const others = (await snapshot(root)).filter((path) => !path.includes('/acme/p1/'));
    const erasure = erasureOf([directoryEraser({ root, store: 'files' })]);
    const id = await approved(erasure, 'acme', 'p1');
    expect(await erasure.status(id)).toMatchObject({ subject: 'p1' });
    await erasure.run(id);

    expect(await snapshot(root)).toEqual(others);
    expect(await erasure.status(id)).not.toHaveProperty('subject');
    const jws = await erasure.certificate(id);
    const { certificate } = await verifyCertificate(jws, { keys, subject: 'p1' });
    expect(JSON.stringify(certificate)).not.toContain('"p1"');
    for (const subject of ['p10', 'p2']) {
      expect(await rejection(verifyCertificate(jws, { keys, subject }))).toMatchObject({ reason: 'subject' });
    }
  });

  it('is refused before any store is asked, when a store cannot tell people apart', async () => {
    const root = folder();
    await fill(root, 'acme', 5, 'p1');
    const asks: string[] = [];
    const files = directoryEraser({ root, store: 'files' });
    const recorded: Eraser = { ...files, plan: (scope) => (asks.push('files'), files.plan(scope)) };
    const blind = directoryEraser({ root, store: 'dump', subjects: { unsupported: 'it is one file' } });
    const erasure = erasureOf([recorded, blind]);
    const { id } = await erasure.request({ tenant: 'acme', subject: 'p1', ...asked });
    const error = await rejection(erasure.plan(id));
    expect(error).toBeInstanceOf(SubjectUnsupportedError);
    expect(error).toMatchObject({
      code: 'ERASURE_SUBJECT_UNSUPPORTED',
      stores: [{ store: 'dump', why: 'it is one file' }],
    });
    expect(asks).toEqual([]);

    // The same person, where every store can.
    const able = erasureOf([recorded]);
    const { id: possible } = await able.request({ tenant: 'acme', subject: 'p1', ...asked });
    expect((await able.plan(possible)).inventories).toMatchObject([{ items: [{ count: 5 }] }]);
    expect(asks).toEqual(['files']);
  });
});

describe('a store that fails', () => {
  it('does not stop the others, and is the only one that is tried again', async () => {
    const root = folder();
    await fill(join(root, 'good'), 'acme', 6);
    await fill(join(root, 'bad'), 'acme', 6);
    const calls: string[] = [];
    const recorded = (eraser: Eraser, broken: () => boolean): Eraser => ({
      ...eraser,
      erase: async (scope, run) => {
        calls.push(eraser.store);
        if (broken())
          throw Object.assign(new Error('redis://user:secret@host refused'), { code: 'ECONNREFUSED' });
        return eraser.erase(scope, run);
      },
    });
    let down = true;
    const erasure = erasureOf([
      recorded(directoryEraser({ root: join(root, 'bad'), store: 'bad' }), () => down),
      recorded(directoryEraser({ root: join(root, 'good'), store: 'good' }), () => false),
      recorded(directoryEraser({ root: join(root, 'keys'), store: 'keys', stage: 'shred' }), () => false),
    ]);
    const id = await approved(erasure, 'acme');
    const error = await rejection(erasure.run(id));
    expect(error).toBeInstanceOf(StoresFailedError);
    expect(error).toMatchObject({
      failures: [{ store: 'bad', phase: 'erase', code: 'ECONNREFUSED', unreachable: true }],
    });
    expect(`${(error as Error).message} ${JSON.stringify(error)}`).not.toContain('secret');
    expect(await snapshot(join(root, 'good'))).toEqual([]);
    // Keys are destroyed last: a purge that fails can still be looked into.
    expect(calls.toSorted()).toEqual(['bad', 'good']);
    const status = await erasure.status(id);
    expect(status.state).toBe('purging');
    expect(status.stores).toMatchObject([
      { state: 'pending', failure: { store: 'bad' } },
      { state: 'erased' },
      {},
    ]);

    down = false;
    expect((await erasure.run(id)).state).toBe('completed');
    expect(calls.slice(2)).toEqual(['bad', 'keys']);
    expect(await snapshot(join(root, 'bad'))).toEqual([]);
  });

  it('while planning leaves no plan behind', async () => {
    const files = directoryEraser({ root: folder(), store: 'files' });
    let down = true;
    const erasure = erasureOf([
      { ...files, plan: (scope) => (down ? Promise.reject(new TypeError('x')) : files.plan(scope)) },
    ]);
    const { id } = await erasure.request({ tenant: 'acme', ...asked });
    expect(await rejection(erasure.plan(id))).toMatchObject({
      code: 'ERASURE_STORES_FAILED',
      failures: [{ store: 'files', phase: 'plan', name: 'TypeError', unreachable: false }],
    });
    expect((await erasure.status(id)).state).toBe('received');
    down = false;
    expect((await erasure.plan(id)).inventories).toHaveLength(1);
  });

  it('is told by its silence', async () => {
    const files = directoryEraser({ root: folder(), store: 'files' });
    let silent = true;
    const erasure = erasureOf(
      [
        {
          ...files,
          erase: (scope, run) => (silent ? new Promise(() => undefined) : files.erase(scope, run)),
        },
      ],
      { storeTimeout: 1_000 },
    );
    const id = await approved(erasure, 'acme');
    const error = await rejection(erasure.run(id));
    expect(error).toMatchObject({ failures: [{ code: 'ERASURE_STORE_SILENT', unreachable: true }] });
    expect(((error as Error).cause as AggregateError).errors).toEqual([expect.any(StoreSilentError)]);
    silent = false;
    expect((await erasure.run(id)).state).toBe('completed');
  });

  it('is not silent while it reports progress', async () => {
    const root = folder();
    await fill(root, 'acme', 12);
    const slow = directoryEraser({
      root,
      store: 'files',
      batch: 1,
      afterBatch: (_, run) =>
        new Promise((resolve) => {
          setTimeout(() => {
            run.progress({ kind: 'files', done: 0 });
            resolve();
          }, 150);
        }),
    });
    const erasure = erasureOf([slow], { storeTimeout: 1_000 });
    expect((await erasure.run(await approved(erasure, 'acme'))).state).toBe('completed');
  });

  it.each([
    ['another store', { store: 'other', items: [], kept: [] }],
    ['a negative count', { store: 'files', items: [{ kind: 'files', count: -1 }], kept: [] }],
    ['an unknown field', { store: 'files', items: [], kept: [], note: 'x' }],
    ['a line break', { store: 'files', items: [{ kind: 'a\nb', count: 1 }], kept: [] }],
    ['nothing', undefined],
  ])('by answering %s breaks its contract', async (_, answer) => {
    const files = directoryEraser({ root: folder(), store: 'files' });
    const erasure = erasureOf([{ ...files, plan: () => Promise.resolve(answer as never) }]);
    const { id } = await erasure.request({ tenant: 'acme', ...asked });
    const error = await rejection(erasure.plan(id));
    expect(((error as Error).cause as AggregateError).errors).toEqual([expect.any(StoreContractError)]);
  });
});

describe('a recount', () => {
  it('that finds something left leads to another purge of that store alone', async () => {
    const root = folder();
    await fill(root, 'acme', 4);
    const erases: string[] = [];
    const files = directoryEraser({ root, store: 'files' });
    let late = true;
    const erasure = erasureOf([
      {
        ...files,
        erase: (scope, run) => (erases.push('files'), files.erase(scope, run)),
        async verify(scope) {
          if (late) await fill(root, 'acme', 2); // a worker that still writes
          return files.verify(scope);
        },
      },
      {
        ...directoryEraser({ root: join(root, 'none'), store: 'calm' }),
        erase: async () => (erases.push('calm'), { store: 'calm', erased: [], kept: [] }),
      },
    ]);
    const id = await approved(erasure, 'acme');
    const error = await rejection(erasure.run(id));
    expect(error).toBeInstanceOf(ErasureNotVerifiedError);
    expect(error).toMatchObject({
      code: 'ERASURE_NOT_VERIFIED',
      verifications: [{ store: 'files', remaining: [{ kind: 'files', count: 2 }] }],
    });
    expect((await erasure.status(id)).state).toBe('verifying');
    expect(await rejection(erasure.certificate(id))).toBeInstanceOf(ErasureStateError);

    late = false;
    expect(erases.toSorted()).toEqual(['calm', 'files']);
    await erasure.run(id);
    expect(erases.slice(2)).toEqual(['files']);
    expect(readCertificate(await erasure.certificate(id)).stores[0]).toMatchObject({
      before: [{ kind: 'files', count: 4 }],
      erased: [{ kind: 'files', count: 6 }],
      remaining: [{ kind: 'files', count: 0 }],
    });
  });

  it('that cannot be shown to see proves nothing', async () => {
    const files = directoryEraser({ root: folder(), store: 'files' });
    let blind = true;
    const erasure = erasureOf([
      {
        ...files,
        async verify(scope) {
          const { control, ...rest } = await files.verify(scope);
          return { ...rest, control: blind ? { ...control, found: 0 } : control };
        },
      },
    ]);
    const id = await approved(erasure, 'acme');
    expect(await rejection(erasure.run(id))).toBeInstanceOf(ErasureNotVerifiedError);
    blind = false;
    expect((await erasure.run(id)).state).toBe('completed');
  });
});

describe('what has changed since the plan', () => {
  it('is refused: stores that are missing or new, before and after the beginning', async () => {
    const root = folder();
    await fill(root, 'acme', 2);
    const ledger = ledgerIn(folder());
    const files = directoryEraser({ root, store: 'files' });
    const more = directoryEraser({ root: join(root, 'more'), store: 'more' });
    const both = erasureOf([files, more], { ledger });
    const one = erasureOf([files], { ledger });
    const id = await approved(both, 'acme');
    expect(await rejection(one.run(id))).toMatchObject({
      code: 'ERASURE_CONFIG_CHANGED',
      missing: ['more (purge)'],
    });
    expect(await snapshot(root)).toHaveLength(2);

    // Planned anew with what is there, it goes.
    await one.plan(id);
    await one.approve(id, { by: 'dpo' });
    const halted = new AbortController();
    const stopped = one.run(id, {
      signal: halted.signal,
      onProgress: (event) => event.type === 'state' && event.state === 'purging' && halted.abort(),
    });
    expect(await rejection(stopped)).toMatchObject({ code: 'ERASURE_INTERRUPTED' });
    const error = await rejection(both.run(id));
    expect(error).toBeInstanceOf(ErasureConfigChangedError);
    expect(error).toMatchObject({ added: ['more (purge)'], missing: [] });
    expect((await one.run(id)).state).toBe('completed');
  });

  it('is too much when the plan is old', async () => {
    let now = Date.now();
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })], {
      clock: () => now,
      planMaxAge: 60_000,
    });
    const id = await approved(erasure, 'acme');
    now += 60_001;
    expect(await rejection(erasure.run(id))).toBeInstanceOf(PlanStaleError);
    await erasure.plan(id);
    await erasure.approve(id, { by: 'dpo' });
    now += 59_000;
    expect((await erasure.run(id)).state).toBe('completed');
    await verifyCertificate(await erasure.certificate(id), { keys });
  });

  it('cannot be approved under the revision of an older plan', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const { id } = await erasure.request({ tenant: 'acme', ...asked });
    expect(await rejection(erasure.approve(id, { by: 'dpo' }))).toBeInstanceOf(ErasureStateError);
    const old = await erasure.plan(id);
    const plan = await erasure.plan(id);
    expect(await rejection(erasure.approve(id, { by: 'dpo', revision: old.revision }))).toBeInstanceOf(
      ErasureConflictError,
    );
    expect((await erasure.approve(id, { by: 'dpo', revision: plan.revision })).state).toBe('approved');
  });

  it('cannot be planned any more once it is over', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const id = await approved(erasure, 'acme');
    await erasure.run(id);
    expect(await rejection(erasure.plan(id))).toMatchObject({ code: 'ERASURE_STATE', state: 'completed' });
  });
});

describe('inside a tenant', () => {
  it('only its own erasures can be asked for and seen', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const foreign = await withTenant('acme', () => rejection(erasure.request({ tenant: 'acme2', ...asked })));
    expect(foreign).toBeInstanceOf(CrossTenantError);
    expect((foreign as Error).message).not.toContain('acme2');

    const { id } = await withTenant('acme2', () => erasure.request({ tenant: 'acme2', ...asked }));
    expect(await withTenant('acme2', () => erasure.status(id))).toMatchObject({ tenant: 'acme2' });
    expect(await withTenant('acme2', () => erasure.list())).toHaveLength(1);
    await withTenant('acme', async () => {
      for (const work of [erasure.status(id), erasure.plan(id), erasure.run(id), erasure.certificate(id)]) {
        expect(await rejection(work)).toBeInstanceOf(ErasureNotFoundError);
      }
      expect(await rejection(erasure.approve(id, { by: 'x' }))).toBeInstanceOf(ErasureNotFoundError);
      expect(await erasure.list()).toEqual([]);
    });
    expect(await acrossTenants({ reason: 'test', actor: 'test' }, () => erasure.list())).toHaveLength(1);
  });

  it('erasers still run outside of it', async () => {
    const files = directoryEraser({ root: folder(), store: 'files' });
    const seen: unknown[] = [];
    const erasure = erasureOf([
      {
        ...files,
        plan: (scope) => (seen.push(currentTenant()), files.plan(scope)),
        erase: (scope, run) => (seen.push(currentTenant()), files.erase(scope, run)),
        verify: (scope) => (seen.push(currentTenant()), files.verify(scope)),
      },
    ]);
    await withTenant('acme', async () => {
      await erasure.run(await approved(erasure, 'acme'));
      expect(currentTenant()?.tenant).toBe('acme');
    });
    expect(seen).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe('what cannot be used', () => {
  it.each([
    ['a tenant id with a separator', { tenant: 'acme:2' }, InvalidTenantError],
    ['a subject id with a glob', { tenant: 'acme', subject: '*' }, InvalidTenantError],
    ['an empty reason', { tenant: 'acme', reason: '' }, ConfigError],
    ['a reason with an escape sequence', { tenant: 'acme', reason: '\u001B[2Jgone' }, ConfigError],
    ['a reason in another reading order', { tenant: 'acme', reason: 'a\u202Eb' }, ConfigError],
    ['an unknown field', { tenant: 'acme', force: true }, ConfigError],
  ])('%s', async (_, given, type) => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    expect(await rejection(erasure.request({ ...asked, ...given }))).toBeInstanceOf(type);
    expect(await erasure.list()).toEqual([]);
    expect((await erasure.request({ tenant: 'acme', ...asked })).joined).toBe(false);
  });

  it.each([
    ['no store', { stores: [] }],
    ['two stores of one name', { stores: ['a', 'a'].map((store) => directoryEraser({ root: '/', store })) }],
    ['an unknown option', { parallel: 2 }],
    ['a time-out of no time', { storeTimeout: 0 }],
  ])('%s', (_, options) => {
    const ledger = sqliteLedger(':memory:');
    const stores = [directoryEraser({ root: '/', store: 'files' })];
    expect(() => createErasure({ stores, ledger, signer, ...options })).toThrow(ConfigError);
    expect(() => createErasure({ stores, ledger, signer })).not.toThrow();
  });

  it('an unknown id', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const error = await rejection(erasure.status('nobody'));
    expect(error).toBeInstanceOf(ErasureNotFoundError);
    expect(isErasureError(error)).toBe(true);
    expect(isErasureError(new ConfigError({ surface: 'erasure', problem: 'x', hint: 'y' }))).toBe(false);
  });
});

describe('the audit trail', () => {
  it('has one event for every step, and never the id of a person', async () => {
    const events: AuditEvent[] = [];
    const listen = (event: unknown): void => void events.push(event as AuditEvent);
    auditChannels.erasure.subscribe(listen);
    const root = folder();
    await fill(root, 'acme', 1, 'p-4711');
    const erasure = erasureOf([directoryEraser({ root, store: 'files' })]);
    const id = await approved(erasure, 'acme', 'p-4711');
    await erasure.run(id);
    auditChannels.erasure.unsubscribe(listen);
    await rm(root, { recursive: true, force: true });

    const own = events.filter(({ data }) => data.unmapped?.['erasure'] === id);
    expect(own.map(({ data }) => data.api.operation)).toEqual([
      'requested',
      'planned',
      'approved',
      'run_started',
      'advanced',
      'fenced',
      'advanced',
      'advanced',
      'advanced',
      'counted',
      'erased',
      'advanced',
      'advanced',
      'verified',
      'completed',
    ]);
    expect(own.every(({ tenantid }) => tenantid === 'acme')).toBe(true);
    expect(own[0]?.data.actor.user.name).toBe(asked.requestedBy);
    expect(JSON.stringify(own)).not.toContain('p-4711');
  });
});
