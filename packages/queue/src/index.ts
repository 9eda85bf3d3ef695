export { Queue } from './queue.ts';
export { Worker } from './worker.ts';
export { Job } from './job.ts';
export { FlowProducer } from './flows/producer.ts';
export { QueueEvents } from './events/queue-events.ts';
export { QueueEventsProducer } from './events/producer.ts';
export { JobScheduler, type RefusedClass } from './exports.ts';
export type {
  FlowProducerOptions,
  QueueOptions,
  WorkerOptions,
  WorkerTenantOptions,
} from './client-options.ts';
export type { QueueEventsOptions, QueueEventsProducerOptions } from './events/options.ts';
export type { QueuePlacement } from './placement.ts';
export type { Jwk, PrivateKey, PublicKey, QueueTenantOptions, SharedKey, SigningKey } from './options.ts';
export { queueEraser, type QueueEraserOptions } from './erase.ts';
export { queueAuditor, type QueueAuditorOptions } from './audit.ts';
export { queueBackstop, type QueueBackstop, type QueueBackstopOptions } from './backstop.ts';
export { adoptJobs, type Adopted, type AdoptOptions } from './adopt/adopt.ts';
export type { UnsignedJob, WhyLeft } from './adopt/judge.ts';
export type { TenantLimits } from './views/limits.ts';
export type { QueuePlaces } from './places.ts';

export {
  BULLMQ_MAJOR_VERSION,
  CONNECTION_CLOSED_ERROR_MSG,
  ConnectionClosedError,
  DELAYED_ERROR,
  DelayedError,
  ErrorCode,
  MetricNames,
  MetricsTime,
  PRIORITY_LIMIT,
  SpanKind,
  TelemetryAttributes,
  UNRECOVERABLE_ERROR,
  UnrecoverableError,
  WAITING_CHILDREN_ERROR,
  WAITING_ERROR,
  WaitingChildrenError,
  WaitingError,
} from 'bullmq';
export type {
  AdvancedOptions,
  BackoffOptions,
  BackoffStrategy,
  BulkJobOptions,
  ConnectionOptions,
  ContextManager,
  DeduplicationOptions,
  DefaultJobOptions,
  DependenciesOpts,
  DependencyOpts,
  FinishedStatus,
  FlowJob,
  FlowJobBase,
  FlowOpts,
  FlowQueuesOpts,
  JobJson,
  JobNode,
  JobProgress,
  JobSchedulerJson,
  JobSchedulerTemplateOptions,
  JobState,
  JobType,
  JobsOptions,
  KeepJobs,
  Metrics,
  MetricsOptions,
  MinimalJob,
  MoveToWaitingChildrenOpts,
  NodeOpts,
  ParentOptions,
  Processor,
  QueueEventsListener,
  QueueListener,
  QueueMeta,
  RateLimiterOptions,
  RedisOptions,
  RepeatOptions,
  RetryOptions,
  SandboxedJob,
  SandboxedJobProcessor,
  Span,
  Telemetry,
  Tracer,
  WorkerListener,
} from 'bullmq';
