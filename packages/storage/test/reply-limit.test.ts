import { once } from 'node:events';
import { request } from 'node:http';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { acrossTenants, withTenant, type OperationRefusedError } from '@tenantkit/core';
import {
  GetBucketPolicyCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  storageEraser,
  type S3ClientConfig,
} from '@tenantkit/storage';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MAX_ENTRIES } from '../src/reply.ts';
import { MAX_ERROR, MAX_REPLY } from '../src/reply-limit.ts';
import { open, type Opened } from './open.ts';

// A server of a tenant's own is the tenant's to run, and that of all tenants may be in foreign hands: whatever one
// answers, the process of all tenants goes on. These answer with bytes, as they come to a connection.

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());

type Answer = (socket: Socket) => void;

/** A server that answers everything alike, and counts what has left. */
interface Hostile extends AsyncDisposable {
  readonly endpoint: string;
  answer: Answer;
  readonly requests: () => number;
  /** How many bytes the last connection has taken, once it is closed. */
  closed(): Promise<number>;
}

async function openHostile(): Promise<Hostile> {
  const sockets = new Set<Socket>();
  let requests = 0;
  let last: Promise<number> = Promise.resolve(0);
  const server = createServer((socket) => {
    sockets.add(socket);
    last = new Promise((resolve) => {
      socket.on('close', () => resolve(socket.bytesWritten));
    });
    socket.on('error', () => undefined);
    socket.once('data', () => {
      requests += 1;
      hostile.answer(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const hostile: Hostile = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answer: (socket) => socket.destroy(),
    requests: () => requests,
    closed: () => last,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
  return hostile;
}

const head = (more: string, status = '200 OK'): string =>
  `HTTP/1.1 ${status}\r\ncontent-type: application/xml\r\n${more}\r\n\r\n`;

/** A whole document. */
const document =
  (text: string, status?: string): Answer =>
  (socket) =>
    socket.write(`${head(`content-length: ${Buffer.byteLength(text)}`, status)}${text}`);

/** One that never ends. */
const endless =
  (start: string, more = '<Contents><Key>tenants/acme/x</Key></Contents>'): Answer =>
  (socket) => {
    socket.write(start);
    const block = more.repeat(1_000);
    const chunk = `${Buffer.byteLength(block).toString(16)}\r\n${block}\r\n`;
    const pour = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('drain', pour);
    pour();
  };
const CHUNKED = head('transfer-encoding: chunked');

const list = (inner: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>${own.bucket}</Name><Prefix>tenants/acme/</Prefix><IsTruncated>false</IsTruncated>${inner}</ListBucketResult>`;

let hostile: Hostile;
let s3: S3Client;
/** Whose tenant acme has a server of its own. */
const clientOf = (configuration: Partial<S3ClientConfig>): S3Client => {
  const { credentials } = own.options;
  return new S3Client({
    ...own.options,
    maxAttempts: 1,
    ...configuration,
    tenant: {
      buckets: [own.bucket],
      place: (id) =>
        id === 'acme' ? { level: 'silo', endpoint: hostile.endpoint, credentials } : { level: 'pool' },
    },
  });
};
beforeEach(async () => {
  hostile = await openHostile();
  s3 = clientOf({});
  return async () => {
    s3.destroy();
    await hostile[Symbol.asyncDispose]();
  };
});

const failure = (call: () => Promise<unknown>): Promise<OperationRefusedError> =>
  call().then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error as OperationRefusedError,
  );
const refused = (why: string): unknown =>
  expect.objectContaining({ code: 'OPERATION_REFUSED', why: expect.stringContaining(why) as string });

const listing = (): Promise<unknown> => withTenant('acme', () => s3.send(new ListObjectsV2Command({})));
const others = (): Promise<unknown> =>
  withTenant('acme2', () => s3.send(new PutObjectCommand({ Key: 'one', Body: 'x' })));

/** What has left, with what the system holds in between. */
const BUFFERED = 8 * 1024 * 1024;

describe('a reply that is read as a whole', () => {
  const start = (): string => `${CHUNKED}${(40).toString(16)}\r\n<ListBucketResult>${' '.repeat(22)}\r\n`;

  it.each([
    ['of a listing', listing],
    [
      'of a command that tells something about an object',
      () =>
        withTenant('acme', () =>
          s3.send(new GetObjectAttributesCommand({ Key: 'x', ObjectAttributes: ['ETag'] })),
        ),
    ],
    ['of a write', () => withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'x', Body: 'x' })))],
  ])('%s ends at its limit, and its connection with it', async (_what, call) => {
    hostile.answer = endless(start());
    expect(await failure(call)).toEqual(refused(`longer than the ${MAX_REPLY} bytes`));
    expect(await hostile.closed()).toBeLessThan(MAX_REPLY + BUFFERED);
    expect(hostile.requests()).toBe(1);
    await others();
  });

  it('ends also where it is an error, of an object that would be a stream', async () => {
    hostile.answer = endless(head('transfer-encoding: chunked', '500 Oh'), 'x'.repeat(100));
    expect(
      await failure(() => withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'x' })))),
    ).toEqual(refused('longer than'));
    expect(await hostile.closed()).toBeLessThan(MAX_REPLY + BUFFERED);
  });

  it('is not begun when it says that it is longer', async () => {
    hostile.answer = (socket) => socket.write(head(`content-length: ${MAX_REPLY + 1}`));
    expect(await failure(listing)).toEqual(refused('longer than'));
    await hostile.closed();
  });

  it('is read up to the limit: a thousand of the longest keys, all of it escaped', async () => {
    const keys = Array.from({ length: 1_000 }, (_, index) => {
      const key = `${String(index).padStart(4, '0')}${'"'.repeat(1_024 - 'tenants/acme/'.length - 4)}`;
      return `<Contents><Key>tenants/acme/${key.replaceAll('"', '&quot;')}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>0</Size><StorageClass>STANDARD</StorageClass><Owner><ID>${'a'.repeat(64)}</ID><DisplayName>${'b'.repeat(64)}</DisplayName></Owner></Contents>`;
    });
    const text = list(keys.join(''));
    expect(text.length).toBeGreaterThan(6 * 1024 * 1024);
    hostile.answer = document(text);
    const reply = (await listing()) as { Contents: { Key: string }[] };
    expect(reply.Contents).toHaveLength(1_000);
    expect(reply.Contents[999]?.Key).toHaveLength(1_024 - 'tenants/acme/'.length);
  });

  it.each([
    // The parser looks through all of it for each of them.
    ['begins again and again', () => '<!DOCTYPE a>'.repeat(20_000)],
    ['begins twice, in other letters', () => '<!doctype a> <!dOcTyPe b>'],
    ['has millions of elements', () => list('<b/>'.repeat(1_500_000))],
    ['has a text of millions of entities', () => list(`<Delimiter>${'&amp;'.repeat(1_500_000)}</Delimiter>`)],
    ['has a tag of millions of entities', () => list(`<Delimiter a="${'&lt;'.repeat(1_500_000)}"/>`)],
    ['ends with a text without an end', () => `${list('')}${' '.repeat(1_000_001)}`],
    ['has an element of many attributes', () => list(`<b${' c="d"'.repeat(300)}/>`)],
    ['has one whose values look like its end', () => list(`<b a=">" c='>'${' d=""'.repeat(300)}/>`)],
    ['has one that does not end', () => list(`<b ${'c'.repeat(1_100)}`)],
    ['is a long error in spite of its status', () => `<Error><A>${'x'.repeat(MAX_ERROR)}</A></Error>`],
  ])('is not parsed when it %s', async (_what, text) => {
    hostile.answer = document(text());
    expect(await failure(listing)).toEqual(refused('would take very long'));
  });

  it('is parsed when it is the page of a proxy, and as an error what the SDK makes of it', async () => {
    const page = '<!DOCTYPE html><html><body><!-- padding --><!-- padding --><h1>503</h1></body></html>';
    hostile.answer = document(page, '503 Busy');
    expect(await failure(listing)).toMatchObject({ $metadata: { httpStatusCode: 503 } });
  });

  it('is parsed with attributes as S3 has them, and an error that is short in spite of its status', async () => {
    const owner = '<Owner xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">';
    hostile.answer = document(
      list(`<Contents><Key>tenants/acme/x</Key>${owner}<ID>one</ID></Owner></Contents>`),
    );
    expect(await listing()).toMatchObject({ Contents: [{ Key: 'x', Owner: { ID: 'one' } }] });
  });

  it.each([
    ['is no longer than S3 makes it, and has what it says', '<Message>no</Message>', 'BadKey'],
    ['is longer, and is known by its status alone', `<Message>${'x'.repeat(MAX_ERROR)}</Message>`, 'Unknown'],
    ['has elements without end', '<a/>'.repeat(MAX_ERROR), 'Unknown'],
    ['has attributes without end', `<Message${' a="b"'.repeat(300)}>no</Message>`, 'Unknown'],
    ['begins again and again', '<!DOCTYPE a>'.repeat(3), 'Unknown'],
  ])('is an error that %s', async (_what, inner, name) => {
    hostile.answer = document(`<Error><Code>BadKey</Code>${inner}</Error>`, '400 No');
    expect(await failure(listing)).toMatchObject({ name, $metadata: { httpStatusCode: 400 } });
  });

  it.each([MAX_ENTRIES, MAX_ENTRIES + 1])('may list so many at once: %i', async (count) => {
    hostile.answer = document(list('<Contents><Size>1</Size></Contents>'.repeat(count)));
    const reply = listing();
    if (count === MAX_ENTRIES)
      expect(((await reply) as { Contents: unknown[] }).Contents).toHaveLength(count);
    else expect(await failure(() => reply)).toEqual(refused('more than 10000 entries'));
  });

  it('that is slow does not outlast its caller', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    hostile.answer = (socket) => socket.write(start());
    const { requestHandler } = own.raw.config;
    const late = clientOf({
      requestHandler: {
        handle: async (...args: Parameters<typeof requestHandler.handle>) => {
          const reply = await requestHandler.handle(...args);
          // When its head is there, the SDK's handler does not listen any more.
          setImmediate(() => controller.abort());
          return reply;
        },
      },
    });
    const call = withTenant('acme', () => late.send(new ListObjectsV2Command({}), { abortSignal: signal }));
    expect(await failure(() => call)).toMatchObject({ name: 'AbortError' });
    await hostile.closed();
  });

  it('that breaks off fails, as it does with the raw client', async () => {
    hostile.answer = (socket) => {
      socket.end(start());
    };
    expect(await failure(listing)).toMatchObject({ code: 'ECONNRESET' });
  });
});

describe('what leaves across tenants', () => {
  const across = <T>(work: () => Promise<T>): Promise<T> =>
    acrossTenants({ reason: 'a test', actor: 'tests' }, work);

  it('is held to the same limits in every place', async () => {
    const raw = clientOf({ endpoint: hostile.endpoint });
    hostile.answer = endless(CHUNKED);
    const policy = new GetBucketPolicyCommand({ Bucket: own.bucket });
    expect(await failure(() => across(() => raw.send(policy)))).toEqual(refused('longer than'));
    hostile.answer = endless(CHUNKED);
    const { Body } = await across(() =>
      raw.send(new GetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/x' })),
    );
    // A stream is its reader's, who may end it.
    (Body as unknown as { destroy: () => void }).destroy();
    await hostile.closed();
    raw.destroy();
  });

  it('ends an erasure, in time also where the reply does not end', async () => {
    const pool = clientOf({ endpoint: hostile.endpoint });
    const eraser = storageEraser(pool, { bucket: own.bucket });
    hostile.answer = endless(CHUNKED);
    expect(await failure(() => eraser.plan({ tenant: 'acme' }))).toEqual(refused('longer than'));
    hostile.answer = (socket) => socket.write(CHUNKED);
    const hurried = storageEraser(pool, { bucket: own.bucket, timeout: 500 });
    expect(await failure(() => hurried.plan({ tenant: 'acme' }))).toMatchObject({
      code: 'STORE_UNREACHABLE',
    });
    pool.destroy();
  });
});

describe('an answer that changes the protocol', () => {
  it.each([
    ['with a name', 'connection: upgrade\r\nupgrade: websocket\r\n'],
    ['without one', ''],
  ])('%s ends the call', async (_what, headers) => {
    hostile.answer = (socket) => socket.write(`HTTP/1.1 101 Switching\r\n${headers}\r\n`);
    const pool = clientOf({ endpoint: hostile.endpoint });
    const calls = [
      listing,
      () => withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'x' }))),
      () => withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'x', Body: 'x' }))),
      () => storageEraser(pool, { bucket: own.bucket }).plan({ tenant: 'acme' }),
    ];
    for (const call of calls) {
      expect(await failure(call)).toEqual(refused('another protocol'));
      await hostile.closed();
    }
    pool.destroy();
    await others();
  });

  it('is the caller’s own where it comes to a request of theirs, made when a download ends', async () => {
    let finish = (): void => undefined;
    hostile.answer = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na');
      finish = () => void socket.write('b');
    };
    const { Body } = (await withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'x' })))) as {
      Body: Readable;
    };
    const upgraded = new Promise<boolean>((resolve, reject) => {
      Body.once('end', () => {
        hostile.answer = (socket) =>
          socket.write('HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
        request(hostile.endpoint, { headers: { connection: 'upgrade', upgrade: 'websocket' } })
          .on('upgrade', (_reply, socket: Socket) => {
            resolve(!socket.destroyed);
            socket.destroy();
          })
          .on('error', reject)
          .end();
      });
    });
    // So that its end comes with the connection.
    Body.on('data', () => finish());
    expect(await upgraded).toBe(true);
  });

  it('is no other interim answer', async () => {
    hostile.answer = (socket) => {
      socket.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n');
      document(list(''))(socket);
    };
    expect(await listing()).toMatchObject({ Name: own.bucket });
  });
});

it('an object without a limit is read as before, and what is told about it from its beginning', async () => {
  const Body = Buffer.alloc(MAX_REPLY + 1_000_000, 'a');
  await withTenant('acme2', async () => {
    await s3.send(new PutObjectCommand({ Key: 'large', Body }));
    const { Body: read } = await s3.send(new GetObjectCommand({ Key: 'large' }));
    expect((await read?.transformToByteArray())?.length).toBe(Body.length);
    expect(await s3.send(new HeadObjectCommand({ Key: 'large' }))).toMatchObject({
      ContentLength: Body.length,
    });
    // These servers answer with the object itself.
    const attributes = new GetObjectAttributesCommand({ Key: 'large', ObjectAttributes: ['ETag'] });
    expect(await failure(() => s3.send(attributes))).toEqual(refused('longer than'));
    await s3.send(new HeadObjectCommand({ Key: 'large' }));
  });
});
