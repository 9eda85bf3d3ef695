import {
  Client as Raw,
  Connection,
  ConnectionPool,
  Serializer,
  Transport,
  errors,
  type ApiError,
  type ApiResponse,
} from '@opensearch-project/opensearch';
import type {
  TransportRequestOptions,
  TransportRequestParams,
  TransportRequestPromise,
} from '@opensearch-project/opensearch/lib/Transport.js';
import { AwsSigv4Signer } from '@opensearch-project/opensearch/aws-v3';
import { createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { Client } from '@tenantkit/search';
import { createServer, request, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acme, acme2, failure, openSearch, operator, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openSearch();
  const { client, index } = opened;
  for (const tenant of ['acme', 'acme2']) {
    await withTenant(tenant, () => client.index({ index, id: '1', body: { title: tenant }, refresh: true }));
  }
});
afterAll(() => opened[Symbol.asyncDispose]());

const titles = ({ body }: { readonly body: unknown }): readonly unknown[] =>
  (body as { hits: { hits: { _source: { title: unknown } }[] } }).hits.hits.map(
    ({ _source }) => _source.title,
  );

describe('every way to the server', () => {
  it('is held to the tenant', async () => {
    const { index } = opened;
    const client = opened.guarded();
    client.extend('ours', (api) => () => api.makeRequest({ method: 'POST', path: `/${index}/_search` }));
    client.extend(
      'search',
      { force: true },
      (api) => () => api.makeRequest({ method: 'POST', path: `/${index}/_search` }),
    );
    const extended = client as unknown as Record<string, () => Promise<ApiResponse>>;
    const child = client.child({ headers: { 'x-opaque-id': 'c' } });
    const ways: Readonly<Record<string, () => PromiseLike<unknown>>> = {
      transport: () => client.transport.request({ method: 'GET', path: `/${index}/_search` }),
      'transport in lower case': () =>
        client.transport.request({ method: 'post', path: `/${index}/_search` }),
      http: () => client.http.get({ path: `/${index}/_search` }),
      'http with a body': () =>
        client.http.post({ path: `/${index}/_search`, body: { query: { match_all: {} } } }),
      extend: () => extended['ours']?.() ?? Promise.reject(new Error('no method')),
      'extend over a method': () => extended['search']?.() ?? Promise.reject(new Error('no method')),
      child: () => child.search({ index }),
      'a child of a child': () => child.child().search({ index }),
      'a child’s transport': () => child.transport.request({ method: 'GET', path: `/${index}/_search` }),
      'a child’s extension': () =>
        (child as unknown as Record<string, () => PromiseLike<unknown>>)['ours']?.() ??
        Promise.reject(new Error('no method')),
    };
    for (const [name, call] of Object.entries(ways)) {
      for (const tenant of ['acme', 'acme2']) {
        const reply = (await withTenant(tenant, call)) as ApiResponse;
        expect([name, titles(reply)]).toEqual([name, [tenant]]);
      }
      expect([name, (await failure(call)).code]).toEqual([name, 'TENANT_MISSING']);
    }
  });

  it.each<readonly [string, string]>([
    ['GET', '/INDEX/_search'],
    ['GET', 'INDEX/_search'],
    ['GET', '//_search'],
    ['GET', '/_search'],
    ['GET', '//INDEX/_search'],
    ['GET', '/INDEX//_search'],
    ['GET', '/INDEX/_search/'],
    ['GET', '/INDEX/./_search'],
    ['GET', '/FOREIGN/../INDEX/_search'],
    ['GET', '/INDEX/../FOREIGN/_search'],
    ['GET', '/INDEX%2F_search'],
    ['GET', '/INDEX%2f..%2fFOREIGN/_search'],
    ['GET', '/FOREIGN/_search'],
    ['GET', '/INDEX,FOREIGN/_search'],
    ['GET', '/INDEX%2CFOREIGN/_search'],
    ['GET', '/IND*/_search'],
    ['GET', '/*/_search'],
    ['GET', '/_all/_search'],
    ['GET', '/-INDEX/_search'],
    ['GET', '/%3CINDEX%3E/_search'],
    ['GET', '/remote:INDEX/_search'],
    ['GET', '/null/_search'],
    ['GET', '/undefined/_search'],
    ['GET', '/INDEX\\_search'],
    ['GET', '/INDEX/_search#x'],
    ['GET', '/INDEX/_search;x'],
    ['GET', '/INDEX/_sear\u0000ch'],
    ['GET', '/INDEX/ _search'],
    ['GET', '/INDEX/%5fsearch'],
    ['GET', '/INDEX/_Search'],
    ['GET', '/INDEX/_search%'],
    ['GET', '/INDEX/_ｓearch'],
    ['PUT', '/INDEX/_search'],
    ['TRACE', '/INDEX/_search'],
    ['CONNECT', '/INDEX/_search'],
    ['GET', 'http://other/INDEX/_search'],
    ['GET', '/INDEX/_doc/acme2~1?routing=x'],
    ['GET', '/INDEX/_doc/1%'],
    ['GET', '/INDEX/_doc/%ff'],
    ['GET', '/INDEX/_doc/%ED%A0%80'],
    ['GET', '/INDEX/_doc/'],
    ['GET', '/INDEX/_doc'],
    ['GET', '/INDEX/_doc/1/2'],
    ['GET', '/INDEX/doc/1'],
    ['GET', '/INDEX/_doc/a b'],
    ['GET', '/INDEX/_doc/a\\..\\b'],
    ['GET', '/INDEX/_doc/ü'],
    ['GET', '/INDEX/_doc/a"b'],
    ['DELETE', '/INDEX'],
    ['GET', '/INDEX'],
    ['POST', '/INDEX/_update/1'],
    ['POST', '/INDEX/_delete_by_query'],
    ['GET', '/_cat/indices'],
    ['GET', '/_nodes'],
    ['GET', '/_tasks'],
    ['GET', ''],
  ])('%s %s', async (method, path) => {
    const { client, index, foreign } = opened;
    const physical = path.replaceAll('INDEX', index).replaceAll('FOREIGN', foreign);
    const call = (): PromiseLike<ApiResponse> => client.transport.request({ method, path: physical });
    if (path === '/INDEX/_search' && method === 'GET') expect(titles(await acme(call))).toEqual(['acme']);
    else expect((await failure(() => acme(call))).code).toBe('OPERATION_REFUSED');
  });

  it('a document that looks like another tenant’s is an own one that does not exist', async () => {
    const { client, index } = opened;
    for (const path of [
      `/${index}/_doc/acme2~1`,
      `/${index}/_doc/acme2%7E1`,
      `/${index}/_doc/..%2Facme2~1`,
    ]) {
      const error = await failure(() => acme(() => client.transport.request({ method: 'GET', path })));
      expect(error.statusCode).toBe(404);
    }
    const own = await acme(() => client.transport.request({ method: 'GET', path: `/${index}/_doc/%31` }));
    expect(own.body).toMatchObject({ _id: '1', _source: { title: 'acme' } });
  });

  it.each<readonly [string, (client: Client, index: string) => unknown]>([
    ['index: []', (client) => client.search({ index: [] })],
    ["index: ''", (client) => client.search({ index: '' })],
    ['no index', (client) => client.search()],
    ['two indices', (client, index) => client.search({ index: [index, index] })],
    ['no index in count', (client) => client.count()],
    [
      'a path parameter in the request',
      (client, index) => client.http.get({ path: `/${index}/_search`, pathname: '/_all/_search' } as never),
    ],
    [
      'a body in a get',
      (client, index) => client.http.get({ path: `/${index}/_doc/1`, body: { query: {} } }),
    ],
    [
      'a body in a refresh',
      (client, index) => client.http.post({ path: `/${index}/_refresh`, body: '{"a":1}' }),
    ],
    ['msearch', (client, index) => client.msearch({ body: [{ index }, { query: { match_all: {} } }] })],
    ['mget', (client, index) => client.mget({ index, body: { ids: ['1'] } })],
    ['update', (client, index) => client.update({ index, id: '1', body: { doc: {} } })],
    ['scroll', (client) => client.scroll({ body: { scroll_id: 'x' } })],
    ['clearScroll', (client) => client.clearScroll({ body: { scroll_id: ['_all'] } })],
    ['a PIT', (client, index) => client.createPit({ index: [index], keep_alive: '1m' })],
    ['deleteByQuery', (client, index) => client.deleteByQuery({ index, body: { query: { match_all: {} } } })],
    ['updateByQuery', (client, index) => client.updateByQuery({ index })],
    ['reindex', (client) => client.reindex({ body: {} as never })],
    ['termvectors', (client, index) => client.termvectors({ index, id: '1' })],
    ['explain', (client, index) => client.explain({ index, id: '1', body: { query: { match_all: {} } } })],
    ['a search template', (client, index) => client.searchTemplate({ index, body: { source: '{}' } })],
    ['sql', (client) => client.sql.query({ body: { query: 'select * from x' } })],
    ['tasks', (client) => client.tasks.list()],
    ['snapshot', (client) => client.snapshot.get({ repository: 'r', snapshot: '_all' })],
    ['security', (client) => client.security.getUsers()],
    ['an alias of the client', (client) => (client as unknown as { clear_scroll(): unknown }).clear_scroll()],
    ['helpers.search', (client, index) => client.helpers.search({ index })],
    [
      'helpers.scrollSearch',
      (client, index) => client.helpers.scrollSearch({ index })[Symbol.asyncIterator]().next(),
    ],
  ])('%s is refused, with what to use instead', async (_name, call) => {
    const error = await failure(() => acme(() => call(opened.client, opened.index)));
    if (error.code === undefined) expect(error.name).toBe('ConfigurationError');
    else
      expect(error).toMatchObject({
        code: 'OPERATION_REFUSED',
        hint: expect.stringMatching(/\.$/) as string,
      });
    // The plain search on the same client.
    const reply = await acme(() =>
      opened.client.transport.request({ method: 'POST', path: `/${opened.index}/_search` }),
    );
    expect(titles(reply)).toEqual(['acme']);
  });

  it('cannot be taken past the transport', async () => {
    const { client, index, url } = opened;
    const params = { method: 'GET', path: `/${index}/_search` };
    const connection = client.connectionPool.getConnection();
    expect(connection).toBeInstanceOf(Connection);
    const ways: readonly (() => unknown)[] = [
      () => connection?.request(params, () => undefined),
      () => connection?.request({ method: 'HEAD', path: '/', hostname: 'other' }, () => undefined),
      () => new client.connectionPool.Connection({ url: new URL(url) }).request(params, () => undefined),
      () =>
        client.connectionPool
          .createConnection({ url: new URL(url), id: 'x' })
          .request(params, () => undefined),
      () => Transport.prototype.request.call(client.transport, params),
      () => (client.transport = new Transport({ connectionPool: client.connectionPool } as never)),
      () =>
        new Transport({
          emit: () => true,
          connectionPool: client.connectionPool,
          serializer: client.serializer,
          maxRetries: 0,
          requestTimeout: 1000,
          sniffEndpoint: '',
        }).request(params),
    ];
    for (const way of ways) {
      expect((await failure(() => acme(way))).code).toBe('OPERATION_REFUSED');
      expect((await failure(way)).code).toBe('OPERATION_REFUSED');
    }
    expect((await acme(() => client.count({ index }))).body.count).toBe(1);
  });

  it('cannot be taken through what a result, an error or a listener holds', async () => {
    const { client, index } = opened;
    const held: { params: object; connection: Connection | null }[] = [];
    const listener = (_error: unknown, { meta }: ApiResponse): void => {
      held.push({ params: meta.request.params, connection: meta.connection });
      Object.assign(meta.request.params, { path: '/_all/_search' });
    };
    for (const event of ['serialization', 'request', 'deserialization', 'response'] as const) {
      acme(() => client.on(event, listener));
    }
    const { body, meta } = await acme(() => client.count({ index }));
    expect(body.count).toBe(1);
    held.push({ params: meta.request.params, connection: meta.connection });
    for (const event of ['serialization', 'request', 'deserialization', 'response'] as const)
      client.off(event, listener);
    expect(held.length).toBeGreaterThan(3);
    for (const { params, connection } of held) {
      if (connection !== null && params !== null) {
        expect((await failure(() => connection.request(params, () => undefined))).code).toBe(
          'OPERATION_REFUSED',
        );
      }
    }
  });

  it('a child cannot put something else in the guard’s place', async () => {
    const { client, index, url } = opened;
    for (const options of [
      { Transport },
      { Connection },
      { ConnectionPool },
      { Serializer },
      { node: url },
      { tenant: { indices: ['_all'] } },
      { frobnicate: true },
      { headers: { 'Content-Encoding': 'gzip' } },
    ]) {
      expect((await failure(() => client.child(options as never))).code).toBe('CONFIG_INVALID');
    }
    const child = client.child({ requestTimeout: 5_000 });
    expect(child).toBeInstanceOf(Client);
    expect((await failure(() => child.child({ Transport }))).code).toBe('CONFIG_INVALID');
    expect(await failure(() => (child.transport = client.transport))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect((await acme(() => child.count({ index }))).body.count).toBe(1);
  });

  it('keeps bodies and replies JSON', async () => {
    const { client, index } = opened;
    for (const headers of [
      { 'content-type': 'application/yaml' },
      { 'Content-Type': 'application/cbor' },
      { accept: 'application/yaml' },
      { Accept: 'application/smile' },
      { 'content-encoding': 'gzip' },
      { host: 'other' },
      { 'transfer-encoding': 'chunked' },
      { opendistro_security_impersonate_as: 'admin' },
      { 'x-forwarded-for': '127.0.0.1' },
      { 'X-HTTP-Method-Override': 'DELETE' },
    ]) {
      expect((await failure(() => acme(() => client.count({ index }, { headers })))).code).toBe(
        'OPERATION_REFUSED',
      );
    }
    const headers = { 'X-Opaque-Id': 'mine', 'content-type': 'application/json', Accept: 'application/json' };
    expect((await acme(() => client.count({ index }, { headers }))).body.count).toBe(1);
    const yaml = opened.guarded({
      headers: { accept: 'application/yaml', 'content-type': 'application/yaml' },
    });
    expect((await acme(() => yaml.count({ index }))).body.count).toBe(1);
    expect(await failure(() => opened.guarded({ headers: { 'transfer-encoding': 'x' } }))).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});

describe('the raw client’s own ways', () => {
  it('callbacks are called in the tenant of the caller, never early', async () => {
    const { client, index } = opened;
    const { currentTenant } = await import('@tenantkit/core');
    const call = (
      run: (done: (error: unknown, result: unknown) => void) => unknown,
    ): Promise<readonly unknown[]> =>
      new Promise((resolve) => {
        let returned = false;
        run((error, result) =>
          resolve([error, (result as ApiResponse | undefined)?.body, currentTenant()?.tenant, returned]),
        );
        returned = true;
      });
    expect(await call((done) => acme(() => client.count({ index }, done)))).toMatchObject([
      null,
      { count: 1 },
      'acme',
      true,
    ]);
    expect(await call((done) => acme2(() => client.count({ index }, {}, done)))).toMatchObject([
      null,
      { count: 1 },
      'acme2',
      true,
    ]);
    expect(await call((done) => acme(() => client.cat.indices(done)))).toMatchObject([
      { code: 'OPERATION_REFUSED' },
      null,
      'acme',
      true,
    ]);
    expect(await call((done) => client.count({ index }, done))).toMatchObject([
      { code: 'TENANT_MISSING' },
      null,
      undefined,
      true,
    ]);
    expect(await call((done) => acme(() => client.get({ index, id: 'none' }, done)))).toMatchObject([
      { statusCode: 404 },
      { found: false },
      'acme',
      true,
    ]);
  });

  it('the tenant is the one of the call, whatever runs meanwhile', async () => {
    const { client, index } = opened;
    const replies = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        withTenant(n % 2 === 0 ? 'acme' : 'acme2', () => client.get({ index, id: '1' })),
      ),
    );
    replies.forEach(({ body }, n) => expect(body._source).toEqual({ title: n % 2 === 0 ? 'acme' : 'acme2' }));
  });

  it('a request can be aborted, also while its index is looked at', async () => {
    const { index } = opened;
    const fresh = opened.guarded();
    for (const _round of ['unchecked', 'checked']) {
      const request = acme(() => fresh.count({ index }));
      request.abort();
      expect(await failure(() => request)).toBeInstanceOf(errors.RequestAbortedError);
      expect((await acme(() => fresh.count({ index }))).body.count).toBe(1);
    }
  });

  it('results and errors are the raw client’s, in logical names', async () => {
    const { client, raw, index } = opened;
    const own = await acme(() => client.get({ index, id: '1' }, { id: 'mine', context: { a: 1 } }));
    const witness = await raw.get({ index, id: 'acme~1' });
    expect(Object.keys(own).sort()).toEqual(Object.keys(witness).sort());
    expect(Object.keys(own.meta).sort()).toEqual(Object.keys(witness.meta).sort());
    expect(own.meta).toMatchObject({
      attempts: 0,
      aborted: false,
      name: 'opensearch-js',
      context: { a: 1 },
      request: { id: 'mine' },
    });
    expect(own.meta.request.params).toMatchObject({ method: 'GET', path: `/${index}/_doc/1` });
    const { body, headers } = await acme(() => client.index({ index, id: 'located', body: {} }));
    expect(body._id).toBe('located');
    expect(headers).not.toHaveProperty('location');
    const error = await failure(() => acme(() => client.get({ index, id: 'none' })));
    expect(error).toBeInstanceOf(errors.ResponseError);
    expect(JSON.stringify((error.meta as ApiResponse).meta.request.params)).not.toContain('acme~');
    const ignored = await acme(() => client.get({ index, id: 'none' }, { ignore: [404] }));
    expect(ignored).toMatchObject({ statusCode: 404, body: { found: false } });
    await acme(() => client.delete({ index, id: 'located', refresh: true }));
  });

  it('compression, other serializers and transports work', async () => {
    const { index } = opened;
    class Loud extends Transport {
      override request(
        params: TransportRequestParams,
        options?: TransportRequestOptions,
        callback?: (error: ApiError, result: ApiResponse) => void,
      ): TransportRequestPromise<ApiResponse> {
        seen.push(params.path);
        return super.request(params, options, callback) as TransportRequestPromise<ApiResponse>;
      }
    }
    class Renaming extends Serializer {
      override serialize(value: object): string {
        return super.serialize(value).replaceAll('tenantId', 'tenant_id');
      }
    }
    const seen: string[] = [];
    const loud = opened.guarded({ Transport: Loud, compression: 'gzip', suggestCompression: true });
    await acme(() => loud.index({ index, id: 'loud', body: { title: 'loud' } }));
    expect((await acme(() => loud.get({ index, id: 'loud' }))).body._source).toEqual({ title: 'loud' });
    expect(seen).toEqual([`/${index}`, `/${index}/_doc/acme~loud`, `/${index}/_doc/acme~loud`]);
    await acme(() => loud.delete({ index, id: 'loud', refresh: true }));
    const renaming = opened.guarded({ Serializer: Renaming });
    const error = await failure(() => acme(() => renaming.index({ index, body: { tenantId: 'acme2' } })));
    expect(error.code).toBe('OPERATION_REFUSED');
    await acme(() => renaming.index({ index, id: 'renamed', body: { title: 'x' } }));
    await acme(() => renaming.delete({ index, id: 'renamed', refresh: true }));
  });

  it('the AWS signer’s Transport and Connection stand behind the guard', async () => {
    const { index, url } = opened;
    const getCredentials = () => Promise.resolve({ accessKeyId: 'AK', secretAccessKey: 'SK' });
    const client = new Client({
      ...AwsSigv4Signer({ region: 'us-east-1', service: 'es', getCredentials }),
      node: url,
      tenant: { indices: [index] },
    });
    for (const tenant of ['acme', 'acme2']) {
      const { body } = await withTenant(tenant, () => client.get({ index, id: '1' }));
      expect(body).toMatchObject({ _id: '1', _source: { title: tenant } });
    }
    expect((await failure(() => acme(() => client.cat.indices()))).code).toBe('OPERATION_REFUSED');
    expect((await failure(() => client.count({ index }))).code).toBe('TENANT_MISSING');
    expect(
      await failure(() =>
        acme(() => client.connectionPool.getConnection()?.request({ path: '/' }, () => undefined)),
      ),
    ).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    await client.close();
  });

  it('sniffs for no tenant, whoever triggers it', async () => {
    const { index, url } = opened;
    const client = new Client({ node: url, sniffInterval: 1, tenant: { indices: [index] } });
    const sniffed = new Promise<readonly unknown[]>((resolve) =>
      operator(() => client.on('sniff', (error, { meta }) => resolve([error, meta.sniff?.hosts.length]))),
    );
    // The interval has passed as soon as the clock moves: each call triggers one until one is done.
    const answers = async function* (): AsyncGenerator<readonly unknown[] | undefined> {
      for (;;)
        yield Promise.race([sniffed, acme(() => client.get({ index, id: '1' })).then(() => undefined)]);
    };
    for await (const answer of answers()) {
      if (answer === undefined) continue;
      expect(answer).toEqual([null, 1]);
      break;
    }
    (client.transport as { sniffEndpoint: string }).sniffEndpoint = `/${index}/_search`;
    const moved = await new Promise((resolve) => client.transport.sniff({ reason: 'x' }, resolve));
    // Where it goes is fixed when the client is made.
    expect(moved).toBeNull();
    await client.close();
    const wrong = { node: url, sniffEndpoint: '_all/_search', tenant: { indices: [index] } };
    expect(await failure(() => new Client(wrong))).toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('acrossTenants passes raw names through', async () => {
    const { client, index, foreign } = opened;
    const { body } = await operator(() => client.get({ index, id: 'acme2~1' }));
    expect(body).toMatchObject({ _id: 'acme2~1', _source: { tenant_id: 'acme2', title: 'acme2' } });
    expect((await operator(() => client.count({ index: foreign }))).body.count).toBe(1);
    expect((await operator(() => client.cat.indices({ format: 'json' }))).statusCode).toBe(200);
    await operator(() => client.index({ index: foreign, id: 'raw', body: { a: 1 } }));
    const stream = await operator(() => client.search({ index }, { asStream: true }));
    (stream.body as unknown as { resume(): void }).resume();
    // Inside it, a tenant is confined again.
    expect(titles(await operator(() => acme(() => client.http.get({ path: `/${index}/_search` }))))).toEqual([
      'acme',
    ]);
    const status = await operator(
      () =>
        new Promise((resolve) => {
          client.connectionPool
            .getConnection()
            ?.request({ method: 'GET', path: '/_cat/health' }, (_error, reply) => {
              reply?.resume();
              resolve(reply?.statusCode);
            });
        }),
    );
    expect(status).toBe(200);
  });

  it('a fenced tenant is refused before anything is sent', async () => {
    const { index } = opened;
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const client = opened.guarded({ tenant: { indices: [index], fence } });
    let sent = 0;
    operator(() => client.on('request', () => (sent += 1)));
    await acme(() => client.count({ index }));
    await fence.freeze('acme');
    const before = sent;
    for (const call of [
      () => client.count({ index }),
      () => client.index({ index, body: {} }),
      () => client.ping(),
    ]) {
      expect(await failure(() => acme(call as () => unknown))).toMatchObject({
        code: 'TENANT_FENCED',
        state: 'frozen',
      });
    }
    expect(sent).toBe(before);
    await acme2(() => client.count({ index }));
    fence.close();
  });
});

describe('listeners', () => {
  it('hear their own tenant, in logical names, and in its context', async () => {
    const { client, index } = opened;
    const { currentTenant } = await import('@tenantkit/core');
    const heard: Record<string, string[]> = { acme: [], acme2: [], none: [], operator: [] };
    const listen =
      (name: string) =>
      (error: unknown, result: ApiResponse): void => {
        const told = JSON.stringify([error, result.body, result.headers, result.meta.request]);
        heard[name]?.push(`${currentTenant()?.tenant ?? '-'} ${told}`);
      };
    const listeners = Object.fromEntries(Object.keys(heard).map((name) => [name, listen(name)]));
    const events = ['serialization', 'request', 'deserialization', 'response'] as const;
    const nothing = (): void => undefined;
    for (const event of events) {
      acme(() => client.on(event, listeners['acme'] ?? nothing));
      acme2(() => client.on(event, listeners['acme2'] ?? nothing));
      client.on(event, listeners['none'] ?? nothing);
      operator(() => client.on(event, listeners['operator'] ?? nothing));
    }
    await acme(() => client.get({ index, id: '1' }));
    await failure(() => acme(() => client.get({ index, id: 'secret-id' })));
    for (const event of events) for (const listener of Object.values(listeners)) client.off(event, listener);
    await acme(() => client.get({ index, id: '1' }));

    expect(heard['acme']).toHaveLength(8);
    expect(heard['acme2']).toEqual([]);
    expect(heard['none']).toHaveLength(8);
    expect(heard['operator']).toHaveLength(8);
    expect(heard['acme']?.every((told) => told.startsWith('acme '))).toBe(true);
    expect(heard['acme']?.join(' ')).toContain('"title":"acme"');
    expect([...(heard['acme'] ?? []), ...(heard['operator'] ?? [])].join(' ')).not.toMatch(/acme~|tenant_id/);
    // For metrics: the kind of call and how it went, nothing else.
    const metrics = heard['none']?.join(' ') ?? '';
    expect(metrics).toContain('/{index}/_doc/{id}');
    expect(metrics).not.toMatch(/secret-id|"title"|acme|tk-test/);
  });

  it('once hears the next call of its own tenant', async () => {
    const { client, index } = opened;
    let heard = 0;
    acme(() => client.once('response', () => (heard += 1)));
    await acme2(() => client.get({ index, id: '1' }));
    expect(heard).toBe(0);
    await acme(() => client.get({ index, id: '1' }));
    await acme(() => client.get({ index, id: '1' }));
    expect(heard).toBe(1);
  });
});

describe('a server that does not answer as it should', () => {
  // In front of the real server: answers searches as a broken proxy would, and passes on everything else.
  let proxy: Server;
  let answer: { status: number; type: string; text: string };
  beforeAll(async () => {
    proxy = createServer((incoming, outgoing) => {
      if (incoming.url?.startsWith(`/${opened.index}/_search`) === true) {
        incoming.resume();
        outgoing.writeHead(answer.status, { 'content-type': answer.type }).end(answer.text);
        return;
      }
      const { method = 'GET', headers, url = '/' } = incoming;
      const target = request(new URL(url, opened.url), { method, headers }, (reply) => {
        outgoing.writeHead(reply.statusCode ?? 502, reply.headers);
        reply.pipe(outgoing);
      });
      incoming.pipe(target);
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
  });
  afterAll(() => {
    proxy.closeAllConnections();
    proxy.close();
  });

  it.each<readonly [string, { status: number; type: string; text: string }, string]>([
    ['HTML', { status: 200, type: 'text/html', text: '<p>secret</p>' }, 'ISOLATION_BREACH'],
    ['YAML', { status: 200, type: 'application/yaml', text: 'hits: secret' }, 'ISOLATION_BREACH'],
    ['broken JSON', { status: 200, type: 'application/json', text: '{"secret": ' }, 'DeserializationError'],
    [
      'poisoned JSON',
      { status: 200, type: 'application/json', text: '{"__proto__":{"secret":1}}' },
      'DeserializationError',
    ],
    ['a list', { status: 200, type: 'application/json', text: '["secret"]' }, 'ISOLATION_BREACH'],
    ['an error page', { status: 502, type: 'text/html', text: '<p>secret</p>' }, 'ResponseError'],
    [
      'an error that is a text',
      { status: 400, type: 'application/json', text: '{"error":"secret","status":400}' },
      'ResponseError',
    ],
  ])('with %s instead of a reply tells nothing of it', async (_name, reply, expected) => {
    answer = reply;
    const { port } = proxy.address() as AddressInfo;
    const { index } = opened;
    const client = new Client({
      node: `http://127.0.0.1:${port}`,
      maxRetries: 0,
      tenant: { indices: [index] },
    });
    expect((await acme(() => client.count({ index }))).body.count).toBe(1);
    const error = await failure(() => acme(() => client.search({ index })));
    expect([error.code, error.name]).toContain(expected);
    expect(
      `${error.message} ${JSON.stringify(error)} ${String((error as { data?: unknown }).data)}`,
    ).not.toContain('secret');
    await client.close();
  });

  it('fails as the raw client fails', async () => {
    const gone = createServer().listen(0, '127.0.0.1');
    await once(gone, 'listening');
    const { port } = gone.address() as AddressInfo;
    gone.close();
    const node = `http://127.0.0.1:${port}`;
    const raw = new Raw({ node, maxRetries: 1 });
    const client = new Client({ node, maxRetries: 1, tenant: { indices: ['orders'] } });
    const witness = await failure(() => raw.ping());
    for (const call of [() => client.ping(), () => client.get({ index: 'orders', id: '1' })]) {
      const error = await failure(() => acme(call as () => unknown));
      expect(error).toBeInstanceOf(errors.ConnectionError);
      expect(error.message).toBe(witness.message);
      expect((error.meta as ApiResponse).meta.attempts).toBe(1);
    }
    await client.close();
    await raw.close();
  });

  it('is given up on after requestTimeout', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const client = new Client({
      node: `http://127.0.0.1:${port}`,
      maxRetries: 0,
      tenant: { indices: ['orders'] },
    });
    const error = await failure(() => acme(() => client.ping({}, { requestTimeout: 50 })));
    expect(error).toBeInstanceOf(errors.TimeoutError);
    silent.closeAllConnections();
    silent.close();
    await client.close();
  });
});
