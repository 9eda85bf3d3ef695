import { describe, expect, it } from 'vitest';
import { EndedJobs } from '../src/ended.ts';

/** The same with all that is remembered, as text: the model. */
class Model {
  #young = new Set<string>();
  #old = new Set<string>();
  #size = 0;
  readonly #remembered: number;

  constructor(remembered: number) {
    this.#remembered = remembered;
  }

  add(id: string, issuedAt: number): void {
    this.#young.add(JSON.stringify([id, issuedAt]));
    this.#size += 1;
    if (this.#size < this.#remembered) return;
    this.#old = this.#young;
    this.#young = new Set();
    this.#size = 0;
  }

  has(id: string, issuedAt: number): boolean {
    const name = JSON.stringify([id, issuedAt]);
    return this.#young.has(name) || this.#old.has(name);
  }
}

/** Numbers below one, the same in each run. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    // Its low bits hardly change.
    yield (state >>> 8) / 2 ** 24;
  }
}

/** Of one character, of none, of the same words in another order, of halves of a word. */
const IDS = ['', '\0', '\0\0', 'a', 'aa', 'a\0', '\0a', 'ab', 'ba', 'abcd', 'cdab', '\uffff', '\ud800', 'é'];
const TIMES = [0, 1, -1, -5, 2 ** 32 - 5, 2 ** 32, 2 ** 32 + 1, -(2 ** 32), 2 ** 52, 1_795_344_846_019];

describe('what a worker remembers of ended jobs', () => {
  it.each([1, 2, 7, 100, 1_000, 30_000])('is what a list would have, of %d and more', (remembered) => {
    const next = numbers(remembered);
    const upTo = (most: number): number => Math.floor(next.next().value * most);
    const [ended, model] = [new EndedJobs(remembered), new Model(remembered)];
    const differing: unknown[] = [];
    for (let step = 0; step < 4 * remembered + 20_000; step += 1) {
      const id = upTo(2) === 0 ? `acme~${upTo(3 * remembered)}` : (IDS[upTo(IDS.length)] ?? '');
      const at = upTo(2) === 0 ? upTo(3) : (TIMES[upTo(TIMES.length)] ?? 0);
      if (upTo(3) > 0) {
        ended.add(id, at);
        model.add(id, at);
      }
      const [asked, time] = [`acme~${upTo(3 * remembered)}`, upTo(3)];
      for (const [one, other] of [
        [id, at],
        [asked, time],
      ] as const)
        if (ended.has(one, other) !== model.has(one, other)) differing.push([step, one, other]);
    }
    expect(differing).toEqual([]);
  });

  it('is told apart by each character, and by each bit of the time', () => {
    for (const id of IDS)
      for (const at of TIMES) {
        const ended = new EndedJobs();
        ended.add(id, at);
        // What is signed later than all of them is not looked at.
        ended.add('later', Number.MAX_SAFE_INTEGER);
        const known = IDS.flatMap((one) =>
          TIMES.flatMap((time) => (ended.has(one, time) ? [[one, time]] : [])),
        );
        expect(known).toEqual([[id, at]]);
      }
  });

  it('is spread over the table, whichever ids a tenant chooses', () => {
    // A table that is searched from the same place for each of them would need 1.25 thousand million steps.
    const ended = new EndedJobs();
    const ids = Array.from({ length: 49_999 }, (_, n) => `acme~${n * 65_536}`);
    const start = process.cpuUsage();
    for (const id of ids) ended.add(id, 0);
    expect(ids.every((id) => ended.has(id, 0))).toBe(true);
    const { user, system } = process.cpuUsage(start);
    expect(user + system).toBeLessThan(1_000_000);
  });

  it('takes a megabyte of 100,000 jobs, and next to nothing of ten', () => {
    const bytes = (jobs: number): number => {
      const before = process.memoryUsage().arrayBuffers;
      const ended = new EndedJobs();
      for (let n = 0; n < jobs; n += 1) ended.add(`acme~${n}`, n);
      const after = process.memoryUsage().arrayBuffers;
      expect(ended.has(`acme~${jobs - 1}`, jobs - 1)).toBe(true);
      return after - before;
    };
    expect(bytes(10)).toBeLessThan(4_000);
    // With what the tables have grown out of, and is not collected yet.
    expect(bytes(99_999)).toBeLessThan(2_000_000);
  });
});
