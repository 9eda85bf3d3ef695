import { createTenantRegistry, memoryTenantStore, withTenant, type Finding } from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { searchAuditor, searchBackstop, type Client } from '@tenantkit/search';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acme, createIndex, everythingIn, failure, openSearch, operator, type Opened } from './support.ts';

let opened: Opened;
beforeEach(async () => {
  opened = await openSearch({ only: true });
});
afterEach(() => opened[Symbol.asyncDispose]());

async function findings(client: Client, options: object = {}): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const finding of searchAuditor(client, options).audit(new AbortController().signal))
    found.push(finding);
  return found.filter(({ severity }) => severity !== 'info');
}

describe('the auditor', () => {
  it('finds nothing in what the client wrote, and changes nothing', async () => {
    const { client, raw, index } = opened;
    for (const tenant of TENANTS) {
      await withTenant({ tenant, subject: 'p' }, () =>
        client.index({ index, id: '1', body: { title: tenant }, refresh: true }),
      );
    }
    const before = await everythingIn(raw, index);
    expect(await findings(client)).toEqual([]);
    expect(await everythingIn(raw, index)).toEqual(before);
  });

  it.each<readonly [string, string, object, string]>([
    ['without a tenant', 'acme~1', { title: 'x' }, 'document_without_tenant'],
    ['with an empty list of tenants', 'acme~1', { tenant_id: [] }, 'document_without_tenant'],
    ['with two tenants', 'acme~1', { tenant_id: ['acme', 'acme2'] }, 'document_of_several_tenants'],
    [
      'with two tenants in nested lists',
      'acme~1',
      { tenant_id: [['acme'], ['acme2']] },
      'document_of_several_tenants',
    ],
    ['with a tenant that is none', 'acme~1', { tenant_id: 'no tenant' }, 'document_of_no_tenant'],
    ['with another tenant’s _id', 'acme2~1', { tenant_id: 'acme' }, 'id_disagrees'],
    ['with no tenant’s _id', '1', { tenant_id: 'acme' }, 'id_disagrees'],
  ])('finds a document %s', async (_name, id, body, code) => {
    const { client, raw, index } = opened;
    await raw.index({ index, id, body, refresh: true });
    expect(await findings(client)).toMatchObject([{ store: 'search', code, name: `${index}/${id}` }]);
  });

  it('walks through all pages, and sums up what repeats', async () => {
    const { client, raw, index } = opened;
    const body = Array.from({ length: 2_345 }, (_, n) => [
      { index: { _index: index, _id: `${n}` } },
      { size: n },
    ]).flat();
    await raw.bulk({ refresh: true, body });
    const found = await findings(client, { store: 'search:all' });
    expect(found).toHaveLength(21);
    expect(found.at(-1)).toMatchObject({ store: 'search:all', code: 'document_without_tenant', name: index });
    expect(found.at(-1)?.message).toContain('So do 2325 more.');
  });

  it('finds mappings that have drifted, and indices that are gone', async () => {
    await using both = await openSearch();
    const { client, raw, index, second } = both;
    await raw.indices.delete({ index });
    await createIndex(raw, index, {});
    await raw.index({ index, id: 'acme~1', body: { tenant_id: 'acme' }, refresh: true });
    await raw.indices.delete({ index: second });
    const found = await findings(client);
    expect(found.map(({ code, name, severity }) => [code, name, severity])).toEqual([
      ['field_not_keyword', index, 'critical'],
      ['field_missing', index, 'critical'],
      ['index_missing', second, 'high'],
    ]);
  });

  it('finds documents of an erased tenant', async () => {
    const { client, index } = opened;
    await acme(() => client.index({ index, id: '1', body: {}, refresh: true }));
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await fence.markErased('acme');
    const fenced = opened.guarded({ tenant: { indices: [index], fence } });
    expect(await findings(fenced)).toMatchObject([{ code: 'erased_tenant', name: `${index}/acme~1` }]);
    fence.close();
  });

  it('stops when it is told to', async () => {
    const { client } = opened;
    const reason = new Error('stop');
    const walk = async (): Promise<void> => {
      for await (const _finding of searchAuditor(client).audit(AbortSignal.abort(reason)))
        throw new Error('went on');
    };
    expect(await failure(walk)).toBe(reason);
    expect(await failure(() => searchAuditor(client, { depth: 1 } as object))).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});

describe('the backstop', () => {
  it('is a filtered alias per tenant and index, through which the server shows the tenant only', async () => {
    await using both = await openSearch();
    const { client, raw, index, second } = both;
    for (const tenant of TENANTS) {
      await withTenant(tenant, () =>
        client.index({ index, id: '1', body: { title: tenant }, refresh: true }),
      );
    }
    for (const tenant of TENANTS) {
      const { aliases } = searchBackstop(tenant, { indices: [index, second] });
      await operator(() => client.indices.updateAliases({ body: aliases }));
    }
    for (const tenant of TENANTS) {
      const { aliases } = searchBackstop(tenant, { indices: [index] });
      const alias = aliases.actions[0]?.add.alias ?? '';
      expect(alias).toBe(`tk!${index}!${tenant}`);
      const { body } = await raw.search({ index: alias, body: { query: { match_all: {} } } });
      expect(body.hits.hits.map(({ _id }) => _id)).toEqual([`${tenant}~1`]);
      const { body: other } = await raw.search({ index: alias, q: 'tenant_id:*' });
      expect(other.hits.hits).toHaveLength(1);
    }
    // No tenant reaches an alias through the client.
    const error = await failure(() => acme(() => client.search({ index: `tk!${index}!acme2` })));
    expect(error.code).toBe('OPERATION_REFUSED');
  });

  it('is a role with document-level security, to be printed', () => {
    const { role } = searchBackstop('acme', { indices: ['orders', 'notes'], field: 'customer' });
    expect(role).toEqual({
      name: 'tk!acme',
      definition: {
        cluster_permissions: [],
        index_permissions: [
          {
            index_patterns: ['orders', 'notes'],
            dls: '{"term":{"customer":{"value":"acme"}}}',
            allowed_actions: ['read'],
          },
        ],
      },
    });
  });

  it('refuses what it cannot mean', async () => {
    expect(await failure(() => searchBackstop('acme"}', { indices: ['orders'] }))).toMatchObject({
      code: 'TENANT_INVALID',
    });
    for (const options of [
      {},
      { indices: [] },
      { indices: ['*'] },
      { indices: ['orders'], alias: 'x' },
      { indices: ['orders'], field: 'a.b' },
    ]) {
      expect(await failure(() => searchBackstop('acme', options as never))).toMatchObject({
        code: 'CONFIG_INVALID',
      });
    }
  });
});
