import type { EventEmitter } from 'node:events';
import type {
  Job as RawJob,
  Queue as RawQueue,
  QueueBase,
  QueueListener,
  RedisQueueBackend,
  Worker as RawWorker,
  WorkerListener,
} from 'bullmq';
import { custom, defineRules, pass, refuse, type Rules } from '@tenantkit/core';

/** The public members of one of BullMQ's classes; what every EventEmitter has is in {@link emitterRules}. */
export type Members<T> = Exclude<Extract<keyof T, string>, keyof EventEmitter>;

/**
 * How a call is let through: `scoped` needs a tenant, and the backend translates the names; `shared` starts
 * or stops what serves all tenants: it runs outside of any, and inside a tenant only if that one has made the
 * object; `cancel` translates the one id; `bulk` is `scoped`, for a list.
 */
export type ClientCustom = 'scoped' | 'shared' | 'cancel' | 'bulk';

/** What the backend does with a call: see backend.ts. */
export type BackendCustom = 'add' | 'addBulk' | 'read' | 'byId' | 'byIdInState' | 'extendLock';

const ACROSS = 'An operator uses acrossTenants({ reason, actor }, () => …).';
const ONE_JOB =
  'Use queue.getJob(id) for a job whose id you know; an operator uses acrossTenants({ reason, actor }, () => …).';
const NO_FLOWS = 'Flows are refused today: add the next job from the processor of the one before.';
const NO_SCHEDULERS =
  'Schedulers are refused today: add a job with the option delay, or add one from a cron of your own.';
const NO_DEDUPLICATION =
  'Deduplication is refused today: give the job an id of your own with the option jobId.';

const seesAll = (what: string) => refuse(`it ${what} of every tenant`, ONE_JOB);
const acts = (what: string) => refuse(`it ${what} for every tenant`, ACROSS);
const noTotal = refuse(
  'each tenant has a queue of its own inside, and a limit over all of them together has no cheap truth',
  'Use the options concurrency and limiter of the Worker.',
);
const flow = refuse('it reads or changes other jobs through a link that no header binds yet', NO_FLOWS);
const schedulers = refuse('a scheduler makes jobs that no tenant has signed', NO_SCHEDULERS);
const deduplication = refuse('deduplication keys are not namespaced yet', NO_DEDUPLICATION);
const changes = (instead: string) => refuse('it changes what the job’s signed header binds', instead);
const moves = refuse(
  'it moves the job between states by hand',
  'Return or throw in the processor; attempts, backoff and delay are options of the job.',
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

  getJobs: seesAll('returns the jobs'),
  getRanges: seesAll('returns the job ids'),
  getWaiting: seesAll('returns the jobs'),
  getWaitingChildren: seesAll('returns the jobs'),
  getActive: seesAll('returns the jobs'),
  getDelayed: seesAll('returns the jobs'),
  getPrioritized: seesAll('returns the jobs'),
  getCompleted: seesAll('returns the jobs'),
  getFailed: seesAll('returns the jobs'),
  count: seesAll('counts the jobs'),
  getJobCounts: seesAll('counts the jobs'),
  getJobCountByTypes: seesAll('counts the jobs'),
  recordJobCountsMetric: seesAll('counts the jobs'),
  getCompletedCount: seesAll('counts the jobs'),
  getFailedCount: seesAll('counts the jobs'),
  getDelayedCount: seesAll('counts the jobs'),
  getActiveCount: seesAll('counts the jobs'),
  getPrioritizedCount: seesAll('counts the jobs'),
  getCountsPerPriority: seesAll('counts the jobs'),
  getWaitingCount: seesAll('counts the jobs'),
  getWaitingChildrenCount: seesAll('counts the jobs'),
  getMetrics: seesAll('counts the jobs'),
  exportPrometheusMetrics: seesAll('counts the jobs'),
  getWorkers: refuse('it lists connections to the server', ACROSS),
  getWorkersCount: refuse('it counts connections to the server', ACROSS),
  getQueueEvents: refuse('it lists connections to the server', ACROSS),
  getMeta: refuse('it reads settings of the whole queue', ACROSS),
  getVersion: refuse('it reads settings of the whole queue', ACROSS),
  getGlobalConcurrency: refuse('it reads settings of the whole queue', ACROSS),
  getGlobalRateLimit: refuse('it reads settings of the whole queue', ACROSS),
  getRateLimitTtl: refuse('it reads settings of the whole queue', ACROSS),
  isPaused: refuse('it reads settings of the whole queue', ACROSS),
  isMaxed: refuse('it reads settings of the whole queue', ACROSS),

  pause: acts('stops the queue'),
  resume: acts('starts the queue'),
  rateLimit: acts('slows the queue down'),
  removeRateLimitKey: acts('lifts the rate limit'),
  setGlobalConcurrency: noTotal,
  removeGlobalConcurrency: noTotal,
  setGlobalRateLimit: noTotal,
  removeGlobalRateLimit: noTotal,
  drain: acts('removes the waiting jobs'),
  clean: acts('removes jobs'),
  obliterate: acts('removes the queue'),
  retryJobs: acts('runs finished jobs again'),
  promoteJobs: acts('runs delayed jobs now'),
  trimEvents: acts('removes events'),
  removeOrphanedJobs: acts('removes jobs'),
  removeDeprecatedPriorityKey: acts('removes a key'),

  remove: refuse(
    'with a job it removes the children that the job names, whosever they are',
    'Set removeOnComplete and removeOnFail on the job; an operator uses acrossTenants({ reason, actor }, () => …).',
  ),
  getDependencies: flow,
  upsertJobScheduler: schedulers,
  jobScheduler: schedulers,
  getJobScheduler: schedulers,
  getJobSchedulers: schedulers,
  getJobSchedulersCount: schedulers,
  removeJobScheduler: schedulers,
  getDebounceJobId: deduplication,
  getDeduplicationJobId: deduplication,
  removeDebounceKey: deduplication,
  removeDeduplicationKey: deduplication,
} satisfies Rules<Members<RawQueue>, never, ClientCustom>);

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
  rateLimit: acts('slows the queue down'),
  getNextJob: refuse(
    'a job that is fetched by hand runs in no tenant',
    'Give the Worker a processor: it runs inside the tenant of each job.',
  ),
  processJob: refuse('it is a step of the worker’s own loop', 'Give the Worker a processor.'),
  extendJobLocks: refuse(
    'it is a step of the worker’s own loop',
    'Locks are renewed while the processor runs.',
  ),
  jobScheduler: schedulers,
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

  updateData: changes('Changing data is refused today: keep state in a store of your own, or add a new job.'),
  changeDelay: refuse('it moves the job between states by hand', 'Add the job with the delay that it needs.'),
  changePriority: refuse(
    'it moves the job between states by hand',
    'Add the job with the priority that it needs.',
  ),
  promote: moves,
  retry: moves,
  moveToCompleted: moves,
  moveToFailed: moves,
  moveToDelayed: moves,
  moveToWait: moves,
  moveToWaitingChildren: flow,
  remove: queueRules.remove,
  removeDeduplicationKey: deduplication,
  waitUntilFinished: refuse(
    'it listens to an event stream that every tenant writes to and that no header signs',
    'Let the processor write its result to a store of yours, or listen to the worker’s completed event.',
  ),
  addJob: refuse('it hands the job to a connection past the signing', 'Use queue.add or queue.addBulk.'),
  toFlowEntry: flow,
  removeChildDependency: flow,
  removeUnprocessedChildren: flow,
  getChildrenValues: flow,
  getIgnoredChildrenFailures: flow,
  getFailedChildrenValues: flow,
  getDependencies: flow,
  getDependenciesCount: flow,
} satisfies Rules<Members<RawJob>, never, ClientCustom>);

const loop = refuse('it is a step of a worker’s own loop', 'Give a Worker a processor.');
const raw = refuse(
  'it reaches the server past the guard',
  'Use the methods of Queue and Job; an operator uses acrossTenants({ reason, actor }, () => …).',
);
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
  getJobLogs: custom('byId'),
  addLog: custom('byId'),
  clearLogs: custom('byId'),
  updateProgress: custom('byId'),
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
  forQueue: flow,
  addFlow: flow,

  moveToActive: loop,
  moveToCompleted: loop,
  moveToCompletedArgs: loop,
  moveToFailed: loop,
  moveToFailedArgs: loop,
  moveToFinished: loop,
  moveToDelayed: loop,
  moveToDelayedArgs: loop,
  moveToWaitingChildren: loop,
  moveToWaitingChildrenArgs: loop,
  moveJobFromActiveToWait: loop,
  moveStalledJobsToWait: loop,
  retryJob: loop,
  retryJobArgs: loop,
  extendLocks: loop,
  waitForJob: loop,
  disconnectBlocking: loop,
  reconnectBlocking: loop,

  retryFinishedJob: moves,
  promote: moves,
  changeDelay: moves,
  changePriority: moves,
  updateData: jobRules.updateData,
  remove: queueRules.remove,
  removeUnprocessedChildren: flow,
  removeChildDependency: flow,
  getDependencies: flow,
  getDependencyCounts: flow,
  getProcessedChildrenValues: flow,
  getIgnoredChildrenFailures: flow,
  paginate: flow,
  removeDeduplicationKey: deduplication,
  deleteDeduplicationKey: deduplication,
  getDeduplicationJobId: deduplication,
  addJobScheduler: schedulers,
  updateJobSchedulerNextMillis: schedulers,
  removeJobScheduler: schedulers,
  getJobScheduler: schedulers,
  getJobSchedulerArgs: schedulers,
  isJobScheduler: schedulers,
  getJobSchedulerData: schedulers,
  getJobSchedulersRange: schedulers,
  getJobSchedulersCount: schedulers,

  isFinished: jobRules.waitUntilFinished,
  readEvents: whole,
  publishEvent: whole,
  trimEvents: whole,
  getJobs: whole,
  getRanges: whole,
  getCounts: whole,
  getCountsPerPriority: whole,
  getMetrics: whole,
  getClientList: whole,
  getRateLimitTtl: whole,
  getRateLimitTtlArgs: whole,
  setRateLimit: whole,
  removeRateLimitKey: whole,
  isMaxed: whole,
  isMaxedArgs: whole,
  pause: whole,
  drain: whole,
  obliterate: whole,
  cleanJobsByState: whole,
  retryFinishedJobs: whole,
  promoteJobs: whole,
  removeOrphanedJobs: whole,
  setQueueMeta: whole,
  getQueueMetaField: whole,
  getQueueMetaFields: whole,
  getQueueMeta: whole,
  removeQueueMetaFields: whole,
  hasQueueMetaField: whole,
  removeDeprecatedPriorityKey: whole,
} satisfies Rules<Members<RedisQueueBackend>, never, BackendCustom>);

/**
 * Whom an event belongs to: `job`, `id` or `ids` say what its first argument is, and it belongs to the tenant
 * of that; `idsIn` is an object with `jobIds`. A `pass` row names no job and is heard by everybody.
 */
export type EventCustom = 'job' | 'id' | 'ids' | 'idsIn';

const aboutAll = pass('names no job');

/** Every event of BullMQ's Queue. */
export const queueEventRules = defineRules({
  waiting: custom('job'),
  removed: custom('id'),
  progress: custom('id'),
  cleaned: custom('ids'),
  paused: aboutAll,
  resumed: aboutAll,
  error: aboutAll,
  'ioredis:close': aboutAll,
} satisfies Rules<keyof QueueListener, never, EventCustom>);

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
