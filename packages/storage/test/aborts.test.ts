import { getEventListeners, once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { GetObjectCommand as RawGetObjectCommand } from '@aws-sdk/client-s3';
import { ConfiguredRetryStrategy } from '@smithy/core/retry';
import { withTenant } from '@tenantkit/core';
import {
  CopyObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
  type GetObjectCommandOutput,
} from '@tenantkit/storage';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

let own: Opened;
beforeAll(async () => {
  own = await open();
  await withTenant('acme', () =>
    own.s3.send(new PutObjectCommand({ Key: 'large', Body: Buffer.alloc(16 * 1024 * 1024) })),
  );
});
afterAll(() => own[Symbol.asyncDispose]());

interface Options {
  readonly abortSignal: AbortSignal;
}

describe('a signal', () => {
  it.each<readonly [string, (options: Options) => Promise<GetObjectCommandOutput>]>([
    [
      'the raw client',
      (options) =>
        own.raw.send(new RawGetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/large' }), options),
    ],
    [
      'a tenant',
      (options) => withTenant('acme', () => own.s3.send(new GetObjectCommand({ Key: 'large' }), options)),
    ],
  ])('ends a download that has begun: of %s', async (_, download) => {
    const controller = new AbortController();
    const { Body } = await download({ abortSignal: controller.signal });
    let bytes = 0;
    const reading = (async () => {
      for await (const chunk of Body as Readable) {
        bytes += (chunk as Buffer).length;
        controller.abort();
      }
    })();
    await expect(reading).rejects.toMatchObject({ message: 'aborted', code: 'ECONNRESET' });
    expect(bytes).toBeLessThan(8 * 1024 * 1024);
  });

  it('that outlives its calls is followed as long as they run, and no longer', async () => {
    const { signal } = new AbortController();
    const options: Options = { abortSignal: signal };
    await withTenant('acme', async () => {
      const { Body } = await own.s3.send(new GetObjectCommand({ Key: 'large' }), options);
      expect(getEventListeners(signal, 'abort')).not.toHaveLength(0);
      await Body?.transformToByteArray();
      await own.s3.send(new HeadObjectCommand({ Key: 'large' }), options);
      const none = own.s3.send(new GetObjectCommand({ Key: 'none' }), options);
      await expect(none).rejects.toMatchObject({ name: 'NoSuchKey' });
    });
    await expect.poll(() => getEventListeners(signal, 'abort')).toHaveLength(0);
  });
});

describe('the requests that a client sends before a call', () => {
  const HOUR = 3_600_000;
  const closing: (() => unknown)[] = [];
  afterEach(() => {
    for (const close of closing.splice(0)) close();
  });

  /** A server, and a client of it that pauses for an hour after each answer that it tries again. */
  const clientOf = async (
    answer: RequestListener,
  ): Promise<{ s3: S3Client; sent: string[]; paused: Promise<undefined> }> => {
    const sent: string[] = [];
    const server = createServer((request, response) => {
      sent.push(`${request.method} ${request.url}`);
      request.resume().once('end', () => answer(request, response));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { promise: paused, resolve } = Promise.withResolvers<undefined>();
    const pause = (): number => {
      resolve(undefined);
      return HOUR;
    };
    const s3 = new S3Client({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      forcePathStyle: true,
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
      requestHandler: { throwOnRequestTimeout: true },
      retryStrategy: new ConfiguredRetryStrategy(8, pause),
      tenant: { buckets: ['uploads'] },
    });
    closing.push(
      () => s3.destroy(),
      () => server.closeAllConnections(),
      () => server.close(),
    );
    return { s3, sent, paused };
  };

  const PERSON = { tenant: 'acme', subject: 'p1' };
  const put = new PutObjectCommand({ Key: 'a', Body: 'x' });
  const copy = new CopyObjectCommand({ Key: 'a', CopySource: 'uploads/b' });
  const CALLS = [
    ['the call itself', { tenant: 'acme' }, put, /^PUT \/uploads\/tenants\/acme\/a/],
    ['a marker', PERSON, put, /^PUT \/uploads\/tk%21subjects\/acme\/p1\/k\/a/],
    ['a look at the source of a copy', { tenant: 'acme' }, copy, /^HEAD \/uploads\/tenants\/acme\/b/],
  ] as const;

  it.each(CALLS)(
    'are aborted with it, in a pause between two attempts: %s',
    { timeout: 20_000 },
    async (...[, scope, command, request]) => {
      const { s3, sent, paused } = await clientOf((_request, response) => response.writeHead(503).end());
      const controller = new AbortController();
      const sending = withTenant(scope, () =>
        s3.send(command as PutObjectCommand, { abortSignal: controller.signal }),
      );
      const ended = sending.catch((error: unknown) => error);
      await paused;
      controller.abort();
      expect(await ended).toMatchObject({ name: 'AbortError' });
      expect(sent).toEqual([expect.stringMatching(request)]);
    },
  );

  it.each(CALLS)('have its time limit: %s', { timeout: 20_000 }, async (...[, scope, command, request]) => {
    const { s3, sent, paused } = await clientOf(() => undefined);
    const controller = new AbortController();
    const sending = withTenant(scope, () =>
      s3.send(command as PutObjectCommand, { requestTimeout: 50, abortSignal: controller.signal }),
    );
    const ended = sending.catch((error: unknown) => error);
    // A request that was given up is tried again.
    await paused;
    controller.abort();
    expect(await ended).toMatchObject({ name: 'AbortError' });
    expect(sent).toEqual([expect.stringMatching(request)]);
  });
});
