import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { EventEmitter } from 'node:events';
import * as bullmq from 'bullmq';
import type { Rules } from '@tenantkit/core';
import { describe, expect, expectTypeOf, it } from 'vitest';
import * as ours from '@tenantkit/queue';
import { flowOptionRules, queueOptionRules, workerOptionRules } from '../src/client-options.ts';
import { exportRules } from '../src/exports.ts';
import { jobOptionRules } from '../src/job-options.ts';
import { PICK_UPS } from '../src/store.ts';
import {
  backendRules,
  emitterRules,
  flowProducerRules,
  jobRules,
  producerRules,
  queueEventRules,
  queueEventsRules,
  queueRules,
  schedulerRules,
  workerEventRules,
  workerRules,
  type ClientCustom,
  type EventCustom,
  type Members,
  type QueueEventCustom,
} from '../src/rules.ts';

/**
 * What is protected or private in BullMQ's types and still stands on the prototypes: called by BullMQ itself.
 * All of it ends in the guarded backend. A new name here makes the test fail until somebody has looked at it.
 */
const INSIDE = {
  Queue: [
    'addJob',
    'base64Name',
    'baseGetClients',
    'checkConnectionError',
    'clientName',
    'commandByType',
    'createBackend',
    'Job',
    'parseClientList',
    'sanitizeJobTypes',
  ],
  Worker: [
    '_getNextJob',
    'base64Name',
    'callProcessJob',
    'checkConnectionError',
    'clientName',
    'createBackend',
    'createJob',
    'createLockManager',
    'createSandbox',
    'getBlockTimeout',
    'getRateLimitDelay',
    'getUnrecoverableErrorMessage',
    'handleCompleted',
    'handleFailed',
    'isRateLimited',
    'Job',
    'mainLoop',
    'moveLimitedBackToWait',
    'moveStalledJobsToWait',
    'moveToActive',
    'nextJobFromJobData',
    'retryIfFailed',
    'stalledChecker',
    'updateDelays',
    'waitForJob',
    'waitForRateLimit',
    'whenCurrentJobsFinished',
  ],
  QueueEvents: ['base64Name', 'checkConnectionError', 'clientName', 'consumeEvents', 'createBackend', 'Job'],
  QueueEventsProducer: ['base64Name', 'checkConnectionError', 'clientName', 'createBackend', 'Job'],
  Job: [
    'createBackend',
    'getSpanOperation',
    'isInState',
    'recordJobMetrics',
    'setSpanJobAttributes',
    'shouldRetryJob',
    'updateStacktrace',
    'validateOptions',
  ],
  JobScheduler: [
    'base64Name',
    'checkConnectionError',
    'clientName',
    'createBackend',
    'getNextJobOpts',
    'getSchedulerData',
    'getSchedulerNextJobId',
    'getTemplateFromJSON',
    'Job',
    'transformSchedulerData',
  ],
  FlowProducer: [
    'addChildren',
    'addNode',
    'addNodes',
    'collectFlowEntry',
    'getChildren',
    'getNode',
    'Job',
    'queueFromNode',
    'toFlowError',
    'validateFlowJobs',
  ],
  Backend: [
    'addDelayedJob',
    'addDelayedJobArgs',
    'addParentJob',
    'addParentJobArgs',
    'addPrioritizedJob',
    'addPrioritizedJobArgs',
    'addStandardJob',
    'addStandardJobArgs',
    'changeDelayArgs',
    'changePriorityArgs',
    'drainArgs',
    'forwardConnectionEvents',
    'getCountsArgs',
    'getCountsPerPriorityArgs',
    'getDependencyCountsArgs',
    'getJobsArgs',
    'getKeepJobs',
    'getRangesArgs',
    'moveJobsToWaitArgs',
    'moveStalledJobsToWaitArgs',
    'moveToFinishedArgs',
    'pauseArgs',
    'removeArgs',
    'removeChildDependencyArgs',
    'removeOrphanedJobsBatch',
  ],
} as const;

const TABLES = [
  ['Queue', bullmq.Queue.prototype, queueRules],
  ['Worker', bullmq.Worker.prototype, workerRules],
  ['Job', bullmq.Job.prototype, jobRules],
  ['JobScheduler', bullmq.JobScheduler.prototype, schedulerRules],
  ['QueueEvents', bullmq.QueueEvents.prototype, queueEventsRules],
  ['QueueEventsProducer', bullmq.QueueEventsProducer.prototype, producerRules],
  ['FlowProducer', bullmq.FlowProducer.prototype, flowProducerRules],
  ['Backend', bullmq.RedisQueueBackend.prototype, backendRules],
] as const;

describe('tables', () => {
  it.each(TABLES)(
    '%s: every member of the real prototypes has a row or is known to be inside',
    (name, prototype, rules) => {
      const members = membersOf(prototype);
      const decided = new Set<string>([...Object.keys(rules), ...INSIDE[name]]);
      expect(members.filter((member) => !decided.has(member))).toEqual([]);
      // Nothing in the list that has gone from BullMQ, and nothing in both.
      expect(
        INSIDE[name].filter((member) => !members.includes(member) || Object.hasOwn(rules, member)),
      ).toEqual([]);
    },
  );

  it.each(TABLES)(
    '%s: every method that is not let through is guarded on our class',
    (name, prototype, rules) => {
      // The class of the scheduler is not exported: schedulers.test.ts looks at each of its methods.
      const target = {
        Queue: ours.Queue,
        Worker: ours.Worker,
        Job: ours.Job,
        QueueEvents: ours.QueueEvents,
        QueueEventsProducer: ours.QueueEventsProducer,
        FlowProducer: ours.FlowProducer,
        JobScheduler: undefined,
        Backend: undefined,
      }[name];
      if (target === undefined) return;
      for (const [member, rule] of Object.entries(rules)) {
        const guarded = rule.kind !== 'pass' && membersOf(prototype).includes(member);
        expect(Object.hasOwn(target.prototype, member), member).toBe(guarded);
      }
    },
  );

  it('every member of a real EventEmitter has a row', () => {
    const members = Object.getOwnPropertyNames(EventEmitter.prototype).filter(
      (member) => member !== 'constructor' && !member.startsWith('_'),
    );
    expect(members.filter((member) => !Object.hasOwn(emitterRules, member))).toEqual([]);
  });

  it('every refusal says why and what to use instead, in words', () => {
    const rows = [
      queueRules,
      workerRules,
      jobRules,
      schedulerRules,
      flowProducerRules,
      backendRules,
      jobOptionRules,
      queueOptionRules,
      workerOptionRules,
      flowOptionRules,
      exportRules,
    ]
      .flatMap((table) => Object.entries(table))
      .filter(([, rule]) => rule.kind === 'refuse');
    expect(rows.length).toBeGreaterThan(150);
    for (const [name, rule] of rows) {
      if (rule.kind !== 'refuse') continue;
      expect(rule.why, name).toMatch(/^[a-z].*[^.]$/);
      expect(rule.instead, name).toMatch(/^[A-Z].*\.$/);
    }
  });

  it('have no prototype', () => {
    for (const table of [queueRules, workerRules, jobRules, backendRules, jobOptionRules, exportRules]) {
      expect(Object.getPrototypeOf(table)).toBeNull();
      expect(Object.isFrozen(table)).toBe(true);
    }
  });

  it('every export of BullMQ is ours, the same, or missing, as its row says', () => {
    const own = ours as Readonly<Record<string, unknown>>;
    const theirs = bullmq as Readonly<Record<string, unknown>>;
    const real = Object.keys(bullmq).filter(
      (name) => !['default', '__esModule', 'module.exports'].includes(name),
    );
    expect(real.filter((name) => !Object.hasOwn(exportRules, name))).toEqual([]);
    for (const [name, rule] of Object.entries(exportRules)) {
      if (rule.kind === 'pass') expect(own[name], name).toBe(theirs[name]);
      else if (own[name] !== undefined) expect(own[name], name).not.toBe(theirs[name]);
      if (rule.kind === 'custom') expect(own[name], name).toBeDefined();
    }
  });

  // Whatever script of a newer BullMQ hands over a job has to be verified too.
  it('every script that prepares a job for processing is screened', () => {
    const folder = join(dirname(createRequire(import.meta.url).resolve('bullmq')), 'commands');
    const includes = new Map(
      readdirSync(join(folder, 'includes')).map((file) => [
        file.replace('.lua', ''),
        readFileSync(join(folder, 'includes', file), 'utf8'),
      ]),
    );
    const prepares = (source: string): boolean =>
      [...source.matchAll(/@include "(?:includes\/)?(\w+)"/g)].some(
        ([, name = '']) => name === 'prepareJobForProcessing' || prepares(includes.get(name) ?? ''),
      );
    const scripts = readdirSync(folder)
      .filter((file) => file.endsWith('.lua') && prepares(readFileSync(join(folder, file), 'utf8')))
      .map((file) => file.replace(/-\d+\.lua$/, ''));
    expect(scripts.toSorted()).toEqual([...PICK_UPS].toSorted());
  });
});

describe('types', () => {
  interface NewerQueue extends bullmq.Queue {
    removeEverything(): Promise<void>;
  }
  interface NewerEvents extends bullmq.WorkerListener {
    peeked: (job: bullmq.Job) => void;
  }
  interface NewerOptions extends bullmq.JobsOptions {
    runAs?: string;
  }

  it('a BullMQ with one more method, event or option does not compile', () => {
    expectTypeOf<typeof queueRules>().toExtend<Rules<Members<bullmq.Queue>, never, ClientCustom>>();
    // @ts-expect-error -- nobody has decided about removeEverything
    queueRules satisfies Rules<Members<NewerQueue>, never, ClientCustom>;
    // @ts-expect-error -- nobody has decided about peeked
    workerEventRules satisfies Rules<keyof NewerEvents, never, EventCustom>;
    // @ts-expect-error -- nobody has decided about runAs
    jobOptionRules satisfies Readonly<Record<keyof NewerOptions, unknown>>;
    // @ts-expect-error -- a row for what BullMQ does not have is a mistake too
    ({ ...queueEventRules, peeked: queueEventRules.error }) satisfies Rules<
      keyof bullmq.QueueListener,
      never,
      QueueEventCustom
    > & { peeked?: never };
  });

  it('the classes stand where BullMQ’s are asked for, with the same type parameters', () => {
    expectTypeOf<ours.Queue<{ n: number }, string, 'a'>>().toExtend<
      bullmq.Queue<{ n: number }, string, 'a'>
    >();
    expectTypeOf<ours.Worker<{ n: number }, string, 'a'>>().toExtend<
      bullmq.Worker<{ n: number }, string, 'a'>
    >();
    expectTypeOf<bullmq.Job<{ n: number }>>().toExtend<ours.Job<{ n: number }>>();
    const typed = (queue: ours.Queue<{ n: number }, string, 'a'>) => queue.add('a', { n: 1 });
    expectTypeOf(typed).returns.resolves.toHaveProperty('data').toEqualTypeOf<{ n: number }>();
    // @ts-expect-error -- the name is not one of the queue
    void ((queue: ours.Queue<{ n: number }, string, 'a'>) => queue.add('b', { n: 1 }));
    // @ts-expect-error -- the data is not that of the queue
    void ((queue: ours.Queue<{ n: number }, string, 'a'>) => queue.add('a', { n: '1' }));
    // Without parameters a job's data is as loose as in BullMQ.
    void ((queue: ours.Queue) => queue.add('x', { anything: true }));
  });

  it('an option that does not exist, and one that is refused, are not in the types', () => {
    expectTypeOf<ours.QueueOptions>().not.toHaveProperty('settings');
    expectTypeOf<ours.WorkerOptions>().toHaveProperty('useWorkerThreads');
    expectTypeOf<ours.QueueTenantOptions>().not.toHaveProperty('subjects');
    expectTypeOf<ours.QueueTenantOptions>().toHaveProperty('signingKeys');
  });
});

function membersOf(prototype: object): string[] {
  const members = new Set<string>();
  for (
    let at: object | null = prototype;
    at !== null && at !== EventEmitter.prototype && at !== Object.prototype;
    at = Object.getPrototypeOf(at) as object | null
  ) {
    for (const name of Object.getOwnPropertyNames(at)) members.add(name);
  }
  members.delete('constructor');
  // What BullMQ overrides only to give it types.
  for (const name of Object.keys(emitterRules)) members.delete(name);
  return [...members];
}
