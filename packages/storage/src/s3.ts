import { S3 as RawS3 } from '@aws-sdk/client-s3';
import { confine, ownSend, rawConfiguration, type S3ClientConfig } from './client.ts';
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
 * await withTenant('acme', () => s3.putObject({ Bucket: 'uploads', Key: 'logo.svg', Body: '<svg/>' }));
 * ```
 */
export class S3 extends RawS3 {
  static {
    ownSend(this.prototype);
    // The SDK's own methods call `send`; only its waiters would turn a refusal into a timeout.
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

  constructor(configuration: S3ClientConfig) {
    super(rawConfiguration(configuration));
    confine(this, configuration);
  }
}
