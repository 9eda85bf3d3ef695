import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { S3Client } from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import { open, type Opened } from '../open.ts';

/** A client as a library is given one, and whose code runs around it. */
export interface Way {
  readonly client: S3Client;
  readonly bucket: string;
  readonly options: Opened['options'] & { readonly tenant?: object };
  readonly inside: <T>(run: () => T) => T;
}

/** The same library three times: with the raw client in a bucket of its own, and for two tenants with ours. */
export interface Ways extends AsyncDisposable {
  readonly own: Opened;
  readonly raw: Way;
  readonly acme: Way;
  readonly acme2: Way;
}

export async function openWays(tenant: { readonly tags?: readonly string[] } = {}): Promise<Ways> {
  const own = await open({ tenant });
  const plain = await open();
  const of = (id: string): Way => ({
    client: own.s3,
    bucket: own.bucket,
    options: { ...own.options, tenant: { buckets: [own.bucket], ...tenant } },
    inside: (run) => withTenant(id, run),
  });
  return {
    own,
    raw: { client: plain.raw, bucket: plain.bucket, options: plain.options, inside: (run) => run() },
    acme: of('acme'),
    acme2: of('acme2'),
    async [Symbol.asyncDispose]() {
      await own[Symbol.asyncDispose]();
      await plain[Symbol.asyncDispose]();
    },
  };
}

/** A service on a port of its own. */
export async function serve(listener: RequestListener): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
