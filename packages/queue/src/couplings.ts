import {
  ChildCommand,
  ChildPool,
  FlowProducer,
  Job,
  JobScheduler,
  ParentCommand,
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
import { INIT, INIT_COMPLETED, INIT_FAILED, STOP } from './sandbox/protocol.ts';

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

/**
 * Members by which jobs get to what runs them: BullMQ calls those that are overridden, and the sandbox calls the others.
 * Without one of them nothing would fail: BullMQ's own sandbox, say, would run a file outside of any tenant.
 */
const RELIED_ON = [
  [Worker, 'createBackend createSandbox callProcessJob createJob nextJobFromJobData'],
  [RedisQueueBackend, 'execCommand addJobs moveToActive moveToCompleted moveToFailed moveToDelayed'],
  [ChildPool, 'retain release kill clean'],
] as const;

/** The numbers of BullMQ's messages to and from a child, as src/sandbox/protocol.ts spells them out. */
const MESSAGES = {
  'ChildCommand.Init': [() => ChildCommand.Init, INIT],
  'ChildCommand.Stop': [() => ChildCommand.Stop, STOP],
  'ParentCommand.InitCompleted': [() => ParentCommand.InitCompleted, INIT_COMPLETED],
  'ParentCommand.InitFailed': [() => ParentCommand.InitFailed, INIT_FAILED],
} as const;

let checked = false;

/**
 * Compares the tables with the classes of the BullMQ that is installed, once. The tables are closed by types that
 * only we compile: a method that a newer BullMQ has added would otherwise be an open door in an application that
 * updated it.
 *
 * @throws {@link ConfigError} when a class has a member that nobody has decided about, or has lost one that this package
 *   relies on
 */
export function checkCouplings(): void {
  if (checked) return;
  const problem = misfit();
  if (problem !== undefined) {
    throw new ConfigError({
      surface: 'queue',
      operation: 'bullmq',
      problem,
      hint: 'Install bullmq 6.7, or a newer @tenantkit/queue.',
    });
  }
  checked = true;
}

/** What is wrong with the installed BullMQ, if anything. */
export function misfit(): string | undefined {
  for (const [{ name, prototype }, rules, internal] of CLASSES) {
    const unknown = undecided(prototype, rules, internal);
    if (unknown !== undefined) return `${name}.${unknown} of the installed BullMQ is not in the tables`;
  }
  for (const [{ name, prototype }, members] of RELIED_ON) {
    const gone = members.split(' ').find((member) => typeof Reflect.get(prototype, member) !== 'function');
    if (gone !== undefined) return `${name}.${gone} is not in the installed BullMQ`;
  }
  // oxlint-disable-next-line typescript/no-unsafe-enum-comparison -- they are compared as numbers
  const moved = Object.entries(MESSAGES).find(([, [there, here]]) => there() !== here);
  return moved === undefined ? undefined : `${moved[0]} of the installed BullMQ is another number`;
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
