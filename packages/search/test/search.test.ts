import { withTenant } from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AGGREGATIONS, QUERIES, SEARCH_BODY, type AggregationRow, type QueryRow } from '../src/clauses.ts';
import { acme, failure, openSearch, type Opened } from './support.ts';

let opened: Opened;
const SUM = 4;

beforeAll(async () => {
  opened = await openSearch();
  const { client, index } = opened;
  for (const [at, tenant] of TENANTS.entries()) {
    await withTenant({ tenant, subject: `p-${tenant}` }, () =>
      client.bulk({
        refresh: true,
        body: [
          { index: { _index: index, _id: '1' } },
          {
            title: `quick brown fox ${tenant}`,
            color: 'red',
            size: 1 + at,
            price: 1.5,
            at: '2026-01-01',
            open: true,
          },
          { index: { _index: index, _id: '2' } },
          {
            title: `lazy dog ${tenant}`,
            color: `secret-${tenant}`,
            size: 10 + at,
            price: 2.5,
            at: '2026-02-01',
            open: false,
          },
          { index: { _index: index, _id: '3' } },
          { title: `brown dog ${tenant}`, color: 'blue', size: 100 + at, at: '2026-03-01' },
          { index: { _index: index, _id: '4' } },
          {
            title: `red fox ${tenant}`,
            color: 'red',
            size: 1000 + at,
            price: 9,
            at: '2026-03-02',
            open: true,
          },
        ],
      }),
    );
  }
});
afterAll(() => opened[Symbol.asyncDispose]());

const search = async (body: object, params: object = {}): Promise<Record<string, never>> => {
  const reply = await acme(() => opened.client.search({ index: opened.index, body, ...params }));
  return reply.body as unknown as Record<string, never>;
};
const ids = async (query: object): Promise<readonly string[]> => {
  const { hits } = (await search({ query })) as unknown as { hits: { hits: readonly { _id: string }[] } };
  return hits.hits.map(({ _id }) => _id).sort();
};

const ALLOWED: Readonly<Record<string, readonly (readonly [query: object, found: string])[]>> = {
  term: [
    [{ term: { color: 'red' } }, '14'],
    [{ term: { color: { value: 'RED', case_insensitive: true, boost: 2 } } }, '14'],
    [{ term: { size: 1 } }, '1'],
    [{ term: { open: false } }, '2'],
    [{ term: { 'title.raw': 'lazy dog acme' } }, '2'],
    [{ term: { _id: '1' } }, '1'],
    [{ term: { _id: { value: '1' } } }, '1'],
    [{ term: { _id: 'acme2~1' } }, ''],
    [{ term: { _id: 'acme~1' } }, ''],
    [{ term: { color: 'secret-acme2' } }, ''],
  ],
  terms: [
    [{ terms: { color: ['red', 'blue'] } }, '134'],
    [{ terms: { color: ['blue', 'secret-acme2'], boost: 2 } }, '3'],
    [{ terms: { _id: ['1', '2', 'acme2~1'] } }, '12'],
    [{ terms: { size: [] } }, ''],
  ],
  match: [
    [{ match: { title: 'fox' } }, '14'],
    [{ match: { title: { query: 'brown fox', operator: 'and' } } }, '1'],
    [{ match: { title: { query: 'brown fox dog', minimum_should_match: 2 } } }, '13'],
    [{ match: { title: { query: 'FOX', analyzer: 'whitespace' } } }, ''],
    [{ match: { title: 'acme2' } }, ''],
  ],
  match_phrase: [
    [{ match_phrase: { title: 'brown fox' } }, '1'],
    [{ match_phrase: { title: { query: 'quick fox', slop: 1 } } }, '1'],
  ],
  match_all: [
    [{ match_all: {} }, '1234'],
    [{ match_all: { boost: 1.5 } }, '1234'],
  ],
  match_none: [[{ match_none: {} }, '']],
  bool: [
    [{ bool: { must: { match: { title: 'fox' } }, must_not: [{ term: { size: 1 } }] } }, '4'],
    [{ bool: { should: [{ term: { color: 'blue' } }, { term: { size: 1 } }] } }, '13'],
    [
      { bool: { filter: [{ bool: { should: [{ match_all: {} }] } }], minimum_should_match: 0, should: [] } },
      '1234',
    ],
    [{ bool: { must_not: { term: { color: 'red' } } } }, '23'],
    [{ bool: {} }, '1234'],
  ],
  constant_score: [[{ constant_score: { filter: { term: { color: 'red' } }, boost: 3 } }, '14']],
  range: [
    [{ range: { size: { gte: 10, lt: 1000 } } }, '23'],
    [{ range: { at: { gt: '2026-02-01', lte: '2026-03-01||/d', time_zone: '+00:00' } } }, '3'],
    [{ range: { at: { gte: '01/03/2026', format: 'dd/MM/yyyy' } } }, '34'],
  ],
  exists: [[{ exists: { field: 'price' } }, '124']],
  ids: [
    [{ ids: { values: ['1', '3', 'acme2~2'] } }, '13'],
    [{ ids: { values: '2' } }, '2'],
  ],
  prefix: [
    [{ prefix: { color: 're' } }, '14'],
    [{ prefix: { color: { value: 'SECRET', case_insensitive: true } } }, '2'],
  ],
};

describe('queries', () => {
  it('every allowed query has an example', () => {
    const allowed = Object.entries<QueryRow>(QUERIES).filter(([, row]) => !('kind' in row));
    expect(Object.keys(ALLOWED).sort()).toEqual(allowed.map(([name]) => name).sort());
  });

  it.each(Object.values(ALLOWED).flat())('%j finds what is the tenant’s', async (query, found) => {
    expect((await ids(query)).join('')).toBe(found);
    // The raw client with the filter written by hand, and the same scores.
    const { body } = await opened.raw.search({
      index: opened.index,
      body: { query: { bool: { filter: [{ term: { tenant_id: 'acme' } }], must: [physical(query)] } } },
    });
    const witnessed = body.hits.hits.map(({ _id, _score }) => [_id, _score]);
    const { hits } = (await search({ query })) as unknown as {
      hits: { hits: { _id: string; _score: number }[] };
    };
    expect(hits.hits.map(({ _id, _score }) => [`acme~${_id}`, _score])).toEqual(witnessed);
  });

  it.each(
    Object.entries<QueryRow>(QUERIES)
      .filter(([, row]) => 'kind' in row)
      .map(([name]) => name),
  )('refuses %s, wherever it stands', async (name) => {
    for (const query of [
      { [name]: {} },
      { [name]: { color: 'red' } },
      { bool: { must_not: { [name]: {} } } },
      { bool: { should: [{ constant_score: { filter: { [name]: {} } } }] } },
    ]) {
      for (const body of [
        { query },
        { post_filter: query },
        { aggs: { a: { filter: query } } },
        { highlight: { fields: { title: {} }, highlight_query: query } },
      ]) {
        const error = await failure(() => search(body));
        expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
        expect(error.message).toContain(name);
      }
    }
    expect(await ids({ term: { color: 'red' } })).toEqual(['1', '4']);
  });

  it.each<readonly [string, object]>([
    ['terms lookup', { terms: { color: { index: 'other', id: '1', path: 'color' } } }],
    ['terms from a subquery', { terms: { color: { query: { match_all: {} } } } }],
    ['a terms bitmap', { terms: { size: ['OjAAAAEAAAAAAAIAEAAAAG8AeQA='], value_type: 'bitmap' } }],
    ['terms of two fields', { terms: { color: ['red'], size: [1] } }],
    ['fuzziness', { match: { title: { query: 'fxo', fuzziness: 'AUTO' } } }],
    ['a cut-off frequency', { match: { title: { query: 'fox', cutoff_frequency: 0.01 } } }],
    ['a rewrite', { prefix: { color: { value: 's', rewrite: 'top_terms_10' } } }],
    ['two queries in one object', { term: { color: 'red' }, match_all: {} }],
    ['no query', {}],
    ['two fields in one term', { term: { color: 'red', size: 1 } }],
    ['a key that nobody knows', { term: { color: { value: 'red', frobnicate: 1 } } }],
    ['a name that every object has', { constructor: {} }],
    ['__proto__ as a query', JSON.parse('{"__proto__":{"match_all":{}}}') as object],
    ['__proto__ as a field', { term: JSON.parse('{"__proto__":"red"}') as object }],
    ['a list as a query', [{ match_all: {} }]],
    ['a list as a value', { term: { color: ['red'] } }],
    ['an object as a value', { term: { color: { value: { x: 1 } } } }],
    ['the tenant’s field', { term: { tenant_id: 'acme2' } }],
    ['the tenant’s field by a sub-field', { term: { 'tenant_id.raw': 'acme2' } }],
    ['the subjects’ field', { terms: { subjects: ['p-acme2'] } }],
    ['the existence of the tenant’s field', { exists: { field: 'tenant_id' } }],
    ['a wildcard field', { exists: { field: '*' } }],
    ['a prefix of _id', { prefix: { _id: 'acme2' } }],
    ['a range of _id', { range: { _id: { gte: 'acme2' } } }],
    ['_id regardless of case', { term: { _id: { value: '1', case_insensitive: true } } }],
    ['_index', { term: { _index: 'x' } }],
    ['_routing', { term: { _routing: 'x' } }],
    ['_seq_no', { range: { _seq_no: { gte: 0 } } }],
    ['_source', { exists: { field: '_source' } }],
  ])('refuses %s', async (_name, query) => {
    expect((await failure(() => search({ query }))).code).toBe('OPERATION_REFUSED');
    expect(await ids({ term: { color: 'red' } })).toEqual(['1', '4']);
  });

  it('says of a terms lookup that it reaches another document', async () => {
    const lookup = { terms: { color: { index: 'other', id: '1', path: 'color' } } };
    expect((await failure(() => search({ query: lookup }))).message).toContain('from another document');
  });

  it('refuses what is too deep or too wide, and stands', async () => {
    let deep: object = { match_all: {} };
    for (let level = 0; level < 20; level += 1) deep = { bool: { must: deep } };
    await ids(deep).catch((error: unknown) => expect(error).toMatchObject({ statusCode: 400 }));
    for (let level = 0; level < 60; level += 1) deep = { bool: { must: deep } };
    expect(await failure(() => search({ query: deep }))).toMatchObject({ code: 'OPERATION_REFUSED' });
    for (let level = 0; level < 50_000; level += 1) deep = { bool: { must: deep } };
    expect(await failure(() => search({ query: deep }))).toMatchObject({ code: 'OPERATION_REFUSED' });
    const wide = { bool: { should: Array.from({ length: 10_001 }, (_, n) => ({ term: { size: n } })) } };
    expect((await failure(() => search({ query: wide }))).message).toContain('more than 10000 clauses');
    const long = { terms: { size: Array.from({ length: 65_537 }, (_, n) => n) } };
    expect((await failure(() => search({ query: long }))).message).toContain('more than 65536 values');
    const nested = Array.from({ length: 60 }).reduce<object>(
      (inner) => ({ a: { filter: { match_all: {} }, aggs: inner } }),
      {},
    );
    expect((await failure(() => search({ aggs: nested }))).code).toBe('OPERATION_REFUSED');
  });
});

describe('the filter', () => {
  it('stands around the query: nothing of the caller’s bool undoes it', async () => {
    for (const query of [
      { bool: { should: [{ term: { color: 'red' } }, { match_all: {} }] } },
      { bool: { minimum_should_match: 0, should: [{ match_all: {} }] } },
      { bool: { must_not: [{ match_none: {} }] } },
      { bool: { filter: [], must: [], should: [], must_not: [] } },
      { bool: { adjust_pure_negative: false, must_not: { term: { color: 'nothing' } } } },
    ]) {
      expect((await ids(query)).filter((id) => !['1', '2', '3', '4'].includes(id))).toEqual([]);
      expect((await ids(query)).length).toBeLessThanOrEqual(SUM);
    }
  });

  it('holds for every total, and for count', async () => {
    const { client, index } = opened;
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        const { body } = await client.search({ index, body: { size: 0, track_total_hits: true } });
        expect(body.hits.total).toEqual({ value: SUM, relation: 'eq' });
        expect((await client.search({ index })).body.hits.hits).toHaveLength(SUM);
        expect((await client.count({ index })).body.count).toBe(SUM);
        expect((await client.count({ index, body: { query: { term: { color: 'red' } } } })).body.count).toBe(
          2,
        );
        expect(
          (await client.count({ index, body: { query: { prefix: { color: 'secret-' } } } })).body.count,
        ).toBe(1);
      });
    }
  });

  it('is not lost through the query string', async () => {
    const { client, index } = opened;
    for (const name of [
      'q',
      'df',
      'default_operator',
      'analyzer',
      'lenient',
      'source',
      'source_content_type',
      'filter_path',
      'format',
      'typed_keys',
      'error_trace',
      'routing',
      'preference',
      'search_type',
      'search_pipeline',
      'pipeline',
      'scroll',
      'ignore_unavailable',
      'allow_no_indices',
      'expand_wildcards',
      'stored_fields',
      'explain',
      'min_score',
      'terminate_after',
      'suggest_field',
      'index',
      'method',
      'frobnicate',
      '__proto__',
      'constructor',
    ]) {
      const calls: readonly (() => unknown)[] = [
        () => client.search(Object.assign(Object.create(null) as object, { index, [name]: 'x' })),
        () =>
          client.search(
            { index },
            { querystring: Object.assign(Object.create(null) as object, { [name]: 'x' }) },
          ),
        () =>
          client.count(
            { index },
            { querystring: Object.assign(Object.create(null) as object, { [name]: 'x' }) },
          ),
        () => client.transport.request({ method: 'POST', path: `/${index}/_search?${name}=x` }),
        () =>
          client.transport.request({ method: 'POST', path: `/${index}/_search`, querystring: `${name}=x` }),
        () =>
          client.http.get({ path: `/${index}/_search`, querystring: JSON.parse(`{"${name}":"x"}`) as never }),
      ];
      for (const call of name === 'index' ? calls.slice(1) : calls) {
        expect([name, (await failure(() => acme(call))).code]).toEqual([name, 'OPERATION_REFUSED']);
      }
    }
    const twice: readonly (() => unknown)[] = [
      () => client.transport.request({ method: 'POST', path: `/${index}/_search?size=1&size=2` }),
      () =>
        client.transport.request({ method: 'POST', path: `/${index}/_search`, querystring: 'size=1&size=2' }),
      () =>
        client.transport.request({
          method: 'POST',
          path: `/${index}/_search?size=1`,
          querystring: { size: 2 },
        }),
      () => client.transport.request({ method: 'POST', path: `/${index}/_search`, body: {}, bulkBody: [{}] }),
      () => client.search({ index, sort: 'size', body: { sort: ['size'] } }),
      () => search({ aggs: {}, aggregations: {} }),
    ];
    for (const call of twice) expect((await failure(() => acme(call))).code).toBe('OPERATION_REFUSED');
    // What may stand there does.
    const { body } = await acme(() =>
      client.search(
        { index, size: 1, from: 1, sort: 'size:desc', _source: 'size', track_total_hits: true },
        { querystring: { version: true } },
      ),
    );
    expect(body.hits).toMatchObject({
      total: { value: SUM },
      hits: [{ _id: '3', _version: 1, _source: { size: 100 } }],
    });
  });
});

describe('aggregations', () => {
  const aggregate = async (aggs: object): Promise<unknown> =>
    ((await search({ size: 0, aggs })) as unknown as { aggregations: unknown }).aggregations;
  const buckets = async (body: object): Promise<readonly (readonly [unknown, number])[]> => {
    const { a } = (await aggregate({ a: body })) as {
      a: { buckets: readonly { key: unknown; doc_count: number }[] };
    };
    return a.buckets.map(({ key, doc_count }) => [key, doc_count] as const);
  };

  it('count the tenant’s documents only', async () => {
    expect(await buckets({ terms: { field: 'color' } })).toEqual([
      ['red', 2],
      ['blue', 1],
      ['secret-acme', 1],
    ]);
    expect(await buckets({ terms: { field: 'color', order: { _key: 'desc' }, size: 1 } })).toEqual([
      ['secret-acme', 1],
    ]);
    expect(await buckets({ terms: { field: 'color', include: 'secret-.*' } })).toEqual([['secret-acme', 1]]);
    expect(await buckets({ terms: { field: 'color', include: ['blue', 'secret-acme2'] } })).toEqual([
      ['blue', 1],
    ]);
    expect(await buckets({ range: { field: 'size', ranges: [{ to: 10 }, { from: 10 }] } })).toEqual([
      ['*-10.0', 1],
      ['10.0-*', 3],
    ]);
    expect(await buckets({ histogram: { field: 'price', interval: 1, min_doc_count: 1 } })).toEqual([
      [1, 1],
      [2, 1],
      [9, 1],
    ]);
    expect(
      (await buckets({ date_histogram: { field: 'at', calendar_interval: 'month' } })).map(
        ([, count]) => count,
      ),
    ).toEqual([1, 1, 2]);
    expect(
      await aggregate({ a: { filter: { term: { color: 'red' } }, aggs: { m: { max: { field: 'size' } } } } }),
    ).toEqual({
      a: { doc_count: 2, m: { value: 1000 } },
    });
    expect(await aggregate({ a: { missing: { field: 'price' } } })).toEqual({ a: { doc_count: 1 } });
    expect(
      await aggregate({
        min: { min: { field: 'size' } },
        max: { max: { field: 'size' } },
        sum: { sum: { field: 'size' } },
        avg: { avg: { field: 'price' } },
        count: { value_count: { field: 'price' } },
        colors: { cardinality: { field: 'color' }, meta: { unit: 'colors' } },
        stats: { stats: { field: 'size' } },
      }),
    ).toEqual({
      min: { value: 1 },
      max: { value: 1000 },
      sum: { value: 1111 },
      avg: { value: 13 / 3 },
      count: { value: 3 },
      colors: { value: 3, meta: { unit: 'colors' } },
      stats: { count: 4, min: 1, max: 1000, avg: 277.75, sum: 1111 },
    });
  });

  it('show no term of another tenant, also with min_doc_count 0', async () => {
    const { raw, index } = opened;
    const body = {
      size: 0,
      query: { term: { tenant_id: 'acme' } },
      aggs: { a: { terms: { field: 'color', min_doc_count: 0, size: 50 } } },
    };
    const { body: leaky } = await raw.search({ index, body });
    expect(JSON.stringify(leaky)).toContain('secret-acme2');
    for (const min_doc_count of [0, '0', -1]) {
      for (const aggs of [
        { a: { terms: { field: 'color', min_doc_count } } },
        { a: { filter: { match_all: {} }, aggs: { b: { terms: { field: 'color', min_doc_count } } } } },
      ]) {
        expect(JSON.stringify(await aggregate(aggs))).not.toMatch(/secret-(?!acme")/);
      }
    }
  });

  it.each(
    Object.entries<AggregationRow>(AGGREGATIONS)
      .filter(([, row]) => 'kind' in row)
      .map(([name]) => name),
  )('refuses %s, wherever it stands', async (name) => {
    for (const aggs of [
      { a: { [name]: {} } },
      { a: { terms: { field: 'color' }, aggs: { b: { [name]: {} } } } },
      { a: { terms: { field: 'color' }, aggregations: { b: { [name]: { field: 'color' } } } } },
    ]) {
      for (const body of [{ aggs }, { aggregations: aggs }]) {
        const error = await failure(() => search(body));
        expect(error.code).toBe('OPERATION_REFUSED');
        expect(error.message).toContain(name);
      }
    }
    expect(await buckets({ terms: { field: 'color', size: 1 } })).toEqual([['red', 2]]);
  });

  it.each<readonly [string, object]>([
    ['a script', { terms: { script: 'doc.tenant_id' } }],
    ['a script in a metric', { max: { script: 'doc.size' } }],
    ['the tenant’s field', { terms: { field: 'tenant_id' } }],
    ['_id', { terms: { field: '_id' } }],
    ['_index', { cardinality: { field: '_index' } }],
    ['_seq_no', { max: { field: '_seq_no' } }],
    ['two types in one', { terms: { field: 'color' }, max: { field: 'size' } }],
    ['none', { meta: {} }],
    ['sub-aggregations in a metric', { max: { field: 'size' }, aggs: {} }],
    ['aggs in two spellings', { terms: { field: 'color' }, aggs: {}, aggregations: {} }],
    ['a key that nobody knows', { terms: { field: 'color', frobnicate: 1 } }],
    ['a name that every object has', { constructor: {} }],
  ])('refuses %s', async (_name, aggregation) => {
    expect((await failure(() => search({ aggs: { a: aggregation } }))).code).toBe('OPERATION_REFUSED');
  });

  it('refuses an aggregation named __proto__', async () => {
    const aggs = JSON.parse('{"__proto__":{"terms":{"field":"color"}}}') as object;
    expect((await failure(() => search({ aggs }))).code).toBe('OPERATION_REFUSED');
    expect(await aggregate({ constructor: { max: { field: 'size' } } })).toEqual({
      constructor: { value: 1000 },
    });
  });
});

describe('the body', () => {
  it.each(
    Object.entries(SEARCH_BODY)
      .filter(([, row]) => typeof row === 'object')
      .map(([name]) => name),
  )('refuses the key %s', async (name) => {
    for (const value of [{}, [], 1, 'x', true]) {
      expect((await failure(() => search({ [name]: value }))).code).toBe('OPERATION_REFUSED');
    }
    expect(await ids({ match_all: {} })).toHaveLength(SUM);
  });

  it('refuses a key that nobody knows, and what is no object', async () => {
    for (const body of [
      { frobnicate: 1 },
      JSON.parse('{"__proto__":{}}') as object,
      [],
      '[]',
      '{"query":{"match_all":{}},"query":{"match_none":{}}}',
      '{',
      'null',
      Buffer.from([0xff]),
    ]) {
      expect((await failure(() => search(body as object))).code).toBe('OPERATION_REFUSED');
    }
    expect(
      ((await search('{"size":1}' as unknown as object)) as unknown as { hits: { hits: unknown[] } }).hits
        .hits,
    ).toHaveLength(1);
  });

  it('sorts and pages, also by _id', async () => {
    const page = async (body: object): Promise<readonly (readonly unknown[])[]> => {
      const { hits } = (await search({ size: 2, _source: false, ...body })) as unknown as {
        hits: { hits: readonly { _id: string; sort: readonly unknown[] }[] };
      };
      return hits.hits.map(({ _id, sort }) => [_id, ...sort]);
    };
    expect(await page({ sort: ['_id'] })).toEqual([
      ['1', '1'],
      ['2', '2'],
    ]);
    expect(await page({ sort: ['_id'], search_after: ['2'] })).toEqual([
      ['3', '3'],
      ['4', '4'],
    ]);
    expect(await page({ sort: [{ _id: 'desc' }], search_after: ['3'] })).toEqual([
      ['2', '2'],
      ['1', '1'],
    ]);
    expect(
      await page({ search_after: ['red', '1'], sort: [{ color: 'asc' }, { _id: { order: 'asc' } }] }),
    ).toEqual([
      ['4', 'red', '4'],
      ['2', 'secret-acme', '2'],
    ]);
    expect(
      await page({ sort: { size: { order: 'desc', missing: '_last', unmapped_type: 'long' } } }),
    ).toEqual([
      ['4', 1000],
      ['3', 100],
    ]);
    expect(await page({ sort: ['_score', { size: 'asc' }] })).toEqual([
      ['1', 1, 1],
      ['2', 1, 10],
    ]);
    expect(await page({ sort: 'size', from: 3 })).toEqual([['4', 1000]]);
    for (const body of [
      { sort: ['_doc'] },
      { sort: ['_seq_no'] },
      { sort: ['tenant_id'] },
      { sort: [{ _script: {} }] },
      { sort: [{ _geo_distance: {} }] },
      { sort: [{ size: { order: 'asc', nested: { path: 'x' } } }] },
      { sort: ['_id'], search_after: [['1']] },
      { search_after: ['1'] },
    ]) {
      expect((await failure(() => search(body))).code).toBe('OPERATION_REFUSED');
    }
  });

  it('shows hits without the fields of tenantkit, however they are asked for', async () => {
    const hit = async (body: object): Promise<unknown> => {
      const { hits } = (await search({ query: { ids: { values: ['1'] } }, ...body })) as unknown as {
        hits: { hits: unknown[] };
      };
      return hits.hits[0];
    };
    const { index } = opened;
    const plain = { _index: index, _id: '1', _score: 1 };
    expect(await hit({ _source: false })).toEqual(plain);
    expect(await hit({ _source: ['size', 'tenant_id', 'subjects'] })).toEqual({
      ...plain,
      _source: { size: 1 },
    });
    expect(await hit({ _source: { includes: ['s*', '*_id'], excludes: ['size'] } })).toEqual({
      ...plain,
      _source: {},
    });
    expect(await hit({ _source: 'color' })).toEqual({ ...plain, _source: { color: 'red' } });
    const whole = (await hit({})) as { _source: object };
    expect(Object.keys(whole._source).sort()).toEqual(['at', 'color', 'open', 'price', 'size', 'title']);
    expect(await hit({ _source: false, fields: ['*'] })).toEqual({
      ...plain,
      fields: {
        title: ['quick brown fox acme'],
        'title.raw': ['quick brown fox acme'],
        color: ['red'],
        size: [1],
        price: [1.5],
        at: ['2026-01-01T00:00:00.000Z'],
        open: [true],
      },
    });
    expect(await hit({ _source: false, docvalue_fields: ['size', { field: 'at', format: 'yyyy' }] })).toEqual(
      {
        ...plain,
        fields: { size: [1], at: ['2026'] },
      },
    );
    expect(await hit({ _source: false, version: true, seq_no_primary_term: true })).toMatchObject({
      _version: 1,
      _primary_term: 1,
    });
    for (const body of [
      { docvalue_fields: ['tenant_id'] },
      { docvalue_fields: ['*'] },
      { docvalue_fields: ['_id'] },
      { fields: ['tenant_id'] },
      { fields: ['_routing'] },
      { fields: [{ field: 'subjects' }] },
      { stored_fields: '_none_' },
    ]) {
      expect((await failure(() => hit(body))).code).toBe('OPERATION_REFUSED');
    }
  });

  it('highlights what the caller looked for, and not the tenant', async () => {
    const { raw, index } = opened;
    const highlight = { require_field_match: false, fields: { title: {}, '*': { number_of_fragments: 1 } } };
    const query = { match: { title: 'fox' } };
    const leaky = {
      query: { bool: { filter: [{ term: { tenant_id: 'acme' } }], must: [query] } },
      highlight,
    };
    expect(JSON.stringify((await raw.search({ index, body: leaky })).body)).toContain('<em>acme</em>');
    const highlights = async (body: object): Promise<unknown> =>
      (
        (await search({ query, highlight: { ...highlight, ...body } })) as unknown as {
          hits: { hits: { _id: string; highlight: unknown }[] };
        }
      ).hits.hits.find(({ _id }) => _id === '1')?.highlight;
    expect(await highlights({})).toEqual({ title: ['quick brown <em>fox</em> acme'] });
    expect(
      await highlights({ highlight_query: { match: { title: 'quick' } }, pre_tags: ['['], post_tags: [']'] }),
    ).toEqual({
      title: ['[quick] brown fox acme'],
    });
    expect(await highlights({ fields: [{ title: { type: 'plain' } }] })).toEqual({
      title: ['quick brown <em>fox</em> acme'],
    });
    for (const body of [
      { fields: { tenant_id: {} } },
      { fields: { _id: {} } },
      { options: {} },
      { frobnicate: 1 },
    ]) {
      expect((await failure(() => highlights(body))).code).toBe('OPERATION_REFUSED');
    }
  });
});

/** A query as the raw client has to ask it. */
function physical(query: object): object {
  const rename = (id: unknown): unknown =>
    Array.isArray(id)
      ? id.map(rename)
      : typeof id === 'object' && id !== null && 'value' in id
        ? { value: rename(id.value) }
        : `acme~${String(id)}`;
  return JSON.parse(
    JSON.stringify(query, (key, value: unknown) => {
      if (key === '_id') return rename(value);
      return key === 'ids' ? { values: rename((value as { values: unknown }).values) } : value;
    }),
  ) as object;
}
