import { OperationRefusedError } from '@tenantkit/core';
import { expect, it } from 'vitest';
import { toList } from '../src/list.ts';

it('the elements of an array, by none of its methods', () => {
  const given = Object.assign(Array.from({ length: 3 }), {
    0: 1,
    2: 3,
    map: () => ['other'],
    [Symbol.iterator]: () => ['other'][Symbol.iterator](),
  });
  expect(toList(given, 'addBulk')).toEqual([1, undefined, 3]);
  expect(toList([], 'addBulk')).toEqual([]);
});

it('nothing else', () => {
  for (const bad of [undefined, null, 'jobs', { length: 1, 0: 'a' }, new Set([1]), new Uint8Array(1)]) {
    expect(() => toList(bad, 'addBulk')).toThrow(OperationRefusedError);
    expect(() => toList(bad, 'addBulk')).toThrow(
      /^queue\.addBulk is refused: the jobs are no array\. Give an array of \{ name, data, opts \}\.$/,
    );
  }
});
