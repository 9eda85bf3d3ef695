import type { EventEmitter } from 'node:events';
import type {
  FlowProducer,
  FlowProducerListener,
  Job as RawJob,
  JobScheduler,
  Queue as RawQueue,
  QueueBase,
  QueueEvents as RawQueueEvents,
  QueueEventsProducer as RawQueueEventsProducer,
  QueueListener,
  RedisQueueBackend,
  Worker as RawWorker,
  WorkerListener,
} from 'bullmq';
import { custom, defineRules, pass, refuse, type Rules } from '@tenantkit/core';
import type { deduplicationHandlers } from './deduplication.ts';
import type { eventHandlers } from './events/handlers.ts';
import type { flowHandlers } from './flows/handlers.ts';
import type { schedulerHandlers } from './schedulers/handlers.ts';
import type { logHandlers } from './views/logs.ts';

/** The public members of one of BullMQ's classes; what every EventEmitter has is in {@link emitterRules}. */
export type Members<T> = Exclude<Extract<keyof T, string>, keyof EventEmitter>;

/**
 * How a call is let through: `scoped` needs a tenant, and the backend translates the names; `shared` starts
 * or stops what serves all tenants: it runs outside of any, and inside a tenant only if that one has made the
 * object; `cancel` translates the one id; `bulk` is `scoped`, for a list; `counted` and `dates` are `scoped`, and look at what BullMQ computes with first, as `tree` at a flow; `jobs` makes jobs of what one script has
 * read; `jobScheduler` answers the guarded one of the queue; `waits` waits for the end of a job; `obliterates` is `scoped`, and looks at the options first; `moves` is `scoped`, and remembers that a processor has moved its job by hand.
 */
export type ClientCustom =
  | 'jobScheduler'
  | 'scoped'
  | 'shared'
  | 'cancel'
  | 'bulk'
  | 'counted'
  | 'dates'
  | 'tree'
  | 'jobs'
  | 'moves'
  | 'obliterates'
  | 'waits';

/** What the backend does with a call of a tenant, on the tenant's own lane: see src/views. */
export type BackendCustom =
  | 'add'
  | 'addBulk'
  // Looks.
  | 'read'
  | 'byIdInState'
  | 'jobs'
  | 'ranges'
  | 'counts'
  | 'countsPerPriority'
  | 'metrics'
  | 'rateLimitTtl'
  | 'isMaxed'
  | 'meta'
  | 'metaField'
  | 'metaFields'
  | 'hasMetaField'
  // Changes one job.
  | 'byId'
  | keyof typeof logHandlers
  | 'updateProgress'
  | 'extendLock'
  | 'remove'
  | 'retry'
  | 'promote'
  | 'changeDelay'
  | 'changePriority'
  | 'updateData'
  // Moves the job that a processor has.
  | 'complete'
  | 'fail'
  | 'delay'
  | 'wait'
  | 'retryNow'
  // Changes the whole lane.
  | 'pause'
  | 'drain'
  | 'clean'
  | 'obliterate'
  | 'retryAll'
  | 'promoteAll'
  | 'trimEvents'
  | 'removePriorityKey'
  | keyof typeof deduplicationHandlers
  | keyof typeof eventHandlers
  | keyof typeof schedulerHandlers
  | keyof typeof flowHandlers;

const ACROSS = 'An operator uses acrossTenants({ reason, actor }, () => …).';

const acts = (what: string) => refuse(`it ${what} for every tenant`, ACROSS);
const LIMITS =
  'An operator calls queue.setTenantLimits(tenant, limits) inside acrossTenants({ reason, actor }, () => …).';
const limits = refuse('a tenant would lift its own limits', LIMITS);
const ofTenant = refuse(
  'a limit is one of a tenant, which does not set its own, and over all of them together it has no cheap truth',
  LIMITS,
);
const identity = pass('names the queue, not a job');
const local = pass('works on this object alone');
const lifecycle = pass('is about the connection, not about jobs');

const baseRules = defineRules({
  name: identity,
  qualifiedName: identity,
  keys: identity,
  toKey: identity,
  opts: local,
  closing: lifecycle,
  backend: pass('is the guarded backend, see backendRules'),
  getBackend: pass('is the guarded backend, see backendRules'),
  waitUntilReady: lifecycle,
  close: custom('shared'),
  disconnect: custom('shared'),
  trace: local,
} satisfies Rules<Members<QueueBase>, never, ClientCustom>);

/** Every public member of BullMQ's Queue. */
export const queueRules = defineRules({
  ...baseRules,
  token: local,
  jobsOpts: local,
  defaultJobOptions: local,
  metaValues: local,

  add: custom('scoped'),
  addBulk: custom('bulk'),
  getJob: custom('scoped'),
  getJobState: custom('scoped'),
  getJobLogs: custom('scoped'),
  addJobLog: custom('scoped'),
  updateJobProgress: custom('scoped'),

  getJobs: custom('jobs'),
  getRanges: custom('scoped'),
  getWaiting: custom('scoped'),
  getWaitingChildren: custom('scoped'),
  getActive: custom('scoped'),
  getDelayed: custom('scoped'),
  getPrioritized: custom('scoped'),
  getCompleted: custom('scoped'),
  getFailed: custom('scoped'),
  count: custom('scoped'),
  getJobCounts: custom('scoped'),
  getJobCountByTypes: custom('scoped'),
  recordJobCountsMetric: refuse(
    'it writes into the service’s own telemetry, as if it were the whole queue',
    ACROSS,
  ),
  getCompletedCount: custom('scoped'),
  getFailedCount: custom('scoped'),
  getDelayedCount: custom('scoped'),
  getActiveCount: custom('scoped'),
  getPrioritizedCount: custom('scoped'),
  getCountsPerPriority: custom('counted'),
  getWaitingCount: custom('scoped'),
  getWaitingChildrenCount: custom('scoped'),
  getMetrics: custom('scoped'),
  exportPrometheusMetrics: custom('scoped'),
  getWorkers: refuse('it lists connections to the server', ACROSS),
  getWorkersCount: refuse('it counts connections to the server', ACROSS),
  getQueueEvents: refuse('it lists connections to the server', ACROSS),
  getMeta: custom('scoped'),
  getVersion: custom('scoped'),
  getGlobalConcurrency: custom('scoped'),
  getGlobalRateLimit: custom('scoped'),
  getRateLimitTtl: custom('scoped'),
  isPaused: custom('scoped'),
  isMaxed: custom('scoped'),

  pause: custom('scoped'),
  resume: custom('scoped'),
  rateLimit: limits,
  removeRateLimitKey: limits,
  setGlobalConcurrency: ofTenant,
  removeGlobalConcurrency: ofTenant,
  setGlobalRateLimit: ofTenant,
  removeGlobalRateLimit: ofTenant,
  drain: custom('scoped'),
  clean: custom('scoped'),
  obliterate: custom('obliterates'),
  retryJobs: custom('scoped'),
  promoteJobs: custom('scoped'),
  trimEvents: custom('scoped'),
  removeOrphanedJobs: refuse('it walks over all keys of the server', ACROSS),
  removeDeprecatedPriorityKey: custom('scoped'),

  remove: custom('scoped'),
  getDependencies: refuse(
    'it pages through the children with a key that the caller names',
    'Use job.getDependencies, which takes cursors, or a FlowProducer’s getFlow.',
  ),
  upsertJobScheduler: custom('dates'),
  jobScheduler: custom('jobScheduler'),
  getJobScheduler: custom('scoped'),
  getJobSchedulers: custom('scoped'),
  getJobSchedulersCount: custom('scoped'),
  removeJobScheduler: custom('scoped'),
  getDebounceJobId: custom('scoped'),
  getDeduplicationJobId: custom('scoped'),
  removeDebounceKey: custom('scoped'),
  removeDeduplicationKey: custom('scoped'),
} satisfies Rules<Members<RawQueue>, never, ClientCustom>);

const endsQueue = refuse('it ends the connection of its queue', 'Close the Queue itself.');

/** Every public member of BullMQ's JobScheduler, as a Queue has one. */
export const schedulerRules = defineRules({
  ...baseRules,
  close: endsQueue,
  disconnect: endsQueue,
  upsertJobScheduler: custom('dates'),
  removeJobScheduler: custom('scoped'),
  isJobScheduler: custom('scoped'),
  getScheduler: custom('scoped'),
  getJobSchedulers: custom('scoped'),
  getSchedulersCount: custom('scoped'),
} satisfies Rules<Members<JobScheduler>, never, ClientCustom>);

/** Every public member of BullMQ's FlowProducer. */
export const flowProducerRules = defineRules({
  toKey: identity,
  keys: identity,
  opts: local,
  closing: lifecycle,
  waitUntilReady: lifecycle,
  getBackend: pass('is the guarded backend, which knows flows alone'),
  close: custom('shared'),
  disconnect: custom('shared'),
  add: custom('tree'),
  addBulk: custom('bulk'),
  getFlow: custom('scoped'),
} satisfies Rules<Members<FlowProducer>, never, ClientCustom>);

/** Every public member of BullMQ's Worker. */
export const workerRules = defineRules({
  ...baseRules,
  id: local,
  concurrency: custom('shared'),
  minimumBlockTimeout: lifecycle,
  maximumBlockTimeout: lifecycle,
  isPaused: pass('is about this worker, which serves every tenant'),
  isRunning: pass('is about this worker, which serves every tenant'),
  delay: local,

  run: custom('shared'),
  pause: custom('shared'),
  resume: custom('shared'),
  startStalledCheckTimer: custom('shared'),
  cancelJob: custom('cancel'),

  cancelAllJobs: acts('aborts the running jobs'),
  rateLimit: refuse(
    'it holds back the jobs of every tenant (worker.rateLimit)',
    'Put this job off: await job.moveToDelayed(time, token), then throw new DelayedError(). An operator holds all with queue.rateLimit inside acrossTenants({ reason, actor }, () => …).',
  ),
  getNextJob: refuse(
    'a job that is fetched by hand runs in no tenant',
    'Give the Worker a processor: it runs inside the tenant of each job.',
  ),
  processJob: refuse('it is a step of the worker’s own loop', 'Give the Worker a processor.'),
  extendJobLocks: refuse(
    'it is a step of the worker’s own loop',
    'Locks are renewed while the processor runs.',
  ),
  jobScheduler: refuse('it is a step of the worker’s own loop', 'Use the methods of the Queue.'),
} satisfies Rules<Members<RawWorker>, never, ClientCustom>);

/** Every public member of BullMQ's Job. */
export const jobRules = defineRules({
  name: local,
  data: local,
  opts: local,
  id: local,
  queueQualifiedName: identity,
  queueName: identity,
  prefix: identity,
  progress: local,
  returnvalue: local,
  stacktrace: local,
  delay: local,
  priority: local,
  timestamp: local,
  attemptsStarted: local,
  attemptsMade: local,
  stalledCounter: local,
  failedReason: local,
  deferredFailure: local,
  finishedOn: local,
  processedOn: local,
  parentKey: local,
  parent: local,
  deduplicationId: local,
  repeatJobKey: local,
  token: local,
  processedBy: local,
  toJSON: local,
  asJSON: local,
  asJSONSandbox: local,

  updateProgress: custom('scoped'),
  log: custom('scoped'),
  clearLogs: custom('scoped'),
  getState: custom('scoped'),
  isCompleted: custom('scoped'),
  isFailed: custom('scoped'),
  isDelayed: custom('scoped'),
  isActive: custom('scoped'),
  isWaiting: custom('scoped'),
  isWaitingChildren: custom('scoped'),
  extendLock: custom('scoped'),

  updateData: custom('scoped'),
  changeDelay: custom('scoped'),
  changePriority: custom('scoped'),
  promote: custom('scoped'),
  retry: custom('scoped'),
  remove: custom('scoped'),
  moveToCompleted: custom('scoped'),
  moveToFailed: custom('scoped'),
  moveToDelayed: custom('moves'),
  moveToWait: custom('moves'),
  moveToWaitingChildren: custom('moves'),
  removeDeduplicationKey: custom('scoped'),
  waitUntilFinished: custom('waits'),
  addJob: refuse('it hands the job to a connection past the signing', 'Use queue.add or queue.addBulk.'),
  toFlowEntry: local,
  removeChildDependency: custom('scoped'),
  removeUnprocessedChildren: custom('scoped'),
  getChildrenValues: custom('scoped'),
  getIgnoredChildrenFailures: custom('scoped'),
  getFailedChildrenValues: custom('scoped'),
  getDependencies: custom('scoped'),
  getDependenciesCount: custom('scoped'),
} satisfies Rules<Members<RawJob>, never, ClientCustom>);

const loop = refuse('it is a step of a worker’s own loop', 'Give a Worker a processor.');
const raw = refuse(
  'it reaches the server past the guard',
  'Use the methods of Queue and Job; an operator uses acrossTenants({ reason, actor }, () => …).',
);
const ofFlows = refuse('it is how a FlowProducer reaches the queues of a flow', 'Use a FlowProducer.');
const whole = refuse('it is about the queue of all tenants', ACROSS);

/**
 * Every public member of BullMQ's Redis backend: the last place before the server. `queue.backend` is public,
 * so what a Queue refuses must be refused here as well.
 */
export const backendRules = defineRules({
  waitUntilReady: lifecycle,
  close: lifecycle,
  disconnect: lifecycle,
  closing: lifecycle,
  minimumBlockTimeout: lifecycle,
  maximumBlockTimeout: lifecycle,
  redisVersion: lifecycle,
  databaseType: lifecycle,
  qualifiedName: identity,
  keys: identity,
  toKey: identity,
  parseNodeKey: identity,
  clientName: identity,

  addJob: custom('add'),
  addJobs: custom('addBulk'),
  getJobData: custom('read'),
  getState: custom('byId'),
  getJobLogs: custom('getJobLogs'),
  addLog: custom('addLog'),
  clearLogs: custom('clearLogs'),
  updateProgress: custom('updateProgress'),
  extendLock: custom('extendLock'),
  isJobInState: custom('byIdInState'),

  connection: raw,
  blockingConnection: raw,
  client: raw,
  blockingClient: raw,
  execCommand: raw,
  finishedErrors: raw,
  moveToFinishedKeys: raw,
  addJobToTransaction: raw,
  setName: raw,
  forQueue: ofFlows,
  addFlow: ofFlows,

  moveToActive: loop,
  moveToCompleted: custom('complete'),
  moveToCompletedArgs: loop,
  moveToFailed: custom('fail'),
  moveToFailedArgs: loop,
  moveToFinished: loop,
  moveToDelayed: custom('delay'),
  moveToDelayedArgs: loop,
  moveToWaitingChildren: custom('waitForChildren'),
  moveToWaitingChildrenArgs: loop,
  moveJobFromActiveToWait: custom('wait'),
  moveStalledJobsToWait: loop,
  retryJob: custom('retryNow'),
  retryJobArgs: loop,
  extendLocks: loop,
  waitForJob: loop,
  disconnectBlocking: loop,
  reconnectBlocking: loop,

  retryFinishedJob: custom('retry'),
  promote: custom('promote'),
  changeDelay: custom('changeDelay'),
  changePriority: custom('changePriority'),
  updateData: custom('updateData'),
  remove: custom('remove'),
  removeUnprocessedChildren: custom('removeUnprocessedChildren'),
  removeChildDependency: custom('removeChildDependency'),
  getDependencies: custom('dependencies'),
  getDependencyCounts: custom('dependencyCounts'),
  getProcessedChildrenValues: custom('childrenValues'),
  getIgnoredChildrenFailures: custom('childrenFailures'),
  paginate: queueRules.getDependencies,
  removeDeduplicationKey: custom('deduplicatedBy'),
  deleteDeduplicationKey: custom('deduplicated'),
  getDeduplicationJobId: custom('deduplicating'),
  addJobScheduler: custom('upsertScheduler'),
  updateJobSchedulerNextMillis: loop,
  removeJobScheduler: custom('removeScheduler'),
  getJobScheduler: custom('scheduler'),
  getJobSchedulerArgs: raw,
  isJobScheduler: custom('isScheduler'),
  getJobSchedulerData: custom('schedulerData'),
  getJobSchedulersRange: custom('schedulers'),
  getJobSchedulersCount: custom('schedulersCount'),

  isFinished: custom('isFinished'),
  readEvents: whole,
  publishEvent: custom('publishEvent'),
  trimEvents: custom('trimEvents'),
  getJobs: custom('jobs'),
  getRanges: custom('ranges'),
  getCounts: custom('counts'),
  getCountsPerPriority: custom('countsPerPriority'),
  getMetrics: custom('metrics'),
  getClientList: queueRules.getWorkers,
  getRateLimitTtl: custom('rateLimitTtl'),
  getRateLimitTtlArgs: whole,
  setRateLimit: limits,
  removeRateLimitKey: limits,
  isMaxed: custom('isMaxed'),
  isMaxedArgs: whole,
  pause: custom('pause'),
  drain: custom('drain'),
  obliterate: custom('obliterate'),
  cleanJobsByState: custom('clean'),
  retryFinishedJobs: custom('retryAll'),
  promoteJobs: custom('promoteAll'),
  removeOrphanedJobs: queueRules.removeOrphanedJobs,
  setQueueMeta: limits,
  getQueueMetaField: custom('metaField'),
  getQueueMetaFields: custom('metaFields'),
  getQueueMeta: custom('meta'),
  removeQueueMetaFields: limits,
  hasQueueMetaField: custom('hasMetaField'),
  removeDeprecatedPriorityKey: custom('removePriorityKey'),
} satisfies Rules<Members<RedisQueueBackend>, never, BackendCustom>);

/**
 * Whom an event belongs to: `job`, `id` or `ids` say what its first argument is, and it belongs to the tenant
 * of that; `idsIn` is an object with `jobIds`. A `pass` row names no job and is heard by everybody.
 */
export type EventCustom = 'job' | 'id' | 'ids' | 'idsIn';

/**
 * The same of a Queue, which emits inside the call that causes the event; `caller` names no job, and belongs to the
 * tenant that has caused it, or to everybody where an operator has.
 */
export type QueueEventCustom = EventCustom | 'caller';

const aboutAll = pass('names no job');

/** Every event of BullMQ's Queue. */
export const queueEventRules = defineRules({
  waiting: custom('job'),
  removed: custom('id'),
  progress: custom('id'),
  cleaned: custom('ids'),
  paused: custom('caller'),
  resumed: custom('caller'),
  error: aboutAll,
  'ioredis:close': aboutAll,
} satisfies Rules<keyof QueueListener, never, QueueEventCustom>);

/** Every event of BullMQ's FlowProducer: its own, and what the jobs tell that it has made. */
export const flowEventRules = defineRules({
  error: aboutAll,
  'ioredis:close': aboutAll,
  progress: custom('job'),
  removed: custom('job'),
} satisfies Rules<keyof FlowProducerListener | 'progress' | 'removed', never, QueueEventCustom>);

/** Every event of BullMQ's Worker. */
export const workerEventRules = defineRules({
  active: custom('job'),
  completed: custom('job'),
  failed: custom('job'),
  progress: custom('job'),
  stalled: custom('id'),
  lockRenewalFailed: custom('ids'),
  locksRenewed: custom('idsIn'),
  drained: aboutAll,
  paused: aboutAll,
  resumed: aboutAll,
  ready: aboutAll,
  closing: aboutAll,
  closed: aboutAll,
  error: aboutAll,
  'ioredis:close': aboutAll,
} satisfies Rules<keyof WorkerListener, never, EventCustom>);

/** Every event of BullMQ's JobScheduler: it has those of its connection only, which the Queue tells. */
export const schedulerEventRules = defineRules({ error: aboutAll, 'ioredis:close': aboutAll });

/** What a listener's registration goes through: see listeners.ts. */
export type EmitterCustom = 'register' | 'unregister' | 'unregisterAll' | 'emit' | 'listed' | 'counted';

/** Every public member of an EventEmitter. */
export const emitterRules = defineRules({
  on: custom('register'),
  addListener: custom('register'),
  prependListener: custom('register'),
  once: custom('register'),
  prependOnceListener: custom('register'),
  off: custom('unregister'),
  removeListener: custom('unregister'),
  removeAllListeners: custom('unregisterAll'),
  emit: custom('emit'),
  listeners: custom('listed'),
  rawListeners: custom('listed'),
  listenerCount: custom('counted'),
  eventNames: custom('counted'),
  getMaxListeners: custom('counted'),
  setMaxListeners: custom('counted'),
} satisfies Rules<Extract<keyof EventEmitter, string>, never, EmitterCustom>);

/** Every public member of BullMQ's QueueEvents. */
export const queueEventsRules = defineRules({
  ...baseRules,
  run: custom('shared'),
} satisfies Rules<Members<RawQueueEvents>, never, ClientCustom>);

/** Every public member of BullMQ's QueueEventsProducer. */
export const producerRules = defineRules({
  ...baseRules,
  publishEvent: custom('scoped'),
} satisfies Rules<Members<RawQueueEventsProducer>, never, ClientCustom>);
