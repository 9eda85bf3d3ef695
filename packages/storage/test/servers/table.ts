/** The S3 servers that the tests run on. */
export type ServerName = 'ceph' | 's3rver';

/** What a server may lack of S3. Tests are chosen by these, and probes.ts asks a server for each. */
export type Feature =
  | 'versions'
  | 'locks'
  | 'policies'
  | 'sts'
  | 'signatures'
  | 'signedHeaders'
  | 'conditionalReads'
  | 'conditionalWrites'
  | 'bucketOwners'
  | 'lengths'
  | 'uploadLists'
  | 'uploadIds'
  | 'partChecks'
  | 'aborts'
  | 'partCopies'
  | 'tagsOnWrite'
  | 'tagRemoval'
  | 'attributes'
  | 'restores'
  | 'select'
  | 'batchNames'
  | 'order'
  | 'folders'
  | 'encodedLists'
  | 'reservedInSources'
  | 'longNames';

/** `true`, or what the server does instead. */
export type Capabilities = Readonly<Record<Feature, true | string>>;

const SAME_OBJECT = 'answers GetObjectAttributes with the object itself';

/** What each server can do. Where a row is not true any more, capabilities.test.ts fails. */
export const SERVERS: Readonly<Record<ServerName, Capabilities>> = {
  ceph: {
    versions: true,
    locks: true,
    policies: true,
    sts: true,
    signatures: true,
    signedHeaders: 'takes an x-amz-* header that the signature of a URL does not cover',
    conditionalReads: true,
    conditionalWrites: true,
    bucketOwners: 'gives an object in spite of ExpectedBucketOwner',
    lengths: true,
    uploadLists: true,
    uploadIds: true,
    partChecks: true,
    aborts: true,
    partCopies: true,
    tagsOnWrite: true,
    tagRemoval: true,
    attributes: SAME_OBJECT,
    restores: 'knows no RestoreObject',
    select: true,
    batchNames: true,
    order: true,
    folders: true,
    encodedLists: true,
    reservedInSources: true,
    longNames: true,
  },
  s3rver: {
    versions: 'knows no versions of an object, and no list of them',
    locks: 'makes a bucket without locks when asked for one with',
    policies: 'keeps no policies',
    sts: 'gives no credentials',
    signatures: 'takes any signature of version 4',
    signedHeaders: 'takes any signature of version 4, whatever it covers',
    conditionalReads: 'gives an object in spite of If-Match',
    conditionalWrites: 'overwrites an object in spite of If-None-Match',
    bucketOwners: 'gives an object in spite of ExpectedBucketOwner',
    lengths: 'keeps what has come of a body that was cut off',
    uploadLists: 'lists neither uploads nor their parts',
    uploadIds: 'takes a part for an upload that nobody has begun',
    partChecks: 'never answers who completes an upload with a part that is not there',
    aborts: 'knows no AbortMultipartUpload',
    partCopies: 'knows no UploadPartCopy',
    tagsOnWrite: 'ignores the tags that an object is written with',
    tagRemoval: 'knows no DeleteObjectTagging',
    attributes: SAME_OBJECT,
    restores: 'knows no RestoreObject',
    select: 'knows no SelectObjectContent',
    batchNames: 'trims the keys of a batch, and fails for one that is a number',
    order: 'lists folder by folder, so that the pages of a listing lose objects',
    folders: 'lists no folder that holds nothing but folders',
    encodedLists: 'ignores EncodingType',
    reservedInSources: 'does not decode what URLs reserve in the source of a copy',
    longNames: 'keeps a key as folders and a file, whose names have at most 255 bytes',
  },
};

/** Test files of which nothing is left on a server that lacks these. */
export const FILES: Readonly<Record<string, readonly Feature[]>> = {
  'audit-bucket.test.ts': ['policies'],
  'audit.test.ts': ['versions'],
  'backstop.test.ts': ['sts'],
  'erase-answers.test.ts': ['versions'],
  'erase-hostile.test.ts': ['uploadLists'],
  'erase-person.test.ts': ['versions'],
  'erase-uploads.test.ts': ['versions'],
  'erase.test.ts': ['versions'],
  'listing-ends.test.ts': ['versions'],
  'holds.test.ts': ['locks'],
  'inside.test.ts': ['versions'],
  'kills.test.ts': ['versions'],
  'notes.test.ts': ['versions'],
  'post.test.ts': ['signatures'],
  'presign-absent.test.ts': ['signedHeaders'],
  'presign-parts.test.ts': ['signatures'],
  'presign-tamper.test.ts': ['signatures'],
  'place.test.ts': ['sts'],
  'place-answers.test.ts': ['sts'],
  'place-audit.test.ts': ['sts'],
  'place-erase.test.ts': ['sts'],
  'place-moved.test.ts': ['sts'],
  'presign-session.test.ts': ['sts'],
  'presign-signed.test.ts': ['signatures'],
  'session-limits.test.ts': ['sts'],
  'session-user.test.ts': ['sts'],
  'sts.test.ts': ['sts'],
  'trust.test.ts': ['sts'],
};

/** The test files that are left out on a server. */
export function leftOut(server: ServerName): string[] {
  const lacks = (feature: Feature): boolean => SERVERS[server][feature] !== true;
  return Object.entries(FILES)
    .filter(([, features]) => features.some(lacks))
    .map(([file]) => file);
}
