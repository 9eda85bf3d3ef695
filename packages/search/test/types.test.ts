import type {
  API,
  Client as RawClient,
  ClientOptions as RawOptions,
  Transport,
} from '@opensearch-project/opensearch';
import type { QueryContainer } from '@opensearch-project/opensearch/api/_types/_common.query_dsl.js';
import { Client, type ClientOptions, type SearchTenantOptions } from '@tenantkit/search';
import { describe, expectTypeOf, it } from 'vitest';
import { QUERIES, SEARCH_BODY, type QueryRow } from '../src/clauses.ts';
import { rules, type Operation, type Row } from '../src/rules.ts';

describe('types', () => {
  it('an operation that the client gains does not compile until it has a row', () => {
    rules satisfies Readonly<Record<Operation, Row>>;
    // @ts-expect-error -- one more operation
    rules satisfies Readonly<Record<Operation | 'frobnicate', Row>>;
    // @ts-expect-error -- one more in a namespace
    rules satisfies Readonly<Record<Operation | 'indices.frobnicate', Row>>;
    expectTypeOf<'indices.refresh'>().toExtend<Operation>();
    expectTypeOf<'helpers.bulk'>().not.toExtend<Operation>();
  });

  it('a query or a body key that the client gains does not compile until it is decided', () => {
    QUERIES satisfies Readonly<Record<keyof QueryContainer, QueryRow>>;
    // @ts-expect-error -- one more query
    QUERIES satisfies Readonly<Record<keyof QueryContainer | 'frobnicate', QueryRow>>;
    // @ts-expect-error -- one more key
    SEARCH_BODY satisfies Readonly<Record<keyof API.Search_RequestBody | 'frobnicate', unknown>>;
    expectTypeOf<keyof typeof QUERIES>().toEqualTypeOf<keyof QueryContainer>();
    expectTypeOf<keyof typeof SEARCH_BODY>().toEqualTypeOf<keyof API.Search_RequestBody>();
  });

  it('the client takes the place of the raw one', () => {
    expectTypeOf<Client>().toExtend<RawClient>();
    expectTypeOf<Client['transport']>().toEqualTypeOf<Transport>();
    expectTypeOf<Client['search']>().toEqualTypeOf<RawClient['search']>();
    expectTypeOf<Omit<ClientOptions, 'tenant'>>().toExtend<RawOptions>();
  });

  it('options that do not exist do not compile', () => {
    expectTypeOf<{ node: string }>().not.toExtend<ClientOptions>();
    expectTypeOf<{ node: string; tenant: { indices: string[] } }>().toExtend<ClientOptions>();
    expectTypeOf<keyof SearchTenantOptions>().toEqualTypeOf<
      'indices' | 'field' | 'subjectsField' | 'names' | 'fence'
    >();
  });

  it('listeners get the types of the raw client', () => {
    const listen = (client: Client): Client =>
      client
        .on('response', (error, result) => [error.message, result.statusCode])
        .once('resurrect', (_error, { isAlive }) => isAlive)
        .off('response', () => undefined);
    expectTypeOf(listen).returns.toEqualTypeOf<Client>();
  });
});
