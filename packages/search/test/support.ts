import { Client as Raw } from '@opensearch-project/opensearch';
import { acrossTenants, withTenant } from '@tenantkit/core';
import { Client, ensureTenantMapping, type ClientOptions, type SearchTenantOptions } from '@tenantkit/search';
import { freshIndex } from '@tenantkit/testing';
import { inject } from 'vitest';

/** Indices of one's own, the guarded client, and the raw client as the witness of what is really stored. */
export interface Opened extends AsyncDisposable {
  readonly client: Client;
  readonly raw: Raw;
  readonly url: string;
  /** The index of `tenant.indices`, mapped. */
  readonly index: string;
  /** Another one that is in `tenant.indices`, mapped. */
  readonly second: string;
  /** Exists, holds a document, and is not in `tenant.indices`. */
  readonly foreign: string;
  /** A further guarded client. */
  guarded(options?: Partial<ClientOptions>): Client;
}

/** Fields of the test indices, beside those of the tenant. */
export const FIELDS = {
  title: { type: 'text', fields: { raw: { type: 'keyword' } } },
  color: { type: 'keyword' },
  size: { type: 'long' },
  price: { type: 'double' },
  at: { type: 'date' },
  open: { type: 'boolean' },
  value: { type: 'keyword' },
} as const;

/** @param only - the first index only: faster, for tests that open many */
export async function openSearch({
  only = false,
  options = {},
  ...tenant
}: Partial<SearchTenantOptions> & {
  readonly only?: boolean;
  readonly options?: Partial<ClientOptions>;
} = {}): Promise<Opened> {
  const own = freshIndex(inject('servers').opensearch);
  const { url, index } = own;
  const second = `${index}-second`;
  const foreign = `${index}-foreign`;
  const raw = new Raw({ node: url });
  const clients: Client[] = [];
  const guarded = (more: Partial<ClientOptions> = {}): Client => {
    const client = new Client({
      node: url,
      ...options,
      ...more,
      tenant: { indices: only ? [index] : [index, second], ...tenant, ...more.tenant },
    });
    clients.push(client);
    return client;
  };
  const client = guarded();
  for (const name of only ? [index] : [index, second]) {
    await createIndex(raw, name);
    await ensureTenantMapping(client, name);
  }
  if (!only) {
    const body = { tenant_id: 'acme', title: 'foreign' };
    await raw.index({ index: foreign, id: 'acme~one', body, refresh: true });
  }
  return {
    client,
    raw,
    url,
    index,
    second,
    foreign,
    guarded,
    async [Symbol.asyncDispose]() {
      for (const one of clients) await one.close();
      await raw.close();
      await own.cleanup();
    },
  };
}

/** Creates an index with {@link FIELDS}, without the fields of the tenant. */
export async function createIndex(
  raw: Raw,
  index: string,
  mappings: object = { properties: FIELDS },
): Promise<void> {
  await raw.indices.create({
    index,
    body: { settings: { index: { number_of_replicas: 0, number_of_shards: 1 } }, mappings },
  });
}

/** Every document of an index: physical `_id` → its source. */
export async function everythingIn(raw: Raw, index: string): Promise<Record<string, string>> {
  await raw.indices.refresh({ index });
  const { body } = await raw.search({ index, size: 10_000, body: { query: { match_all: {} } } });
  const hits = body.hits.hits as readonly { readonly _id: string; readonly _source: unknown }[];
  return Object.fromEntries(hits.map(({ _id, _source }) => [_id, JSON.stringify(_source)]));
}

export const acme = <T>(fn: () => T): T => withTenant('acme', fn);
export const acme2 = <T>(fn: () => T): T => withTenant('acme2', fn);
export const operator = <T>(fn: () => T): T => acrossTenants({ reason: 'test', actor: 'tester' }, fn);

/** An error as the tests look at it. */
export type Failure = Error & {
  readonly code?: string;
  readonly statusCode?: number;
  readonly why?: string;
  readonly hint?: string;
  readonly meta?: unknown;
  readonly body?: unknown;
};

/** The error that a call ends with, thrown or rejected. */
export async function failure(call: () => unknown): Promise<Failure> {
  try {
    await call();
  } catch (error) {
    if (error instanceof Error) return error;
    throw new TypeError(`not an error: ${String(error)}`, { cause: error });
  }
  throw new Error('the call has succeeded');
}
