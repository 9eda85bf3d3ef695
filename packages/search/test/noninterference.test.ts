import { withTenant } from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSearch, type Opened } from './support.ts';

// Two worlds that differ in the documents of the other tenants only: `index` holds acme's, `second` acme's and
// those of four others, who use the same _ids, fields and values, and more of them.
const WORDS = ['red', 'green', 'blue', 'quick', 'brown', 'fox', 'acme', 'acme2', 'secret'] as const;
const OTHERS = TENANTS.filter((tenant) => tenant !== 'acme');
const OWN = 40;

let opened: Opened;

beforeAll(async () => {
  opened = await openSearch();
  const { index, second } = opened;
  const [own = [], ...others] = fc.sample(fc.array(document(), { minLength: OWN, maxLength: OWN }), {
    numRuns: 1 + OTHERS.length,
    seed: 7,
  });
  const write = (tenant: string, target: string, documents: readonly object[]): Promise<unknown> =>
    withTenant(tenant, () =>
      opened.client.bulk({
        refresh: true,
        body: documents.flatMap((one, n) => [{ index: { _index: target, _id: String(n) } }, one]),
      }),
    );
  // Interleaved, so that nobody's documents stand together.
  for (let at = 0; at < OWN; at += 10) {
    await write('acme', index, own.slice(0, at + 10));
    for (const [n, tenant] of OTHERS.entries())
      await write(tenant, second, others[n]?.slice(0, at + 10) ?? []);
    await write('acme', second, own.slice(0, at + 10));
  }
});
afterAll(() => opened[Symbol.asyncDispose]());

function document(): fc.Arbitrary<object> {
  return fc.record(
    {
      title: fc
        .array(fc.constantFrom(...WORDS), { minLength: 1, maxLength: 6 })
        .map((words) => words.join(' ')),
      color: fc.constantFrom(...WORDS),
      size: fc.integer({ min: -5, max: 60 }),
      price: fc.integer({ min: 0, max: 40 }).map((n) => n / 2),
      at: fc.integer({ min: 1, max: 28 }).map((day) => `2026-01-${String(day).padStart(2, '0')}`),
      open: fc.boolean(),
    },
    { requiredKeys: ['title', 'color'] },
  );
}

const word = fc.constantFrom(...WORDS);
const keywordField = fc.constantFrom('color', 'title.raw');
const numberField = fc.constantFrom('size', 'price');
const anyField = fc.constantFrom('title', 'color', 'size', 'price', 'at', 'open', 'missing');
const number = fc.integer({ min: -10, max: 70 });
const id = fc.oneof(
  fc.nat(OWN + 5).map(String),
  fc.nat(OWN).map((n) => `acme2~${n}`),
);

const { query } = fc.letrec<{ query: object; leaf: object; bool: object }>((tie) => ({
  query: fc.oneof({ depthSize: 'small', withCrossShrink: true }, tie('leaf'), tie('bool')),
  leaf: fc.oneof(
    fc.constant({ match_all: {} }),
    fc.constant({ match_none: {} }),
    fc.record({ term: fc.tuple(keywordField, word).map(([field, value]) => ({ [field]: value })) }),
    fc.record({
      term: fc
        .tuple(word, fc.boolean())
        .map(([value, case_insensitive]) => ({ color: { value, case_insensitive } })),
    }),
    fc.record({ term: id.map((_id) => ({ _id })) }),
    fc.record({
      terms: fc
        .tuple(keywordField, fc.array(word, { maxLength: 3 }))
        .map(([field, values]) => ({ [field]: values })),
    }),
    fc.record({ terms: fc.array(id, { maxLength: 3 }).map((_id) => ({ _id })) }),
    fc.record({ ids: fc.record({ values: fc.array(id, { maxLength: 4 }) }) }),
    fc.record({
      match: fc.record({
        title: fc.record({
          query: fc.array(word, { minLength: 1, maxLength: 3 }).map((words) => words.join(' ')),
          operator: fc.constantFrom('and', 'or'),
        }),
      }),
    }),
    fc.record({ match_phrase: fc.record({ title: fc.tuple(word, word).map((words) => words.join(' ')) }) }),
    fc.record({
      prefix: fc.tuple(keywordField, word).map(([field, value]) => ({ [field]: value.slice(0, 2) })),
    }),
    fc.record({ exists: fc.record({ field: anyField }) }),
    fc.record({
      range: fc.tuple(numberField, number, number).map(([field, gte, lt]) => ({ [field]: { gte, lt } })),
    }),
    fc.record({
      range: fc.constantFrom(
        { at: { gte: '2026-01-10', lt: '2026-01-20||+3d' } },
        { at: { lt: '2026-01-05' } },
      ),
    }),
  ),
  bool: fc.oneof(
    fc.record({
      bool: fc.record(
        {
          must: fc.array(tie('query'), { maxLength: 2 }),
          should: fc.array(tie('query'), { maxLength: 3 }),
          filter: fc.array(tie('query'), { maxLength: 2 }),
          must_not: fc.array(tie('query'), { maxLength: 2 }),
          minimum_should_match: fc.constantFrom(0, 1, '50%'),
        },
        { requiredKeys: [] },
      ),
    }),
    fc.record({ constant_score: fc.record({ filter: tie('query') }) }),
  ),
}));

const metric = fc.oneof(
  fc
    .tuple(fc.constantFrom('min', 'max', 'sum', 'avg', 'stats', 'value_count'), numberField)
    .map(([type, field]) => ({ [type]: { field } })),
  keywordField.map((field) => ({ cardinality: { field } })),
);
const { aggregation } = fc.letrec<{ aggregation: object; bucket: object }>((tie) => ({
  aggregation: fc.oneof({ depthSize: 'small' }, metric, tie('bucket')),
  bucket: fc
    .tuple(
      fc.oneof(
        fc.record({
          terms: fc.record({
            field: keywordField,
            min_doc_count: fc.constantFrom(0, 1, 2),
            size: fc.integer({ min: 1, max: 20 }),
            order: fc.constantFrom({ _key: 'asc' }, { _count: 'desc' }),
          }),
        }),
        fc.record({
          range: fc.record({
            field: numberField,
            ranges: fc.constant([{ to: 5 }, { from: 5, to: 20 }, { from: 20 }]),
          }),
        }),
        fc.record({
          histogram: fc.record({
            field: numberField,
            interval: fc.constantFrom(5, 10),
            min_doc_count: fc.constantFrom(0, 1),
          }),
        }),
        fc.record({
          date_histogram: fc.record({
            field: fc.constant('at'),
            calendar_interval: fc.constantFrom('day', 'week'),
          }),
        }),
        fc.record({
          missing: fc.record({ field: anyField.filter((field) => field !== 'title' && field !== 'missing') }),
        }),
        fc.record({ filter: query }),
      ),
      fc.option(fc.dictionary(fc.constantFrom('x', 'y'), tie('aggregation'), { minKeys: 1, maxKeys: 2 }), {
        nil: undefined,
      }),
    )
    .map(([type, aggs]) => (aggs === undefined ? type : { ...type, aggs })),
}));

const body = fc.record(
  {
    query,
    post_filter: fc.oneof({ arbitrary: fc.constant({ match_all: {} }), weight: 3 }, query),
    aggs: fc.dictionary(fc.constantFrom('a', 'b'), aggregation, { maxKeys: 2 }),
    from: fc.constantFrom(0, 0, 0, 3),
    size: fc.nat(50),
    track_total_hits: fc.constantFrom(true, false, 7),
    _source: fc.oneof(fc.boolean(), fc.constantFrom('size', ['t*', 'tenant_id'], { excludes: ['color'] })),
    fields: fc.constantFrom(['*'], ['size', 't*']),
    docvalue_fields: fc.constantFrom(['size'], [{ field: 'at', format: 'yyyy-MM-dd' }]),
    highlight: fc.constantFrom(
      { fields: { title: {} } },
      { require_field_match: false, fields: { '*': {} } },
    ),
    version: fc.boolean(),
    // Ending in _id: without it the order of equal documents is that of the index, and scores count all tenants.
    sort: fc
      .array(
        fc.constantFrom(
          { size: 'asc' },
          { price: { order: 'desc', missing: '_last' } },
          { color: 'desc' },
          'at',
        ),
        { maxLength: 2 },
      )
      .map((sorts) => [...sorts, { _id: 'asc' }]),
  },
  { requiredKeys: ['sort'] },
);

describe('noninterference', () => {
  it('what other tenants store changes no reply', { timeout: 120_000 }, async () => {
    const { client, index, second } = opened;
    const seen = { hits: 0, buckets: 0, errors: 0 };
    const answer = async (target: string, asked: object): Promise<unknown> => {
      try {
        const { body: reply } = await withTenant('acme', () => client.search({ index: target, body: asked }));
        return normal(reply, target);
      } catch (error) {
        const { body: reply, statusCode } = error as { body?: unknown; statusCode?: number };
        if (statusCode === undefined) throw error;
        seen.errors += 1;
        return normal({ statusCode, reply }, target);
      }
    };
    await fc.assert(
      fc.asyncProperty(body, async (asked) => {
        const [alone, among] = await Promise.all([answer(index, asked), answer(second, asked)]);
        expect(among).toEqual(alone);
        const text = JSON.stringify(alone);
        seen.hits += text.includes('"_id"') ? 1 : 0;
        seen.buckets += text.includes('"doc_count"') ? 1 : 0;
      }),
      { numRuns: 400 },
    );
    // The grammar is not one of queries that find nothing.
    expect(seen.hits).toBeGreaterThan(60);
    expect(seen.buckets).toBeGreaterThan(40);
    expect(seen.errors).toBeLessThan(40);
  });

  it('counts are the same as well', async () => {
    const { client, index, second } = opened;
    await fc.assert(
      fc.asyncProperty(query, async (asked) => {
        const count = async (target: string): Promise<unknown> =>
          (await withTenant('acme', () => client.count({ index: target, body: { query: asked } }))).body
            .count;
        expect(await count(second)).toBe(await count(index));
      }),
      { numRuns: 100 },
    );
  });
});

// Without what is no answer: the time it took, and which of the two indices it was.
function normal(reply: unknown, target: string): unknown {
  return JSON.parse(
    JSON.stringify(reply, (key, value: unknown) => (key === 'took' ? undefined : value)).replaceAll(
      target,
      'INDEX',
    ),
  ) as unknown;
}
