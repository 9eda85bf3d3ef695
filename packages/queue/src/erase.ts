import { Queue as RawQueue } from 'bullmq';
import {
  eraseRun,
  erasureScope,
  parseOptions,
  refusal,
  refuse,
  type Eraser,
  type ErasureScope,
} from '@tenantkit/core';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { assertHere } from './erase-marked.ts';
import { eraserOfPlaces } from './erase-places.ts';
import { erasePerson, planPerson, verifyPerson, type Memories, type PersonCall } from './erase-person.ts';
import { eraserOfSeveral } from './erase-several.ts';
import { eraseTenant, loadTotals, planTenant, verifyTenant, type TenantCall } from './erase-tenant.ts';
import { signingKeysSchema, type SigningKey } from './options.ts';
import { STORE, checkPlaces, placeSchemas, type CheckedPlaces, type QueuePlaces } from './places.ts';
import { RawRedis } from './raw-redis.ts';
import { checkQueues, isList } from './several.ts';
import { SiloClients, type KnownSilo } from './silo-clients.ts';
import { verifiersOf, type Verifiers } from './verifiers.ts';

/** Options of {@link queueEraser}. */
export interface QueueEraserOptions extends QueuePlaces {
  /** How long to wait for jobs that a worker is processing, in milliseconds, default 30 000. */
  readonly activeTimeout?: number;
  /**
   * To erase a person: as in the option `tenant.signingKeys` of the queues, public keys are enough. A Queue that was
   * given has its own, for its own queue and for no other one of `queues`.
   */
  readonly signingKeys?: readonly SigningKey[];
}

const ACTIVE_TIMEOUT = 30_000;

/** What each of several Queues has itself is no option beside them. */
const schemaOfSeveral = z.strictObject({
  store: placeSchemas.store,
  timeout: placeSchemas.timeout,
  activeTimeout: z.number().nonnegative().optional(),
});

const schema = z.strictObject({
  ...placeSchemas,
  activeTimeout: z.number().nonnegative().optional(),
  signingKeys: signingKeysSchema.optional(),
});

/**
 * The eraser of a tenant's jobs in all queues of a service, under one name. Each Queue brings its own connection, keys,
 * prefix, names and places.
 *
 * @param queues - Queues of this package that were given ioredis clients, no two of one name
 * @throws {@link ConfigError} when the Queues or the options are not usable
 *
 * @example
 * ```ts
 * import { queueEraser } from '@tenantkit/queue';
 * const eraser = queueEraser([mails, reports]);
 * await eraser.plan({ tenant: 'acme' }); // { items: [{ kind: 'jobs', count: 12 }, …], … }
 * ```
 */
export function queueEraser(
  queues: readonly RawQueue[],
  options?: Pick<QueueEraserOptions, 'store' | 'timeout' | 'activeTimeout'>,
): Eraser;
/**
 * The eraser of a tenant's jobs: its lane in each of the queues, with the jobs in every state, their data, logs,
 * results, locks and deduplication keys, its events, counters and limits, and its name in what says where there is
 * work. What an erasure does grows with what the tenant has, and with nothing else; planning and the recount walk all
 * keys of the database besides, and when they have found keys that no state of a lane leads to, the erasure does too.
 *
 * Jobs that a worker is processing are waited for, and reported when they take longer than `activeTimeout`;
 * a later run takes them. Freeze the tenant first, or its jobs come back as fast as they go.
 *
 * With a `subject`, the jobs and schedulers of the tenant whose headers name that person, and the events that name one
 * of these or a job that is gone. All jobs of the lane are read for it. Those whose headers do not verify are counted as
 * kept, unless they name the person all the same.
 *
 * @param source - a raw ioredis client, of a cluster too, or a Queue that was given one
 * @throws {@link ConfigError} when the options are not usable
 *
 * @example
 * ```ts
 * import { queueEraser } from '@tenantkit/queue';
 * const eraser = queueEraser(redis, { queues: ['mail', 'reports'] });
 * await eraser.plan({ tenant: 'acme' }); // { items: [{ kind: 'jobs', count: 12 }, …], … }
 * ```
 */
export function queueEraser(source: Redis | Cluster | RawQueue, options?: QueueEraserOptions): Eraser;
export function queueEraser(
  source: Redis | Cluster | RawQueue | readonly RawQueue[],
  options: QueueEraserOptions = {},
): Eraser {
  if (!isList(source)) return eraserOfSource(source, options);
  const given = parseOptions('queue', schemaOfSeveral, options, 'queueEraser') as QueueEraserOptions;
  checkQueues(source, 'queueEraser');
  return eraserOfSeveral(
    given.store ?? STORE,
    new Map(source.map((queue) => [queue.name, eraserOfSource(queue, given)])),
  );
}

function eraserOfSource(source: Redis | Cluster | RawQueue, options: QueueEraserOptions): Eraser {
  const parsed = parseOptions('queue', schema, options, 'queueEraser');
  const { activeTimeout = ACTIVE_TIMEOUT, signingKeys, ...given } = parsed;
  const places = checkPlaces(source, given as QueuePlaces);
  const verifiers = verifiersOf(source, places, signingKeys);
  const pool = eraserOf(() => places, verifiers, activeTimeout);
  const alone = eraserOf(() => places, verifiers, activeTimeout, true);
  if (places.place === undefined) return alone;
  const inSilo = (silo: KnownSilo): Eraser =>
    eraserOf(() => ({ ...places, redis: silo.redis }), verifiers, activeTimeout);
  return eraserOfPlaces(pool, alone, inSilo, new SiloClients(places.place));
}

/**
 * The eraser of one Redis.
 *
 * @param now - the places, with the client of this call
 * @param isAlone - whether no other one is looked at
 */
function eraserOf(
  now: () => CheckedPlaces,
  verifiers: Verifiers,
  activeTimeout: number,
  isAlone = false,
): Eraser {
  const persons = callsAboutPersons(now, verifiers);
  const tenants = callsAboutTenants(now);
  /** What a call is about. */
  const callOf = async (
    scope: ErasureScope,
    operation: string,
  ): Promise<
    | { readonly person: PersonCall; readonly whole?: never }
    | { readonly whole: TenantCall; readonly person?: never }
  > => {
    const person = persons(scope, operation);
    const call = person === undefined ? { whole: tenants(scope, operation) } : { person };
    if (isAlone) await assertHere(now(), (call.whole ?? call.person).raw, scope.tenant, operation);
    return call;
  };
  return {
    store: now().store,
    subjects: verifiers.unknown === undefined ? 'supported' : { unsupported: noSubjects(verifiers.unknown) },
    async plan(scope) {
      const { person, whole } = await callOf(scope, 'plan');
      return whole === undefined ? planPerson(person) : planTenant(whole);
    },
    async erase(scope, options) {
      const run = eraseRun('queue', 'queueEraser.erase', options);
      const { person, whole } = await callOf(scope, 'erase');
      if (whole !== undefined) return eraseTenant(whole, run, activeTimeout);
      run.signal.throwIfAborted();
      const saved = await loadTotals(run);
      const totals = saved ?? { jobs: 0, keys: 0, events: 0 };
      return erasePerson(person, run, { totals, isRepeated: saved !== undefined, activeTimeout });
    },
    async verify(scope) {
      const { person, whole } = await callOf(scope, 'verify');
      return whole === undefined ? verifyPerson(person) : verifyTenant(whole);
    },
  };
}

/** Makes calls about a whole tenant. */
function callsAboutTenants(now: () => CheckedPlaces): (scope: ErasureScope, operation: string) => TenantCall {
  const scattered = new Set<string>();
  return ({ tenant }, operation) => {
    const places = now();
    const raw = new RawRedis(places.redis, `queueEraser.${operation}`, places.timeout);
    return { ...places, tenant, scattered, raw };
  };
}

/** Makes calls about a person; `undefined` for a scope that is a whole tenant. */
function callsAboutPersons(
  now: () => CheckedPlaces,
  verifiers: Verifiers,
): (scope: ErasureScope, operation: string) => PersonCall | undefined {
  const memories: Memories = new Map();
  return (scope, operation) => {
    const { tenant, subject } = erasureScope('queue', `queueEraser.${operation}`, scope);
    if (subject === undefined) return undefined;
    if (verifiers.unknown !== undefined) throw refusal('queue', operation, needsKeys(verifiers.unknown));
    const places = now();
    return {
      ...places,
      person: { tenant, subject },
      memories,
      verifierOf: verifiers.of,
      raw: new RawRedis(places.redis, `queueEraser.${operation}`, places.timeout),
    };
  };
}

function noSubjects(unknown: string): string {
  return `which jobs are about a person stands in their headers, and without signing keys nobody can tell whether that is true; those of ${unknown} are not known: give queueEraser the Queues, queueEraser([mails, reports]), or the option signingKeys`;
}

function needsKeys(unknown: string): ReturnType<typeof refuse> {
  return refuse(
    `whom a job is about stands in its header, which cannot be verified without signing keys, and those of ${unknown} are not known`,
    'Give queueEraser the Queues, queueEraser([mails, reports]): each has the keys of its own queue and of no other. Or give the option signingKeys; or erase the whole tenant.',
  );
}
