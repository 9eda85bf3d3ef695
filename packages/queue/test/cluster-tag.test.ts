import { describe, expect, it } from 'vitest';
import { checkOneSlot, tagOf } from '../src/cluster.ts';

describe('the hash tag of a key', () => {
  it.each([
    ['bull:mail', undefined],
    ['', undefined],
    ['{bull}:mail', 'bull'],
    ['bull:{mail}', 'mail'],
    ['a{b}c:{d}', 'b'],
    ['{{a}}', '{a'],
    // As Redis has it: without anything between the first two, the whole key decides.
    ['{}:{mail}', undefined],
    ['}{a}', 'a'],
    ['{mail', undefined],
    ['mail}', undefined],
    ['{', undefined],
  ])('of %j is %j', (key, tag) => {
    expect(tagOf(key)).toBe(tag);
  });

  it('is the same for all jobs of a flow', () => {
    expect(() => checkOneSlot(['{a}:x', '{a}:y', 'z{a}'])).not.toThrow();
    expect(() => checkOneSlot([])).not.toThrow();
    expect(() => checkOneSlot(['{a}:x', '{b}:x'])).toThrow(
      expect.objectContaining({ code: 'OPERATION_REFUSED', surface: 'queue', operation: 'add' }),
    );
  });
});
