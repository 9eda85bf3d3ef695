import { searchAuditor, searchEraser, type SearchTenantOptions } from '@tenantkit/search';
import { adapterContract } from '@tenantkit/testing';
import { describe, it } from 'vitest';
import { everythingIn, openSearch, operator, type Opened } from './support.ts';

const STORES: Readonly<Record<string, Partial<SearchTenantOptions>>> = {
  search: {},
  'search with adopted names and fields': {
    names: 'x.{tenant}/',
    field: 'customer',
    subjectsField: 'persons',
  },
};

interface Counted extends Opened {
  readonly count: { requests: number };
}

for (const [store, options] of Object.entries(STORES)) {
  adapterContract<Counted>({
    store,
    runner: { describe, it },
    async open() {
      const opened = await openSearch({ ...options, only: true });
      const count = { requests: 0 };
      operator(() => opened.client.on('request', () => (count.requests += 1)));
      return { ...opened, count };
    },
    write: ({ client, index }, id, value) => client.index({ index, id, body: { value } }),
    async read({ client, index }, id) {
      const { body } = await client.get({ index, id }, { ignore: [404] });
      return body.found ? String(body._source?.['value']) : null;
    },
    async list({ client, index }) {
      await client.indices.refresh({ index });
      const { body } = await client.search({ index, body: { size: 100 } });
      return body.hits.hits.map(({ _id }) => _id ?? '');
    },
    remove: ({ client, index }, id) => client.delete({ index, id }),
    refused: [
      { operation: 'cat.indices', call: ({ client }) => client.cat.indices() },
      { operation: 'indices.delete', call: ({ client, index }) => client.indices.delete({ index }) },
      { operation: 'a search in every index', call: ({ client }) => client.search({ index: '_all' }) },
      {
        operation: 'a path that nobody knows',
        call: ({ client }) => client.transport.request({ method: 'GET', path: '/_frobnicate' }),
      },
    ],
    dump: ({ raw, index }) => everythingIn(raw, index),
    sent: ({ count }) => count.requests,
    eraser: ({ client }) => searchEraser(client),
    keeps: ['deleted documents on disk'],
    auditor: ({ client }) => searchAuditor(client),
    plant: ({ raw, index }) =>
      raw.index({ index, id: 'one', body: { value: 'written past the adapter' }, refresh: true }),
  });
}
