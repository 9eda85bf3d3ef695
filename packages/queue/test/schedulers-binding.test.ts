import { describe, expect, it } from 'vitest';
import { bindingOf } from '../src/verify.ts';

const ID = 'repeat:nightly:1700000000000';
const where = { prefix: 'bull', queue: 'mail', id: ID };
const hash = { name: 'n', data: '{"a":1}', rjk: 'nightly' };
const options = {
  attempts: 3,
  jobId: ID,
  repeatJobKey: 'nightly',
  prevMillis: 1_700_000_000_000,
  delay: 17,
  timestamp: 1_699_999_999_983,
  repeat: { every: 1_000, count: 4 },
};
const bound = (more: object = {}, stored: object = {}): unknown =>
  bindingOf({ ...hash, ...stored }, { ...options, ...more }, where);
const refused = (reason: string): unknown => expect.objectContaining({ code: 'SIGNATURE_INVALID', reason });

describe('a job that a scheduler has made', () => {
  it('is bound to the template and the schedule, and not to what BullMQ computes for each of them', () => {
    const binding = {
      prefix: 'bull',
      queue: 'mail',
      name: 'n',
      id: '',
      scheduler: 'nightly',
      parentKey: '',
      parent: '',
      deduplication: '',
      options: '{"attempts":3,"repeat":{"every":1000}}',
      data: '{"a":1}',
    };
    expect(bound()).toEqual(binding);
    expect(bound({ delay: 0, timestamp: 5, repeat: { every: 1_000, count: 900 } })).toEqual(binding);
    const { prevMillis: _millis, delay: _delay, timestamp: _timestamp, ...least } = options;
    expect(bindingOf(hash, least, where)).toEqual(binding);
    // What is signed is another thing where anything else is changed.
    expect(bound({ attempts: 4 })).not.toEqual(binding);
    expect(bound({ repeat: { every: 999, count: 4 } })).not.toEqual(binding);
    expect(bound({}, { data: '{"a":2}' })).toMatchObject({ data: '{"a":2}' });
    expect(bindingOf({ rjk: 'nightly' }, options, where)).toMatchObject({ name: '', data: '' });
  });

  // Each of them would let one genuine header run as another job: under another id, of another scheduler, at another
  // time, or with a parent or a deduplication that nobody has signed.
  it.each([
    ['another scheduler in the hash', {}, { rjk: 'daily' }],
    ['no scheduler in the hash', {}, { rjk: undefined }],
    ['another scheduler in the options', { repeatJobKey: 'daily' }, {}],
    ['another id in the options', { jobId: 'acme~7' }, {}],
    ['another time', { prevMillis: 1_700_000_000_001 }, {}],
    ['a count that is no number', { repeat: { every: 1_000, count: '4' } }, {}],
    ['no count', { repeat: { every: 1_000 } }, {}],
    ['no schedule', { repeat: undefined }, {}],
    ['a delay that is no number', { delay: '17' }, {}],
    ['an endless delay', { delay: Infinity }, {}],
    ['a time of adding that is no number', { timestamp: null }, {}],
    ['the key of a parent', {}, { parentKey: 'bull:reports~acme:acme~7' }],
    ['an empty key of a parent', {}, { parentKey: '' }],
    ['a parent', {}, { parent: '{"id":"acme~7"}' }],
    ['a deduplication', {}, { deid: 'd' }],
  ])('is refused with %s', (_what, more, stored) => {
    expect(() => bound(more, stored)).toThrow(refused('mismatch'));
  });

  it('is not one of which only the options say so', () => {
    const other = bindingOf({ ...hash, rjk: 'nightly' }, options, { ...where, id: 'acme~7' });
    expect(other).toMatchObject({ id: 'acme~7', scheduler: 'nightly' });
    expect(other.options).toContain('"prevMillis":1700000000000');
  });
});
