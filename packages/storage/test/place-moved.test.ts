import { SignatureError, withTenant } from '@tenantkit/core';
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  type StoragePlacement,
} from '@tenantkit/storage';
import { beforeEach, expect, it } from 'vitest';
import { fencedPlaces } from './place-support.ts';

// Places whose buckets have the same name: a silo chooses the texts of its ids and tokens, and the next server of the
// tenant must not be sent them.

const given = fencedPlaces();
let { places } = given;
let at: StoragePlacement;
let s3: S3Client;
beforeEach(() => {
  ({ places } = given);
  ({ s3 } = places.client({ place: () => at, fence: given.fence }));
});

const siloAt = (index: 0 | 1): StoragePlacement => ({
  level: 'silo',
  endpoint: places.gateways[index].endpoint,
  credentials: places.own.options.credentials,
});
const PLACES: Readonly<Record<string, () => StoragePlacement>> = {
  pool: () => ({ level: 'pool' }),
  bridge: () => ({ level: 'bridge', buckets: { [places.bucket]: places.bucket } }),
  'one silo': () => siloAt(0),
  'another silo': () => siloAt(1),
};

const move = (to: string): void => {
  at = PLACES[to]?.() ?? { level: 'pool' };
  given.later();
};
const refusal = (call: () => Promise<unknown>): Promise<SignatureError> =>
  withTenant('acme', call).then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => {
      expect(error).toBeInstanceOf(SignatureError);
      return error as SignatureError;
    },
  );

it.each(Object.keys(PLACES))('what was sealed in a place (%s) opens there, and in no other', async (from) => {
  move(from);
  const named = await withTenant('acme', async () => {
    for (const Key of ['a', 'b']) await s3.send(new PutObjectCommand({ Key, Body: 'x' }));
    const { NextContinuationToken: ContinuationToken } = await s3.send(
      new ListObjectsV2Command({ MaxKeys: 1 }),
    );
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Key: 'big' }));
    return { ContinuationToken, UploadId };
  });
  const { ContinuationToken, UploadId } = named;
  const uses = (id: string | undefined, token: string | undefined): (() => Promise<unknown>)[] => [
    () => s3.send(new ListObjectsV2Command({ ContinuationToken: token })),
    () => s3.send(new ListPartsCommand({ Key: 'big', UploadId: id })),
    () => s3.send(new ListMultipartUploadsCommand({ KeyMarker: 'a', UploadIdMarker: id })),
    () => s3.send(new AbortMultipartUploadCommand({ Key: 'big', UploadId: id })),
  ];
  for (const to of Object.keys(PLACES)) {
    if (to === from) continue;
    move(to);
    for (const [index, use] of uses(UploadId, ContinuationToken).entries()) {
      const error = await refusal(use);
      const unknown = await refusal(() => uses('made-up', 'made-up')[index]?.() ?? Promise.resolve());
      expect(error.toJSON()).toEqual(unknown.toJSON());
    }
  }
  move(from);
  for (const use of uses(UploadId, ContinuationToken)) await withTenant('acme', use);
});
