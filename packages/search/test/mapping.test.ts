import { Client as Raw } from '@opensearch-project/opensearch';
import { acrossTenants, withTenant } from '@tenantkit/core';
import { Client, ensureTenantMapping } from '@tenantkit/search';
import { freshIndex, type FreshIndex } from '@tenantkit/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { flawsOf } from '../src/mapping.ts';
import { readSettings } from '../src/options.ts';
import { FIELDS, acme, createIndex, failure, operator } from './support.ts';

const keyword = { type: 'keyword' };
const ours = { tenant_id: keyword, subjects: keyword };

// What a mapping or a setting can do to isolation, and the code of the finding.
const FLAWED: readonly (readonly [string, object, object, string])[] = [
  ['no fields', { properties: FIELDS }, {}, 'field_missing'],
  ['no field for subjects', { properties: { tenant_id: keyword } }, {}, 'field_missing'],
  ['text', { properties: { ...ours, tenant_id: { type: 'text' } } }, {}, 'field_not_keyword'],
  [
    'text that the server has guessed',
    { properties: { ...ours, tenant_id: { type: 'text', fields: { keyword } } } },
    {},
    'field_not_keyword',
  ],
  [
    'an object',
    { properties: { ...ours, tenant_id: { properties: { x: keyword } } } },
    {},
    'field_not_keyword',
  ],
  ['a number', { properties: { ...ours, subjects: { type: 'long' } } }, {}, 'field_not_keyword'],
  [
    'an alias',
    { properties: { ...ours, other: keyword, tenant_id: { type: 'alias', path: 'other' } } },
    {},
    'field_not_keyword',
  ],
  [
    'ignore_above',
    { properties: { ...ours, tenant_id: { ...keyword, ignore_above: 8 } } },
    {},
    'field_altered',
  ],
  [
    'a null value',
    { properties: { ...ours, tenant_id: { ...keyword, null_value: 'acme' } } },
    {},
    'field_altered',
  ],
  ['no index', { properties: { ...ours, tenant_id: { ...keyword, index: false } } }, {}, 'field_altered'],
  [
    'no doc values',
    { properties: { ...ours, tenant_id: { ...keyword, doc_values: false } } },
    {},
    'field_altered',
  ],
  [
    'a copy from it',
    { properties: { ...ours, tenant_id: { ...keyword, copy_to: 'x' } } },
    {},
    'field_altered',
  ],
  [
    'a normalizer',
    { properties: { ...ours, tenant_id: { ...keyword, normalizer: 'lowercase' } } },
    {},
    'field_altered',
  ],
  [
    'a copy into it',
    { properties: { ...ours, note: { ...keyword, copy_to: 'tenant_id' } } },
    {},
    'field_fed',
  ],
  [
    'a copy into it, deeper',
    { properties: { ...ours, a: { properties: { b: { ...keyword, copy_to: ['x', 'subjects'] } } } } },
    {},
    'field_fed',
  ],
  [
    'a copy by a dynamic template',
    {
      properties: ours,
      dynamic_templates: [{ t: { match: '*', mapping: { ...keyword, copy_to: 'tenant_id' } } }],
    },
    {},
    'field_fed',
  ],
  [
    'another name for it',
    { properties: { ...ours, who: { type: 'alias', path: 'tenant_id' } } },
    {},
    'field_fed',
  ],
  ['no _source', { properties: ours, _source: { enabled: false } }, {}, 'source_altered'],
  ['a _source without it', { properties: ours, _source: { excludes: ['tenant_id'] } }, {}, 'source_altered'],
  ['a _source of some fields', { properties: ours, _source: { includes: ['title'] } }, {}, 'source_altered'],
  ['an ingest pipeline', { properties: ours }, { default_pipeline: 'p' }, 'pipeline_set'],
  ['a final pipeline', { properties: ours }, { final_pipeline: 'p' }, 'pipeline_set'],
  ['a search pipeline', { properties: ours }, { search: { default_pipeline: 'p' } }, 'pipeline_set'],
];

const SOUND: readonly (readonly [string, object, object])[] = [
  ['the two fields', { properties: ours }, {}],
  ['with others', { properties: { ...FIELDS, ...ours, path: keyword, copy_to: keyword } }, {}],
  ['strict', { dynamic: 'strict', properties: ours }, {}],
  ['pipelines switched off', { properties: ours }, { default_pipeline: '_none', final_pipeline: '_none' }],
];

describe('the mapping', () => {
  const settings = readSettings({ indices: ['i'] });
  const codes = (mappings: object, index: object): readonly string[] =>
    flawsOf('i', { i: { mappings, settings: { index } } }, settings).map(({ code }) => code);

  it.each(FLAWED)('with %s is not fit', (_name, mappings, index, code) => {
    expect(codes(mappings, index)).toContain(code);
  });

  it.each(SOUND)('%s is fit', (_name, mappings, index) => {
    expect(codes(mappings, index)).toEqual([]);
  });

  it('of an alias is not asked for', () => {
    expect(flawsOf('i', { other: { mappings: { properties: ours } } }, settings)).toMatchObject([
      { code: 'index_is_alias' },
    ]);
  });
});

describe('an index', () => {
  let own: FreshIndex;
  let raw: Raw;
  let at = 0;
  let index = '';
  let client: Client;
  beforeAll(() => {
    own = freshIndex(inject('servers').opensearch);
    raw = new Raw({ node: own.url });
  });
  beforeEach(() => {
    at += 1;
    index = `${own.index}-${at}`;
    client = new Client({ node: own.url, tenant: { indices: [index] } });
    return () => client.close();
  });
  afterAll(async () => {
    await raw.close();
    await own.cleanup();
  });
  const write = (): Promise<unknown> => acme(() => client.index({ index, id: '1', body: { title: 'x' } }));

  it('that ensureTenantMapping has seen is fit for tenants', async () => {
    await createIndex(raw, index);
    expect((await failure(write)).message).toContain('ensureTenantMapping');
    await ensureTenantMapping(client, index);
    await ensureTenantMapping(client, index);
    await write();
    const { body } = await raw.indices.getMapping({ index });
    expect(body[index]?.mappings.properties).toMatchObject(ours);
  });

  it.each(FLAWED.filter(([, , , code]) => code !== 'field_missing' && code !== 'field_altered').slice(0, 9))(
    'with %s is refused, by requests and by ensureTenantMapping',
    async (_name, mappings, settings) => {
      await raw.indices.create({
        index,
        body: { mappings, settings: { index: { number_of_replicas: 0, ...settings } } },
      });
      for (const call of [write, () => ensureTenantMapping(client, index)]) {
        expect(await failure(call)).toMatchObject({ code: 'CONFIG_INVALID' });
      }
      const { body } = await raw.count({ index });
      expect(body.count).toBe(0);
    },
  );

  it('that does not exist is not created by a write', async () => {
    for (const call of [write, () => ensureTenantMapping(client, index)]) {
      expect(await failure(call)).toMatchObject({ code: 'CONFIG_INVALID' });
    }
    expect((await raw.indices.exists({ index })).body).toBe(false);
    expect((await acme(() => client.indices.exists({ index }))).body).toBe(false);
    await createIndex(raw, index);
    await ensureTenantMapping(client, index);
    await write();
    expect((await acme(() => client.indices.exists({ index }))).body).toBe(true);
  });

  it('that is an alias is refused', async () => {
    await createIndex(raw, `${index}-behind`, { properties: ours });
    await raw.indices.putAlias({ index: `${index}-behind`, name: index });
    for (const call of [write, () => ensureTenantMapping(client, index)]) {
      const error = await failure(call);
      expect(error.code).toBe('CONFIG_INVALID');
      expect(error.message).toContain('is an alias');
    }
    const direct = new Client({ node: own.url, tenant: { indices: [`${index}-behind`] } });
    await acme(() => direct.index({ index: `${index}-behind`, id: '1', body: {} }));
    await direct.close();
  });

  it('is looked at once, however many calls wait for it', async () => {
    await createIndex(raw, index);
    await ensureTenantMapping(client, index);
    const fresh = new Client({ node: own.url, tenant: { indices: [index] } });
    const paths: (string | undefined)[] = [];
    operator(() =>
      fresh.on(
        'request',
        (_error, { meta }) => void paths.push(`${meta.request.params.method} ${meta.request.params.path}`),
      ),
    );
    await acme(() =>
      Promise.all(Array.from({ length: 5 }, () => fresh.get({ index, id: 'none' }, { ignore: [404] }))),
    );
    await acme(() => fresh.get({ index, id: 'none' }, { ignore: [404] }));
    expect(paths.filter((path) => path === `GET /${index}`)).toHaveLength(1);
    expect(paths).toHaveLength(7);
    await fresh.close();
  });

  it('that was dropped and guessed anew by somebody else is noticed', async () => {
    await createIndex(raw, index);
    await ensureTenantMapping(client, index);
    await write();
    await raw.indices.delete({ index });
    // The server says that it is gone: what was known of it is forgotten.
    expect((await failure(() => acme(() => client.search({ index })))).statusCode).toBe(404);
    await raw.index({ index, id: 'acme2~1', body: { tenant_id: 'acme2' }, refresh: true });
    expect(await failure(write)).toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('is mapped by operators only', async () => {
    await createIndex(raw, index);
    expect((await failure(() => acme(() => ensureTenantMapping(client, index)))).code).toBe(
      'OPERATION_REFUSED',
    );
    expect((await failure(() => ensureTenantMapping(client, 'another'))).code).toBe('CONFIG_INVALID');
    expect((await failure(() => ensureTenantMapping(new Raw({ node: own.url }) as Client, index))).code).toBe(
      'CONFIG_INVALID',
    );
    const refused: readonly (() => unknown)[] = [
      () => client.indices.putMapping({ index, body: { properties: {} } }),
      () => client.indices.getMapping({ index }),
      () => client.indices.create({ index: 'x' }),
      () => client.indices.putSettings({ index, body: {} }),
      () => client.indices.updateAliases({ body: { actions: [] } }),
    ];
    for (const call of refused) expect((await failure(() => acme(call))).code).toBe('OPERATION_REFUSED');
    await acrossTenants({ reason: 'test', actor: 'tester' }, () => client.indices.getMapping({ index }));
    await acrossTenants({ reason: 'test', actor: 'tester' }, () => ensureTenantMapping(client, index));
    await withTenant('acme', () => client.indices.refresh({ index }));
  });
});
