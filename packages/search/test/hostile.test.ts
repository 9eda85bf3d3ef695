import { Client as Raw, Transport as RawTransport } from '@opensearch-project/opensearch';
import {
  MissingTenantError,
  OperationRefusedError,
  acrossTenants,
  createTenantRegistry,
  currentScope,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Client } from '@tenantkit/search';
import { openSearch, type Opened } from './support.ts';

// `acme` is hostile and runs code of its own; `acme2` is the victim.

const OPERATOR = { reason: 'a test', actor: 'vitest' };
type Loose = Record<string, (...args: unknown[]) => unknown>;

let on: Opened;
beforeAll(async () => {
  on = await openSearch();
  await withTenant('acme2', () =>
    on.client.index({
      index: on.index,
      id: 'secret',
      body: { title: 'hunter2', color: 'red' },
      refresh: true,
    }),
  );
});
afterAll(() => on[Symbol.asyncDispose]());

describe('a highlight', () => {
  it('is made of the tenant’s own documents: no highlighter that looks at all terms', async () => {
    const search = (highlight: object) =>
      withTenant('acme2', () =>
        on.client.search({
          index: on.index,
          body: { query: { match: { title: 'hunter2' } }, highlight } as never,
        }),
      );
    for (const highlight of [
      { type: 'fvh', fields: { title: {} } },
      { fields: { title: { type: 'fvh' } } },
      { fields: { title: { type: 'experimental' } } },
      { fields: { title: { type: ['unified'] } } },
      { fields: { title: { matched_fields: ['title'] } } },
      { phrase_limit: 1, fields: { title: {} } },
    ])
      await expect(search(highlight)).rejects.toThrow(OperationRefusedError);
    for (const type of ['unified', 'plain']) {
      const { body } = await search({ fields: { title: { type } } });
      expect(body.hits.hits[0]?.highlight).toEqual({ title: ['<em>hunter2</em>'] });
    }
  });
});

describe('a document', () => {
  it('is stamped in the text that is sent, whatever its toJSON answers', async () => {
    const forged = { tenant_id: 'acme2', title: 'forged' };
    const nested = { toJSON: () => ({ toJSON: () => forged }) };
    const put = (body: object) =>
      withTenant('acme', () => on.client.index({ index: on.index, id: 'x', body: body, refresh: true }));
    await expect(put(nested)).rejects.toThrow(OperationRefusedError);
    await expect(
      withTenant('acme', () =>
        on.client.bulk({ body: [{ index: { _index: on.index, _id: 'x' } }, nested] as never }),
      ),
    ).rejects.toThrow(OperationRefusedError);
    await put({ toJSON: () => ({ title: 'once' }), 7: 'a key that JSON.stringify puts first' });
    const { body } = await on.raw.get({ index: on.index, id: 'acme~x' });
    expect(body._source).toEqual({ tenant_id: 'acme', title: 'once' });
    await withTenant('acme', () => on.client.delete({ index: on.index, id: 'x', refresh: true }));
  });

  it('is checked as the client’s own serializer writes it, also when that is replaced on the client', async () => {
    const client = on.guarded();
    const { serializer } = client.transport as unknown as {
      serializer: { serialize: (value: unknown) => string };
    };
    serializer.serialize = () => '{"tenant_id":"acme2"}';
    await expect(
      withTenant('acme', () => client.index({ index: on.index, id: 'x', body: { title: 'x' } })),
    ).rejects.toThrow(OperationRefusedError);
  });
});

describe('what the raw client does for itself', () => {
  const sent = async (act: (transport: Loose) => unknown): Promise<unknown> => {
    const client = on.guarded({ sniffInterval: 3_600_000 });
    return withTenant('acme', async () => act(client.transport as unknown as Loose));
  };

  it('lends a tenant nothing: sniffing', async () => {
    let scope: unknown = 'not called';
    const options = {
      get reason() {
        scope = currentScope();
        return 'sniff-interval';
      },
    };
    await sent((transport) => transport['sniff']?.(options));
    expect(scope).toEqual({ tenant: { tenant: 'acme' }, bypass: undefined });
    await sent((transport) =>
      expect(() => transport['sniff']?.({ reason: 'x' })).toThrow(OperationRefusedError),
    );
    await sent((transport) =>
      expect(() => transport['sniff']?.({ reason: 'sniff-interval' }, () => undefined)).toThrow(
        OperationRefusedError,
      ),
    );
    // Code of the caller's own that runs in the middle of it gets the sniff's own request, and no other.
    const client = on.guarded();
    let taken: Promise<unknown> | undefined;
    Object.defineProperty(client.transport, 'sniffEndpoint', {
      get() {
        taken ??= Promise.resolve(
          client.transport.request({ method: 'DELETE', path: `/${on.index}/_doc/acme2~secret` }),
        ).catch((error: unknown) => error);
        return '_nodes/_all/http';
      },
    });
    client.transport.sniff({ reason: 'x' });
    expect(await taken).toMatchObject({ statusCode: 200, body: { nodes: expect.any(Object) } });
    expect((await on.raw.exists({ index: on.index, id: 'acme2~secret' })).body).toBe(true);
  });

  it('lends a tenant nothing: the ping of a dead node', async () => {
    const client = on.guarded();
    const [connection] = (client.connectionPool as unknown as { connections: Loose[] }).connections;
    const answers = (reads: Record<string, unknown[]>) =>
      Object.defineProperties(
        {},
        Object.fromEntries(
          Object.entries(reads).map(([key, values]) => [
            key,
            { enumerable: true, get: () => (values.length > 1 ? values.shift() : values[0]) },
          ]),
        ),
      );
    const ask = (params: object) =>
      withTenant(
        'acme',
        () =>
          new Promise<object>((resolve, reject) => {
            connection?.['request']?.(params, (error: Error | null, response: object) =>
              error === null ? resolve(response) : reject(error),
            );
          }),
      );
    const alive = { statusCode: 200, headers: expect.any(Object) };
    expect(await ask({ method: 'HEAD', path: '/' })).toEqual(alive);
    const other = { method: ['HEAD', 'DELETE'], path: ['/', `/${on.index}/_doc/acme2~secret`] };
    expect(await ask(answers(other))).toEqual(alive);
    // Asked of the document: a search would still find it until the next refresh.
    expect((await on.raw.exists({ index: on.index, id: 'acme2~secret' })).body).toBe(true);
    await expect(ask({ method: 'GET', path: `/${on.index}/_search` })).rejects.toThrow(OperationRefusedError);
  });
});

describe('what all tenants share', () => {
  it('is changed and closed by none of them', async () => {
    const made = (): Client => new Client({ node: on.url, tenant: { indices: [on.index] } });
    const client = made();
    const pool = client.connectionPool as unknown as Loose;
    await withTenant('acme', async () => {
      for (const member of ['addConnection', 'createConnection', 'removeConnection', 'update', 'empty'])
        expect(() => pool[member]?.({ url: new URL('http://127.0.0.1:1') }), member).toThrow(
          OperationRefusedError,
        );
      for (const member of ['emit', 'connectionPool', 'serializer', 'headers'])
        expect(() => Object.assign(client.transport, { [member]: {} }), member).toThrow(TypeError);
      expect(() => client.close()).toThrow(OperationRefusedError);
    });
    expect((await withTenant('acme2', () => client.count({ index: on.index }))).body.count).toBe(1);
    await client.close();
    // Whoever has made a client may close it.
    await withTenant('acme', async () => made().close());
  });

  it('tells nobody of others: not by the raw client’s own listeners', async () => {
    const client = on.guarded();
    const heard: unknown[] = [];
    const own: unknown[] = [];
    withTenant('acme', () => {
      const on_ = Reflect.get(Raw.prototype, 'on', client) as (event: string, listener: () => void) => void;
      for (const event of ['request', 'response']) on_.call(client, event, () => heard.push(currentScope()));
      for (const symbol of Object.getOwnPropertySymbols(client)) {
        const emitter: unknown = Reflect.get(client, symbol);
        if (typeof (emitter as Loose | undefined)?.['on'] === 'function')
          (emitter as Loose)['on']?.('response', () => heard.push(currentScope()));
      }
    });
    withTenant('acme2', () => client.on('response', (_error, { body }) => own.push(body)));
    await withTenant('acme2', () => client.count({ index: on.index }));
    await acrossTenants(OPERATOR, () => client.count({ index: on.index }));
    expect(heard).toEqual([]);
    expect(own).toMatchObject([{ count: 1 }]);
  });

  it('a child is what was checked', async () => {
    class Other extends RawTransport {}
    let asked = 0;
    const hidden = new Proxy({ Transport: Other }, { ownKeys: () => (asked++ === 0 ? [] : ['Transport']) });
    const child = withTenant('acme', () => on.client.child(hidden as never));
    expect(child.transport).not.toBeInstanceOf(Other);
    const headers = { opendistro_security_impersonate_as: 'admin' };
    expect(() => withTenant('acme', () => on.client.child({ headers }))).toThrow(OperationRefusedError);
    expect(on.client.child({ headers: { 'x-opaque-id': 'one' } })).toBeInstanceOf(on.client.constructor);
    await expect(child.count({ index: on.index })).rejects.toThrow(MissingTenantError);
  });

  it('a search tells nothing of how the server has gone through the documents of all', async () => {
    const { body } = await withTenant('acme', () =>
      on.client.search({ index: on.index, body: { track_total_hits: 5, query: { match_all: {} } } }),
    );
    expect(Object.keys(body)).not.toContain('terminated_early');
    expect(Object.keys(body)).not.toContain('num_reduce_phases');
    expect(body._shards.skipped).toBe(0);
  });
});

describe('an index that is not there', () => {
  it('is the server’s 404 for a read, and is not created by a write', async () => {
    const index = `${on.index}-missing`;
    const client = on.guarded({ tenant: { indices: [index] } });
    const body = { query: { match_all: {} } };
    await withTenant('acme', async () => {
      expect((await client.search({ index, body }, { ignore: [404] })).statusCode).toBe(404);
      expect((await client.exists({ index, id: '1' })).body).toBe(false);
      await expect(client.get({ index, id: '1' })).rejects.toMatchObject({
        name: 'ResponseError',
        statusCode: 404,
      });
      await expect(client.count({ index })).rejects.toMatchObject({ statusCode: 404 });
      for (const write of [
        () => client.index({ index, id: '1', body: { title: 'x' } }),
        () => client.bulk({ body: [{ index: { _index: index } }, { title: 'x' }] }),
        () => client.delete({ index, id: '1' }),
      ])
        await expect(write()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    });
    expect((await on.raw.indices.exists({ index })).body).toBe(false);
  });

  it('is asked about as the caller is, and within the caller’s time', async () => {
    const asked: unknown[] = [];
    const server = createServer((request, response) => {
      asked.push([request.method, request.headers.authorization]);
      if (request.headers.authorization !== 'Bearer ada') response.writeHead(401).end('{}');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => server.closeAllConnections());
    const node = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = on.guarded({ node });
    const headers = { authorization: 'Bearer ada' };
    const options = { headers, requestTimeout: 500, maxRetries: 0 };
    await expect(withTenant('acme', () => client.count({ index: on.index }, options))).rejects.toMatchObject({
      name: 'TimeoutError',
    });
    expect(asked).toEqual([['GET', 'Bearer ada']]);
    server.close();
  });
});

describe('what a helper asks for', () => {
  it('a refresh of everything is one of what tenants work in', async () => {
    const client = on.guarded();
    const stats = await withTenant('acme', () =>
      client.helpers.bulk({
        datasource: [{ title: 'one' }],
        onDocument: () => ({ index: { _index: on.index, _id: 'helped' } }),
        refreshOnCompletion: true,
      }),
    );
    expect(stats).toMatchObject({ successful: 1 });
    expect((await withTenant('acme', () => client.count({ index: on.index }))).body.count).toBe(1);
    await withTenant('acme', () => client.delete({ index: on.index, id: 'helped', refresh: true }));
  });
});

async function lose(before: () => Promise<void>, response: ServerResponse): Promise<void> {
  await before();
  response.destroy();
}

async function forward(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
  const answer = await fetch(`${on.url}${request.url}`, {
    method: request.method ?? 'GET',
    headers: { 'content-type': request.headers['content-type'] ?? 'application/json' },
    ...(body.length === 0 ? {} : { body: new Uint8Array(body) }),
  });
  response.writeHead(answer.status, {
    'content-type': answer.headers.get('content-type') ?? 'application/json',
  });
  response.end(Buffer.from(await answer.arrayBuffer()));
}

describe('an attempt that leaves late', () => {
  /** A load balancer that loses the first writes, in front of the real server. */
  async function losing(times: number, before: () => Promise<void>): Promise<Server> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const isWrite = request.method === 'PUT' || request.method === 'POST';
        if (isWrite && times > 0) {
          times -= 1;
          void lose(before, response);
          return;
        }
        void forward(request, Buffer.concat(chunks), response);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    return server;
  }

  it('asks the fence again: nothing is stored for a tenant that was frozen meanwhile', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    onTestFinished(() => fence.close());
    const server = await losing(2, () => fence.freeze('acme'));
    const node = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = on.guarded({ node, tenant: { indices: [on.index], fence } });
    const put = (tenant: string) =>
      withTenant(tenant, () =>
        client.index({ index: on.index, id: 'late', body: { title: 'late' }, refresh: true }),
      );
    await expect(put('acme')).rejects.toMatchObject({ code: 'TENANT_FENCED' });
    expect((await on.raw.exists({ index: on.index, id: 'acme~late' })).body).toBe(false);
    // The control: the same, for one that nobody has frozen.
    expect((await put('acme2')).statusCode).toBe(201);
    await withTenant('acme2', () => client.delete({ index: on.index, id: 'late', refresh: true }));
  });
});
