import { describe, expect, it } from 'vitest';
import { flowOptionRules, queueOptionRules, workerOptionRules } from '../src/client-options.ts';
import { eventsOptionRules, producerOptionRules } from '../src/events/options.ts';
import { jobOptionRules } from '../src/job-options.ts';
import {
  backendRules,
  emitterRules,
  flowEventRules,
  flowProducerRules,
  jobRules,
  producerRules,
  queueEventRules,
  queueEventsRules,
  queueRules,
  schedulerEventRules,
  schedulerRules,
  workerEventRules,
  workerRules,
  type BackendCustom,
  type ClientCustom,
} from '../src/rules.ts';

interface Row {
  readonly kind: string;
  readonly why?: string;
  readonly instead?: string;
  readonly custom?: string;
}

/** All of a union, so that a new one needs its word here. */
const all = <Word extends string>(words: Readonly<Record<Word, true>>): string[] => Object.keys(words);
const CLIENT = all<ClientCustom>({
  scoped: true,
  shared: true,
  cancel: true,
  bulk: true,
  counted: true,
  dates: true,
  tree: true,
  jobs: true,
  jobScheduler: true,
  moves: true,
  obliterates: true,
  waits: true,
});
const BACKEND = all<BackendCustom>({
  add: true,
  addBulk: true,
  read: true,
  byIdInState: true,
  jobs: true,
  ranges: true,
  counts: true,
  countsPerPriority: true,
  metrics: true,
  rateLimitTtl: true,
  isMaxed: true,
  meta: true,
  metaField: true,
  metaFields: true,
  hasMetaField: true,
  byId: true,
  updateProgress: true,
  addLog: true,
  getJobLogs: true,
  clearLogs: true,
  extendLock: true,
  remove: true,
  retry: true,
  promote: true,
  changeDelay: true,
  changePriority: true,
  updateData: true,
  complete: true,
  fail: true,
  delay: true,
  wait: true,
  retryNow: true,
  pause: true,
  drain: true,
  clean: true,
  obliterate: true,
  retryAll: true,
  promoteAll: true,
  trimEvents: true,
  removePriorityKey: true,
  deduplicated: true,
  deduplicatedBy: true,
  deduplicating: true,
  isScheduler: true,
  upsertScheduler: true,
  removeScheduler: true,
  scheduler: true,
  schedulerData: true,
  schedulers: true,
  schedulersCount: true,
  publishEvent: true,
  isFinished: true,
  childrenValues: true,
  childrenFailures: true,
  dependencies: true,
  dependencyCounts: true,
  removeChildDependency: true,
  removeUnprocessedChildren: true,
  waitForChildren: true,
});
const EVENT = ['job', 'id', 'ids', 'idsIn', 'caller'];

/** Each table, and what its `custom` rows may say. */
const TABLES: readonly (readonly [string, Readonly<Record<string, Row>>, readonly string[]])[] = [
  ['queueRules', queueRules, CLIENT],
  ['workerRules', workerRules, CLIENT],
  ['jobRules', jobRules, CLIENT],
  ['flowProducerRules', flowProducerRules, CLIENT],
  ['schedulerRules', schedulerRules, CLIENT],
  ['schedulerEventRules', schedulerEventRules, EVENT],
  ['backendRules', backendRules, BACKEND],
  ['queueEventsRules', queueEventsRules, CLIENT],
  ['producerRules', producerRules, CLIENT],
  ['queueEventRules', queueEventRules, EVENT],
  ['workerEventRules', workerEventRules, EVENT],
  ['flowEventRules', flowEventRules, EVENT],
  ['emitterRules', emitterRules, ['register', 'unregister', 'unregisterAll', 'emit', 'listed', 'counted']],
  ['queueOptionRules', queueOptionRules, []],
  ['workerOptionRules', workerOptionRules, []],
  ['flowOptionRules', flowOptionRules, []],
  ['jobOptionRules', jobOptionRules, []],
  ['eventsOptionRules', eventsOptionRules, []],
  ['producerOptionRules', producerOptionRules, []],
];

describe.each(TABLES)('%s', (_name, table, customs) => {
  it.each(Object.entries(table))(
    '%s says what it does, in words',
    (_row, { kind, why = '', instead = '', custom = '' }) => {
      expect(['custom', 'pass', 'refuse', 'rewrite']).toContain(kind);
      if (kind === 'custom') expect(customs).toContain(custom);
      if (kind === 'pass' || kind === 'refuse') expect(why).toMatch(/^[a-z]+(?: [^ ]+)+$/);
      if (kind === 'refuse') expect(instead).toMatch(/^[A-Z][a-z]+(?: [^ ]+)+\.$/);
    },
  );
});
