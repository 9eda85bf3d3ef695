// Checked by the compiler (tsc -p tsconfig.test.json); nothing here runs.
import * as raw from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3,
  S3Client,
  UploadPartCommand,
  paginateListObjectsV2,
  paginateListParts,
  storageAuditor,
  storageEraser,
  waitUntilObjectExists,
  waitUntilObjectNotExists,
  type GetObjectCommandInput,
  type PutObjectCommandInput,
  type WithoutBucket,
} from '@tenantkit/storage';
import { createPresignedPost, getSignedUrl } from '@tenantkit/storage/presign';

declare const client: S3Client;
declare const s3: S3;
declare const rawClient: raw.S3Client;
declare const rawS3: raw.S3;

// What takes a client of the SDK takes ours …
client satisfies raw.S3Client;
s3 satisfies raw.S3;
s3 satisfies raw.S3Client;
s3 satisfies S3Client;
const params: PutObjectCommandInput = { Bucket: 'uploads', Key: 'a', Body: 'x' };
void new Upload({ client, params });
raw.paginateListObjectsV2({ client }, { Bucket: 'uploads' });

// … and what takes ours takes no client of the SDK's, which knows no tenants.
// @ts-expect-error -- it would not be refused before the call
rawClient satisfies S3Client;
// @ts-expect-error -- nor would this
rawS3 satisfies S3Client;
// @ts-expect-error -- it is not ours
void getSignedUrl(rawClient, new GetObjectCommand({ Key: 'a' }));
void getSignedUrl(client, new GetObjectCommand({ Key: 'a' }));
void getSignedUrl(s3, new raw.GetObjectCommand({ Bucket: 'uploads', Key: 'a' }));
// @ts-expect-error -- it is not ours
void createPresignedPost(rawClient, { Key: 'a' });
void createPresignedPost(client, { Key: 'a' });
// @ts-expect-error -- it is not ours
storageEraser(rawClient, { bucket: 'uploads' });
storageEraser(client, { bucket: 'uploads' });
// @ts-expect-error -- it is not ours
storageAuditor(rawClient, { bucket: 'uploads' });
storageAuditor(s3, { bucket: 'uploads' });

// The classes of commands are the SDK's.
GetObjectCommand satisfies typeof raw.GetObjectCommand;
ListObjectsV2Command satisfies typeof raw.ListObjectsV2Command;
UploadPartCommand satisfies typeof raw.UploadPartCommand;
new GetObjectCommand({ Key: 'a' }) satisfies raw.GetObjectCommand;
new raw.GetObjectCommand({ Bucket: 'uploads', Key: 'a' }) satisfies GetObjectCommand;
export class Own extends PutObjectCommand {}
new Own({ Key: 'a', Body: 'x' }) satisfies PutObjectCommand;

// `Bucket` may be left out, whichever way a command is sent.
void (client.send(new HeadObjectCommand({ Key: 'a' })) satisfies Promise<raw.HeadObjectCommandOutput>);
void (s3.getObject({ Key: 'a' }) satisfies Promise<raw.GetObjectCommandOutput>);
void (s3.getObject({ Bucket: 'uploads', Key: 'a' }) satisfies Promise<raw.GetObjectCommandOutput>);
void s3.getObject({ Key: 'a' }, { abortSignal: AbortSignal.timeout(1) });
s3.getObject({ Key: 'a' }, (error, output) => {
  void (error as unknown);
  output satisfies raw.GetObjectCommandOutput | undefined;
});
s3.listObjectsV2({}, {}, (_, output) => output satisfies raw.ListObjectsV2CommandOutput | undefined);
void s3.putObject({ Key: 'a', Body: 'x' });
void s3.deleteObjects({ Delete: { Objects: [{ Key: 'a' }] } });
void s3.waitUntilObjectExists({ Key: 'a' }, 10);
void s3.waitUntilObjectNotExists({ Key: 'a' }, { maxWaitTime: 10 });
void (s3.paginateListObjectsV2({ Prefix: 'a' }) satisfies AsyncIterable<raw.ListObjectsV2CommandOutput>);
void s3.paginateListParts({ Key: 'a', UploadId: 'u' }, { pageSize: 5 });
void (paginateListObjectsV2({ client }, {}) satisfies AsyncIterable<raw.ListObjectsV2CommandOutput>);
void paginateListParts({ client: s3 }, { Key: 'a', UploadId: 'u' });
void waitUntilObjectExists({ client, maxWaitTime: 10 }, { Key: 'a' });
void waitUntilObjectNotExists({ client: s3, maxWaitTime: 10 }, { Bucket: 'uploads', Key: 'a' });
paginateListObjectsV2 satisfies typeof raw.paginateListObjectsV2;
waitUntilObjectExists satisfies typeof raw.waitUntilObjectExists;

// Of what tenants may not send, nothing is relaxed; nor is a key.
// @ts-expect-error -- no Bucket
void s3.getBucketAcl({});
// @ts-expect-error -- no Key
void s3.getObject({});
// @ts-expect-error -- no Key
void new GetObjectCommand({});

// Inputs have the types of the SDK, so that libraries take them; the name of the relaxed one is exported.
({ Key: 'a' }) satisfies WithoutBucket<GetObjectCommandInput>;
// @ts-expect-error -- no Bucket
({ Key: 'a' }) satisfies GetObjectCommandInput;
