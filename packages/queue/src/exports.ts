import type * as bullmq from 'bullmq';
import { custom, defineRules, pass, refusal, refuse, type RefuseRule, type Rules } from '@tenantkit/core';

/** `guarded`: a class of ours stands in its place. */
type ExportCustom = 'guarded';

const door = refuse(
  'it talks to the server, or builds what does, past the guard',
  'Use Queue and Worker of @tenantkit/queue; an operator’s tool imports it from bullmq.',
);
const internal = refuse('it is a part inside of BullMQ', 'Import it from bullmq, if you know what for.');
const holds = refuse(
  'a processor that throws it would hold back the queue of every tenant',
  'Throw DelayedError or WaitingError behind a move by hand, or an ordinary error: attempts and backoff are options of the job.',
);
const value = pass('is a value, an enum or an error');

/** Every export of BullMQ: ours, the same, or not here. Those that are classes for users refuse with a hint. */
export const exportRules = defineRules({
  Queue: custom('guarded'),
  Worker: custom('guarded'),
  Job: custom('guarded'),
  QueueEvents: custom('guarded'),
  QueueEventsProducer: custom('guarded'),

  FlowProducer: custom('guarded'),
  JobScheduler: refuse(
    'it is the part of a Queue that makes jobs, and has no keys to sign them',
    'Use queue.upsertJobScheduler and its kin, or await queue.jobScheduler.',
  ),

  UnrecoverableError: value,
  UNRECOVERABLE_ERROR: value,
  ConnectionClosedError: value,
  CONNECTION_CLOSED_ERROR_MSG: value,
  BULLMQ_MAJOR_VERSION: value,
  ErrorCode: value,
  MetricNames: value,
  MetricsTime: value,
  PRIORITY_LIMIT: value,
  SpanKind: value,
  TelemetryAttributes: value,

  DelayedError: value,
  DELAYED_ERROR: value,
  RateLimitError: holds,
  RATE_LIMIT_ERROR: holds,
  WaitingChildrenError: value,
  WAITING_CHILDREN_ERROR: value,
  WaitingError: value,
  WAITING_ERROR: value,

  createRedisBackend: door,
  createPostgresBackend: door,
  createRedisRelayBackend: door,
  createPostgresRelayBackend: door,
  createIORedisClient: door,
  createNodeRedisClient: door,
  createBunRedisClient: door,
  createValkeyGlideClient: door,
  getDefaultBackendFactory: door,
  setDefaultBackendFactory: door,
  withBackend: door,
  removeAllQueueData: door,
  runMigrations: door,
  QueueBase: door,
  QueueGetters: door,
  RedisConnection: door,
  RedisQueueBackend: door,
  RedisRelayBackend: door,
  PostgresConnection: door,
  PostgresQueueBackend: door,
  PostgresRelayBackend: door,
  Relay: door,
  RelayError: door,
  RelayErrorCode: door,
  RELAY_LAYOUT_VERSION: door,
  RELAY_MINIMUM_REDIS_VERSION: door,
  checkRelayResult: door,

  AsyncFifoQueue: internal,
  Backoffs: internal,
  Child: internal,
  ChildCommand: internal,
  ChildPool: internal,
  ChildProcessor: internal,
  ClientType: internal,
  DEFAULT_SCHEMA: internal,
  DELAY_TIME_1: internal,
  DELAY_TIME_5: internal,
  LATEST_SCHEMA_VERSION: internal,
  LEGACY_REPEATABLE_JOBS_MIGRATION_URL: internal,
  LockManager: internal,
  MIGRATION_ADVISORY_LOCK_KEY: internal,
  MINIMUM_POSTGRES_VERSION: internal,
  ParentCommand: internal,
  QUEUE_EVENT_SUFFIX: internal,
  QueueKeys: internal,
  RECOMMENDED_POSTGRES_VERSION: internal,
  SchemaMigrationRequiredError: internal,
  SchemaVersionMismatchError: internal,
  UnsupportedPostgresVersionError: internal,
  array2obj: internal,
  assertPostgresVersion: internal,
  assertSchemaCompatibility: internal,
  asyncSend: internal,
  childSend: internal,
  clientCommandMessageReg: internal,
  decreaseMaxListeners: internal,
  defaultRepeatStrategy: internal,
  delay: internal,
  errorObject: internal,
  errorToJSON: internal,
  forwardConnectionError: internal,
  getLegacyRepeatableJobError: internal,
  getNextMillis: internal,
  getParentKey: internal,
  hasLegacyRepeatableKeyShape: internal,
  increaseMaxListeners: internal,
  invertObject: internal,
  isEmpty: internal,
  isIRedisClient: internal,
  isLegacyRepeatableJobKey: internal,
  isNotConnectionError: internal,
  isPgPool: internal,
  isRedisCluster: internal,
  isRedisInstance: internal,
  isRedisVersionLowerThan: internal,
  lengthInUtf8Bytes: internal,
  objectToFlatArray: internal,
  optsDecodeMap: internal,
  optsEncodeMap: internal,
  parseObjectValues: internal,
  quoteSchemaName: internal,
  randomUUID: internal,
  raw2NextJobData: internal,
  removeUndefinedFields: internal,
  toString: internal,
  trace: internal,
  tryCatch: internal,
  withDetachedContext: internal,
} satisfies Rules<Exclude<keyof typeof bullmq, 'default'>, never, ExportCustom>);

/** Constructor of a class that is not there yet: says so, instead of failing to import. */
export interface RefusedClass {
  /** @throws {@link OperationRefusedError} always */
  new (...args: readonly unknown[]): never;
}

/** BullMQ's JobScheduler: refused; a Queue has one, `queue.jobScheduler`. */
export const JobScheduler: RefusedClass = refusedClass('JobScheduler', exportRules.JobScheduler);

function refusedClass(name: string, rule: RefuseRule): RefusedClass {
  const Refused = function refused(): never {
    throw refusal('queue', name, rule);
  };
  return Refused as unknown as RefusedClass;
}
