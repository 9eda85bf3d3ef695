import { DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError, WaitingError } from 'bullmq';
import { describe, expect, it } from 'vitest';
import { failureOf, outcomeOf } from '../src/outcome.ts';

const REFUSED =
  'A processor cannot delay or hold back its job by an error alone, nor rate-limit a queue that serves every tenant: await job.moveToDelayed(time, token), job.moveToWait(token) or job.moveToWaitingChildren(token) before, or throw an ordinary error, which is retried by the options attempts and backoff.';
const NO_ERROR = 'The processor threw something that is not an error.';

describe('what a processor answers', () => {
  it('is data in the loop, and itself for its listeners', () => {
    for (const value of [undefined, null, 7, 'text', true, NaN])
      expect(outcomeOf(value)).toEqual({ plain: value, original: value });
    const result = { n: 1, at: new Date(0), none: undefined, deep: [{ toJSON: () => 'own' }] };
    const outcome = outcomeOf(result);
    expect(outcome.original).toBe(result);
    expect(outcome.plain).toEqual({ n: 1, at: '1970-01-01T00:00:00.000Z', deep: ['own'] });
    expect(outcomeOf(() => 1).plain).toBeUndefined();
    expect(outcomeOf(Object.assign(() => 1, { toJSON: () => ({ of: 'function' }) })).plain).toEqual({
      of: 'function',
    });
    expect(outcomeOf({ toJSON: () => undefined })).toMatchObject({ plain: undefined });
  });

  it('runs no code of its own twice', () => {
    let calls = 0;
    const plain = outcomeOf({ toJSON: () => (calls += 1) }).plain;
    expect(JSON.stringify(plain)).toBe('1');
    expect(calls).toBe(1);
  });

  it('that has no JSON fails, as in BullMQ', () => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    expect(() => outcomeOf(circle)).toThrow(TypeError);
    expect(() => outcomeOf(1n)).toThrow(TypeError);
  });
});

describe('what a processor throws', () => {
  it('leaves its job where it is, only if the processor has moved it before', () => {
    for (const type of [DelayedError, WaitingError, WaitingChildrenError]) {
      const thrown = new type('of a tenant');
      const { plain, original } = failureOf(thrown, true);
      expect(original).toBe(thrown);
      // Made anew: what the tenant has put on its own is not read in the loop.
      expect(plain).toBeInstanceOf(type);
      expect(plain).not.toBe(thrown);
      expect(plain.message).not.toContain('of a tenant');
      expect(failureOf({ name: type.name }, true).plain).toBeInstanceOf(type);
      expect(failureOf(thrown).plain.message).toBe(REFUSED);
    }
    // A rate limit is no place for a job, and any other error is one.
    expect(failureOf(new RateLimitError(), true).plain.message).toBe(REFUSED);
    expect(failureOf(new Error('x'), true).plain.message).toBe('x');
  });

  it('is an ordinary error in the loop, with its message and stack', () => {
    const thrown = new RangeError('too much');
    const { plain, original } = failureOf(thrown);
    expect(original).toBe(thrown);
    expect(plain).not.toBe(thrown);
    expect(Object.getPrototypeOf(plain)).toBe(Error.prototype);
    expect(plain.message).toBe('too much');
    expect(plain.stack).toBe(thrown.stack);
    expect(failureOf('a text').plain.message).toBe('a text');
    expect(failureOf({ message: 'of an object' }).plain.message).toBe('of an object');
    // Without a stack of its own it has that of the loop.
    expect(failureOf({ message: 'm' }).plain.stack).toContain('Error: m');
    expect(failureOf({ message: 'm', stack: 7 }).plain.stack).toContain('Error: m');
    expect(failureOf({ message: 'm', stack: '' }).plain.stack).toBe('');
  });

  it('may be anything', () => {
    for (const thrown of [undefined, null, 7, {}, { message: 7 }, Symbol('x'), () => 1])
      expect(failureOf(thrown).plain.message).toBe(NO_ERROR);
  });

  it('stays unrecoverable, also from another copy of BullMQ', () => {
    for (const thrown of [
      new UnrecoverableError('stop'),
      Object.assign(new Error('stop'), { name: 'UnrecoverableError' }),
    ]) {
      const { plain } = failureOf(thrown);
      expect(plain).toBeInstanceOf(UnrecoverableError);
      expect(plain.message).toBe('stop');
    }
    expect(failureOf(new Error('go on')).plain).not.toBeInstanceOf(UnrecoverableError);
    expect(failureOf('UnrecoverableError').plain).not.toBeInstanceOf(UnrecoverableError);
  });

  it('does not steer the loop', () => {
    for (const thrown of [
      new DelayedError(),
      new WaitingError(),
      new WaitingChildrenError(),
      new RateLimitError(),
      Object.assign(new Error('x'), { name: 'DelayedError' }),
      { name: 'WaitingError' },
      { name: 'WaitingChildrenError', message: 'm' },
      { name: 'RateLimitError' },
      'bullmq:rateLimitExceeded',
      new Error('bullmq:rateLimitExceeded'),
    ]) {
      const { plain } = failureOf(thrown);
      expect(Object.getPrototypeOf(plain)).toBe(Error.prototype);
      expect(plain.message).toBe(REFUSED);
      expect(plain.stack).toContain(REFUSED);
    }
    expect(failureOf(new Error('bullmq:rateLimitExceeded!')).plain.message).toBe('bullmq:rateLimitExceeded!');
  });

  it('cannot throw once more', () => {
    const hostile = new Proxy(
      {},
      {
        get: () => {
          throw new Error('from a getter');
        },
        getPrototypeOf: () => {
          throw new Error('from instanceof');
        },
      },
    );
    expect(failureOf(hostile).plain.message).toBe(NO_ERROR);
    const half = {
      message: 'm',
      get stack(): string {
        throw new Error('from a getter');
      },
    };
    expect(failureOf(half).plain.message).toBe('m');
  });
});
