import type { Queue as RawQueue } from 'bullmq';
import {
  ConfigError,
  auditSignal,
  optionSchemas,
  parseOptions,
  type Auditor,
  type TenantRegistry,
} from '@tenantkit/core';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { eachRedis } from './audit-places.ts';
import { auditQueue } from './audit-queue.ts';
import { signingKeysSchema, type SigningKey } from './options.ts';
import { STORE, checkPlaces, placeSchemas, type QueuePlaces } from './places.ts';
import { checkQueues, isList } from './several.ts';
import { verifiersOf } from './verifiers.ts';

/** Options of {@link queueAuditor}. */
export interface QueueAuditorOptions extends QueuePlaces {
  /**
   * As in the option `tenant.signingKeys` of the queues, public keys are enough: without them no header can be verified.
   * A Queue that was given has its own, for its own queue and for no other one of `queues`.
   */
  readonly signingKeys?: readonly SigningKey[];
  /** To find jobs of tenants that were erased. */
  readonly fence?: TenantRegistry;
}

const schema = z.strictObject({
  ...placeSchemas,
  signingKeys: signingKeysSchema.optional(),
  fence: optionSchemas.fence,
});

/** What each of several Queues has itself is no option beside them. */
const schemaOfSeveral = z.strictObject({
  store: placeSchemas.store,
  timeout: placeSchemas.timeout,
  fence: optionSchemas.fence,
});

/**
 * The auditor of all queues of a service, under one name. Each Queue brings its own connection, keys, prefix, names and
 * places.
 *
 * @param queues - Queues of this package that were given ioredis clients, no two of one name
 * @throws {@link ConfigError} when the Queues or the options are not usable
 *
 * @example
 * ```ts
 * import { queueAuditor } from '@tenantkit/queue';
 * const auditor = queueAuditor([mails, reports]);
 * for await (const finding of auditor.audit(AbortSignal.timeout(60_000))) console.log(finding.code, finding.name);
 * ```
 */
export function queueAuditor(
  queues: readonly RawQueue[],
  options?: Pick<QueueAuditorOptions, 'store' | 'timeout' | 'fence'>,
): Auditor;
/**
 * Looks at every job of the queues as it is stored: jobs without a header or with one that does not verify, jobs
 * outside of any tenant, jobs of erased tenants, schedulers, and ids and hashes that have lost each other. Reads
 * only; names physical ids, since an auditor is an operator. Holds the ids of a queue in memory.
 *
 * @param source - a raw ioredis client, of a cluster too, or a Queue that was given one
 * @throws {@link ConfigError} when the options are not usable, or the keys of a queue are not known
 *
 * @example
 * ```ts
 * import { queueAuditor } from '@tenantkit/queue';
 * const auditor = queueAuditor(redis, { queues: ['mail'], signingKeys });
 * for await (const finding of auditor.audit(AbortSignal.timeout(60_000))) console.log(finding.code, finding.name);
 * ```
 */
export function queueAuditor(source: Redis | Cluster | RawQueue, options?: QueueAuditorOptions): Auditor;
export function queueAuditor(
  source: Redis | Cluster | RawQueue | readonly RawQueue[],
  options: QueueAuditorOptions = {},
): Auditor {
  if (!isList(source)) return auditorOfSource(source, options);
  const given = parseOptions('queue', schemaOfSeveral, options, 'queueAuditor') as QueueAuditorOptions;
  checkQueues(source, 'queueAuditor');
  const auditors = source.map((queue) => auditorOfSource(queue, given));
  return {
    store: given.store ?? STORE,
    async *audit(signal) {
      for (const auditor of auditors) yield* auditor.audit(signal);
    },
  };
}

function auditorOfSource(source: Redis | Cluster | RawQueue, options: QueueAuditorOptions): Auditor {
  const { signingKeys, fence, ...given } = parseOptions('queue', schema, options, 'queueAuditor');
  const places = checkPlaces(source, given as QueuePlaces);
  const verifiers = verifiersOf(source, places, signingKeys);
  if (verifiers.unknown !== undefined) {
    throw new ConfigError({
      surface: 'queue',
      operation: 'queueAuditor',
      problem: `the signing keys of ${verifiers.unknown} are not known`,
      hint: 'Give queueAuditor the Queues, queueAuditor([mails, reports]), each of which has those of its own queue; or the option signingKeys.',
    });
  }
  return {
    store: places.store,
    async *audit(given) {
      const signal = auditSignal('queue', 'queueAuditor.audit', given);
      for await (const raw of eachRedis(places)) {
        if ('severity' in raw) {
          yield raw;
          continue;
        }
        for (const queue of places.queues)
          yield* auditQueue(raw, places.store, queue, verifiers.of(queue), fence, signal);
      }
    },
  };
}
