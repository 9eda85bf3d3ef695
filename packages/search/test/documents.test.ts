import { withTenant } from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acme, acme2, everythingIn, failure, openSearch, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openSearch();
});
afterAll(() => opened[Symbol.asyncDispose]());

const stored = async (physical: string): Promise<unknown> => {
  const { body } = await opened.raw.get({ index: opened.index, id: physical }, { ignore: [404] });
  return body._source;
};

describe('documents', () => {
  it('of five tenants under one _id are five documents', async () => {
    const { client, index } = opened;
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        const { body, statusCode } = await client.index({ index, id: 'same', body: { title: tenant } });
        expect(statusCode).toBe(201);
        expect(body).toMatchObject({ _index: index, _id: 'same', result: 'created', _version: 1 });
      });
    }
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        const { body } = await client.get({ index, id: 'same' });
        expect(body).toMatchObject({ _index: index, _id: 'same', found: true });
        expect(body._source).toEqual({ title: tenant });
      });
      expect(await stored(`${tenant}~same`)).toEqual({ tenant_id: tenant, title: tenant });
    }
  });

  it('carry the data subject of the context', async () => {
    const { client, index } = opened;
    await withTenant({ tenant: 'acme', subject: 'p1' }, async () => {
      await client.index({ index, id: 'tagged', body: { title: 'x' } });
      await client.bulk({ body: [{ index: { _index: index, _id: 'tagged-2' } }, { title: 'y' }] });
      const { body } = await client.get({ index, id: 'tagged' });
      expect(body._source).toEqual({ title: 'x' });
    });
    for (const id of ['acme~tagged', 'acme~tagged-2']) {
      expect(await stored(id)).toMatchObject({ tenant_id: 'acme', subjects: ['p1'] });
    }
  });

  it('without an _id get one that is prefixed', async () => {
    const { client, index } = opened;
    const { body } = await acme(() => client.index({ index, body: { title: 'auto' } }));
    expect(body._id).toMatch(/^[\w-]{20}$/);
    expect(await stored(`acme~${body._id}`)).toEqual({ tenant_id: 'acme', title: 'auto' });
    const read = await acme(() => client.get({ index, id: body._id }));
    expect(read.body._source).toEqual({ title: 'auto' });
    expect((await failure(() => acme2(() => client.get({ index, id: body._id })))).statusCode).toBe(404);
  });

  it.each([
    '..',
    '.',
    'a/b',
    'a%2Fb',
    'a b',
    'a+b',
    'a?b=c',
    'a#b',
    '~',
    'acme2~same',
    'ü',
    '日本',
    '_search',
    '*',
    '<x>',
    ',',
    'undefined',
  ])('may have the _id %s', async (id) => {
    const { client, index, raw } = opened;
    await acme(async () => {
      const { body: written } = await client.index({ index, id, body: { title: id } });
      expect(written._id).toBe(id);
      const { body: read } = await client.get({ index, id });
      expect(read).toMatchObject({ _id: id, _source: { title: id } });
      expect((await client.exists({ index, id })).body).toBe(true);
    });
    expect((await failure(() => acme2(() => client.get({ index, id })))).statusCode).toBe(404);
    expect((await acme2(() => client.exists({ index, id }))).body).toBe(false);
    const { body } = await raw.get({ index, id: `acme~${id}` });
    expect(body._source).toEqual({ tenant_id: 'acme', title: id });
    await acme(() => client.delete({ index, id }));
    expect(await stored(`acme~${id}`)).toBeUndefined();
  });

  it('an _id that is empty, or that the client has written as null, is refused', async () => {
    const { client, index } = opened;
    for (const id of ['', 'null', '\ud800']) {
      const calls: readonly (() => unknown)[] = [
        () => client.get({ index, id }),
        () => client.delete({ index, id }),
        () => client.exists({ index, id }),
        () => client.getSource({ index, id }),
        () => client.create({ index, id, body: {} }),
      ];
      for (const call of calls) {
        const error = await failure(() => acme(call));
        expect(error.code ?? error.name).toMatch(/OPERATION_REFUSED|URIError/);
      }
    }
  });

  it('are deleted from the own tenant only', async () => {
    const { client, index } = opened;
    for (const run of [acme, acme2]) await run(() => client.index({ index, id: 'gone', body: {} }));
    const { body } = await acme(() => client.delete({ index, id: 'gone' }));
    expect(body).toMatchObject({ _index: index, _id: 'gone', result: 'deleted' });
    expect(await stored('acme~gone')).toBeUndefined();
    expect(await stored('acme2~gone')).toEqual({ tenant_id: 'acme2' });
    const again = await failure(() => acme(() => client.delete({ index, id: 'gone' })));
    expect(again).toMatchObject({
      name: 'ResponseError',
      statusCode: 404,
      body: { _id: 'gone', result: 'not_found' },
    });
  });

  it('can be created once per tenant, and the conflict tells logical names', async () => {
    const { client, index } = opened;
    await acme2(() => client.create({ index, id: 'once', body: { title: 'other' } }));
    await acme(() => client.create({ index, id: 'once', body: { title: 'own' } }));
    const error = await failure(() => acme(() => client.create({ index, id: 'once', body: {} })));
    expect(error.statusCode).toBe(409);
    expect(error.message).toContain('[once]: version conflict, document already exists');
    expect(`${error.message} ${JSON.stringify(error.body)} ${error.stack}`).not.toContain('acme~');
    const viaParam = await failure(() =>
      acme(() => client.index({ index, id: 'once', op_type: 'create', body: {} })),
    );
    expect(viaParam.statusCode).toBe(409);
  });

  it('can be written on condition of what was read', async () => {
    const { client, index } = opened;
    await acme(async () => {
      const { body } = await client.index({ index, id: 'cas', body: { size: 1 } });
      const condition = { if_seq_no: body._seq_no ?? 0, if_primary_term: body._primary_term ?? 0 };
      await client.index({ index, id: 'cas', ...condition, body: { size: 2 } });
      const error = await failure(() => client.index({ index, id: 'cas', ...condition, body: { size: 3 } }));
      expect(error.statusCode).toBe(409);
      expect(error.message).toContain('[cas]: version conflict');
      await client.index({ index, id: 'versioned', version: 7, version_type: 'external', body: {} });
      const { body: read } = await client.get({ index, id: 'versioned' });
      expect(read._version).toBe(7);
    });
  });

  it('are read in parts, without the fields of tenantkit', async () => {
    const { client, index } = opened;
    const document = { title: 't', size: 1, inner: { tenant_id: 'a field of the caller', x: 1 } };
    await withTenant({ tenant: 'acme', subject: 'p1' }, () =>
      client.index({ index, id: 'parts', body: document }),
    );
    const get = async (params: object): Promise<unknown> =>
      (await acme(() => client.get({ index, id: 'parts', ...params }))).body._source;
    expect(await get({})).toEqual(document);
    expect(await get({ _source: true })).toEqual(document);
    expect(await get({ _source: false })).toBeUndefined();
    expect(await get({ _source: 'title' })).toEqual({ title: 't' });
    expect(await get({ _source: ['title', 'size'] })).toEqual({ title: 't', size: 1 });
    expect(await get({ _source_includes: ['inner.*'] })).toEqual({ inner: document.inner });
    expect(await get({ _source_excludes: ['inner', 'size'] })).toEqual({ title: 't' });
    expect(await get({ _source_includes: 'tenant_id' })).toEqual({});
    expect(await get({ _source: 'nothing' })).toEqual({});
    for (const _source_excludes of ['tenant_id', 'tenant_*', '*', 't*d', 'size,*_id']) {
      expect((await failure(() => get({ _source_excludes }))).code).toBe('OPERATION_REFUSED');
    }
    const source = async (params: object): Promise<unknown> =>
      (await acme(() => client.getSource({ index, id: 'parts', ...params }))).body;
    expect(await source({})).toEqual(document);
    expect(await source({ _source_includes: 'size' })).toEqual({ size: 1 });
    expect((await acme(() => client.existsSource({ index, id: 'parts' }))).body).toBe(true);
    expect((await acme2(() => client.existsSource({ index, id: 'parts' }))).body).toBe(false);
    const missing = await failure(() => acme2(() => client.getSource({ index, id: 'parts' })));
    expect(missing.statusCode).toBe(404);
    expect(missing.message).toContain('[parts]');
    expect(missing.message).not.toContain('acme2~');
  });

  it('that bring a field of tenantkit are refused, in every spelling', async () => {
    const { client, index } = opened;
    const spellings: readonly unknown[] = [
      { tenant_id: 'acme2' },
      { tenant_id: 'acme' },
      { tenant_id: ['acme2'] },
      { tenant_id: null },
      { tenant_id: { x: 1 } },
      { 'tenant_id.x': 1 },
      { '.tenant_id': 1 },
      { 'tenant_id.': 1 },
      { ' tenant_id': 1 },
      { subjects: ['p2'] },
      { 'subjects.x': 1 },
      { '': 1 },
      '{"tenant_id":"acme2"}',
      '{"title":"x","tenant\\u005fid":"acme2"}',
      '{"title":"x","\\u0074enant_id":"acme2"}',
      '{"title":1,"title":2}',
      Buffer.from('{"subjects":["p2"]}'),
      JSON.parse('{"__proto__":{"tenant_id":"acme2"}}') as unknown,
      { deep: JSON.parse('{"__proto__":{"x":1}}') as unknown },
      { constructor: { prototype: { tenant_id: 'acme2' } } },
      { toJSON: () => ({ tenant_id: 'acme2' }) },
      ['tenant_id'],
      '["tenant_id"]',
      '"tenant_id"',
      'null',
      42,
      '{"title":"x"}{"tenant_id":"acme2"}',
      '{"title":"x"}\n{"index":{"_id":"acme2~same"}}\n{"tenant_id":"acme2"}',
    ];
    const before = await everythingIn(opened.raw, index);
    for (const body of spellings) {
      const calls: readonly (() => unknown)[] = [
        () => client.index({ index, id: 'smuggled', body: body as object }),
        () => client.create({ index, id: 'smuggled', body: body as object }),
        () => client.bulk({ body: [{ index: { _index: index, _id: 'smuggled' } }, body as object] }),
      ];
      for (const call of calls) expect((await failure(() => acme(call))).code).toBe('OPERATION_REFUSED');
    }
    expect(await everythingIn(opened.raw, index)).toEqual(before);
    // The same under names that are nobody's.
    for (const body of [
      { tenantId: 'acme2' },
      { inner: { tenant_id: 'x', subjects: 1 } },
      '{"tenant":"acme2"}',
    ]) {
      await acme(() => client.index({ index, id: 'smuggled', body: body as object }));
      expect(await stored('acme~smuggled')).toMatchObject({ tenant_id: 'acme' });
    }
  });

  it('a Proxy or a getter cannot show the check one document and the server another', async () => {
    const { client, index } = opened;
    let asked = 0;
    const shy = new Proxy(
      { title: 'x' },
      {
        ownKeys: () => ((asked += 1) > 1 ? ['title', 'tenant_id'] : ['title']),
        getOwnPropertyDescriptor: () => ({ value: 'acme2', enumerable: true, configurable: true }),
        get: (_target, key) => (key === 'toJSON' ? undefined : 'acme2'),
      },
    );
    await acme(() => client.index({ index, id: 'shy', body: shy }));
    expect(await stored('acme~shy')).toEqual({ tenant_id: 'acme', title: 'acme2' });
  });

  it('are taken as objects, as text and as Buffer, digit for digit', async () => {
    const { client, index, raw } = opened;
    const text = '{ "title" : "x\\ty",\n "size": 9007199254740993, "list": [ {"a": 1} ] }';
    for (const body of [text, Buffer.from(text), new Uint8Array(Buffer.from(text))]) {
      await acme(() => client.index({ index, id: 'text', body: body as unknown as object }));
      const { body: reply } = await raw.transport.request({
        method: 'GET',
        path: `/${index}/_source/acme~text`,
        querystring: { format: 'json' },
      });
      expect(reply).toMatchObject({ tenant_id: 'acme', title: 'x\ty', list: [{ a: 1 }] });
    }
    const exact = opened.guarded({ enableLongNumeralSupport: true });
    await acme(() => exact.index({ index, id: 'long', body: { size: 9007199254740993n } }));
    for (const id of ['text', 'long']) {
      const { body } = await acme(() => exact.get({ index, id }));
      expect(body._source?.['size']).toBe(9007199254740993n);
    }
    expect(
      (await failure(() => acme(() => client.index({ index, body: Buffer.from([0x22, 0xff, 0x22]) })))).code,
    ).toBe('OPERATION_REFUSED');
  });

  it('cannot be streamed past the checks', async () => {
    const { client, index } = opened;
    const { Readable } = await import('node:stream');
    const stream = (): NodeJS.ReadableStream => Readable.from(['{"tenant_id":"acme2"}']);
    const calls: readonly (() => unknown)[] = [
      () => client.index({ index, id: 's', body: stream() }),
      () => client.bulk({ body: stream() as never }),
      () => client.search({ index, body: stream() as never }),
      () => client.get({ index, id: 'same' }, { asStream: true }),
      () => client.search({ index }, { asStream: true }),
    ];
    for (const call of calls) {
      const error = await failure(() => acme(call));
      expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
      expect(error.message).toMatch(/stream/);
    }
    await acme(() => client.get({ index, id: 'same' }, { asStream: false }));
  });

  it('that cannot be written as JSON fail as in the raw client', async () => {
    const { client, index } = opened;
    const cycle: Record<string, unknown> = { title: 'x' };
    cycle['cycle'] = cycle;
    const error = await failure(() => acme(() => client.index({ index, body: cycle })));
    expect(error).toMatchObject({ name: 'SerializationError', data: cycle });
    let deep: unknown = 1;
    for (let level = 0; level < 100_000; level += 1) deep = { deep };
    expect((await failure(() => acme(() => client.index({ index, body: { deep } })))).code).toBe(
      'OPERATION_REFUSED',
    );
    // The process is fine.
    await acme(() => client.index({ index, id: 'fine', body: { a: { b: { c: 1 } } } }));
  });

  it('errors of the server tell the caller’s own names and values', async () => {
    const { client, index } = opened;
    const error = await failure(() =>
      acme(() => client.index({ index, id: 'bad', body: { size: 'not a number' } })),
    );
    expect(error).toMatchObject({ name: 'ResponseError', statusCode: 400 });
    expect(error.message).toContain("document with id 'bad'");
    expect(error.message).toContain('not a number');
    expect(JSON.stringify(error.body)).not.toContain('acme~');
    const missing = await failure(() => acme(() => client.get({ index, id: 'none' })));
    expect(missing.body).toEqual({ _index: index, _id: 'none', found: false });
  });
});
