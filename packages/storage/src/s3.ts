import { S3 as RawS3, type S3ClientConfig as RawS3Config } from '@aws-sdk/client-s3';
import { confine, ownSend, rawConfiguration, type Confined, type S3ClientConfig } from './client.ts';
import type * as commands from './commands.ts';
import type { WithoutBucket } from './commands.ts';
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

/** The commands that tenants may send, as methods are called. */
type Sent = keyof typeof commands extends infer Name
  ? Name extends `${infer Method}Command`
    ? Uncapitalize<Method>
    : never
  : never;

/** A method of the SDK's, with `Bucket` as it is for a client of exactly one bucket: it may be left out. */
type RelaxedMethod<Method> = Method extends (
  input: infer Input,
  options: infer Options,
  callback: infer Callback,
) => void
  ? Callback extends (error: never, data?: infer Output) => void
    ? {
        (input: WithoutBucket<Input>, options?: Options): Promise<Exclude<Output, undefined>>;
        (input: WithoutBucket<Input>, callback: Callback): void;
        (input: WithoutBucket<Input>, options: Options, callback: Callback): void;
      }
    : never
  : never;

/** A paginator or a waiter of an object. */
type RelaxedWalk<Method> = Method extends (input: infer Input, ...rest: infer Rest) => infer Result
  ? (input: WithoutBucket<Input>, ...rest: Rest) => Result
  : never;

type Walks =
  | 'paginateListObjectsV2'
  | 'paginateListParts'
  | 'waitUntilObjectExists'
  | 'waitUntilObjectNotExists';

type RelaxedS3 = { readonly [Method in Sent]: RelaxedMethod<RawS3[Method]> } & {
  readonly [Method in Walks]: RelaxedWalk<RawS3[Method]>;
};

const Base: Omit<typeof RawS3, 'prototype'> &
  (new (configuration: RawS3Config) => RawS3 & RelaxedS3 & Confined) = RawS3 as never;

/**
 * {@link S3Client} with a method per command.
 *
 * @throws ConfigError at construction when `tenant` is missing or an option cannot be accepted
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { S3 } from '@tenantkit/storage';
 * const s3 = new S3({ region: 'eu-central-1', tenant: { buckets: ['uploads'] } });
 * await withTenant('acme', () => s3.putObject({ Key: 'logo.svg', Body: '<svg/>' }));
 * ```
 */
export class S3 extends Base {
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
