import { auditChannels, withTenant, type AuditEvent } from '@tenantkit/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tellFailure } from '../src/failures.ts';
import { tenantNames } from '../src/names.ts';
import { readSettings } from '../src/options.ts';
import { readBulkReply } from '../src/bulk.ts';
import { readCounted, readGot, readSearched, readSource, readWritten, type Reading } from '../src/replies.ts';
import { acme, failure, openSearch, type Opened } from './support.ts';

const settings = readSettings({ indices: ['orders'] });
const reading: Reading = {
  operation: 'search',
  settings,
  names: tenantNames(settings, 'acme', 'search'),
  index: 'orders',
  sortIds: [],
  hidesSource: false,
};
const breach = expect.objectContaining({ code: 'ISOLATION_BREACH' }) as Error;

describe('a reply', () => {
  const hit = { _index: 'orders', _id: 'acme~1', _source: { a: 1 }, fields: { tenant_id: ['acme'] } };
  const searched = (...hits: unknown[]): unknown => ({
    took: 1,
    timed_out: false,
    hits: { total: { value: 1 }, hits },
  });

  it('is passed on when every hit is the tenant’s', () => {
    expect(readSearched(searched(hit), reading)).toEqual({
      took: 1,
      timed_out: false,
      hits: { total: { value: 1 }, hits: [{ _index: 'orders', _id: '1', _source: { a: 1 } }] },
    });
  });

  it.each<readonly [string, unknown]>([
    ['of another tenant', { ...hit, _id: 'acme2~1', fields: { tenant_id: ['acme2'] } }],
    ['with another tenant’s _id', { ...hit, _id: 'acme2~1' }],
    ['with another tenant’s field', { ...hit, fields: { tenant_id: ['acme2'] } }],
    ['of two tenants', { ...hit, fields: { tenant_id: ['acme', 'acme2'] } }],
    ['of one tenant twice', { ...hit, fields: { tenant_id: ['acme', 'acme'] } }],
    ['of no tenant', { ...hit, fields: { tenant_id: [] } }],
    ['without fields', { ...hit, fields: undefined }],
    ['without the field', { ...hit, fields: { other: ['acme'] } }],
    ['of another index', { ...hit, _index: 'invoices' }],
    ['without _id', { _index: 'orders', fields: hit.fields }],
    ['without _index', { _id: 'acme~1', fields: hit.fields }],
    ['with an _id that is no text', { ...hit, _id: ['acme~1'] }],
    ['that is no object', 'acme~1'],
  ])('with a hit %s is withheld', (_name, foreign) => {
    expect(() => readSearched(searched(foreign), reading)).toThrow(breach);
    expect(() => readSearched(searched(hit, foreign), reading)).toThrow(breach);
  });

  it('that has not the form of a reply is withheld', () => {
    for (const body of [
      undefined,
      null,
      'text',
      [],
      {},
      { hits: null },
      { hits: { hits: {} } },
      { hits: [] },
    ]) {
      expect(() => readSearched(body, reading)).toThrow(breach);
    }
  });

  it('holds known keys only', () => {
    const body = {
      ...(searched({
        ...hit,
        inner_hits: { x: 'secret' },
        _routing: 'secret',
        _explanation: 'secret',
      }) as object),
      suggest: 'secret',
      profile: 'secret',
      _scroll_id: 'secret',
      pit_id: 'secret',
      frobnicate: 'secret',
    };
    expect(JSON.stringify(readSearched(body, reading))).not.toContain('secret');
    expect(readCounted({ count: 1, terms: ['secret'] }, reading)).toEqual({ count: 1 });
  });

  it('about one document must be about that one, and must be the tenant’s', () => {
    const got = { _index: 'orders', _id: 'acme~1', found: true, _source: { tenant_id: 'acme', a: 1 } };
    expect(readGot(got, reading)).toEqual({ _index: 'orders', _id: '1', found: true, _source: { a: 1 } });
    expect(readGot({ _index: 'orders', _id: 'acme~1', found: false }, reading)).toEqual({
      _index: 'orders',
      _id: '1',
      found: false,
    });
    expect(readSource({ tenant_id: ['acme'], subjects: ['p'], a: 1 }, reading)).toEqual({ a: 1 });
    for (const foreign of [
      { ...got, _id: 'acme2~1' },
      { ...got, _index: 'invoices' },
      { ...got, _source: { tenant_id: 'acme2' } },
      { ...got, _source: { tenant_id: ['acme', 'acme2'] } },
      { ...got, _source: {} },
      { ...got, _source: undefined },
    ]) {
      expect(() => readGot(foreign, reading)).toThrow(breach);
    }
    for (const source of [{ tenant_id: 'acme2' }, {}, [], 'text'])
      expect(() => readSource(source, reading)).toThrow(breach);
    expect(() => readWritten({ _index: 'orders', _id: 'acme2~1' }, reading)).toThrow(breach);
  });

  it('to a bulk request must answer its actions, one by one', () => {
    const actions = [
      { type: 'index', index: 'orders', id: 'acme~1' },
      { type: 'delete', index: 'orders', id: 'acme~2' },
    ] as const;
    const item = (type: string, _id: string): object => ({ [type]: { _index: 'orders', _id, status: 200 } });
    const reply = (...items: object[]): unknown => ({ took: 1, errors: false, items });
    expect(
      readBulkReply(reply(item('index', 'acme~1'), item('delete', 'acme~2')), actions, reading),
    ).toMatchObject({
      items: [{ index: { _id: '1' } }, { delete: { _id: '2' } }],
    });
    for (const items of [
      [],
      [item('index', 'acme~1')],
      [item('index', 'acme~2'), item('delete', 'acme~1')],
      [item('index', 'acme2~1'), item('delete', 'acme~2')],
      [item('create', 'acme~1'), item('delete', 'acme~2')],
    ]) {
      expect(() => readBulkReply(reply(...items), actions, reading)).toThrow(breach);
    }
  });
});

describe('an error of the server', () => {
  const tell = (error: unknown): unknown => tellFailure(error, reading);

  it('tells the tenant’s own _ids, and only where they stand as such', () => {
    const reason = "[acme~1]: version conflict of 'acme~2', not of b-acme~3 or acme2~4";
    expect(tell({ type: 'version_conflict_engine_exception', reason })).toEqual({
      type: 'version_conflict_engine_exception',
      reason: "[1]: version conflict of '2', not of b-acme~3 or acme2~4",
    });
  });

  it('withholds reasons of types that nobody has looked at, at every depth', () => {
    const error = {
      type: 'illegal_argument_exception',
      reason: 'told',
      stack_trace: 'secret',
      header: 'secret',
      index_uuid: 'secret',
      caused_by: {
        type: 'script_exception',
        reason: 'secret',
        script_stack: ['secret'],
        caused_by: { type: 'x', reason: 'secret' },
      },
      root_cause: [{ type: 'y', reason: 'secret' }, 'secret'],
      failed_shards: [{ shard: 0, index: 'orders', node: 'secret', reason: { type: 'z', reason: 'secret' } }],
    };
    expect(JSON.stringify(tell(error))).not.toContain('secret');
    expect(tell(error)).toMatchObject({ reason: 'told', failed_shards: [{ shard: 0, index: 'orders' }] });
    for (const odd of ['secret', null, ['secret'], 1])
      expect(JSON.stringify(tell(odd))).not.toContain('secret');
  });
});

describe('what was written past the client', () => {
  let opened: Opened;
  beforeAll(async () => {
    opened = await openSearch();
    const { raw, index } = opened;
    const write = (id: string, body: object): Promise<unknown> =>
      raw.index({ index, id, body, refresh: true });
    await write('acme~fine', { tenant_id: 'acme', color: 'fine' });
    await write('acme2~odd', { tenant_id: 'acme', color: 'odd' });
    await write('acme~both', { tenant_id: ['acme', 'acme2'], color: 'both' });
    await write('acme~none', { color: 'none' });
    await write('acme~foreign', { tenant_id: 'acme2', color: 'foreign' });
  });
  afterAll(() => opened[Symbol.asyncDispose]());

  it('is never passed on', async () => {
    const { client, index } = opened;
    const events: AuditEvent[] = [];
    const listener = (event: unknown): void => void events.push(event as AuditEvent);
    auditChannels.breach.subscribe(listener);
    const find = (color: string) => client.search({ index, body: { query: { term: { color } } } });
    try {
      expect((await acme(() => find('fine'))).body.hits.hits).toMatchObject([{ _id: 'fine' }]);
      for (const color of ['odd', 'both']) {
        const error = await failure(() => acme(() => find(color)));
        expect(error).toMatchObject({ code: 'ISOLATION_BREACH', surface: 'search', operation: 'search' });
        expect(error.message).not.toContain('acme2');
      }
      for (const id of ['both', 'none', 'foreign']) {
        expect((await failure(() => acme(() => client.get({ index, id })))).code).toBe('ISOLATION_BREACH');
        expect((await failure(() => acme(() => client.getSource({ index, id })))).code).toBe(
          'ISOLATION_BREACH',
        );
        expect((await failure(() => acme(() => client.get({ index, id, _source: false })))).code).toBe(
          'ISOLATION_BREACH',
        );
      }
      expect((await acme(() => client.get({ index, id: 'fine' }))).body._source).toEqual({ color: 'fine' });
      expect(events).toHaveLength(11);
      expect(events[0]).toMatchObject({ tenantid: 'acme', type: 'tenantkit.breach' });
      expect(JSON.stringify(events)).not.toContain('acme2');
    } finally {
      auditChannels.breach.unsubscribe(listener);
    }
  });

  it('is withheld from callbacks as well, and a listener does not see it', async () => {
    const { client, index } = opened;
    const seen: unknown[] = [];
    const listener = (error: unknown, { body }: { body: unknown }): void => void seen.push([error, body]);
    withTenant('acme', () => client.on('response', listener));
    const heard = await new Promise<readonly unknown[]>((resolve) =>
      acme(() =>
        client.search({ index, body: { query: { term: { color: 'odd' } } } }, (error, result) =>
          resolve([error, result.body]),
        ),
      ),
    );
    expect(heard).toEqual([expect.objectContaining({ code: 'ISOLATION_BREACH' }), null]);
    expect(seen).toEqual([[expect.objectContaining({ code: 'ISOLATION_BREACH' }), null]]);
    client.off('response', listener);
  });
});
