import * as sdk from '@aws-sdk/client-s3';
import type { HeadBucketCommandInput, HeadObjectCommandInput, S3Client } from '@aws-sdk/client-s3';
import { engineOf } from './client.ts';
import type { WithoutBucket } from './commands.ts';

type Params = Parameters<typeof sdk.waitUntilObjectExists>[0];

/**
 * The SDK's waiters, with one difference: they take any error but "not found" for "not yet" and end in a
 * `TimeoutError`, so a refusal is looked for before the first request and thrown as what it is.
 *
 * @param params - `client` and `maxWaitTime` in seconds
 * @throws MissingTenantError, OperationRefusedError
 *
 * @example
 * ```ts
 * import { waitUntilObjectExists } from '@tenantkit/storage';
 * await waitUntilObjectExists({ client: s3, maxWaitTime: 30 }, { Bucket: 'uploads', Key: 'logo.svg' });
 * ```
 */
export const waitUntilObjectExists: OnObject<typeof sdk.waitUntilObjectExists> = onObject(
  sdk.waitUntilObjectExists,
);
/** See {@link waitUntilObjectExists}. */
export const waitUntilObjectNotExists: OnObject<typeof sdk.waitUntilObjectNotExists> = onObject(
  sdk.waitUntilObjectNotExists,
);
/** See {@link waitUntilObjectExists}. @deprecated by the SDK: use {@link waitUntilObjectExists}. */
export const waitForObjectExists: OnObject<typeof sdk.waitForObjectExists> = onObject(
  sdk.waitForObjectExists,
);
/** See {@link waitUntilObjectExists}. @deprecated by the SDK: use {@link waitUntilObjectNotExists}. */
export const waitForObjectNotExists: OnObject<typeof sdk.waitForObjectNotExists> = onObject(
  sdk.waitForObjectNotExists,
);
/** Refused inside a tenant, at once; see {@link waitUntilObjectExists}. */
export const waitUntilBucketExists: typeof sdk.waitUntilBucketExists = onBucket(sdk.waitUntilBucketExists);
/** Refused inside a tenant, at once; see {@link waitUntilObjectExists}. */
export const waitUntilBucketNotExists: typeof sdk.waitUntilBucketNotExists = onBucket(
  sdk.waitUntilBucketNotExists,
);
/** Refused inside a tenant, at once. @deprecated by the SDK: use {@link waitUntilBucketExists}. */
export const waitForBucketExists: typeof sdk.waitForBucketExists = onBucket(sdk.waitForBucketExists);
/** Refused inside a tenant, at once. @deprecated by the SDK: use {@link waitUntilBucketNotExists}. */
export const waitForBucketNotExists: typeof sdk.waitForBucketNotExists = onBucket(sdk.waitForBucketNotExists);

/** A waiter of the SDK's, with `Bucket` as it is for a client of exactly one bucket: it may be left out. */
type OnObject<Wait> = Wait extends (params: infer P, input: infer Input) => infer Result
  ? (params: P, input: WithoutBucket<Input>) => Result
  : never;

function onObject<R>(wait: (params: Params, input: HeadObjectCommandInput) => Promise<R>) {
  // The guard puts the one bucket in.
  return preflight(
    'HeadObjectCommand',
    wait as (params: Params, input: WithoutBucket<HeadObjectCommandInput>) => Promise<R>,
  );
}

function onBucket<R>(wait: (params: Params, input: HeadBucketCommandInput) => Promise<R>) {
  return preflight('HeadBucketCommand', wait);
}

function preflight<I, R>(
  operation: string,
  wait: (params: Params, input: I) => Promise<R>,
): (params: Params, input: I) => Promise<R> {
  return async (params, input) => {
    const client: S3Client = params.client;
    engineOf(client, operation).begin(operation, input);
    return wait(params, input);
  };
}
