import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Agent, createServer as createHttpServer } from 'node:http';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { GetObjectCommand as RawGetObjectCommand } from '@aws-sdk/client-s3';
import { OperationRefusedError, withTenant } from '@tenantkit/core';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@tenantkit/storage';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BoundedBody } from '../src/body.ts';
import { countRequests, open, type Opened } from './open.ts';
import { needs } from './servers/capabilities.ts';

// A connection serves all tenants, one after the other: what one of them leaves on it is read as the next one's.

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());

const CHECKSUMS = ['WHEN_REQUIRED', 'WHEN_SUPPORTED'] as const;
type Input = ConstructorParameters<typeof PutObjectCommand>[0];
const put = (input: Partial<Input>, client = own.s3): Promise<unknown> =>
  withTenant('acme', () => client.send(new PutObjectCommand({ Key: 'one', ...input })));
const stored = async (key = 'one'): Promise<Buffer> => {
  const { Body } = await own.raw.send(
    new RawGetObjectCommand({ Bucket: own.bucket, Key: `tenants/acme/${key}` }),
  );
  return buffer(Body as Readable);
};
const oneSocket = (requestChecksumCalculation: (typeof CHECKSUMS)[number]): S3Client =>
  new S3Client({
    ...own.options,
    requestChecksumCalculation,
    requestHandler: { httpAgent: new Agent({ keepAlive: true, maxSockets: 1 }) },
    tenant: { buckets: [own.bucket] },
  });

const withOneSocket = async (
  checksums: (typeof CHECKSUMS)[number],
  run: (client: S3Client) => Promise<void>,
): Promise<void> => {
  const client = oneSocket(checksums);
  await run(client);
  client.destroy();
};

// Ceph 16 takes no trailing checksums: with them, what leaves is looked at instead, further down.
describe('a stream', () => {
  it('of its announced length is stored', () =>
    withOneSocket('WHEN_REQUIRED', async (client) => {
      await put({ Body: Readable.from(['a', Buffer.from('bc')]), ContentLength: 3 }, client);
      expect(String(await stored())).toBe('abc');
      const big = Buffer.alloc(3_000_000, 'x');
      await put({ Body: Readable.from([big, 'end']), ContentLength: big.length + 3 }, client);
      expect((await stored()).equals(Buffer.concat([big, Buffer.from('end')]))).toBe(true);
    }));

  it('of nothing but empty pieces leaves time to others', async () => {
    let turns = 0;
    let next = setImmediate(function turn() {
      turns += 1;
      next = setImmediate(turn);
    });
    const empty = Buffer.alloc(0);
    const take = async (count: number): Promise<number> => {
      const before = turns;
      let read = 0;
      const body = new BoundedBody(
        Readable.from(
          (function* pieces() {
            for (; read < count; read += 1) yield empty;
            yield 'x';
          })(),
        ),
      );
      body.open(1);
      expect(await text(body)).toBe('x');
      expect(read).toBe(count);
      return turns - before;
    };
    const few = await take(10);
    const many = await take(50_000);
    clearImmediate(next);
    expect(few).toBeLessThan(10);
    expect(many).toBeGreaterThanOrEqual(50);
  });

  it('of a file needs no length', () =>
    withOneSocket('WHEN_REQUIRED', async (client) => {
      const file = fileURLToPath(import.meta.url);
      await put({ Body: createReadStream(file) }, client);
      expect((await stored()).length).toBe((await stat(file)).size);
    }));
});

describe.each(CHECKSUMS)('a stream, with checksums %s', (checksums) => {
  const withClient = (run: (client: S3Client) => Promise<void>): Promise<void> =>
    withOneSocket(checksums, run);

  needs('lengths').it.each([
    ['in one chunk', ['abcGET / HTTP/1.1\r\n\r\n']],
    ['in a further chunk', ['abc', 'GET / HTTP/1.1\r\n\r\n']],
    ['by one byte', ['ab', 'cd']],
  ])('that is longer, %s, is not stored and leaves nothing to others', (_how, chunks) =>
    withClient(async (client) => {
      await put({ Body: 'before', Key: 'kept' }, client);
      await expect(
        put({ Body: Readable.from(chunks), ContentLength: 3, Key: 'kept' }, client),
      ).rejects.toMatchObject({
        name: 'BodyLengthError',
        code: 'BODY_LENGTH',
        expected: 3,
        message: expect.stringContaining('more bytes than its ContentLength'),
      });
      const get = withTenant('acme', () => client.send(new GetObjectCommand({ Key: 'kept' })));
      expect(await text((await get).Body as Readable)).toBe('before');
    }),
  );

  needs('lengths').it('that is shorter takes nothing from others', () =>
    withClient(async (client) => {
      await put({ Body: 'before', Key: 'kept' }, client);
      await expect(
        put({ Body: Readable.from(['ab']), ContentLength: 300, Key: 'kept' }, client),
      ).rejects.toMatchObject({
        name: 'BodyLengthError',
        code: 'BODY_LENGTH',
        expected: 300,
        actual: 2,
        message: expect.stringContaining('fewer bytes than its ContentLength'),
      });
      const get = withTenant('acme', () => client.send(new GetObjectCommand({ Key: 'kept' })));
      expect(await text((await get).Body as Readable)).toBe('before');
    }),
  );

  it.each(['at once', 'later', 'before the call'])(
    'that fails %s rejects the call, and nothing else',
    (when) =>
      withClient(async (client) => {
        const failure = new Error('the disk is gone');
        const uncaught: unknown[] = [];
        const hear = (error: unknown): void => void uncaught.push(error);
        process.on('uncaughtException', hear);
        const body = new Readable({
          read() {
            if (when === 'later') this.push('a');
            queueMicrotask(() => this.destroy(failure));
          },
        });
        const source = when === 'before the call' ? body.on('error', () => undefined).destroy(failure) : body;
        await expect(put({ Body: source, ContentLength: 3 }, client)).rejects.toThrow('the disk is gone');
        await put({ Body: 'still alive' }, client);
        process.off('uncaughtException', hear);
        expect(uncaught).toEqual([]);
      }),
  );

  it.each<readonly [string, () => unknown]>([
    ['cannot be looked at', () => new Proxy({}, { getPrototypeOf: () => expect.unreachable() })],
    [
      'throws when it is read',
      () => Object.defineProperty(new Error('no'), 'stack', { get: () => expect.unreachable() }),
    ],
  ])('that fails with what %s rejects the call, and nothing else', (_what, thrown) =>
    withClient(async (client) => {
      const uncaught: unknown[] = [];
      const hear = (error: unknown): void => void uncaught.push(error);
      for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, hear);
      const Body = Object.defineProperty(new Readable({ read() {} }), Symbol.asyncIterator, {
        value: () => ({ next: () => Promise.reject(thrown()) }),
      });
      await expect(put({ Body, ContentLength: 3 }, client)).rejects.toThrow('The body failed');
      const emitting = new Readable({ read() {} });
      const failing = put({ Body: emitting, ContentLength: 3 }, client);
      emitting.emit('error', thrown());
      await expect(failing).rejects.toThrow('The body failed');
      await put({ Body: 'still alive' }, client);
      for (const event of ['uncaughtException', 'unhandledRejection']) process.off(event, hear);
      expect(uncaught).toEqual([]);
    }),
  );

  it('is not given the connection, nor credentials', () =>
    withClient(async (client) => {
      const seen: unknown[] = [];
      const asked: unknown[] = [];
      const ask = async (): Promise<void> => {
        asked.push(await client.config.credentials().catch((error: unknown) => error));
      };
      async function* generate(): AsyncGenerator<string> {
        await ask();
        yield 'abc';
      }
      const body = Readable.from(generate());
      body.pipe = (destination) => (seen.push(destination), destination);
      const stored = put({ Body: body, ContentLength: 3 }, client);
      await stored.catch((error: unknown) => expect(error).toHaveProperty('name', 'MissingContentLength'));
      expect(seen).toEqual([]);
      expect(asked).toEqual([expect.any(OperationRefusedError)]);
    }));
});

it('that is a stream leaves with its checksum behind it', async () => {
  const received: unknown[] = [];
  const server = createHttpServer((request, answer) => {
    const { headers } = request;
    received.push(headers['x-amz-decoded-content-length'], headers['x-amz-trailer'], text(request));
    request.once('end', () => answer.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { requestChecksumCalculation: _off, ...options } = own.options;
  const client = new S3Client({ ...options, endpoint, tenant: { buckets: [own.bucket] } });
  await put({ Body: Readable.from(['ab', 'c']), ContentLength: 3 }, client);
  expect(await Promise.all(received)).toEqual([
    '3',
    'x-amz-checksum-crc32',
    expect.stringMatching(/^2\r\nab\r\n1\r\nc\r\n0\r\n/),
  ]);
  client.destroy();
  server.close();
});

describe('a body in memory', () => {
  const view = Buffer.from('abc');
  it.each<[string, unknown]>([
    ['text', 'abc'],
    ['Buffer', view],
    ['Uint8Array', new Uint8Array(view)],
    ['DataView', new DataView(new Uint8Array(view).buffer)],
    ['ArrayBuffer', new Uint8Array(view).buffer],
  ])('of its announced length is stored: %s', async (_kind, body) => {
    await put({ Body: body as Buffer, ContentLength: 3 });
    expect(String(await stored())).toBe('abc');
    await put({ Body: body as Buffer });
    expect(String(await stored())).toBe('abc');
  });

  it.each<[string, unknown, unknown]>([
    ['text', 'abc', 2],
    ['text of wide characters', 'äöü', 3],
    ['longer', view, 400],
    ['bytes', new Uint8Array(3), 2],
    [
      'bytes that lie about their length',
      Object.defineProperty(Buffer.from('abcd'), 'byteLength', { value: 3 }),
      3,
    ],
    ['none', undefined, 3],
    ['a negative length', 'abc', -3],
    ['a length that is text', 'abc', 'x'],
    ['a length with two answers', 'abc', { valueOf: () => 3, toString: () => '30' }],
    ['a blob', new Blob(['abc']), 3],
    ['a web stream', new Blob(['abc']).stream(), 3],
    [
      'a generator',
      (function* () {
        yield 'abc';
      })(),
      3,
    ],
  ])('is refused before anything is sent: %s', async (_kind, body, ContentLength) => {
    const before = own.sent();
    await expect(put({ Body: body as Buffer, ContentLength: ContentLength as number })).rejects.toThrow(
      OperationRefusedError,
    );
    expect(own.sent()).toBe(before);
  });
});

it('a reply without a body is a stream all the same where the SDK gives one', async () => {
  await withTenant('acme', async () => {
    await own.s3.send(new PutObjectCommand({ Key: 'empty', Body: '' }));
    const { Body } = await own.s3.send(new GetObjectCommand({ Key: 'empty' }));
    expect(Body).toBeInstanceOf(Readable);
    expect(await Body?.transformToString()).toBe('');
  });
});

describe('a middleware', () => {
  type Request = { headers: Record<string, string>; body?: unknown };
  const spoilt = async (
    change: (request: Request) => void,
    command: object,
  ): Promise<{ error: unknown; sent: number }> => {
    const client = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    const sent = countRequests(client);
    client.middlewareStack.addRelativeTo(
      ((next: (args: never) => Promise<never>) => (args: { request: Request }) => {
        change(args.request);
        return next(args as never);
      }) as never,
      { relation: 'after', toMiddleware: 'httpSigningMiddleware', name: 'spoil' },
    );
    const error = await withTenant('acme', () => client.send(command as GetObjectCommand)).catch(
      (reason: unknown) => reason,
    );
    client.destroy();
    return { error, sent: sent() };
  };
  const get = (): object => new GetObjectCommand({ Key: 'one' });
  const write = (): object => new PutObjectCommand({ Key: 'one', Body: 'abc' });

  it.each<[string, (request: Request) => void, () => object]>([
    ['give a reading command a body', (r) => void (r.body = 'GET / HTTP/1.1\r\n\r\n'), get],
    ['announce a body that is not there', (r) => void (r.headers['content-length'] = '300'), get],
    ['announce less', (r) => void (r.headers['content-length'] = '1'), write],
    ['announce more', (r) => void (r.headers['content-length'] = '30'), write],
    [
      'announce in two ways',
      (r) => void Object.assign(r.headers, { 'content-length': '3', 'transfer-encoding': 'chunked' }),
      write,
    ],
    ['name another encoding', (r) => void (r.headers['transfer-encoding'] = 'identity'), write],
    ['have headers dropped on the way', (r) => void (r.headers['connection'] = 'authorization'), write],
    ['expect something else', (r) => void (r.headers['expect'] = 'x'), write],
    ['replace the body', (r) => void (r.body = 'longer than it was'), write],
  ])('cannot %s', async (_what, change, command) => {
    expect(await spoilt(change, command())).toEqual({ error: expect.any(OperationRefusedError), sent: 0 });
  });

  it('that changes nothing stops nothing', async () => {
    await put({ Body: 'abc' });
    for (const command of [get(), write()]) {
      const { error, sent } = await spoilt(() => undefined, command);
      expect(error).not.toBeInstanceOf(Error);
      expect(sent).toBe(1);
    }
  });
});

describe('a value of an input', () => {
  it.each<[string, Partial<Input>]>([
    ['a control character in a header', { ContentType: 'a\r\nb' }],
    ['a control character in metadata', { Metadata: { a: 'b\nc' } }],
    ['an object', { ContentType: { toString: () => 'text/plain' } as never }],
  ])('is refused: %s', async (_what, input) => {
    await expect(put({ Body: 'x', ...input })).rejects.toThrow(OperationRefusedError);
  });

  it('is refused: a control character in what a reply is overridden by', async () => {
    const get = (ResponseContentType: string): Promise<unknown> =>
      withTenant('acme', () => own.s3.send(new GetObjectCommand({ Key: 'one', ResponseContentType })));
    await put({ Body: 'x' });
    await expect(get('text/plain')).resolves.toHaveProperty('ContentType', 'text/plain');
    await expect(get('a\r\nset-cookie: b')).rejects.toThrow(OperationRefusedError);
  });

  it('runs no code where the credentials are at hand', async () => {
    const asked: Promise<unknown>[] = [];
    const ask = (): void => void asked.push(own.s3.config.credentials().catch((error: unknown) => error));
    const Metadata = {
      get a(): string {
        ask();
        return '1';
      },
    };
    const Expires = new Date(0);
    Expires.toISOString = Expires.toUTCString = () => (ask(), 'x');
    await put({ Body: 'x', Metadata, Expires });
    const { signal } = new AbortController();
    const listen = signal.addEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof listen>) => (ask(), listen(...args));
    await withTenant('acme', () =>
      own.s3.send(new GetObjectCommand({ Key: 'one' }), { abortSignal: signal }),
    );
    expect(asked.length).toBeGreaterThanOrEqual(2);
    for (const answer of await Promise.all(asked)) expect(answer).toBeInstanceOf(OperationRefusedError);
  });
});

describe('the body of a reply', () => {
  const get = () => withTenant('acme', () => own.s3.send(new GetObjectCommand({ Key: 'one' })));

  it('does not lead to the connection', async () => {
    await put({ Body: Buffer.alloc(500_000, 'x') });
    const { Body } = await get();
    expect(Body).not.toHaveProperty('req');
    expect(Body).not.toHaveProperty('socket');
    expect(inspect(Body, { depth: 8, showHidden: true })).not.toMatch(/tenants\/acme|authorization/i);
    const given: unknown[] = [];
    const stream = Body as unknown as Readable;
    for (const event of ['pipe', 'unpipe', 'close', 'end'])
      stream.on(event, (...args) => given.push(...args));
    expect((await buffer(stream)).length).toBe(500_000);
    expect(given).toEqual([]);
  });

  it('is what the SDK makes of it', async () => {
    await put({ Body: 'äöü' });
    expect(await (await get()).Body?.transformToString()).toBe('äöü');
    expect(await (await get()).Body?.transformToString('latin1')).toBe(Buffer.from('äöü').toString('latin1'));
    expect(Buffer.from((await (await get()).Body?.transformToByteArray()) ?? [])).toEqual(Buffer.from('äöü'));
    const web = (await get()).Body?.transformToWebStream();
    expect(await new Response(web as never).text()).toBe('äöü');
  });

  it('frees its connection when it is destroyed', async () => {
    await put({ Body: Buffer.alloc(8_000_000, 'x') });
    const client = oneSocket('WHEN_REQUIRED');
    const { Body } = await withTenant('acme', () => client.send(new GetObjectCommand({ Key: 'one' })));
    const stream = Body as unknown as Readable;
    stream.destroy();
    await once(stream, 'close');
    const again = await withTenant('acme', () => client.send(new GetObjectCommand({ Key: 'one' })));
    expect((await buffer(again.Body as unknown as Readable)).length).toBe(8_000_000);
    client.destroy();
  });

  it('fails when the connection does', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc', () => socket.destroy());
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = new S3Client({ ...own.options, endpoint, tenant: { buckets: [own.bucket] } });
    const { Body } = await withTenant('acme', () => client.send(new GetObjectCommand({ Key: 'one' })));
    await expect(buffer(Body as unknown as Readable)).rejects.toThrow('aborted');
    client.destroy();
    server.close();
  });
});
