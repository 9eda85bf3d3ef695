import type {
  BackoffStrategy,
  FlowProducerOptions as RawFlowProducerOptions,
  QueueOptions as RawQueueOptions,
  WorkerOptions as RawWorkerOptions,
} from 'bullmq';
import {
  ConfigError,
  defineRules,
  pass,
  refusal,
  refuse,
  rewrite,
  ruleFor,
  type PassRule,
  type RefuseRule,
  type RewriteRule,
  type Rules,
} from '@tenantkit/core';
import { z } from 'zod';
import { checkJobOptions, keepJobsSchema } from './job-options.ts';
import type { QueueTenantOptions } from './options.ts';
import type { TenantLimits } from './views/limits.ts';

/** BullMQ's QueueOptions, with our options under `tenant`. */
export interface QueueOptions extends Omit<RawQueueOptions, keyof typeof refusedForQueue> {
  readonly tenant: QueueTenantOptions;
}

/** BullMQ's WorkerOptions, with our options under `tenant`. */
export interface WorkerOptions extends RawWorkerOptions {
  readonly tenant: WorkerTenantOptions;
}

/** BullMQ's FlowProducerOptions, with our options under `tenant`. */
export interface FlowProducerOptions extends RawFlowProducerOptions {
  readonly tenant: QueueTenantOptions;
}

/**
 * Options of ours of a Worker. `concurrency`, `rate` and `weight` are the limits of each tenant that has none of its own;
 * give every worker of a queue the same.
 */
export interface WorkerTenantOptions extends QueueTenantOptions, TenantLimits {}

/** How the value of an option is checked; the result takes its place. */
export type Check = (value: unknown) => unknown;

const ofConnection = pass('is about the connection');
const ofProcess = pass('is about this process');
const ofSandbox = pass('is about the processes and threads that a file runs in');

const refusedForQueue = defineRules({
  settings: refuse(
    'a repeat strategy is no part of what a scheduler’s header binds',
    'Leave it out: a scheduler has pattern or every.',
  ),
});

/** Every option of BullMQ's Queue. */
export const queueOptionRules = defineRules({
  ...refusedForQueue,
  connection: ofConnection,
  blockingConnection: ofConnection,
  skipVersionCheck: ofConnection,
  skipWaitingForReady: ofConnection,
  prefix: pass('is bound by the header of every job'),
  telemetry: pass('is the operator’s: spans carry physical job ids'),
  streams: pass('limits the events stream for all tenants alike'),
  skipMetasUpdate: pass('writes no job'),
  defaultJobOptions: rewrite<Check>((value) => checkJobOptions('defaultJobOptions', Object(value) as object)),
} satisfies Rules<keyof RawQueueOptions, Check>);

/** Every option of BullMQ's FlowProducer. */
export const flowOptionRules = defineRules({
  connection: ofConnection,
  blockingConnection: ofConnection,
  skipVersionCheck: ofConnection,
  skipWaitingForReady: ofConnection,
  prefix: pass('is bound by the header of every job'),
  telemetry: pass('is the operator’s: spans carry physical job ids'),
} satisfies Rules<keyof RawFlowProducerOptions, Check>);

/** Every option of BullMQ's Worker. */
export const workerOptionRules = defineRules({
  connection: ofConnection,
  blockingConnection: ofConnection,
  skipVersionCheck: ofConnection,
  skipWaitingForReady: ofConnection,
  prefix: pass('is bound by the header of every job'),
  telemetry: pass('is the operator’s: spans carry physical job ids'),
  name: ofProcess,
  autorun: ofProcess,
  concurrency: ofProcess,
  limiter: pass('is the operator’s, and counts the jobs of all tenants together: see lanes/loop.ts'),
  metrics: pass('counts jobs, and names none'),
  maximumRateLimitDelay: ofProcess,
  maxStartedAttempts: ofProcess,
  maxStalledCount: ofProcess,
  stalledInterval: ofProcess,
  removeOnComplete: rewrite<Check>(checkKeep('removeOnComplete')),
  removeOnFail: rewrite<Check>(checkKeep('removeOnFail')),
  skipStalledCheck: ofProcess,
  skipLockRenewal: ofProcess,
  drainDelay: ofProcess,
  lockDuration: ofProcess,
  lockRenewTime: ofProcess,
  runRetryDelay: ofProcess,
  useWorkerThreads: ofSandbox,
  workerForkOptions: ofSandbox,
  workerThreadsOptions: ofSandbox,
  settings: rewrite<Check>(checkSettings),
} satisfies Rules<keyof RawWorkerOptions, Check>);

type OptionRules = Readonly<Record<string, RewriteRule<Check> | PassRule | RefuseRule>>;

/** Options without `tenant`: BullMQ keeps them on the public property `opts`, where no secret belongs. */
export interface Checked<Raw> {
  readonly raw: Raw;
  readonly tenant: unknown;
}

/**
 * The options of a Queue, copied key by key from the allow-list.
 *
 * @throws {@link ConfigError} on an option that has no row
 * @throws {@link OperationRefusedError} on one that is refused
 */
export function checkQueueOptions(given: QueueOptions): Checked<RawQueueOptions> {
  const { raw, tenant } = checkOptions(queueOptionRules, given);
  return { raw: raw as unknown as RawQueueOptions, tenant };
}

/** The options of a Worker; otherwise as {@link checkQueueOptions}. */
export function checkWorkerOptions(given: WorkerOptions): Checked<RawWorkerOptions> {
  const { raw, tenant } = checkOptions(workerOptionRules, given);
  return { raw: raw as unknown as RawWorkerOptions, tenant };
}

/** The options of a FlowProducer; otherwise as {@link checkQueueOptions}. */
export function checkFlowOptions(given: FlowProducerOptions): Checked<RawFlowProducerOptions> {
  const { raw, tenant } = checkOptions(flowOptionRules, given);
  return { raw: raw as unknown as RawFlowProducerOptions, tenant };
}

/** The options of a client, by its table. */
export function checkOptions(rules: OptionRules, given: object): Checked<Record<string, unknown>> {
  const raw: Record<string, unknown> = {};
  let tenant: unknown;
  // Without any it is said what is missing.
  for (const [name, value] of Object.entries(Object(given) as object)) {
    if (name === 'tenant') {
      tenant = value;
      continue;
    }
    const rule = ruleFor(rules, name);
    if (rule === undefined) throw unknownOption(name);
    if (value === undefined) continue;
    if (rule.kind === 'refuse') throw refusal('queue', `options.${name}`, rule);
    raw[name] =
      rule.kind === 'rewrite' ? frozen(rule.rewrite(value)) : OF_CALLER.has(name) ? value : frozen(value);
  }
  return { raw, tenant };
}

/** Objects that live: the rest is data, of which the queue keeps a copy that nobody can change. */
const OF_CALLER: ReadonlySet<string> = new Set([
  'connection',
  'blockingConnection',
  'telemetry',
  'workerForkOptions',
  'workerThreadsOptions',
]);

function frozen(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const copy = Array.isArray(value)
    ? value.map(frozen)
    : Object.fromEntries(Object.entries(value).map(([name, part]) => [name, frozen(part)]));
  return Object.freeze(copy);
}

function checkKeep(option: string): Check {
  return (value) => {
    const result = keepJobsSchema.safeParse(value);
    if (result.success) return result.data;
    throw refusal(
      'queue',
      `options.${option}`,
      refuse(
        'it says otherwise than by age or count which finished jobs of each tenant are kept',
        'Use { count } or { age, count, limit }, with age in seconds and a limit of at most 10000.',
      ),
    );
  };
}

const workerSettings = z.strictObject({
  backoffStrategy: z.custom<BackoffStrategy>((value) => typeof value === 'function').optional(),
});

function checkSettings(value: unknown): unknown {
  const result = workerSettings.safeParse(value);
  if (result.success) return result.data;
  throw refusal(
    'queue',
    'options.settings',
    refuse(
      'only backoffStrategy is known to run in the tenant of the job',
      'Leave out what belongs to schedulers.',
    ),
  );
}

function unknownOption(name: string): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'options',
    problem: `unknown option ${name}`,
    hint: 'Remove it, or put it under `tenant` if it is one of tenantkit; see the README of @tenantkit/queue.',
  });
}
