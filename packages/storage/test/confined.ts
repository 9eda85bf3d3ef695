import * as s3 from '@aws-sdk/client-s3';
import { TENANTS } from '@tenantkit/testing';
import type { Opened } from './open.ts';

type Call = (client: s3.S3Client) => Promise<unknown>;

/** What the server itself allows `acme`, and what it does not: asked with the raw client. */
export interface Confinement {
  /** Where the client of acme is not confined as it should be: nothing, when all is well. */
  deviations(client: s3.S3Client): Promise<string[]>;
  /** What of that which is not acme's a client may do: what a client with the rights of all tenants can do. */
  reached(client: s3.S3Client): Promise<string[]>;
}

/** Fills a versioned bucket with the same for every tenant. */
export async function confinement({ bucket, raw }: Pick<Opened, 'bucket' | 'raw'>): Promise<Confinement> {
  const versions = new Map<string, string | undefined>();
  const uploads = new Map<string, string | undefined>();
  const at = (tenant: string, key = 'one') => ({ Bucket: bucket, Key: `tenants/${tenant}/${key}` });
  for (const tenant of TENANTS) {
    const { VersionId } = await raw.send(new s3.PutObjectCommand({ ...at(tenant), Body: `of ${tenant}` }));
    const { UploadId } = await raw.send(new s3.CreateMultipartUploadCommand(at(tenant, 'big')));
    versions.set(tenant, VersionId);
    uploads.set(tenant, UploadId);
  }
  const version = (tenant: string) => ({ ...at(tenant), VersionId: versions.get(tenant) });
  const upload = (tenant: string) => ({ ...at(tenant, 'big'), UploadId: uploads.get(tenant) });
  const partsOf = async (tenant: string) => (await raw.send(new s3.ListPartsCommand(upload(tenant)))).Parts;
  const source = (tenant: string) => `${bucket}/tenants/${tenant}/one`;
  const Tagging = { TagSet: [{ Key: 'colour', Value: 'red' }] };
  const list =
    (Prefix?: string): Call =>
    (client) =>
      client.send(new s3.ListObjectsV2Command({ Bucket: bucket, Prefix }));

  /** What a tenant may do with its own, and nobody else with it. */
  const work = (tenant: string): Record<string, Call> => ({
    read: (client) => client.send(new s3.GetObjectCommand(at(tenant))),
    'read of a version': (client) => client.send(new s3.GetObjectCommand(version(tenant))),
    head: (client) => client.send(new s3.HeadObjectCommand(at(tenant))),
    write: (client) => client.send(new s3.PutObjectCommand({ ...at(tenant, 'new'), Body: 'x' })),
    'write with tags': (client) =>
      client.send(new s3.PutObjectCommand({ ...at(tenant, 'new'), Body: 'x', Tagging: 'colour=red' })),
    copy: (client) =>
      client.send(new s3.CopyObjectCommand({ ...at(tenant, 'copy'), CopySource: source(tenant) })),
    delete: (client) => client.send(new s3.DeleteObjectCommand(at(tenant, 'new'))),
    'reading of tags': (client) => client.send(new s3.GetObjectTaggingCommand(at(tenant))),
    'reading of tags of a version': (client) => client.send(new s3.GetObjectTaggingCommand(version(tenant))),
    'writing of tags': (client) => client.send(new s3.PutObjectTaggingCommand({ ...at(tenant), Tagging })),
    'writing of tags of a version': (client) =>
      client.send(new s3.PutObjectTaggingCommand({ ...version(tenant), Tagging })),
    'removal of tags': (client) => client.send(new s3.DeleteObjectTaggingCommand(at(tenant))),
    'removal of tags of a version': (client) =>
      client.send(new s3.DeleteObjectTaggingCommand(version(tenant))),
    'begin of an upload': (client) => client.send(new s3.CreateMultipartUploadCommand(at(tenant, 'other'))),
    part: (client) => client.send(new s3.UploadPartCommand({ ...upload(tenant), PartNumber: 1, Body: 'x' })),
    'list of parts': (client) => client.send(new s3.ListPartsCommand(upload(tenant))),
    list: list(`tenants/${tenant}/`),
    'list of a folder': list(`tenants/${tenant}/folder/`),
    'list of versions': (client) =>
      client.send(new s3.ListObjectVersionsCommand({ Bucket: bucket, Prefix: `tenants/${tenant}/` })),
    'writing of a marker': (client) =>
      client.send(new s3.PutObjectCommand({ Bucket: bucket, Key: `tk!subjects/${tenant}/p1`, Body: 'x' })),
  });
  /** What would change what the other calls work on. */
  const furtherOf = (tenant: string): Record<string, Call> => ({
    'delete of the object': (client) => client.send(new s3.DeleteObjectCommand(at(tenant))),
    'delete of the version': (client) => client.send(new s3.DeleteObjectCommand(version(tenant))),
    'overwriting of the object': (client) =>
      client.send(new s3.PutObjectCommand({ ...at(tenant), Body: 'stolen' })),
    'abort of the upload': (client) => client.send(new s3.AbortMultipartUploadCommand(upload(tenant))),
    'end of the upload': (client) => {
      const MultipartUpload = { Parts: [{ PartNumber: 1, ETag: '"9dd4e461268c8034f5c8564e155c67a6"' }] };
      return client.send(new s3.CompleteMultipartUploadCommand({ ...upload(tenant), MultipartUpload }));
    },
    'legal hold': (client) => client.send(new s3.GetObjectLegalHoldCommand(at(tenant))),
    retention: (client) => client.send(new s3.GetObjectRetentionCommand(at(tenant))),
    'delete of several': (client) =>
      client.send(
        new s3.DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: [{ Key: at(tenant).Key }] } }),
      ),
    'copy from it': (client) =>
      client.send(new s3.CopyObjectCommand({ ...at('acme', 'stolen'), CopySource: source(tenant) })),
    'copy of a version of it': (client) =>
      client.send(
        new s3.CopyObjectCommand({
          ...at('acme', 'stolen'),
          CopySource: `${source(tenant)}?versionId=${versions.get(tenant)}`,
        }),
      ),
    'part by copy': (client) =>
      client.send(
        new s3.UploadPartCopyCommand({ ...upload(tenant), PartNumber: 2, CopySource: source(tenant) }),
      ),
    'copy to it': (client) =>
      client.send(new s3.CopyObjectCommand({ ...at(tenant), CopySource: source('acme') })),
    'part by copy from it': (client) =>
      client.send(
        new s3.UploadPartCopyCommand({ ...upload('acme'), PartNumber: 3, CopySource: source(tenant) }),
      ),
  });
  const refused: Record<string, Call> = {
    'list of everything': list(),
    'list with an empty prefix': list(''),
    'list of all tenants': list('tenants/'),
    'list without the final slash': list('tenants/acme'),
    'list of all versions': (client) => client.send(new s3.ListObjectVersionsCommand({ Bucket: bucket })),
    'list of all uploads': (client) => client.send(new s3.ListMultipartUploadsCommand({ Bucket: bucket })),
    'list of markers': list('tk!subjects/acme/'),
    'reading of a marker': (client) =>
      client.send(new s3.GetObjectCommand({ Bucket: bucket, Key: 'tk!subjects/acme/p1' })),
    'read of the ACL': (client) => client.send(new s3.GetBucketAclCommand({ Bucket: bucket })),
    'write of an ACL': (client) =>
      client.send(new s3.PutObjectAclCommand({ ...at('acme'), ACL: 'public-read' })),
    'write with an ACL': (client) =>
      client.send(new s3.PutObjectCommand({ ...at('acme', 'new'), Body: 'x', ACL: 'public-read' })),
    'write with a grant': (client) =>
      client.send(
        new s3.PutObjectCommand({
          ...at('acme', 'new'),
          Body: 'x',
          GrantRead: 'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
        }),
      ),
    // Ceph RGW 16 lets no session copy a part, list uploads or delete several, whatever its policy says.
    'part by copy of its own': (client) =>
      client.send(
        new s3.UploadPartCopyCommand({ ...upload('acme'), PartNumber: 2, CopySource: source('acme') }),
      ),
    'list of its own uploads': (client) =>
      client.send(new s3.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: 'tenants/acme/' })),
    'delete of several of its own': (client) =>
      client.send(
        new s3.DeleteObjectsCommand({
          Bucket: bucket,
          Delete: { Objects: [{ Key: at('acme', 'none').Key }] },
        }),
      ),
    'change of the policy': (client) => client.send(new s3.DeleteBucketPolicyCommand({ Bucket: bucket })),
  };
  const ofOthers = OTHERS.flatMap((tenant) =>
    Object.entries({ ...work(tenant), ...furtherOf(tenant) }).map(
      ([what, call]) => [`${what} of ${tenant}`, call] as const,
    ),
  );

  return {
    async deviations(client) {
      const found: string[] = [];
      const before = await Promise.all(OTHERS.map(partsOf));
      for (const [what, call] of Object.entries(work('acme'))) {
        const status = await statusOf(() => call(client));
        if (!(status >= 200 && status < 300)) found.push(`${what}: ${status}`);
      }
      for (const [what, call] of [...ofOthers, ...Object.entries(refused)]) {
        const status = await statusOf(() => call(client));
        if (status !== 403) found.push(`${what}: ${status}`);
      }
      for (const tenant of TENANTS) {
        const { Body } = await raw.send(new s3.GetObjectCommand(at(tenant)));
        if ((await Body?.transformToString()) !== `of ${tenant}`) found.push(`${tenant} was changed`);
      }
      const after = await Promise.all(OTHERS.map(partsOf));
      if (JSON.stringify(after) !== JSON.stringify(before)) found.push('an upload was changed');
      return found;
    },
    async reached(client) {
      const found: string[] = [];
      const calls = OTHERS.flatMap((tenant) =>
        Object.entries(work(tenant)).map(([what, call]) => ({ tenant, what, call })),
      );
      for (const { tenant, what, call } of calls) {
        const status = await statusOf(() => call(client));
        if (status >= 200 && status < 300) found.push(`${what} of ${tenant}`);
      }
      return found;
    },
  };
}

const OTHERS = TENANTS.filter((tenant) => tenant !== 'acme');

/** Of the reply, or of the error. */
export async function statusOf(call: () => Promise<unknown>): Promise<number> {
  const answer = (await call().catch((error: unknown) => error)) as {
    $metadata?: { httpStatusCode?: number };
  };
  return answer.$metadata?.httpStatusCode ?? 0;
}
