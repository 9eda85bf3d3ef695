import {
  acrossTenants,
  auditSignal,
  eraseRun,
  erasureScope,
  publish,
  refusal,
  refuse,
  type Eraser,
  type ErasureScope,
} from '@tenantkit/core';
import { z } from 'zod';
import { beyond } from './beyond.ts';
import type { S3Client } from './client.ts';
import { plantAndFind, plantAndFindPerson, sweepControls } from './control.ts';
import { count } from './count.ts';
import { countPerson } from './count-person.ts';
import { purgePersons } from './erase-person.ts';
import { traitsOf } from './listing.ts';
import { parseArgument } from './options.ts';
import { Person } from './person.ts';
import { purge } from './purge.ts';
import { Remote, acceptedBucket, type RemoteOptions } from './remote.ts';
import { spotsOf } from './spots.ts';
import { Tally } from './tally.ts';

/** What is erased, and under which name. */
export interface StorageEraserOptions extends RemoteOptions {
  /** One of the client's accepted buckets. */
  readonly bucket: string;
  /** The name in plans and certificates, default `storage:<bucket>`. */
  readonly store?: string | undefined;
}

const NO_PERSONS = 'nothing is written about persons with this client: its option tenant.subjects is false';
const LOOK =
  'Erase the person in the other stores. If there was a time before that option, make a client without it for this.';

const optionsSchema: z.ZodType<StorageEraserOptions> = z.strictObject({
  bucket: z.string(),
  store: z.string().min(1).optional(),
  timeout: z.int().positive().optional(),
});

/**
 * Erases a tenant from a bucket, in the pool and where `tenant.place` says that it is: unfinished uploads, and every
 * object with all its versions and delete markers. With a `subject`, what was written in the context of that person,
 * copies of it, and what the client option `tenant.subjects` names.
 * What a legal hold or a retention period keeps is reported as kept, with its date; `storageHolds` names each. Objects
 * of other tenants, copies that replication or backups made, and server logs are not touched: a plan names in its
 * notes what the bucket's settings say of them.
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
  const engine = acceptedBucket(client, bucket, 'storageEraser');

  /** Runs `fn` with every bucket in which the tenant may have objects. */
  const across = <T>(
    operation: string,
    scope: ErasureScope,
    signal: AbortSignal,
    fn: (remotes: readonly Remote[], persons: readonly Person[] | undefined) => Promise<T>,
  ): Promise<T> => {
    const { tenant, subject } = erasureScope('storage', `storageEraser.${operation}`, scope);
    if (subject !== undefined && !engine.subjects.kept)
      throw refusal('storage', operation, refuse(NO_PERSONS, LOOK));
    const options = { operation, timeout, signal };
    const remotes = [new Remote(client, bucket, options)];
    // An invalid tenant or person is refused before anything is said or done.
    spotsOf(remotes, tenant);
    const home = engine.placeOf(tenant, operation);
    const own = new Remote(client, bucket, { ...options, home });
    // The pool as well: a move may have left objects there.
    if (home.silo !== undefined || own.bucket !== remotes[0]?.bucket) remotes.push(own);
    const persons =
      subject === undefined ? undefined : remotes.map((one) => new Person(one, tenant, subject));
    const bypass = { reason: `${operation} of an erasure in ${store}`, actor: 'tenantkit/storageEraser' };
    return acrossTenants(bypass, () => fn(remotes, persons));
  };
  const inventory = async (
    remotes: readonly Remote[],
    persons: readonly Person[] | undefined,
    tenant: string,
  ): Promise<Tally> => {
    const tally = new Tally();
    for (const person of persons ?? []) await countPerson(person, tally);
    if (persons !== undefined) return tally;
    for (const spot of spotsOf(remotes, tenant)) await count(spot, await traitsOf(spot.remote), tally);
    return tally;
  };

  return {
    store,
    subjects: engine.subjects.kept ? 'supported' : { unsupported: NO_PERSONS },
    async plan(scope, given) {
      const signal = auditSignal('storage', 'storageEraser.plan', given);
      return across('plan', scope, signal, async (remotes, persons) => {
        const tally = await inventory(remotes, persons, scope.tenant);
        const notes = tally.untold.notes();
        for (const remote of remotes) notes.push(...(await beyond(remote)));
        return { store, items: tally.items(), kept: tally.kept(), notes };
      });
    },
    async erase(scope, given) {
      const run = eraseRun('storage', 'storageEraser.erase', given);
      const tally = await across('erase', scope, run.signal, async (remotes, persons) => {
        const gone =
          persons === undefined
            ? await purge(spotsOf(remotes, scope.tenant), run)
            : await purgePersons(persons, run);
        for (const remote of remotes) await sweepControls(remote);
        return gone;
      });
      const [erased, kept] = [tally.items(), tally.kept()];
      publish('erasure', {
        surface: 'storage',
        operation: 'erase',
        message: `erased a ${scope.subject === undefined ? 'tenant' : 'person'} from ${store}`,
        tenant: scope.tenant,
        actor: 'tenantkit/storageEraser',
        extra: { store, erased, kept },
      });
      return { store, erased, kept };
    },
    async verify(scope, given) {
      const signal = auditSignal('storage', 'storageEraser.verify', given);
      return across('verify', scope, signal, async (remotes, persons) => {
        const tally = await inventory(remotes, persons, scope.tenant);
        // Of a tenant it was counted as what remains; of a person nobody knows how much it hides.
        if (persons !== undefined) tally.untold.assertNone();
        for (const remote of remotes) await sweepControls(remote);
        const controls = [];
        for (const remote of persons === undefined ? remotes : []) controls.push(await plantAndFind(remote));
        for (const person of persons ?? []) controls.push(await plantAndFindPerson(person));
        const control = {
          planted: controls.reduce((sum, { planted }) => sum + planted, 0),
          found: controls.reduce((sum, { found }) => sum + found, 0),
          method: controls.map(({ method }) => method).join('; '),
        };
        return { store, remaining: tally.items(), kept: tally.kept(), control };
      });
    },
  };
}
