import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { EndedJobs } from '../src/ended.ts';
import { lastStart, signedAt } from '../src/replay.ts';

describe('until when a job may begin', () => {
  const at = (opts: Parameters<typeof lastStart>[2], id = 'acme~1'): number =>
    lastStart({ tenant: 'acme', issuedAt: 1_000 }, id, opts, 500) - 1_500;

  it('counts its delay and the backoffs of its retries, as they are signed', () => {
    expect(at({})).toBe(0);
    expect(at({ delay: 7 })).toBe(7);
    expect(at({ delay: 7, timestamp: 1_003 })).toBe(10);
    expect(at({ delay: 7, timestamp: 5 })).toBe(7);
    expect(at({ attempts: 3 })).toBe(0);
    expect(at({ backoff: 5 })).toBe(0);
    expect(at({ attempts: 3, backoff: 5 })).toBe(10);
    expect(at({ attempts: 3, backoff: { type: 'fixed', delay: 5 } })).toBe(10);
    expect(at({ attempts: 4, backoff: { type: 'exponential', delay: 5 } })).toBe(35);
    expect(at({ attempts: 4, backoff: { type: 'exponential' } })).toBe(0);
    // Where 2 to the power of it is no number any more, nothing times it is none either.
    expect(at({ attempts: 1_100, backoff: { type: 'exponential' } })).toBe(0);
    expect(at({ attempts: 4, backoff: { type: 'own', delay: 5 } })).toBe(0);
    // As in BullMQ, none is one.
    expect(at({ attempts: 0, backoff: 5 })).toBe(0);
  });

  it('counts for what a scheduler has made from the time that it was made for', () => {
    expect(at({ delay: 7 }, 'repeat:s:1700000000000')).toBe(1_700_000_000_000 - 1_000);
    expect(at({ attempts: 3, backoff: 5 }, 'repeat:s:1700000000000')).toBe(1_700_000_000_000 - 990);
    expect(lastStart({ tenant: 'acme', issuedAt: 2e12 }, 'repeat:s:1700000000000', {}, 1)).toBe(2e12 + 1);
  });
});

describe('the jobs that a worker has ended', () => {
  it('are known by id and time, however often one id is used', () => {
    const ended = new EndedJobs();
    const now = 1_795_344_846_019;
    for (const at of [now, now + 1, now + 1, now - 5]) ended.add('acme~1', at);
    expect([now, now + 1, now - 5].every((at) => ended.has('acme~1', at))).toBe(true);
    expect(ended.has('acme~1', now + 2)).toBe(false);
    expect(ended.has('acme~2', now)).toBe(false);
  });

  it('may have ids of any length, of which little is kept', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const ended = new EndedJobs();
    const id = (n: number): string => Buffer.alloc(200_000, 'x').toString('latin1') + String(n);
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let n = 0; n < 500; n += 1) ended.add(id(n), 1);
    expect([ended.has(id(0), 1), ended.has(id(499), 1), ended.has(id(500), 1)]).toEqual([true, true, false]);
    collect();
    // Of ids that have 100 MB together.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20_000_000);
  });

  it('are known whichever of them was signed first', () => {
    const ended = new EndedJobs();
    expect(ended.has('a', 10)).toBe(false);
    ended.add('a', 10);
    ended.add('b', 5);
    const asked = [
      ended.has('a', 10),
      ended.has('b', 5),
      ended.has('a', 5),
      ended.has('b', 10),
      ended.has('a', 11),
    ];
    expect(asked).toEqual([true, true, false, false, false]);
  });

  it('are signed at the time that ends their claims, wherever it stands', () => {
    for (const issuedAt of [0, 7, 1_795_344_846_019, 99_999_999_999_999]) {
      for (const actor of [null, 'a', 'ab', 'abc', 'x'.repeat(256), 'a,"b"]', '“ü”']) {
        const claims = Buffer.from(JSON.stringify(['acme', null, actor, issuedAt])).toString('base64url');
        expect(signedAt(`v1.k.${claims}.signature`)).toBe(issuedAt);
      }
    }
    expect(signedAt(undefined)).toBeUndefined();
  });

  it('are the last 50,000 at least, and 100,000 at most', () => {
    const ended = new EndedJobs();
    for (let n = 0; n < 170_000; n += 1) ended.add(`acme~${n}`, 1);
    const known = Array.from({ length: 170_000 }, (_, n) => ended.has(`acme~${n}`, 1));
    expect(known.lastIndexOf(false)).toBeLessThan(120_000);
    expect(known.filter(Boolean).length).toBeLessThanOrEqual(100_000);
    expect(known.slice(120_000).every(Boolean)).toBe(true);
    const exact = new EndedJobs();
    for (let n = 0; n < 99_999; n += 1) exact.add(`acme~${n}`, 1);
    expect(exact.has('acme~0', 1)).toBe(true);
    exact.add('acme~99999', 1);
    expect([exact.has('acme~49999', 1), exact.has('acme~50000', 1)]).toEqual([false, true]);
    for (let n = 0; n < 120_000; n += 1) ended.add('acme~one', n);
    expect([ended.has('acme~one', 0), ended.has('acme~one', 119_999)]).toEqual([false, true]);
  });
});
