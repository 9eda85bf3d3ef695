import { CreateMultipartUploadCommand, DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import {
  ConfigError,
  OperationRefusedError,
  acrossTenants,
  controlTenant,
  publish,
  type Eraser,
  type ErasureScope,
  type InventoryItem,
  type Kept,
  type PositiveControl,
} from '@tenantkit/core';
import { z } from 'zod';
import { engineOf, type S3Client } from './client.ts';
import { holdOf, pagesOf, traitsOf, uploadsOf, type BucketTraits } from './listing.ts';
import { parseArgument } from './options.ts';
import { abort, each, purge, type Place } from './purge.ts';
import { Tally, kindsOf } from './tally.ts';

/** What is erased, and under which name. */
export interface StorageEraserOptions {
  /** One of the client's accepted buckets. */
  readonly bucket: string;
  /** The name in plans and certificates, default `storage:<bucket>`. */
  readonly store?: string | undefined;
}

const UNSUPPORTED =
  'objects are not tagged with the person they are about, so only a whole tenant can be erased';

const optionsSchema: z.ZodType<StorageEraserOptions> = z.strictObject({
  bucket: z.string(),
  store: z.string().min(1).optional(),
});

/**
 * Erases a tenant from a bucket: unfinished uploads, and every object with all its versions and delete markers.
 * What a legal hold or a retention period keeps is reported as kept, with its date. Objects of other tenants,
 * copies that replication or backups made, and server logs are not touched.
 *
 * @param client - an S3Client of this package; its credentials need to list, delete and abort, and to read locks
 * @throws ConfigError when the bucket is not an accepted one of the client
 *
 * @example
 * ```ts
 * import { S3Client, storageEraser } from '@tenantkit/storage';
 * const s3 = new S3Client({ region: 'eu-central-1', tenant: { buckets: ['uploads'] } });
 * const { items } = await storageEraser(s3, { bucket: 'uploads' }).plan({ tenant: 'acme' });
 * ```
 */
export function storageEraser(client: S3Client, options: StorageEraserOptions): Eraser {
  const { bucket, store = `storage:${options.bucket}` } = parseArgument(
    'storageEraser',
    optionsSchema,
    options,
  );
  const { names } = acceptedBucket(client, bucket, 'storageEraser');
  const place = { client, bucket };

  const prefixOf = ({ tenant, subject }: ErasureScope, operation: string): string => {
    if (subject === undefined) return names.prefix(tenant);
    throw new OperationRefusedError({
      surface: 'storage',
      operation,
      why: UNSUPPORTED,
      instead: 'Erase the tenant, or delete the objects of the person by their keys.',
    });
  };
  const across = <T>(operation: string, fn: () => Promise<T>): Promise<T> =>
    acrossTenants({ reason: `${operation} of an erasure in ${store}`, actor: 'tenantkit eraser' }, fn);

  return {
    store,
    subjects: { unsupported: UNSUPPORTED },
    async plan(scope) {
      const prefix = prefixOf(scope, 'plan');
      const { items, kept } = await across('plan', async () =>
        count(place, prefix, await traitsOf(client, bucket)),
      );
      return { store, items, kept };
    },
    async erase(scope, run) {
      const prefix = prefixOf(scope, 'erase');
      const tally = await across('erase', () => purge(place, prefix, run));
      const [erased, kept] = [tally.items(), tally.kept()];
      publish('erasure', {
        surface: 'storage',
        operation: 'erase',
        message: `erased a tenant from ${store}`,
        tenant: scope.tenant,
        extra: { store, erased, kept },
      });
      return { store, erased, kept };
    },
    async verify(scope) {
      const prefix = prefixOf(scope, 'verify');
      return across('verify', async () => {
        const traits = await traitsOf(client, bucket);
        const { items, kept } = await count(place, prefix, traits);
        const control = await plantAndFind(place, names.prefix(controlTenant()), traits);
        return { store, remaining: items, kept, control };
      });
    },
  };
}

/** The engine of a client, after the bucket was found among its accepted ones. */
export function acceptedBucket(
  client: S3Client,
  bucket: string,
  operation: string,
): ReturnType<typeof engineOf> {
  const engine = engineOf(client, operation);
  if (engine.buckets.includes(bucket)) return engine;
  throw new ConfigError({
    surface: 'storage',
    operation,
    problem: 'the bucket is not an accepted one of the client',
    hint: 'Name a bucket of the client option tenant.buckets, or add it there.',
  });
}

async function count(
  { client, bucket }: Place,
  prefix: string,
  traits: BucketTraits,
): Promise<{ items: InventoryItem[]; kept: Kept[] }> {
  const tally = new Tally(kindsOf(traits));
  for await (const page of uploadsOf(client, { bucket, prefix })) for (const entry of page) tally.add(entry);
  for await (const page of pagesOf(client, { bucket, prefix, versioned: traits.versioned })) {
    await each(page, async (entry) => {
      // Only where locks exist: it costs a request per version.
      const hold =
        traits.locked && entry.kind === 'versions' ? await holdOf(client, bucket, entry) : undefined;
      if (hold === undefined) tally.add(entry);
      else tally.keep(entry, hold);
    });
  }
  return { items: tally.items(), kept: tally.kept() };
}

/** Plants an upload, and an object unless the bucket would retain it, and counts them like everything else. */
async function plantAndFind(place: Place, prefix: string, traits: BucketTraits): Promise<PositiveControl> {
  const { client, bucket } = place;
  const target = { Bucket: bucket, Key: `${prefix}control` };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(target));
  try {
    const version = traits.retainsAll
      ? undefined
      : await client
          .send(new PutObjectCommand({ ...target, Body: 'control' }))
          .then(({ VersionId }) => ({ VersionId }));
    try {
      const { items } = await count(place, prefix, traits);
      return {
        planted: version === undefined ? 1 : 2,
        found: items.reduce((sum, item) => sum + item.count, 0),
        method:
          version === undefined
            ? 'an unfinished upload of a throw-away tenant, listed like the erased one and aborted (the bucket retains every object)'
            : 'an object and an unfinished upload of a throw-away tenant, listed like the erased one and removed',
      };
    } finally {
      if (version !== undefined) {
        const { VersionId } = version;
        await client.send(
          new DeleteObjectCommand({ ...target, ...(VersionId === undefined ? {} : { VersionId }) }),
        );
      }
    }
  } finally {
    await abort(place, { kind: 'uploads', key: target.Key, uploadId: UploadId ?? '', bytes: 0 });
  }
}
