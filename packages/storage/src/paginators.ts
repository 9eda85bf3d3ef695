import * as sdk from '@aws-sdk/client-s3';
import type { WithoutBucket } from './commands.ts';

/** A paginator of the SDK's, with `Bucket` as it is for a client of exactly one bucket: it may be left out. */
type Relaxed<Paginate> = Paginate extends (config: infer Config, input: infer Input) => infer Pages
  ? (config: Config, input: WithoutBucket<Input>) => Pages
  : never;

/**
 * The SDK's paginator of `ListObjectsV2`; with exactly one accepted bucket, `Bucket` may be left out.
 *
 * @throws MissingTenantError, OperationRefusedError, SignatureError with the page that is asked for
 *
 * @example
 * ```ts
 * import { paginateListObjectsV2 } from '@tenantkit/storage';
 * for await (const { Contents = [] } of paginateListObjectsV2({ client: s3 }, { Prefix: 'letters/' }))
 *   for (const { Key, Size } of Contents) console.log(Key, Size);
 * ```
 */
export const paginateListObjectsV2: Relaxed<typeof sdk.paginateListObjectsV2> =
  sdk.paginateListObjectsV2 as never;
/** The SDK's paginator of `ListParts`; see {@link paginateListObjectsV2}. */
export const paginateListParts: Relaxed<typeof sdk.paginateListParts> = sdk.paginateListParts as never;
