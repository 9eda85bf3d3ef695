import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { acrossTenants, withTenant } from '@tenantkit/core';
import { GetObjectCommand, S3Client, type GetObjectCommandOutput } from '@tenantkit/storage';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

// The SDK puts a stream of its own in front of a download that comes with a checksum, and listens to no error of it:
// whoever ends the connection while nobody reads ended the process, with all tenants in it.

const CHECKSUM = 'x-amz-checksum-crc32: AAAAAA==\r\n';
const LENGTH = 1_000_000;

let sockets: Socket[];
let headers: string;
let s3: S3Client;
beforeEach(async () => {
  sockets = [];
  headers = CHECKSUM;
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${LENGTH}\r\n${headers}\r\n${'x'.repeat(1_000)}`);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  s3 = new S3Client({
    region: 'eu-central-1',
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    forcePathStyle: true,
    credentials: { accessKeyId: 'one', secretAccessKey: 'two' },
    maxAttempts: 1,
    tenant: { buckets: ['uploads'] },
  });
  return async () => {
    s3.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  };
});

/** What ended the process, were nobody to listen here. */
let uncaught: unknown[];
const hear = (error: unknown): void => void uncaught.push(error);
beforeEach(() => {
  uncaught = [];
  process.on('uncaughtException', hear);
});
afterEach(() => {
  process.off('uncaughtException', hear);
});

const closed = async (body: Readable): Promise<void> => {
  // What `once` would listen to as well is the error.
  if (!body.closed) await new Promise<void>((resolve) => void body.on('close', () => resolve()));
  // What nobody has caught is told after all that was under way.
  await new Promise((resolve) => void setImmediate(resolve));
};

const readAll = async (body: Readable): Promise<void> => {
  for await (const chunk of body) expect((chunk as Buffer).length).toBeLessThanOrEqual(LENGTH);
};

const inside = (abortSignal?: AbortSignal): Promise<GetObjectCommandOutput> =>
  withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'x' }), abortSignal ? { abortSignal } : {}));
const across = (abortSignal?: AbortSignal): Promise<GetObjectCommandOutput> =>
  acrossTenants({ reason: 'a test', actor: 'tests' }, () =>
    s3.send(
      new GetObjectCommand({ Bucket: 'uploads', Key: 'tenants/acme/x' }),
      abortSignal ? { abortSignal } : {},
    ),
  );
const calls = [
  ['inside of a tenant', inside],
  ['across tenants', across],
] as const;

describe.each(calls)('an unread download %s', (_where, get) => {
  it.each([
    ['with a checksum', CHECKSUM],
    ['without one', ''],
  ])(
    '%s does not end the process when its connection is cut, and its reader gets the error',
    async (_what, more) => {
      headers = more;
      const body = (await get()).Body as Readable;
      for (const socket of sockets) socket.destroy();
      await closed(body);
      await expect(readAll(body)).rejects.toThrow(/abort|closed|lost|terminated|premature/i);
      expect(uncaught).toEqual([]);
    },
  );

  it.each(['transformToString', 'transformToByteArray'] as const)(
    'tells who reads it by %s that it has failed',
    async (reader) => {
      const { Body } = await get();
      for (const socket of sockets) socket.destroy();
      await closed(Body as Readable);
      await expect(Body?.[reader]()).rejects.toThrow(/abort|closed|lost|terminated|premature/i);
    },
  );

  it('does not when its caller aborts it', async () => {
    const controller = new AbortController();
    const body = (await get(controller.signal)).Body as Readable;
    controller.abort();
    await closed(body);
    await expect(readAll(body)).rejects.toThrow(/abort|closed|lost|terminated|premature/i);
    expect(uncaught).toEqual([]);
  });

  it('does not when its checksum is wrong', async () => {
    const body = (await get()).Body as Readable;
    body.resume();
    for (const socket of sockets) socket.end('x'.repeat(LENGTH - 1_000));
    await closed(body);
    expect(uncaught).toEqual([]);
  });
});

it('a stream that somebody puts in front of a reply, and then drops with an error, does not end the process', async () => {
  let dropped: Readable | undefined;
  s3.middlewareStack.addRelativeTo(
    ((next: (args: object) => Promise<{ response: unknown }>) => async (args: object) => {
      const { response } = await next(args);
      dropped = (response as { body: Readable }).body;
      throw new Error('cannot be read');
    }) as never,
    {
      relation: 'before',
      toMiddleware: 'flexibleChecksumsResponseMiddleware',
      name: 'unreadable',
    },
  );
  await expect(inside()).rejects.toThrow('cannot be read');
  for (const socket of sockets) socket.destroy();
  await closed(dropped as Readable);
  expect(uncaught).toEqual([]);
});
