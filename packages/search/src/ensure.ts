import { ConfigError } from '@tenantkit/core';
import { guardOf, type Client } from './client.ts';
import { missingIndex } from './indices.ts';
import { flawed, flawsOf } from './mapping.ts';
import { operator } from './operate.ts';

/**
 * Adds the fields that isolation needs to an index, as plain keyword fields, and verifies that nothing in its
 * mapping and settings undoes them. Run it once per index, when the index is created and before the first
 * document: a field that the server has guessed from a document is text, and cannot be changed any more.
 *
 * @param client - of this package; its options name the fields
 * @param index - one of `tenant.indices`
 * @throws {@link ConfigError} when the index is missing, or its mapping cannot hold several tenants
 * @throws {@link OperationRefusedError} inside a tenant
 * @throws {@link StoreUnreachableError} when the server does not answer
 *
 * @example
 * ```ts
 * import { acrossTenants } from '@tenantkit/core';
 * import { Client, ensureTenantMapping } from '@tenantkit/search';
 * const client = new Client({ node, tenant: { indices: ['orders'] } });
 * await acrossTenants({ reason: 'set-up', actor: 'deploy' }, () => client.indices.create({ index: 'orders' }));
 * await ensureTenantMapping(client, 'orders');
 * ```
 */
export async function ensureTenantMapping(client: Client, index: string): Promise<void> {
  const { settings, indexCheck } = guardOf(client);
  if (!settings.indices.has(index)) {
    throw new ConfigError({
      surface: 'search',
      operation: 'ensureTenantMapping',
      problem: 'the index is not one of tenant.indices',
      hint: 'Add it to the options of the client.',
    });
  }
  const operate = operator(client, 'ensureTenantMapping');
  const describe = (): Promise<unknown> => operate({ method: 'GET', path: `/${index}` });
  const before = await describe();
  if (before === undefined) throw missingIndex(index);
  const flaws = flawsOf(index, before, settings);
  // What is there in another form cannot be changed in place.
  const error = flawed(
    index,
    flaws.filter(({ code }) => code !== 'field_missing'),
  );
  if (error !== undefined) throw error;
  if (flaws.length > 0) {
    await operate({
      method: 'PUT',
      path: `/${index}/_mapping`,
      body: {
        properties: {
          [settings.field]: { type: 'keyword' },
          [settings.subjectsField]: { type: 'keyword' },
        },
      },
    });
  }
  await indexCheck.check(index, describe);
}
