import assert from 'node:assert/strict';
import { withTenant } from '@tenantkit/core';
import { GetObjectCommand, S3Client } from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { assumeTenantRole } from '@tenantkit/storage/sts';

const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'none' };
const s3 = new S3Client({ region: 'eu-central-1', credentials, tenant: { buckets: ['uploads'] } });
await assert.rejects(s3.send(new GetObjectCommand({ Bucket: 'uploads', Key: 'a' })), {
  code: 'TENANT_MISSING',
});
const url = await withTenant('acme', () =>
  getSignedUrl(s3, new GetObjectCommand({ Bucket: 'uploads', Key: 'a' })),
);
assert.equal(new URL(url).pathname, '/tenants/acme/a');
assert.throws(() => assumeTenantRole(JSON.parse('{"roleArn":"none"}')), { code: 'CONFIG_INVALID' });
