import {
  FlowProducer,
  Job,
  JobScheduler,
  Queue,
  QueueEvents,
  QueueEventsProducer,
  RedisQueueBackend,
  Worker,
} from 'bullmq';
import { ConfigError } from '@tenantkit/core';
import {
  backendRules,
  emitterRules,
  jobRules,
  producerRules,
  queueEventsRules,
  flowProducerRules,
  queueRules,
  schedulerRules,
  workerRules,
} from './rules.ts';

/** A class of BullMQ, its table, and what it has besides: members that its types keep private or protected. */
const CLASSES = [
  [
    Queue,
    queueRules,
    'addJob commandByType sanitizeJobTypes baseGetClients parseClientList createBackend Job base64Name clientName checkConnectionError',
  ],
  [
    Worker,
    workerRules,
    'createBackend createLockManager createSandbox callProcessJob createJob waitForRateLimit mainLoop _getNextJob isRateLimited moveToActive waitForJob getBlockTimeout getRateLimitDelay updateDelays nextJobFromJobData getUnrecoverableErrorMessage handleCompleted handleFailed stalledChecker whenCurrentJobsFinished retryIfFailed moveStalledJobsToWait moveLimitedBackToWait Job base64Name clientName checkConnectionError',
  ],
  [
    Job,
    jobRules,
    'createBackend shouldRetryJob getSpanOperation recordJobMetrics isInState validateOptions updateStacktrace setSpanJobAttributes',
  ],
  [
    JobScheduler,
    schedulerRules,
    'getNextJobOpts getSchedulerData transformSchedulerData getTemplateFromJSON getSchedulerNextJobId createBackend Job base64Name clientName checkConnectionError',
  ],
  [
    QueueEvents,
    queueEventsRules,
    'consumeEvents createBackend Job base64Name clientName checkConnectionError',
  ],
  [QueueEventsProducer, producerRules, 'createBackend Job base64Name clientName checkConnectionError'],
  [
    FlowProducer,
    flowProducerRules,
    'Job addNode collectFlowEntry addNodes getNode validateFlowJobs addChildren getChildren queueFromNode toFlowError',
  ],
  [
    RedisQueueBackend,
    backendRules,
    'forwardConnectionEvents addDelayedJobArgs addDelayedJob addPrioritizedJobArgs addPrioritizedJob addParentJobArgs addParentJob addStandardJobArgs addStandardJob pauseArgs removeArgs moveToFinishedArgs getKeepJobs drainArgs removeChildDependencyArgs getRangesArgs getJobsArgs getCountsArgs getCountsPerPriorityArgs getDependencyCountsArgs changeDelayArgs changePriorityArgs moveJobsToWaitArgs moveStalledJobsToWaitArgs removeOrphanedJobsBatch',
  ],
] as const;

let checked = false;

/**
 * Compares the tables with the classes of the BullMQ that is installed, once. The tables are closed by types that
 * only we compile: a method that a newer BullMQ has added would otherwise be an open door in an application that
 * updated it.
 *
 * @throws {@link ConfigError} when a class has a member that nobody has decided about
 */
export function checkCouplings(): void {
  if (checked) return;
  for (const [{ name, prototype }, rules, internal] of CLASSES) {
    const unknown = undecided(prototype, rules, internal);
    if (unknown === undefined) continue;
    throw new ConfigError({
      surface: 'queue',
      operation: 'bullmq',
      problem: `${name}.${unknown} of the installed BullMQ is not in the tables`,
      hint: 'Install bullmq 6.7, or a newer @tenantkit/queue.',
    });
  }
  checked = true;
}

/** The first member of a prototype, or of those it inherits from, that neither a table nor the list knows. */
export function undecided(prototype: object, rules: object, internal: string): string | undefined {
  const known = new Set(['constructor', ...internal.split(' ')]);
  for (let at: object | null = prototype; at !== null && at !== Object.prototype; at = parent(at)) {
    const found = Object.getOwnPropertyNames(at).find(
      (member) => !known.has(member) && !Object.hasOwn(rules, member) && !isOfEmitter(at, member),
    );
    if (found !== undefined) return found;
  }
  return undefined;
}

function parent(prototype: object): object | null {
  return Object.getPrototypeOf(prototype) as object | null;
}

// EventEmitter keeps its state under names with an underscore.
function isOfEmitter(at: object, member: string): boolean {
  return Object.hasOwn(emitterRules, member) || (parent(at) === Object.prototype && member.startsWith('_'));
}
