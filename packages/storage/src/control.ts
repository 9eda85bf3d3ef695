import { CreateMultipartUploadCommand, DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { controlTenant, eraseRun, type PositiveControl } from '@tenantkit/core';
import { count } from './count.ts';
import { pagesOf, traitsOf, uploadsOf } from './listing.ts';
import { purge } from './purge.ts';
import type { Remote } from './remote.ts';

/** What a verification plants under, and removes; see `controlTenant` of core. */
const CONTROL = /^tk-control-[0-9a-f]{32}$/;

// A verification takes seconds, and where each of its requests takes as long as it may, about so many minutes.
const LEFT_AFTER = 10 * 60_000;

/** Whether a tenant is one that only verifications have. */
export function isControl(tenant: string): boolean {
  return CONTROL.test(tenant);
}

/**
 * Plants one of each kind that the recount looks for, counts them in the same way, and removes them like everything
 * else: an upload; in a bucket with versions a delete marker; an object, unless the bucket would retain it.
 */
export async function plantAndFind(remote: Remote): Promise<PositiveControl> {
  const prefix = remote.names.prefix(controlTenant());
  const traits = await traitsOf(remote);
  const of = (name: string): { Bucket: string; Key: string } => ({
    Bucket: remote.bucket,
    Key: `${prefix}${name}`,
  });
  const plants = [
    {
      what: 'an unfinished upload',
      plant: () => remote.send(new CreateMultipartUploadCommand(of('upload'))),
    },
    ...(traits.versioned
      ? [{ what: 'a delete marker', plant: () => remote.send(new DeleteObjectCommand(of('marker'))) }]
      : []),
    ...(traits.retainsAll
      ? []
      : [
          {
            what: 'an object',
            plant: () => remote.send(new PutObjectCommand({ ...of('object'), Body: 'control' })),
          },
        ]),
  ];
  try {
    for (const { plant } of plants) await plant();
    const { items } = (await count({ remote, prefix }, traits)).seen();
    const found = items.reduce((sum, item) => sum + item.count, 0);
    const planted = plants.map(({ what }) => what).join(', ');
    const method = `${planted} of a throw-away tenant in ${remote.bucket}, listed like the erased one and removed`;
    return { planted: plants.length, found, method };
  } finally {
    await purge([{ remote, prefix }], eraseRun('storage', 'storageEraser.verify'));
  }
}

/** Removes what verifications have planted that did not end: their process was killed. */
export async function sweepControls(remote: Remote): Promise<void> {
  const [head = ''] = remote.names.template.split('{tenant}');
  const left = new Set<string>();
  const { versioned } = await traitsOf(remote);
  const prefix = `${head}tk-control-`;
  for (const pages of [uploadsOf(remote, prefix), pagesOf(remote, { prefix, versioned })]) {
    for await (const page of pages) {
      for (const { key, at } of page) {
        const tenant = remote.names.tenantOf(key);
        const isOld = at !== undefined && Date.now() - at.getTime() > LEFT_AFTER;
        if (tenant !== undefined && isControl(tenant) && isOld) left.add(tenant);
      }
    }
  }
  for (const tenant of left) {
    const spot = { remote, prefix: remote.names.prefix(tenant) };
    await purge([spot], eraseRun('storage', 'storageEraser.verify', { signal: remote.signal }));
  }
}
