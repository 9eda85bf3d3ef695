import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { innerId, isStray, laneId, logicalId, outerId } from '../src/lanes/ids.ts';
import { checkId, jobNames } from '../src/names.ts';
import { checkSchedulerId, isIteration, iterationOf } from '../src/schedulers/ids.ts';

const names = jobNames();
const millis = fc.integer({ min: 1e12, max: 2e12 });
const part = fc.constantFrom('repeat', 'tick', 'acme~', 'acme2~', ':', '1700000000000', '5', '~', 'ü');
/** Ids that read like one of another kind. */
const anyId = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));

describe('the id of a scheduler', () => {
  const says = (id: unknown): string => {
    try {
      return checkSchedulerId('upsertJobScheduler', id);
    } catch (error) {
      return (error as Error).message;
    }
  };

  it('is any text that makes no key of another one’s', () => {
    for (const id of [
      's',
      '42',
      'a:b',
      'repeat:s',
      ':',
      'at:123456789',
      '1700000000000',
      's:n1700000000000',
      'ü',
    ])
      expect(says(id)).toBe(id);
    // `repeat:s:1700000000000` is a job of the scheduler `s`: a scheduler of that name would be stored in its place.
    for (const id of ['s:1700000000000', ':1700000000', 's:1700000000000:x', 's:17000000000000000000'])
      expect(says(id)).toBe(
        'queue.upsertJobScheduler is refused: the scheduler id holds ":" and ten digits behind it, as the ids have that BullMQ gives to the jobs of schedulers. Put a letter before the digits, for example "report:n4242424242".',
      );
    for (const id of ['', undefined, null, 7, ['s'], { toString: () => 's' }, 'lone \ud800'])
      expect(says(id)).toBe(
        'queue.upsertJobScheduler is refused: a scheduler id must be well-formed text that is not empty. Use text, for example "nightly-report".',
      );
  });

  it('is not read out of what only begins like the id of one of its jobs', () => {
    for (const id of [
      'repeat:s:1700000000000:logs',
      'repeat:s:170000000',
      'repeat:s:17000000000000000',
      'repeat::1700000000000',
      'repeat:1700000000000',
      'xrepeat:s:1700000000000',
      'repeat:s:1700000000000\n',
      '',
    ])
      expect([iterationOf(id), isIteration(id)], id).toEqual([undefined, false]);
    expect(isIteration('repeat:a:b\nc:1700000000000')).toBe(true);
  });
});

describe('ids of what schedulers make', () => {
  it('say their scheduler and their time, whatever the scheduler is called', () => {
    fc.assert(
      fc.property(anyId, millis, (scheduler, at) => {
        expect(iterationOf(`repeat:${scheduler}:${at}`)).toEqual({ scheduler, millis: at });
      }),
    );
  });

  it('each id of a lane has one name outside of it, and that one leads back', () => {
    fc.assert(
      fc.property(anyId, anyId, (one, other) => {
        const [outer, second] = [outerId(names, 'acme', one), outerId(names, 'acme', other)];
        expect(innerId(names, 'acme', outer)).toBe(one);
        expect(outer === second).toBe(one === other);
        expect(names.tenantOf(outer)).toBe('acme');
      }),
    );
  });

  it('what a tenant may know is no stray, and is found under the name that it is shown by', () => {
    fc.assert(
      fc.property(anyId, (id) => {
        const logical = logicalId(names, 'acme', id);
        if (logical === undefined || !isNamed(logical)) return;
        expect(laneId(names, 'acme', logical)).toBe(id);
        expect(isStray(names, 'acme', outerId(names, 'acme', id))).toBe(false);
      }),
    );
  });

  it('no key of a scheduler is that of a job, or of something beside one', () => {
    fc.assert(
      fc.property(anyId, millis, (id, at) => {
        for (const odd of [`${id}:${at}`, `${id}:${at}:logs`])
          expect(() => checkSchedulerId('test', odd)).toThrow('ten digits');
        const key = `repeat:${id}`;
        const isLike =
          iterationOf(key) !== undefined || iterationOf(key.replace(/:[^:]*$/, '')) !== undefined;
        if (isLike) expect(() => checkSchedulerId('test', id)).toThrow('ten digits');
      }),
    );
  });
});

function isNamed(id: string): boolean {
  try {
    return checkId('test', id) === id;
  } catch {
    return false;
  }
}
