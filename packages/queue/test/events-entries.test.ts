import { describe, expect, it } from 'vitest';
import { eventFields, isOfBullmq, readEntry, writeCustom } from '../src/events/entries.ts';
import { jobNames } from '../src/names.ts';

const names = jobNames();
const read = (...fields: readonly string[]): unknown => readEntry(names, 'acme', fields);
const ITERATION = 'repeat:s:1700000000000';

/** Of each event an entry as BullMQ writes it, and what its tenant hears. */
const ENTRIES: Readonly<Record<keyof typeof eventFields, readonly [fields: string[], args: object]>> = {
  active: [['jobId', 'acme~7', 'prev', 'waiting'], { jobId: '7', prev: 'waiting' }],
  added: [['jobId', 'acme~7', 'name', 'n'], { jobId: '7', name: 'n' }],
  cleaned: [['count', '3'], { count: '3' }],
  completed: [
    ['jobId', 'acme~7', 'returnvalue', '{"a":1}', 'prev', 'active'],
    { jobId: '7', returnvalue: { a: 1 }, prev: 'active' },
  ],
  deduplicated: [
    ['jobId', 'acme~7', 'deduplicationId', 'd', 'deduplicatedJobId', 'acme~8'],
    { jobId: '7', deduplicationId: 'd', deduplicatedJobId: '8' },
  ],
  delayed: [['jobId', 'acme~7', 'delay', '1700000000000'], { jobId: '7', delay: 1_700_000_000_000 }],
  drained: [[], {}],
  duplicated: [['jobId', 'acme~7'], { jobId: '7' }],
  failed: [
    ['jobId', ITERATION, 'failedReason', 'why', 'prev', 'active'],
    { jobId: ITERATION, failedReason: 'why', prev: 'active' },
  ],
  paused: [[], {}],
  progress: [['jobId', 'acme~7', 'data', '50'], { jobId: '7', data: 50 }],
  removed: [['jobId', 'acme~7', 'prev', 'failed'], { jobId: '7', prev: 'failed' }],
  resumed: [[], {}],
  'retries-exhausted': [['jobId', 'acme~7', 'attemptsMade', '3'], { jobId: '7', attemptsMade: '3' }],
  stalled: [['jobId', 'acme~7'], { jobId: '7' }],
  waiting: [['jobId', 'acme~7', 'prev', 'delayed'], { jobId: '7', prev: 'delayed' }],
  'waiting-children': [['jobId', 'acme~7', 'prev', 'active'], { jobId: '7', prev: 'active' }],
};
const rows = Object.entries(ENTRIES).map(([event, [fields, args]]) => ({ event, fields, args }));

describe('an entry of a stream', () => {
  it.each(rows)('$event is heard with the fields of its table, and no other', ({ event, fields, args }) => {
    const heard = {
      event,
      args: event === 'drained' ? undefined : args,
      jobId: 'jobId' in args ? args.jobId : undefined,
    };
    expect(read('event', event, ...fields)).toEqual(heard);
    // Whoever can write to Redis may have added what nobody has decided about, or half of a pair.
    expect(read('event', event, ...fields, 'secret', 'x', 'more')).toEqual(heard);
    expect(Object.keys((eventFields as Record<string, object>)[event] ?? {})).toEqual(
      expect.arrayContaining(Object.keys(args)),
    );
  });

  it('says where its job came from only if it does', () => {
    const heard = { event: 'waiting', args: { jobId: '7' }, jobId: '7' };
    expect(read('event', 'waiting', 'jobId', 'acme~7')).toStrictEqual(heard);
    expect(read('event', 'waiting', 'jobId', 'acme~7', 'prev')).toStrictEqual(heard);
  });

  it.each(rows.filter(({ fields }) => fields.includes('jobId')))(
    '$event is nobody’s that names a job of another tenant, or none',
    ({ event, fields }) => {
      const at = fields.indexOf('jobId') + 1;
      for (const id of ['acme2~7', '7', '', 'acme', 'acm~7', 'acme2~repeat:s:1700000000000'])
        expect(read('event', event, ...fields.with(at, id)), id).toBeUndefined();
      expect(read('event', event, ...fields.toSpliced(at - 1, 2))).toBeUndefined();
    },
  );

  it('is none that lacks a field, or holds another kind of thing in one', () => {
    const job = ['jobId', 'acme~7'];
    expect(
      read('event', 'deduplicated', ...job, 'deduplicationId', 'd', 'deduplicatedJobId', 'acme2~8'),
    ).toBe(undefined);
    expect(read('event', 'failed', ...job)).toBeUndefined();
    for (const text of ['', 'x', 'NaN', 'Infinity', '1e999'])
      expect(read('event', 'delayed', ...job, 'delay', text), text).toBeUndefined();
    expect(read('event', 'delayed', ...job, 'delay', '0')).toMatchObject({ args: { delay: 0 } });
    // BullMQ would end its loop over it.
    for (const text of ['', '{', 'undefined'])
      expect(read('event', 'progress', ...job, 'data', text), text).toBeUndefined();
    expect(read('event', 'progress', ...job, 'data', 'null')).toMatchObject({ args: { data: null } });
  });

  it('is none under a name that is in no table', () => {
    for (const event of ['', 'error', 'ioredis:close', '__proto__', 'constructor', 'toString', 'Completed'])
      expect(read('event', event, 'jobId', 'acme~7'), event).toBeUndefined();
    expect(read()).toBeUndefined();
    expect(read('event')).toBeUndefined();
    expect(read('jobId', 'acme~7', 'prev', 'waiting')).toBeUndefined();
    expect(Object.isFrozen(eventFields)).toBe(true);
    expect(Object.getPrototypeOf(eventFields)).toBeNull();
  });
});

describe('a custom event', () => {
  const custom = (data: string): unknown => read('event', 'tenantkit:custom', 'data', data);

  it('is heard as it was published', () => {
    const fields = writeCustom('mine', { jobId: 'acme2~7', text: 'x' });
    expect(fields).toEqual({
      event: 'tenantkit:custom',
      data: '["mine",{"jobId":"acme2~7","text":"x"}]',
    });
    expect(read(...Object.entries(fields).flat())).toEqual({
      event: 'mine',
      args: { jobId: 'acme2~7', text: 'x' },
      jobId: 'acme2~7',
    });
    expect(custom('["mine",{}]')).toEqual({ event: 'mine', args: {}, jobId: undefined });
  });

  it('takes the place of none of BullMQ’s, nor of one of ours', () => {
    for (const name of [
      'completed',
      'completed:7',
      'waiting-children',
      'error',
      'ioredis:close',
      'newListener',
      'removeListener',
      'tenantkit:refused',
    ]) {
      expect(isOfBullmq(name), name).toBe(true);
      expect(custom(JSON.stringify([name, {}])), name).toBeUndefined();
    }
    for (const name of ['mine', 'Completed', 'completed-7', '', ':completed', 'ioredis2', '__proto__'])
      expect(isOfBullmq(name), name).toBe(false);
  });

  it('is none that holds another thing than a name and texts', () => {
    for (const data of [
      '',
      '{',
      'null',
      '[]',
      '["mine"]',
      '[1,{}]',
      '["mine",{"a":1}]',
      '["mine",{},1]',
      '["mine",[]]',
    ])
      expect(custom(data), data).toBeUndefined();
    expect(read('event', 'tenantkit:custom')).toBeUndefined();
  });
});
