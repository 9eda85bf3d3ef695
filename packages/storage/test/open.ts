import { S3Client as RawS3Client, type S3ClientConfig as RawS3ClientConfig } from '@aws-sdk/client-s3';
import { S3Client, type StorageTenantOptions } from '@tenantkit/storage';
import type { FreshBucket } from '@tenantkit/testing';
import { inject } from 'vitest';
import { openBucket } from './servers/bucket.ts';

/** A bucket of one's own, a guarded client and the raw client as witness. */
export interface Opened extends AsyncDisposable {
  readonly bucket: string;
  readonly options: FreshBucket['client'];
  readonly s3: S3Client;
  readonly raw: RawS3Client;
  /** The same clients, and their endpoint, at the gateway that `SelectObjectContent` is sent to. */
  readonly queries: { readonly s3: S3Client; readonly raw: RawS3Client; readonly endpoint: string };
  /** How many requests the guarded client has handed to the network. */
  readonly sent: () => number;
}

/** Opens them; `configuration` is added to the guarded client's. */
export async function open({
  tenant = {},
  traits = {},
  configuration = {},
}: {
  readonly tenant?: Partial<StorageTenantOptions>;
  readonly traits?: { readonly versioned?: boolean; readonly objectLock?: boolean };
  readonly configuration?: RawS3ClientConfig;
} = {}): Promise<Opened> {
  const own = await openBucket(traits);
  const raw = new RawS3Client(own.client);
  const s3 = new S3Client({ ...own.client, ...configuration, tenant: { buckets: [own.bucket], ...tenant } });
  const sent = countRequests(s3);
  const at = { endpoint: inject('servers').s3.queryEndpoint ?? own.client.endpoint };
  const queries = {
    ...at,
    raw: new RawS3Client({ ...own.client, ...at }),
    s3: new S3Client({
      ...own.client,
      ...configuration,
      ...at,
      tenant: { buckets: [own.bucket], ...tenant },
    }),
  };
  return {
    bucket: own.bucket,
    options: own.client,
    s3,
    raw,
    queries,
    sent,
    async [Symbol.asyncDispose]() {
      for (const client of [s3, raw, queries.s3, queries.raw]) client.destroy();
      await own.cleanup();
    },
  };
}

/** Counts what a client's request handler is given; the requests go on to the server. */
export function countRequests(client: RawS3Client): () => number {
  const { requestHandler } = client.config;
  const handle = requestHandler.handle.bind(requestHandler);
  let count = 0;
  requestHandler.handle = (...args: Parameters<typeof handle>) => {
    count += 1;
    return handle(...args);
  };
  return () => count;
}
