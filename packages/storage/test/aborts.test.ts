import { getEventListeners } from 'node:events';
import type { Readable } from 'node:stream';
import { GetObjectCommand as RawGetObjectCommand } from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import {
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type GetObjectCommandOutput,
} from '@tenantkit/storage';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
