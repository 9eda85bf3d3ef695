import type { ApiResponse } from '@opensearch-project/opensearch';
import { OperationRefusedError } from '@tenantkit/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acme, acme2, failure, openSearch, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openSearch({ only: true });
  const { client, index } = opened;
  await acme(() => client.index({ index, id: '1', body: { title: 'acme' }, refresh: true }));
  await acme2(() => client.index({ index, id: '1', body: { title: 'acme2' }, refresh: true }));
});
afterAll(() => opened[Symbol.asyncDispose]());

/** Answers the first question with one text, and each later one with another. */
const flipping = (first: string, later: string): object => {
  let asked = 0;
  return { toString: () => ((asked += 1) === 1 ? first : later) };
};

describe('what a reply hands out', () => {
  it('does not lead to the requests of others', async () => {
    const { client, index } = opened;
    const { meta } = await acme(() => client.count({ index }));
    const { connection } = meta;
    const { href } = connection.url;
    acme(() => {
      connection.url.port = '1';
      for (const member of [
        'url',
        'headers',
        'agent',
        'makeRequest',
        'request',
        'buildRequestObject',
        'close',
      ]) {
        expect(() => Object.assign(connection, { [member]: () => undefined }), member).toThrow(
          /read only|refused/,
        );
      }
      expect(() => Object.assign(connection.headers, { 'x-added': '1' })).toThrow(TypeError);
      expect(() => connection.close()).toThrow(OperationRefusedError);
    });
    expect(connection.url.href).toBe(href);
    expect((await acme2(() => client.get({ index, id: '1' }))).body._source).toEqual({ title: 'acme2' });
  });

  it('the list of connections is changed by no tenant', async () => {
    const { client, index } = opened;
    const { connectionPool, transport } = client;
    acme(() => {
      expect(() => connectionPool.connections.pop()).toThrow(TypeError);
      expect(() => (connectionPool.connections = [])).toThrow(OperationRefusedError);
      for (const member of ['request', 'sniff', 'getConnection', 'nodeSelector']) {
        expect(() => Object.assign(transport, { [member]: () => undefined }), member).toThrow(TypeError);
      }
    });
    expect((await acme2(() => client.get({ index, id: '1' }))).body._source).toEqual({ title: 'acme2' });
  });

  it('a tenant does not sniff for a client that does not', () => {
    const sniff = (): void => opened.client.transport.sniff({ reason: 'sniff-interval' });
    expect(() => acme(sniff)).toThrow(OperationRefusedError);
  });
});

describe('what is checked as a text', () => {
  it('is a text: a header', async () => {
    const { client, index } = opened;
    const headers = { 'x-request-id': flipping('1', '1\r\n\r\nGET /_search HTTP/1.1') };
    expect(await failure(() => acme(() => client.count({ index }, { headers })))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await failure(() => acme(() => client.child({ headers })))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    const reply: ApiResponse = await acme(() =>
      client.count({ index }, { headers: { 'x-request-id': '1' } }),
    );
    expect(reply.body.count).toBe(1);
  });

  it('is a text: a parameter', async () => {
    const { client, index } = opened;
    const list = Object.assign(['title'], {
      map: () => ({ join: () => flipping('title', 'tenant_id') }),
    });
    const { body } = await acme(() => client.get({ index, id: '1', _source_includes: list }));
    expect(body._source).toEqual({ title: 'acme' });
    await failure(() => acme(() => client.get({ index, id: '1', _source_excludes: 'tenant_id' }))).then(
      ({ code }) => expect(code).toBe('OPERATION_REFUSED'),
    );
  });
});
