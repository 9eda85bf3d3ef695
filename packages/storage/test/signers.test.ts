import * as raw from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@tenantkit/storage';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

// What the SDK does for each request is done once where it is the SDK's own. What a service has put in its place may
// keep something, or call somebody, and is asked as often as the raw client asks.

let own: Opened;
beforeAll(async () => {
  own = await open();
  await withTenant('acme', () => own.s3.send(new PutObjectCommand({ Key: 'one', Body: 'of acme' })));
});
afterAll(() => own[Symbol.asyncDispose]());

async function using<T>(
  options: object,
  work: (read: () => Promise<string | undefined>) => Promise<T>,
): Promise<T> {
  const s3 = new S3Client({ ...own.options, ...options, tenant: { buckets: [own.bucket] } });
  try {
    return await work(async () => {
      const { Body } = await withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'one' })));
      return Body?.transformToString();
    });
  } finally {
    s3.destroy();
  }
}

describe('a signer of the service’s own', () => {
  it('is made for each request', async () => {
    const { signerConstructor: Signer } = own.raw.config as unknown as {
      readonly signerConstructor: new (options: object) => object;
    };
    let made = 0;
    class Counted extends Signer {
      constructor(options: object) {
        super(options);
        made += 1;
      }
    }
    await using({ signerConstructor: Counted }, async (read) => {
      for (const count of [1, 2, 3]) {
        expect(await read()).toBe('of acme');
        expect(made).toBe(count);
      }
    });
  });

  it('is asked for at each request', async () => {
    const asked: unknown[] = [];
    const signer = async (scheme: unknown): Promise<unknown> => {
      asked.push(scheme);
      return own.raw.config.signer(scheme as never);
    };
    await using({ signer }, async (read) => {
      for (const count of [1, 2, 3]) {
        expect(await read()).toBe('of acme');
        expect(asked).toHaveLength(count);
      }
    });
  });
});

describe('credentials', () => {
  it('that an extension has replaced come from a provider, which may send requests of its own', async () => {
    let sent = 0;
    let handler: S3Client['config']['requestHandler'] | undefined;
    const provider = async (): Promise<unknown> => {
      const sts = new raw.S3Client({ ...own.options, requestHandler: handler as never });
      await sts.send(new raw.HeadBucketCommand({ Bucket: own.bucket }));
      sent += 1;
      return own.options.credentials;
    };
    const configure = (extension: { readonly setCredentials: (one: unknown) => void }): void =>
      extension.setCredentials(provider);
    const s3 = new S3Client({
      ...own.options,
      extensions: [{ configure: configure as never }],
      tenant: { buckets: [own.bucket] },
    });
    handler = s3.config.requestHandler;
    const { Body } = await withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'one' })));
    expect(await Body?.transformToString()).toBe('of acme');
    expect(sent).toBeGreaterThan(0);
    s3.destroy();
  });
});
