import { CreateMultipartUploadCommand, DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { ConfigError, controlTenant, eraseRun, type PositiveControl } from '@tenantkit/core';
import { isControl } from './control-id.ts';
import { count } from './count.ts';
import { pagesOf, traitsOf, uploadsOf } from './listing.ts';
import { countPerson } from './count-person.ts';
import type { Person } from './person.ts';
import { purge } from './purge.ts';
import type { Remote } from './remote.ts';
import { SUBJECTS, spotsOf } from './spots.ts';
import { LABEL } from './subject-names.ts';

// A verification takes seconds, and where each of its requests takes as long as it may, about so many minutes.
const LEFT_AFTER = 10 * 60_000;

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

/**
 * As {@link plantAndFind}, for the erasure of a person: an object with a marker, one for each pattern, and an unfinished
 * upload. In a bucket that would retain them, an upload with the delete marker of a marker.
 */
export async function plantAndFindPerson(person: Person): Promise<PositiveControl> {
  const { remote } = person;
  const control = person.in(controlTenant());
  const { retainsAll } = await traitsOf(remote);
  const of = (key: string): { Bucket: string; Key: string } => ({ Bucket: remote.bucket, Key: key });
  const write = (key: string): Promise<unknown> =>
    remote.send(
      new PutObjectCommand({ ...of(key), Body: 'control', Metadata: { [LABEL]: control.subject } }),
    );
  const begin = (key: string): Promise<unknown> => remote.send(new CreateMultipartUploadCommand(of(key)));
  const mark = (key: string): Promise<unknown> => {
    const marker = of(control.markerOf(key));
    return remote.send(
      retainsAll
        ? new DeleteObjectCommand(marker)
        : new PutObjectCommand({ ...marker, Body: '', ContentLength: 0 }),
    );
  };
  const at = (name: string): string => `${control.prefix}${name}`;
  const examples = [...new Set(control.patterns.map(({ example }) => at(example)))];
  const plants = [
    () => mark(at('upload')),
    () => begin(at('upload')),
    ...(retainsAll ? [] : [() => mark(at('object')), () => write(at('object'))]),
    ...examples.map((key) => () => (retainsAll ? begin(key) : write(key))),
  ];
  try {
    for (const plant of plants) await plant();
    const tally = await countPerson(control);
    tally.untold.assertNone();
    const items = tally.items();
    const found = items.reduce((sum, item) => sum + item.count, 0);
    const patterns = examples.length === 0 ? '' : ' and for every pattern';
    const method = `an unfinished upload${retainsAll ? '' : ' and an object'} of a throw-away tenant in ${remote.bucket} with a marker of the person${patterns}, found like those of the person and removed`;
    return { planted: plants.length, found, method };
  } finally {
    await purge(spotsOf([remote], control.tenant), eraseRun('storage', 'storageEraser.verify'));
  }
}

function isOld(at: Date | undefined): boolean {
  return at !== undefined && Date.now() - at.getTime() > LEFT_AFTER;
}

/**
 * Removes what verifications have planted that did not end: their process was killed.
 *
 * What is found there says nothing of the tenant on whose occasion it is swept: names that nobody can list behind, or
 * remove, must not stop all erasures. What stays is a finding of the audit.
 */
export async function sweepControls(remote: Remote): Promise<void> {
  await sweep(remote).catch((error: unknown) => {
    if (!(error instanceof ConfigError)) throw error;
  });
}

async function sweep(remote: Remote): Promise<void> {
  const [head = ''] = remote.names.template.split('{tenant}');
  const left = new Set<string>();
  const { versioned } = await traitsOf(remote);
  const prefix = `${head}tk-control-`;
  for (const pages of [uploadsOf(remote, prefix), pagesOf(remote, { prefix, versioned })]) {
    for await (const page of pages) {
      for (const { key, at } of page) {
        const tenant = remote.names.tenantOf(key);
        if (tenant !== undefined && isControl(tenant) && isOld(at)) left.add(tenant);
      }
    }
  }
  for await (const page of pagesOf(remote, { prefix: `${SUBJECTS}tk-control-`, versioned })) {
    for (const { key, at } of page) {
      const [tenant = ''] = key.slice(SUBJECTS.length).split('/', 1);
      if (isControl(tenant) && isOld(at)) left.add(tenant);
    }
  }
  for (const tenant of left) {
    await purge(
      spotsOf([remote], tenant),
      eraseRun('storage', 'storageEraser.verify', { signal: remote.signal }),
    );
  }
}
