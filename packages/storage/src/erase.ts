import { CreateMultipartUploadCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import {
  OperationRefusedError,
  acrossTenants,
  controlTenant,
  eraseRun,
  publish,
  type Eraser,
  type ErasureScope,
  type InventoryItem,
  type Kept,
  type PositiveControl,
} from '@tenantkit/core';
import { z } from 'zod';
import type { S3Client } from './client.ts';
import { holdOf, pagesOf, traitsOf, uploadsOf, type BucketTraits } from './listing.ts';
import { parseArgument } from './options.ts';
import { each, purge } from './purge.ts';
import { Remote, acceptedBucket, type RemoteOptions } from './remote.ts';
import { Tally, kindsOf } from './tally.ts';

/** What is erased, and under which name. */
export interface StorageEraserOptions extends RemoteOptions {
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
  timeout: z.int().positive().optional(),
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
  const parsed = parseArgument('storageEraser', optionsSchema, options);
  const { bucket, store = `storage:${bucket}`, timeout } = parsed;
  const { names } = acceptedBucket(client, bucket, 'storageEraser');

  const prefixOf = ({ tenant, subject }: ErasureScope, operation: string): string => {
    if (subject === undefined) return names.prefix(tenant);
    throw new OperationRefusedError({
      surface: 'storage',
      operation,
      why: UNSUPPORTED,
      instead: 'Erase the tenant, or delete the objects of the person by their keys.',
    });
  };
  const across = <T>(
    operation: string,
    fn: (remote: Remote) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> => {
    const remote = new Remote(client, bucket, {
      operation,
      timeout,
      ...(signal === undefined ? {} : { signal }),
    });
    const bypass = { reason: `${operation} of an erasure in ${store}`, actor: 'tenantkit/storageEraser' };
    return acrossTenants(bypass, () => fn(remote));
  };

  return {
    store,
    subjects: { unsupported: UNSUPPORTED },
    async plan(scope) {
      const prefix = prefixOf(scope, 'plan');
      const { items, kept } = await across('plan', async (remote) =>
        count(remote, prefix, await traitsOf(remote)),
      );
      return { store, items, kept };
    },
    async erase(scope, given) {
      const run = eraseRun('storage', 'storageEraser.erase', given);
      const prefix = prefixOf(scope, 'erase');
      const tally = await across('erase', (remote) => purge(remote, prefix, run), run.signal);
      const [erased, kept] = [tally.items(), tally.kept()];
      publish('erasure', {
        surface: 'storage',
        operation: 'erase',
        message: `erased a tenant from ${store}`,
        tenant: scope.tenant,
        actor: 'tenantkit/storageEraser',
        extra: { store, erased, kept },
      });
      return { store, erased, kept };
    },
    async verify(scope) {
      const prefix = prefixOf(scope, 'verify');
      return across('verify', async (remote) => {
        const traits = await traitsOf(remote);
        const { items, kept } = await count(remote, prefix, traits);
        const control = await plantAndFind(remote, names.prefix(controlTenant()), traits);
        return { store, remaining: items, kept, control };
      });
    },
  };
}

async function count(
  remote: Remote,
  prefix: string,
  { versioned, locked }: BucketTraits,
): Promise<{ items: InventoryItem[]; kept: Kept[] }> {
  const tally = new Tally(kindsOf({ versioned }));
  for await (const page of uploadsOf(remote, prefix)) for (const entry of page) tally.add(entry);
  for await (const page of pagesOf(remote, { prefix, versioned })) {
    await each(page, async (entry) => {
      // Only where locks exist: it costs a request per version.
      const hold = locked && entry.kind === 'versions' ? await holdOf(remote, entry) : undefined;
      if (hold === undefined) tally.add(entry);
      else tally.keep(entry, hold);
    });
  }
  return { items: tally.items(), kept: tally.kept() };
}

/**
 * Plants an upload, and an object unless the bucket would retain it, counts them like everything else, and removes
 * them like everything else.
 */
async function plantAndFind(remote: Remote, prefix: string, traits: BucketTraits): Promise<PositiveControl> {
  const target = { Bucket: remote.bucket, Key: `${prefix}control` };
  const planted = traits.retainsAll ? 1 : 2;
  try {
    await remote.send(new CreateMultipartUploadCommand(target));
    if (planted === 2) await remote.send(new PutObjectCommand({ ...target, Body: 'control' }));
    const { items } = await count(remote, prefix, traits);
    return { planted, found: items.reduce((sum, item) => sum + item.count, 0), method: METHODS[planted] };
  } finally {
    await purge(remote, prefix, eraseRun('storage', 'storageEraser.verify'));
  }
}

const METHODS = {
  1: 'an unfinished upload of a throw-away tenant, listed like the erased one and aborted; the bucket would have retained an object',
  2: 'an object and an unfinished upload of a throw-away tenant, listed like the erased one and removed',
} as const;
