import { isVerified, withTenant, type EraseProgress, type EraseRun } from '@tenantkit/core';
import { Client, searchEraser } from '@tenantkit/search';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acme, acme2, createIndex, everythingIn, failure, openSearch, type Opened } from './support.ts';

let opened: Opened;
beforeEach(async () => {
  opened = await openSearch();
});
afterEach(() => opened[Symbol.asyncDispose]());

function runOf({
  signal = new AbortController().signal,
  saved = undefined as string | undefined,
} = {}): EraseRun & { readonly steps: EraseProgress[]; state(): string | undefined } {
  let state = saved;
  const steps: EraseProgress[] = [];
  return {
    signal,
    steps,
    state: () => state,
    progress: (step) => void steps.push(step),
    checkpoint: {
      load: () => Promise.resolve(state),
      save: (text) => {
        state = text;
        return Promise.resolve();
      },
    },
  };
}

const fill = async (tenant: string, count: number, index: string, subject?: string): Promise<void> => {
  const body = Array.from({ length: count }, (_, n) => [
    { index: { _index: index, _id: `${subject ?? 'd'}${n}` } },
    { size: n },
  ]).flat();
  await withTenant(subject === undefined ? { tenant } : { tenant, subject }, () =>
    opened.client.bulk({ refresh: true, body }),
  );
};

describe('the eraser', () => {
  it('empties every index of a tenant, batch by batch, and counts', async () => {
    const { client, raw, index, second } = opened;
    await fill('acme', 5_500, index);
    await fill('acme', 3, second);
    await fill('acme2', 3, index);
    const eraser = searchEraser(client);
    expect(eraser).toMatchObject({ store: 'search', subjects: 'supported' });
    expect((await eraser.plan({ tenant: 'acme' })).items).toEqual([{ kind: 'documents', count: 5_503 }]);
    const run = runOf();
    const outcome = await eraser.erase({ tenant: 'acme' }, run);
    expect(outcome.erased).toEqual([{ kind: 'documents', count: 5_503 }]);
    expect(run.steps.map(({ done }) => done)).toEqual([5_000, 5_500, 5_503]);
    expect(run.steps.every(({ total }) => total === 5_503)).toBe(true);
    // Deleted documents stay on disk until the server merges them, which the outcome says.
    expect(outcome.kept.every(({ kind, count }) => kind === 'deleted documents on disk' && count > 0)).toBe(
      true,
    );
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect(Object.keys(await everythingIn(raw, index)).sort()).toEqual(['acme2~d0', 'acme2~d1', 'acme2~d2']);
    expect(await everythingIn(raw, second)).toEqual({});
  });

  it('can be stopped between batches and goes on from its checkpoint', async () => {
    const { client, index } = opened;
    await fill('acme', 5_500, index);
    const eraser = searchEraser(client, { indices: [index] });
    const controller = new AbortController();
    const reason = new Error('stop');
    const first = runOf({ signal: controller.signal });
    first.progress = () => controller.abort(reason);
    expect(await failure(() => eraser.erase({ tenant: 'acme' }, first))).toBe(reason);
    expect((await acme(() => client.count({ index }))).body.count).toBe(500);
    const second = runOf({ saved: first.state() });
    expect((await eraser.erase({ tenant: 'acme' }, second)).erased).toEqual([
      { kind: 'documents', count: 5_500 },
    ]);
    const foreign = runOf({ saved: 'nonsense' });
    expect(await failure(() => eraser.erase({ tenant: 'acme' }, foreign))).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('erases one person, from documents that hold several as well', async () => {
    const { client, raw, index } = opened;
    await fill('acme', 2, index, 'p1');
    await fill('acme', 2, index, 'p10');
    await fill('acme2', 2, index, 'p1');
    await raw.index({
      index,
      id: 'acme~both',
      body: { tenant_id: 'acme', subjects: ['p1', 'p2'] },
      refresh: true,
    });
    const eraser = searchEraser(client);
    const scope = { tenant: 'acme', subject: 'p1' };
    expect((await eraser.plan(scope)).items).toEqual([{ kind: 'documents', count: 3 }]);
    expect((await eraser.erase(scope, runOf())).erased).toEqual([{ kind: 'documents', count: 3 }]);
    expect(isVerified(await eraser.verify(scope))).toBe(true);
    expect(Object.keys(await everythingIn(raw, index)).sort()).toEqual([
      'acme2~p10',
      'acme2~p11',
      'acme~p100',
      'acme~p101',
    ]);
  });

  it('sees documents that no refresh has shown yet', async () => {
    const { client, raw, index } = opened;
    await raw.indices.putSettings({ index, body: { index: { refresh_interval: '-1' } } });
    await acme(() => client.index({ index, id: 'hidden', body: {} }));
    const eraser = searchEraser(client);
    expect((await eraser.plan({ tenant: 'acme' })).items).toEqual([{ kind: 'documents', count: 1 }]);
    await eraser.erase({ tenant: 'acme' }, runOf());
    expect(await everythingIn(raw, index)).toEqual({});
  });

  it('does not pass for done while documents cannot be deleted', async () => {
    const { client, raw, index } = opened;
    await fill('acme', 2, index);
    await raw.indices.putSettings({ index, body: { index: { blocks: { write: true } } } });
    const eraser = searchEraser(client);
    expect(await failure(() => eraser.erase({ tenant: 'acme' }, runOf()))).toMatchObject({ statusCode: 403 });
    expect(await failure(() => eraser.verify({ tenant: 'acme' }))).toMatchObject({ statusCode: 403 });
    await raw.indices.putSettings({ index, body: { index: { blocks: { write: false } } } });
    await eraser.erase({ tenant: 'acme' }, runOf());
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  });

  it('does not touch an index in which a query by tenant would find others', async () => {
    const { raw, index } = opened;
    const guessed = `${index}-guessed`;
    await createIndex(raw, guessed, {});
    // Mapped as text by the server: a term `a` would find the documents of `a-b`.
    await raw.index({ index: guessed, id: 'a-b~1', body: { tenant_id: 'a-b' }, refresh: true });
    const client = opened.guarded({ tenant: { indices: [guessed] } });
    const eraser = searchEraser(client);
    for (const call of [
      () => eraser.plan({ tenant: 'a' }),
      () => eraser.erase({ tenant: 'a' }, runOf()),
      () => eraser.verify({ tenant: 'a' }),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'CONFIG_INVALID' });
    }
    expect(Object.keys(await everythingIn(raw, guessed))).toEqual(['a-b~1']);
  });

  it('with forceMerge leaves nothing on disk', { timeout: 120_000 }, async () => {
    const { client, raw, index } = opened;
    await fill('acme', 20, index);
    await fill('acme2', 20, index);
    const eraser = searchEraser(client, { indices: [index], forceMerge: true, store: 'search:merged' });
    const outcome = await eraser.erase({ tenant: 'acme' }, runOf());
    expect(outcome).toEqual({ store: 'search:merged', erased: [{ kind: 'documents', count: 20 }], kept: [] });
    const { body } = await raw.indices.stats({ index, metric: 'docs' });
    expect(body._all?.primaries?.docs).toMatchObject({ count: 20, deleted: 0 });
    expect((await acme2(() => client.count({ index }))).body.count).toBe(20);
  });

  it('shows that its recount can see', async () => {
    const { client, raw, index, second } = opened;
    const eraser = searchEraser(client);
    const { control, remaining } = await eraser.verify({ tenant: 'acme' });
    expect(control).toMatchObject({ planted: 2, found: 2 });
    expect(remaining).toEqual([{ kind: 'documents', count: 0 }]);
    for (const name of [index, second]) expect(await everythingIn(raw, name)).toEqual({});
    expect((await eraser.verify({ tenant: 'acme', subject: 'p1' })).control).toMatchObject({
      planted: 2,
      found: 2,
    });
  });

  it('refuses what it cannot mean', async () => {
    const { client } = opened;
    for (const options of [{ indices: ['elsewhere'] }, { indices: [] }, { store: '' }, { slices: 5 }]) {
      expect(await failure(() => searchEraser(client, options as object))).toMatchObject({
        code: 'CONFIG_INVALID',
      });
    }
    const eraser = searchEraser(client);
    for (const scope of [{ tenant: '*' }, { tenant: '' }, { tenant: 'acme', subject: '*' }]) {
      expect(await failure(() => eraser.plan(scope))).toMatchObject({ code: 'TENANT_INVALID' });
    }
    expect(await failure(() => acme(() => eraser.plan({ tenant: 'acme' })))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
  });

  it('names a server that cannot be reached, without its credentials', async () => {
    const gone = createServer().listen(0, '127.0.0.1');
    await once(gone, 'listening');
    const { port } = gone.address() as AddressInfo;
    gone.close();
    const client = new Client({
      node: `http://admin:secret@127.0.0.1:${port}`,
      tenant: { indices: ['orders'] },
    });
    const error = await failure(() => searchEraser(client).plan({ tenant: 'acme' }));
    expect(error).toMatchObject({ code: 'STORE_UNREACHABLE', target: `http://127.0.0.1:${port}` });
    expect(error.message).not.toContain('secret');
    await client.close();
  });
});
