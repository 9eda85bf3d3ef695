import { S3 as RawS3, type S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { S3Client } from './client.ts';
import {
  waitUntilBucketExists,
  waitUntilBucketNotExists,
  waitUntilObjectExists,
  waitUntilObjectNotExists,
} from './waiters.ts';

const WAITERS = {
  waitUntilBucketExists,
  waitUntilBucketNotExists,
  waitUntilObjectExists,
  waitUntilObjectNotExists,
} as const;

/**
 * {@link S3Client} with a method per command.
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { S3 } from '@tenantkit/storage';
 * const s3 = new S3({ region: 'eu-central-1', tenant: { buckets: ['uploads'] } });
 * await withTenant('acme', () => s3.putObject({ Key: 'logo.svg', Body: '<svg/>' }));
 * ```
 */
// oxlint-disable-next-line typescript/no-unsafe-declaration-merging -- the SDK types its own class the same way
export interface S3 extends Omit<RawS3, keyof RawS3Client> {}

// oxlint-disable-next-line typescript/no-unsafe-declaration-merging -- see above
export class S3 extends S3Client {
  static {
    // The SDK's methods call `send` of whatever client they stand on, so they are taken over as they are; only its
    // waiters would turn a refusal into a timeout.
    const { constructor: _own, ...methods } = Object.getOwnPropertyDescriptors(RawS3.prototype);
    Object.defineProperties(this.prototype, methods);
    for (const [name, wait] of Object.entries(WAITERS)) {
      const value = function (
        this: S3,
        input: never,
        config: number | Omit<Parameters<typeof wait>[0], 'client'>,
      ) {
        const given = typeof config === 'number' ? { maxWaitTime: config } : config;
        return wait({ ...given, client: this }, input);
      };
      Object.defineProperty(this.prototype, name, { value, writable: true, configurable: true });
    }
  }
}
