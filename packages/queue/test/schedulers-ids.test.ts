import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { innerId, isStray, laneId, logicalId, outerId } from '../src/lanes/ids.ts';
import { checkId, jobNames } from '../src/names.ts';
import { checkSchedulerId, iterationOf } from '../src/schedulers/ids.ts';

const names = jobNames();
const millis = fc.integer({ min: 1e12, max: 2e12 });
const part = fc.constantFrom('repeat', 'tick', 'acme~', 'acme2~', ':', '1700000000000', '5', '~', 'ü');
/** Ids that read like one of another kind. */
const anyId = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));

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
