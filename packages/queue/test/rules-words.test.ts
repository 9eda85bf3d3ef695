import { describe, expect, it } from 'vitest';
import { queueOptionRules, workerOptionRules } from '../src/client-options.ts';
import { jobOptionRules } from '../src/job-options.ts';
import {
  backendRules,
  emitterRules,
  jobRules,
  queueEventRules,
  queueRules,
  workerEventRules,
  workerRules,
} from '../src/rules.ts';

interface Row {
  readonly kind: string;
  readonly why?: string;
  readonly instead?: string;
  readonly custom?: string;
}

const CLIENT = ['scoped', 'shared', 'cancel', 'bulk'];
const EVENT = ['job', 'id', 'ids', 'idsIn'];

/** Each table, and what its `custom` rows may say. */
const TABLES: readonly (readonly [string, Readonly<Record<string, Row>>, readonly string[]])[] = [
  ['queueRules', queueRules, CLIENT],
  ['workerRules', workerRules, CLIENT],
  ['jobRules', jobRules, CLIENT],
  ['backendRules', backendRules, ['add', 'addBulk', 'read', 'byId', 'byIdInState', 'extendLock']],
  ['queueEventRules', queueEventRules, EVENT],
  ['workerEventRules', workerEventRules, EVENT],
  ['emitterRules', emitterRules, ['register', 'unregister', 'unregisterAll', 'emit', 'listed', 'counted']],
  ['queueOptionRules', queueOptionRules, []],
  ['workerOptionRules', workerOptionRules, []],
  ['jobOptionRules', jobOptionRules, []],
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
