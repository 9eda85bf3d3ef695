import { Client as RawClient } from '@opensearch-project/opensearch';
import { withTenant } from '@tenantkit/core';
import { Client, ensureTenantMapping, searchEraser, type API } from '@tenantkit/search';
import { NEIGHBOUR, TENANT, answers, refused, type DemoSurface } from '../surface.ts';

/** OpenSearch: documents. */
export async function searchSurface({
  url,
  index,
}: {
  readonly url: string;
  readonly index: string;
}): Promise<DemoSurface> {
  const raw = new RawClient({ node: url });
  await raw.indices.create({
    index,
    body: {
      settings: { number_of_replicas: 0 },
      mappings: { properties: { title: { type: 'text' }, status: { type: 'keyword' } } },
    },
  });
  const client = new Client({ node: url, tenant: { indices: [index] } });
  await ensureTenantMapping(client, index);

  const titles = async (body: NonNullable<API.Search_Request['body']>): Promise<unknown[]> => {
    const reply = await client.search({ index, body });
    return reply.body.hits.hits.map(({ _source }) => (_source as { title: string }).title).toSorted();
  };

  return {
    name: 'search',
    eraser: searchEraser(client, { indices: [index] }),
    async seed() {
      for (const tenant of [TENANT, NEIGHBOUR]) {
        await withTenant(tenant, async () => {
          await client.index({
            index,
            id: '1',
            body: { title: `invoice of ${tenant}`, status: `open-${tenant}` },
            refresh: true,
          });
          await client.bulk({
            index,
            refresh: true,
            body: [{ index: { _id: '2' } }, { title: `offer of ${tenant}`, status: 'sent' }],
          });
        });
      }
    },
    ownRead: async () => [
      await answers(`${TENANT}: get 1`, `invoice of ${TENANT}`, () => withTenant(TENANT, () => title('1'))),
      await answers(`${NEIGHBOUR}: get 1`, `invoice of ${NEIGHBOUR}`, () =>
        withTenant(NEIGHBOUR, () => title('1')),
      ),
      await answers(`${TENANT}: search match_all`, [`invoice of ${TENANT}`, `offer of ${TENANT}`], () =>
        withTenant(TENANT, () => titles({ query: { match_all: {} } })),
      ),
    ],
    otherTenant: () =>
      withTenant(NEIGHBOUR, async () => [
        await answers('search match_all', [`invoice of ${NEIGHBOUR}`, `offer of ${NEIGHBOUR}`], () =>
          titles({ query: { match_all: {} } }),
        ),
        await answers('bool should: the text of acme, or anything', 2, async () => {
          const query = {
            bool: { should: [{ match: { title: TENANT } }, { match_all: {} }], minimum_should_match: 0 },
          };
          return (await client.count({ index, body: { query } })).body.count;
        }),
        await refused('a query on tenant_id itself', ['OPERATION_REFUSED'], () =>
          titles({ query: { term: { tenant_id: TENANT } } }),
        ),
        await answers('terms aggregation with min_doc_count 0', ['open-acme2', 'sent'], async () => {
          const aggs = {
            statuses: { terms: { field: 'status', min_doc_count: 0, order: { _key: 'asc' as const } } },
          };
          const reply = await client.search({ index, body: { size: 0, aggs } });
          const { buckets } = (
            reply.body.aggregations as unknown as { statuses: { buckets: { key: string }[] } }
          ).statuses;
          return buckets.map(({ key }) => key);
        }),
        await refused('a global aggregation', ['OPERATION_REFUSED'], () =>
          client.search({ index, body: { aggs: { all: { global: {} } } } }),
        ),
        await refused('search over _all', ['OPERATION_REFUSED', 'CROSS_TENANT'], () =>
          client.search({ index: '_all' }),
        ),
      ]),
    noTenant: async () => [
      await refused('search match_all', ['TENANT_MISSING'], () => titles({ query: { match_all: {} } })),
      await refused('get 1', ['TENANT_MISSING'], () => title('1')),
    ],
    async raw(tenant) {
      const { body } = await raw.search({
        index,
        size: 1_000,
        body: { query: { term: { tenant_id: tenant } } },
      });
      return new Map(
        body.hits.hits.map(({ _id, _source }) => [String(_id), Buffer.from(JSON.stringify(_source))]),
      );
    },
    async close() {
      await raw.indices.delete({ index });
      await Promise.all([client.close(), raw.close()]);
    },
  };

  async function title(id: string): Promise<unknown> {
    return ((await client.get({ index, id })).body._source as { title: string }).title;
  }
}
