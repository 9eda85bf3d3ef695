import { Job } from 'bullmq';
import { OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import {
  checkJobOptions,
  checkTurn,
  jobOptionRules,
  readOptions,
  storedOptions,
} from '../src/job-options.ts';

/** For each option that is let through: what it may hold, what it becomes, what it must not hold, and what is advised. */
const ACCEPTED: {
  readonly [
    Name in keyof typeof jobOptionRules as (typeof jobOptionRules)[Name] extends { kind: 'rewrite' }
      ? Name
      : never
  ]: {
    readonly good: readonly (readonly [unknown, unknown?])[];
    readonly bad: readonly unknown[];
    readonly hint?: string;
  };
} = {
  jobId: { good: [['x'], [7], [null]], bad: [] },
  deduplication: {
    good: [
      [{ id: 'x' }],
      [{ id: 'é ~:', ttl: 0, extend: true, replace: false, reschedule: true, keepLastIfActive: false }],
      [{ id: 'x', ttl: 99_999_999_999_999 }],
    ],
    bad: [
      'x',
      {},
      { id: '' },
      { id: 7 },
      { id: '\ud800' },
      { id: 'x', ttl: -1 },
      { id: 'x', ttl: 1.5 },
      { id: 'x', ttl: 100_000_000_000_000 },
      { id: 'x', extend: 1 },
      { id: 'x', other: true },
      null,
    ],
    hint: 'Use { id, ttl, extend, replace, reschedule, keepLastIfActive }, with text as id and ttl in whole milliseconds.',
  },
  timestamp: bounded(
    counts('Use whole milliseconds since the epoch, at most 8640000000000000: Math.trunc(seconds * 1000).'),
  ),
  priority: counts('Use an integer from 0 to 2097151.'),
  delay: bounded(times('Use a number of milliseconds, at most 8640000000000000.')),
  attempts: counts('Use a number of attempts.'),
  backoff: {
    good: [
      [0],
      [1.5],
      [1 / 3, 0.333_333_333_333_33],
      [{ type: 'fixed' }],
      [
        { type: 'é', delay: 1 / 3, jitter: 1 / 3 },
        { type: 'é', delay: 0.333_333_333_333_33, jitter: 0.333_333_333_333_33 },
      ],
      [{ type: '', delay: 0, jitter: 0 }],
      [{ type: 'x', jitter: 1 }],
    ],
    bad: [
      -1,
      '1',
      NaN,
      {},
      { type: 7 },
      { type: '\ud800' },
      { type: 'toString' },
      { type: '__proto__' },
      8_640_000_000_000_001,
      { type: 'fixed', delay: 8_640_000_000_000_001 },
      { type: 'fixed', delay: -1 },
      { type: 'fixed', jitter: -0.1 },
      { type: 'fixed', jitter: 1.1 },
      { type: 'fixed', more: 1 },
    ],
    hint: 'Use at most 8640000000000000 milliseconds, or { type, delay, jitter }.',
  },
  lifo: { good: [[true], [false]], bad: [1, 'true', null], hint: 'Use true or false.' },
  removeOnComplete: keeps(),
  removeOnFail: keeps(),
  keepLogs: counts('Use a number of log rows.'),
  stackTraceLimit: counts('Use a number of stack traces.'),
  sizeLimit: counts('Use a number of bytes.'),
  telemetry: {
    good: [[{}], [{ metadata: 'x' }], [{ metadata: '', omitContext: true }]],
    bad: ['x', null, { metadata: 7 }, { metadata: '\ud800' }, { omitContext: 1 }, { more: 1 }],
    hint: 'Use { metadata, omitContext }.',
  },
  parent: {
    good: [[{ id: 'p', queue: 'bull:mail' }], [{ id: '', queue: '' }]],
    bad: [
      'p',
      null,
      {},
      { id: 'p' },
      { id: 7, queue: 'q' },
      { id: '\ud800', queue: 'q' },
      { id: 'p', queue: 'q', more: 1 },
    ],
    hint: 'Use { id: job.id, queue: job.queueQualifiedName } of the parent.',
  },
  failParentOnFailure: switches(),
  continueParentOnFailure: switches(),
  ignoreDependencyOnFailure: switches(),
  removeDependencyOnFailure: switches(),
};

function switches() {
  return { good: [[true], [false]], bad: [1, 'true', null], hint: 'Use true or false.' } as const;
}

function counts(hint: string) {
  return {
    good: [[0], [-0, 0], [3], [984_632_603_395_485, 984_632_603_395_490]],
    bad: [-1, 1.5, '1', true, null, NaN, Infinity],
    hint,
  } as const;
}

function times(hint: string) {
  return {
    good: [[0], [1.5], [1 / 3, 0.333_333_333_333_33], [-1, 0], [-0.5, 0]],
    bad: ['1', null, NaN, Infinity, -Infinity],
    hint,
  } as const;
}

/** No later than a Date can be: what is due after that never is. */
function bounded<Row extends { readonly good: readonly unknown[]; readonly bad: readonly unknown[] }>(
  row: Row,
) {
  const latest = 8_640_000_000_000_000;
  return { ...row, good: [...row.good, [latest]], bad: [...row.bad, latest + 1] };
}

function keeps() {
  return {
    good: [
      [true],
      [false],
      [0],
      [-1],
      [5],
      [{ count: 0 }],
      [{ count: -1 }],
      [{ age: 0 }],
      [
        { age: 1 / 3, count: 5, limit: 10_000 },
        { age: 0.333_333_333_333_33, count: 5, limit: 10_000 },
      ],
    ],
    bad: [
      -2,
      1.5,
      NaN,
      'true',
      null,
      {},
      { count: -2 },
      { count: '1' },
      { count: 1, limit: 1 },
      { age: -1 },
      { age: '1' },
      { age: 1, count: 0.5 },
      { age: 1, limit: 0 },
      { age: 1, limit: 10_001 },
      { age: 1, more: 1 },
      [],
    ],
    hint: 'Use true, false, a number of jobs, or { age, count, limit } with age in seconds.',
  } as const;
}

const REFUSED: {
  readonly [
    Name in keyof typeof jobOptionRules as (typeof jobOptionRules)[Name] extends { kind: 'refuse' }
      ? Name
      : never
  ]: RegExp;
} = {
  debounce: /it is no option of BullMQ 6 any more/,
  repeat: /belongs to schedulers/,
  repeatJobKey: /belongs to schedulers/,
  prevMillis: /belongs to schedulers/,
};

function refusalOf(call: () => unknown): OperationRefusedError {
  try {
    call();
  } catch (error) {
    if (error instanceof OperationRefusedError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('options of jobs', () => {
  it.each(Object.entries(ACCEPTED))('%s', (name, { good, bad, hint = '' }) => {
    for (const [value, kept = value] of good) {
      const checked = checkJobOptions('add', { [name]: value });
      expect(checked).toEqual({ [name]: kept });
      expect(Object.is(checked[name], kept) || typeof kept === 'object').toBe(true);
    }
    for (const value of bad) {
      const error = refusalOf(() => checkJobOptions('add', { [name]: value }));
      expect(error).toMatchObject({ operation: 'add(options)', surface: 'queue', instead: hint });
      expect(error.why).toBe(`the option ${name} holds what it must not`);
    }
    // Not given is not given.
    expect(checkJobOptions('add', { [name]: undefined })).toEqual({});
    expect(Object.keys(checkJobOptions('add', { [name]: undefined }))).toEqual([]);
  });

  it.each(Object.entries(REFUSED))('%s is refused, whatever it holds', (name, why) => {
    for (const value of [undefined, null, true, 'x', {}]) {
      const error = refusalOf(() => checkJobOptions('addBulk', { [name]: value }));
      expect(error.message).toMatch(why);
      expect(error.operation).toBe('addBulk(options)');
      expect(error.instead).toMatch(/refused today: |^Use /);
    }
  });

  it('are all there are: each is accepted or refused here', () => {
    expect([...Object.keys(ACCEPTED), ...Object.keys(REFUSED)].toSorted()).toEqual(
      Object.keys(jobOptionRules).toSorted(),
    );
    for (const name of ['runAs', 'tk!', '__proto__', 'constructor', 'toString', 'JobId', '']) {
      const given: unknown = JSON.parse(`{${JSON.stringify(name)}:1}`);
      const error = refusalOf(() => checkJobOptions('add', given as object));
      const what = /^[A-Za-z]+$/.test(name) ? `the option ${name}, which` : 'an option that';
      expect(error.why).toBe(`the job has ${what} is not in the table of job options`);
      expect(error.instead).toBe('Remove it, or put it into the data of the job.');
    }
    expect(checkJobOptions('add', { attempts: 3, lifo: false })).toEqual({ attempts: 3, lifo: false });
  });

  it('leave others their turn: a lifo job that is retried has a delay', () => {
    const bad = [
      { lifo: true, attempts: 2 },
      { lifo: true, attempts: 2, backoff: 0 },
      { lifo: true, attempts: 2, backoff: { type: 'fixed' } },
      { lifo: true, attempts: 2, backoff: { type: 'fixed', delay: 0 } },
      { lifo: true, attempts: 2, backoff: null },
      { lifo: true, attempts: 2, backoff: '5' },
    ];
    for (const options of bad) {
      const error = refusalOf(() => checkTurn('add', options));
      expect(error.why).toMatch(/^a lifo job that is retried at once stands before/);
      expect(error.instead).toBe('Give it a backoff, or leave lifo or attempts out.');
      expect(error.operation).toBe('add(options)');
    }
    for (const options of [
      {},
      { lifo: true },
      { lifo: true, attempts: 0 },
      { lifo: true, attempts: 1 },
      { lifo: false, attempts: 9 },
      { attempts: 9 },
      { lifo: true, attempts: 2, backoff: 1 },
      { lifo: true, attempts: 2, backoff: { type: 'fixed', delay: 1 } },
    ]) {
      expect(() => checkTurn('add', options)).not.toThrow();
    }
  });

  it('are stored under short keys', () => {
    expect(
      storedOptions({
        attempts: 3,
        keepLogs: 5,
        telemetry: { metadata: 'm', omitContext: true },
        deduplication: { id: 'x' },
      }),
    ).toEqual({ attempts: 3, kl: 5, tm: 'm', omc: true, de: { id: 'x' } });
    expect(storedOptions({ telemetry: {} })).toEqual({ tm: undefined, omc: undefined });
    expect(storedOptions({ telemetry: undefined })).toEqual({ tm: undefined, omc: undefined });
    // What every object has is the name of no option.
    expect(Object.keys(storedOptions({ constructor: 1, toString: 2 }))).toEqual(['constructor', 'toString']);
  });

  it('are read from under them as BullMQ reads them', () => {
    const options = {
      attempts: 3,
      keepLogs: 5,
      telemetry: { metadata: 'm', omitContext: true },
      deduplication: { id: 'x' },
      failParentOnFailure: true,
      removeOnFail: { age: 1, count: 2 },
      backoff: { type: 'fixed', delay: 1 },
      'tk!': 'a header',
    };
    const stored = storedOptions(options);
    expect(readOptions(stored)).toEqual(options);
    for (const some of [
      stored,
      { omc: false },
      { tm: 'm' },
      { omc: true, tm: 'm' },
      {},
      { tm: null, toJSON: 1 },
    ])
      expect(readOptions(some)).toEqual(Job.optsFromJSON(JSON.stringify(some)));
    expect(readOptions({ constructor: 1 })).toEqual({ constructor: 1 });
  });

  it('have no prototype that a text of JSON gives them', () => {
    const read = readOptions(
      JSON.parse('{"__proto__":{"parent":{"id":"x"}},"attempts":2}') as Record<string, unknown>,
    );
    expect([Reflect.ownKeys(read), read.parent, Object.getPrototypeOf(read)]).toEqual([
      ['attempts'],
      undefined,
      Object.prototype,
    ]);
  });
});
