import { withTenant } from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acme, acme2, everythingIn, failure, openSearch, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openSearch();
});
afterAll(() => opened[Symbol.asyncDispose]());

type Items = readonly Record<string, Record<string, unknown>>[];
const itemsOf = (reply: { readonly body: unknown }): Items => (reply.body as { items: Items }).items;

describe('bulk', () => {
  it('of five tenants with the same _ids keeps five sets', async () => {
    const { client, index, raw } = opened;
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        const reply = await client.bulk({
          body: [
            { index: { _index: index, _id: '1' } },
            { title: tenant },
            { create: { _index: index, _id: '2' } },
            { title: tenant },
          ],
        });
        expect(reply.body.errors).toBe(false);
        expect(itemsOf(reply)).toMatchObject([
          { index: { _index: index, _id: '1', result: 'created', status: 201 } },
          { create: { _index: index, _id: '2', result: 'created', status: 201 } },
        ]);
      });
    }
    await withTenant('acme', () => client.bulk({ body: [{ delete: { _index: index, _id: '2' } }] }));
    const all = await everythingIn(raw, index);
    expect(Object.keys(all).sort()).toEqual(
      [...TENANTS.map((tenant) => `${tenant}~1`), ...TENANTS.map((tenant) => `${tenant}~2`)]
        .filter((id) => id !== 'acme~2')
        .sort(),
    );
    for (const tenant of TENANTS)
      expect(JSON.parse(all[`${tenant}~1`] ?? '')).toEqual({ tenant_id: tenant, title: tenant });
  });

  it('takes every form of body that the raw client takes', async () => {
    const { client, index, second, raw } = opened;
    const action = (id: string): string => JSON.stringify({ index: { _index: second, _id: id } });
    const lines = (id: string): string => `${action(id)}\n{"title":"${id}"}\n`;
    const bodies: readonly [string, unknown][] = [
      ['objects', [{ index: { _index: second, _id: 'objects' } }, { title: 'objects' }]],
      ['texts', [action('texts'), '{"title":"texts"}']],
      ['mixed', [action('mixed'), { title: 'mixed' }]],
      ['spaced', [action('spaced'), '{\n  "title": "spaced"\n}']],
      ['ndjson', lines('ndjson')],
      ['crlf', lines('crlf').replaceAll('\n', '\r\n')],
      ['buffer', Buffer.from(lines('buffer'))],
    ];
    for (const [id, body] of bodies) {
      await acme(() => client.bulk({ body: body as never }));
      const { body: read } = await raw.get({ index: second, id: `acme~${id}` });
      expect(read._source).toEqual({ tenant_id: 'acme', title: id });
    }
    // The index of the path, for actions without one; and through client.http and the raw transport.
    await acme(async () => {
      await client.bulk({ index: second, body: [{ index: { _id: 'path' } }, { title: 'x' }] });
      await client.http.post({
        path: `/${second}/_bulk`,
        body: [{ index: { _id: 'http' } }, { title: 'x' }],
      });
      await client.transport.request({ method: 'POST', path: '/_bulk', bulkBody: lines('transport') });
      await client.transport.request({ method: 'post', path: '/_bulk', body: lines('body') });
    });
    expect(Object.keys(await everythingIn(raw, second)).sort()).toEqual(
      ['objects', 'texts', 'mixed', 'spaced', 'ndjson', 'crlf', 'buffer', 'path', 'http', 'transport', 'body']
        .map((id) => `acme~${id}`)
        .sort(),
    );
    expect(index).not.toBe(second);
  });

  it('makes _ids for documents without one, and tells them', async () => {
    const { client, index, raw } = opened;
    const reply = await acme(() =>
      client.bulk({ body: [{ index: { _index: index } }, {}, { create: { _index: index } }, {}] }),
    );
    for (const item of itemsOf(reply)) {
      const [{ _id } = {}] = Object.values(item);
      expect(_id).toMatch(/^[\w-]{20}$/);
      const { body } = await raw.get({ index, id: `acme~${String(_id)}` });
      expect(body._source).toEqual({ tenant_id: 'acme' });
    }
  });

  it('tells each failure in logical names', async () => {
    const { client, index } = opened;
    const reply = await acme(() =>
      client.bulk({
        body: [
          { create: { _index: index, _id: '1' } },
          {},
          { index: { _index: index, _id: 'bad' } },
          { size: 'no number' },
          { delete: { _index: index, _id: 'none' } },
          { index: { _index: index, _id: '1', if_seq_no: 999, if_primary_term: 1 } },
          {},
        ],
      }),
    );
    const [conflict, bad, none, condition] = itemsOf(reply);
    expect(conflict?.['create']).toMatchObject({
      _id: '1',
      status: 409,
      error: { type: 'version_conflict_engine_exception' },
    });
    expect(bad?.['index']).toMatchObject({ _id: 'bad', status: 400 });
    expect(none?.['delete']).toMatchObject({ _id: 'none', status: 404, result: 'not_found' });
    expect(condition?.['index']).toMatchObject({ _id: '1', status: 409 });
    expect(JSON.stringify(reply.body)).not.toContain('acme~');
  });

  it.each<readonly [string, unknown]>([
    ['an update', [{ update: { _id: '1' } }, { doc: {} }]],
    ['an update with a script', [{ update: { _id: '1' } }, { script: 'ctx._source.tenant_id="acme2"' }]],
    ['an action that nobody knows', [{ upsert: { _id: '1' } }, {}]],
    ['an action named like a property of every object', [{ constructor: { _id: '1' } }, {}]],
    ['two actions in one object', [{ index: { _id: '1' }, delete: { _id: '1' } }, {}]],
    ['no action', [{}, {}]],
    ['no object', ['index', {}]],
    ['null', [null, {}]],
    ['metadata that is no object', [{ index: '1' }, {}]],
    ['an index outside the list', [{ index: { _index: 'FOREIGN', _id: '1' } }, {}]],
    ['an index pattern', [{ index: { _index: '*', _id: '1' } }, {}]],
    ['two spellings of the index', '{"index":{"_index":"INDEX","_index":"FOREIGN","_id":"1"}}\n{}\n'],
    ['two spellings of the _id', '{"index":{"_id":"1","\\u005fid":"2"}}\n{}\n'],
    ['a name without underscore', [{ index: { index: 'INDEX', id: '1' } }, {}]],
    ['a routing', [{ index: { _id: '1', routing: 'x' } }, {}]],
    ['a routing by its old name', [{ index: { _id: '1', _routing: 'x' } }, {}]],
    ['a pipeline', [{ index: { _id: '1', pipeline: 'p' } }, {}]],
    ['require_alias', [{ index: { _id: '1', require_alias: true } }, {}]],
    ['a type', [{ index: { _id: '1', _type: '_doc' } }, {}]],
    ['an _id that is null', [{ index: { _id: null } }, {}]],
    ['an _id that is empty', [{ index: { _id: '' } }, {}]],
    ['an _id that is a list', [{ index: { _id: ['1'] } }, {}]],
    ['a delete without _id', [{ delete: {} }]],
    ['an action without its document', [{ index: { _id: '1' } }]],
    ['no body', []],
    ['an empty text', '\n'],
    ['an object', { index: { _id: '1' } }],
    ['a document with a tenant', [{ index: { _id: '1' } }, { tenant_id: 'acme2' }]],
    ['a second tenant in a text', '{"index":{"_id":"1"}}\n{"title":1,"tenant_id":"acme2"}\n'],
    ['a line break inside a text', ['{"index":{"_id":"1"}}\n{"a":1}\n{"index":{"_id":"2"}}', '{"a":1}']],
    [
      'a line break inside a document',
      [{ index: { _id: '1' } }, '{"a":1}\n{"index":{"_id":"2"}}\n{"tenant_id":"acme2"}'],
    ],
    ['an empty line', '{"index":{"_id":"1"}}\n\n{"a":1}\n'],
    ['an action with a prototype', '{"index":{"_id":"1","__proto__":{"routing":"x"}}}\n{}\n'],
  ])('refuses %s before anything is sent', async (name, given) => {
    const { client, index, foreign, raw } = opened;
    const body = JSON.parse(
      JSON.stringify(given).replaceAll('FOREIGN', foreign).replaceAll('INDEX', index),
    ) as never;
    const before = [await everythingIn(raw, index), await everythingIn(raw, foreign)];
    const error = await failure(() => acme(() => client.bulk({ index, body })));
    expect(error.code).toBe('OPERATION_REFUSED');
    if (name.startsWith('an update')) expect(error.message).toContain('if_seq_no');
    expect([await everythingIn(raw, index), await everythingIn(raw, foreign)]).toEqual(before);
    // The same _id in the form that is meant.
    const { body: reply } = await acme(() =>
      client.bulk({ index, body: [{ index: { _id: '1' } }, { title: 'acme' }] }),
    );
    expect(reply.errors).toBe(false);
  });

  it('through helpers.bulk writes what a datasource gives', async () => {
    const { client, index, raw } = opened;
    const documents = Array.from({ length: 250 }, (_, n) => ({ id: `n${n}`, size: n }));
    const run = (): Promise<unknown> =>
      Promise.resolve(
        client.helpers.bulk({
          datasource: documents,
          flushBytes: 2_000,
          concurrency: 3,
          refreshOnCompletion: index,
          onDocument: ({ id }) => ({ index: { _index: index, _id: id } }),
        }),
      );
    for (const as of [acme, acme2])
      expect(await as(run)).toMatchObject({ total: 250, successful: 250, failed: 0 });
    for (const tenant of ['acme', 'acme2']) {
      const { body } = await raw.get({ index, id: `${tenant}~n249` });
      expect(body._source).toEqual({ tenant_id: tenant, id: 'n249', size: 249 });
    }
    const dropped: unknown[] = [];
    const stats = await acme(() =>
      client.helpers.bulk({
        datasource: [{ id: 'n1' }, { id: 'fresh' }],
        onDocument: ({ id }) => ({ create: { _index: index, _id: id } }),
        onDrop: (drop) => dropped.push(drop),
      }),
    );
    expect(stats).toMatchObject({ total: 2, successful: 1, failed: 1 });
    expect(dropped).toMatchObject([{ status: 409, operation: { create: { _id: 'n1' } } }]);
    expect(JSON.stringify(dropped)).not.toContain('acme~');
    const refused = await failure(() =>
      acme(() =>
        client.helpers.bulk({
          datasource: [{ id: 'x', tenant_id: 'acme2' }],
          onDocument: ({ id }) => ({ index: { _index: index, _id: id } }),
        }),
      ),
    );
    expect(refused.code).toBe('OPERATION_REFUSED');
  });
});
