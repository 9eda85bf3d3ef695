import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { S3Client, type StorageTenantOptions } from '@tenantkit/storage';

/** A client of a server of the test's own, and how both end. */
export async function clientOf(
  server: Server,
  tenant: StorageTenantOptions = { buckets: ['uploads'] },
): Promise<{ readonly s3: S3Client; readonly close: () => Promise<void> }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const s3 = new S3Client({
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    forcePathStyle: true,
    credentials: { accessKeyId: 'none', secretAccessKey: 'none' },
    tenant,
  });
  return {
    s3,
    async close() {
      s3.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}
