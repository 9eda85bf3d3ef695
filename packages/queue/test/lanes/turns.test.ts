import { describe, expect, it } from 'vitest';
import { Turns, type TurnsOptions } from '../../src/lanes/turns.ts';

type Answer = Awaited<ReturnType<TurnsOptions['pick']>>;

/** Picks that are answered by hand, in the order in which they were sent. */
function byHand() {
  const sent: { wanted: number; answer(answer: Partial<Answer>): void; fail(error: Error): void }[] = [];
  const pick = (wanted: number): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const answer = (given: Partial<Answer>): void =>
        resolve({ turns: [], ready: given.turns === undefined ? 0 : 2, due: 0, ...given });
      sent.push({ wanted, answer, fail: reject });
    });
  return { sent, pick };
}

function bench(concurrency: number) {
  const { sent, pick } = byHand();
  const errors: unknown[] = [];
  let now = 0;
  const turns = new Turns({ pick, concurrency, failed: (error) => errors.push(error), clock: () => now });
  return { sent, turns, errors, pass: (ms: number) => void (now += ms) };
}

/** Lets all promises go on that can. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A server on which each lane always has work: as many turns as the weight says, lane by lane. */
function server(weights: Readonly<Record<string, number>>) {
  const tags = new Map(Object.keys(weights).map((tenant) => [tenant, 0]));
  return async (wanted: number): Promise<Answer> => {
    const turns: string[] = [];
    while (turns.length < wanted) {
      const [first] = [...tags].toSorted(([, a], [, b]) => a - b);
      const [tenant, tag] = first ?? ['', 0];
      tags.set(tenant, tag + 1 / (weights[tenant] ?? 1));
      turns.push(tenant);
    }
    return { turns, ready: tags.size, due: 0 };
  };
}

describe('turns', () => {
  it('come in the order of the server', async () => {
    const { turns, sent } = bench(16);
    const first = turns.next();
    expect(sent[0]?.wanted).toBe(4);
    sent[0]?.answer({ turns: ['a', 'b', 'a', 'c'] });
    expect(await first).toBe('a');
    expect([turns.take(), turns.take(), turns.take(), turns.take()]).toEqual(['b', 'a', 'c', undefined]);
  });

  it('are asked for by the thousand at most', async () => {
    const { turns, sent } = bench(100_000);
    const all = Array.from({ length: 5_000 }, () => turns.next());
    sent[0]?.answer({ turns: ['a'] });
    expect(await all[0]).toBe('a');
    await settle();
    expect(sent.map(({ wanted }) => wanted)).toEqual([1_000, 1_000]);
  });

  it('are asked for before they run out, no more than are missing, and one pick at a time', async () => {
    const { turns, sent } = bench(16);
    const first = turns.next();
    sent[0]?.answer({ turns: ['a', 'b', 'c', 'd'] });
    await first;
    await settle();
    expect(sent.length).toBe(1);
    turns.take();
    turns.take();
    expect(sent.map(({ wanted }) => wanted)).toEqual([4, 2]);
    sent[1]?.answer({ turns: ['e', 'f'] });
    await settle();
    // What was left stays in front: its tenant has been charged for it.
    expect([turns.take(), turns.take(), turns.take()]).toEqual(['d', 'e', 'f']);
  });

  // Rule W2. The prototype had joined the pick under way, and jobs lay for five seconds.
  it('"nothing" does not count from a pick that was under way when the call came', async () => {
    const { turns, sent } = bench(4);
    const early = turns.next();
    // Here the server looks and finds nothing; then a job comes, and wakes another slot, which takes the marker.
    const woken = turns.next();
    sent[0]?.answer({});
    expect(await Promise.race([early, settle().then(() => 'waits')])).toBeUndefined();
    expect(sent.length).toBe(2);
    sent[1]?.answer({ turns: ['a'] });
    expect(await woken).toBe('a');
  });

  it('are asked for all who wait together, beyond what is kept at hand', async () => {
    const { turns, sent } = bench(16);
    const all = Array.from({ length: 10 }, () => turns.next());
    sent[0]?.answer({ turns: ['a', 'b', 'c', 'd'] });
    await settle();
    expect(sent.map(({ wanted }) => wanted)).toEqual([4, 6]);
    sent[1]?.answer({ turns: ['e', 'f', 'g', 'h', 'i', 'j'] });
    expect(await Promise.all(all)).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']);
    // Nobody waits any more: as many as before.
    await settle();
    sent[2]?.answer({});
    await settle();
    void turns.next();
    expect(sent.map(({ wanted }) => wanted).slice(3)).toEqual([4]);
  });

  it('are as many as the concurrency that is set later says', async () => {
    const { turns, sent } = bench(1);
    turns.concurrency = 16;
    const first = turns.next();
    expect(sent[0]?.wanted).toBe(4);
    sent[0]?.answer({ turns: ['a', 'b', 'c', 'd'] });
    expect(await first).toBe('a');
    turns.concurrency = 4;
    expect([turns.take(), turns.take()]).toEqual(['b', undefined]);
    expect(sent[1]?.wanted).toBe(1);
  });

  it('"nothing" is said after one pick when none was under way', async () => {
    const { turns, sent } = bench(4);
    const asked = turns.next();
    sent[0]?.answer({ due: 77 });
    expect(await asked).toBeUndefined();
    expect(turns.due).toBe(77);
    expect(sent.length).toBe(1);
    // And an old answer says nothing about a new call.
    const again = turns.next();
    expect(sent.length).toBe(2);
    sent[1]?.answer({});
    expect(await again).toBeUndefined();
  });

  it('a pick under way that has turns serves those who came later', async () => {
    const { turns, sent } = bench(16);
    const all = [turns.next(), turns.next(), turns.next()];
    sent[0]?.answer({ turns: ['a', 'b', 'c', 'd'] });
    expect(await Promise.all(all)).toEqual(['a', 'b', 'c']);
  });

  it('more callers than turns ask again, until the server has nothing', async () => {
    const { turns, sent } = bench(1);
    const all = [turns.next(), turns.next()];
    sent[0]?.answer({ turns: ['a'] });
    await settle();
    expect(sent.length).toBe(2);
    sent[1]?.answer({});
    expect(await Promise.all(all)).toEqual(['a', undefined]);
  });

  it('a pick that fails fails who waits, and the next call asks anew', async () => {
    const { turns, sent, errors } = bench(16);
    const first = turns.next();
    sent[0]?.fail(new Error('gone'));
    await expect(first).rejects.toThrow('gone');
    expect(errors).toEqual([]);
    const second = turns.next();
    sent[1]?.answer({ turns: ['a', 'b', 'c', 'd'] });
    expect(await second).toBe('a');
    turns.take();
    sent[2]?.fail(new Error('gone in the background'));
    await settle();
    expect(errors).toEqual([new Error('gone in the background')]);
    expect(turns.take()).toBe('c');
  });

  it('a pick that throws at once does not stop all later ones', async () => {
    let broken = true;
    const turns = new Turns({
      pick: (wanted) => {
        if (broken) throw new Error('closed');
        return server({ a: 1, b: 1 })(wanted);
      },
      concurrency: 4,
      failed: () => {},
    });
    await expect(turns.next()).rejects.toThrow('closed');
    broken = false;
    expect(await turns.next()).toBe('a');
  });

  it('of a lane that was empty after all are void', async () => {
    const { turns, sent } = bench(16);
    const first = turns.next();
    sent[0]?.answer({ turns: ['a', 'b', 'a', 'b'] });
    expect(await first).toBe('a');
    turns.drop('a');
    expect([turns.take(), turns.take(), turns.take()]).toEqual(['b', 'b', undefined]);
  });
});

describe('a lane that is alone', () => {
  it('takes all turns without asking, and only as long as the look is young', async () => {
    const { turns, sent, pass } = bench(4);
    const first = turns.next();
    sent[0]?.answer({ turns: ['a'], ready: 1 });
    expect(await first).toBe('a');
    for (let job = 0; job < 100; job += 1) expect(turns.take()).toBe('a');
    expect(sent.length).toBe(1);
    pass(6);
    expect(turns.take()).toBe('a');
    expect(sent.length).toBe(2);
    sent[1]?.answer({ turns: ['b'], ready: 2 });
    await settle();
    expect(turns.take()).toBe('b');
    expect(turns.take()).toBeUndefined();
  });

  it('is left when it turns out to be empty', async () => {
    const { turns, sent } = bench(4);
    const first = turns.next();
    sent[0]?.answer({ turns: ['a'], ready: 1 });
    await first;
    turns.drop('b');
    expect(turns.take()).toBe('a');
    turns.drop('a');
    expect(turns.take()).toBeUndefined();
  });
});

describe('a slot', () => {
  async function seated(concurrency = 16) {
    const on = bench(concurrency);
    const first = on.turns.next();
    on.sent[0]?.answer({ turns: ['a', 'b', 'c', 'd'] });
    on.turns.seat('s', (await first) ?? '');
    return on;
  }

  it('runs four short jobs of a lane, and then those of another one', async () => {
    const { turns } = await seated();
    const ran: (string | undefined)[] = ['a'];
    for (let job = 0; job < 6; job += 1) {
      const tenant = turns.after('s');
      ran.push(tenant);
      turns.seat('s', tenant ?? '');
    }
    expect(ran.join('')).toBe('aaaabbb');
  });

  it('changes lanes earlier when the jobs are long', async () => {
    const { turns, pass } = await seated();
    pass(3);
    expect(turns.after('s')).toBe('a');
    // Between two jobs the clock does not count.
    pass(100);
    turns.seat('s', 'a');
    pass(1);
    expect(turns.after('s')).toBe('a');
    turns.seat('s', 'a');
    pass(1);
    expect(turns.after('s')).toBe('b');
  });

  it('that has left begins anew', async () => {
    const { turns } = await seated();
    turns.leave('s');
    expect(turns.after('s')).toBe('b');
    // Another slot is another one.
    turns.seat('other', 'x');
    expect(turns.after('s')).toBe('c');
    expect(turns.after('other')).toBe('x');
  });
});

describe('over many jobs', () => {
  async function run(weights: Readonly<Record<string, number>>, slots: number, jobs: number) {
    const turns = new Turns({
      pick: server(weights),
      concurrency: slots,
      failed: (error) => expect.unreachable(String(error)),
      clock: () => 0,
    });
    const ran: string[] = [];
    const at = new Map<number, string>();
    for (let job = 0; job < jobs; job += 1) {
      const slot = job % slots;
      const tenant = (at.has(slot) ? turns.after(`${slot}`) : undefined) ?? (await turns.next()) ?? '';
      turns.seat(`${slot}`, tenant);
      at.set(slot, tenant);
      ran.push(tenant);
    }
    return ran;
  }
  const share = (ran: readonly string[], tenant: string): number =>
    ran.filter((one) => one === tenant).length;

  it('lanes share alike', async () => {
    const ran = await run({ a: 1, b: 1, c: 1, d: 1, e: 1 }, 10, 5_000);
    for (const tenant of 'abcde') expect(Math.abs(share(ran, tenant) - 1_000)).toBeLessThanOrEqual(40);
  });

  it('lanes share by weight', async () => {
    const ran = await run({ a: 3, b: 1, c: 1 }, 12, 5_000);
    expect(Math.abs(share(ran, 'a') - 3_000)).toBeLessThanOrEqual(60);
    expect(Math.abs(share(ran, 'b') - 1_000)).toBeLessThanOrEqual(60);
  });

  it('nobody waits longer than all lanes together take for their quantum, and the turns at hand', async () => {
    const ran = await run({ a: 1, b: 1, c: 1, d: 1 }, 8, 2_000);
    const seen = ran.flatMap((tenant, at) => (tenant === 'b' ? [at] : []));
    const gaps = seen.slice(1).map((at, index) => at - (seen[index] ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(4 * 4 * 2 + 8);
  });
});

describe('a job that was taken along', () => {
  it('is for the slot that has asked, and no turn for another one', async () => {
    const { turns, sent } = bench(16);
    const [first, second] = [turns.next('slot'), turns.next('other')];
    expect(sent.length).toBe(1);
    sent[0]?.answer({ turns: ['b'], taken: 'a', ready: 2 });
    expect(await first).toBe('a');
    expect(await second).toBe('b');
    expect(turns.isDone).toBe(false);
  });

  it('may have been the only one, which counts for a moment', async () => {
    const { turns, sent, pass } = bench(1);
    expect(turns.isDone).toBe(false);
    const first = turns.next('slot');
    sent[0]?.answer({ turns: [], taken: 'a', ready: 0 });
    expect(await first).toBe('a');
    expect(turns.isDone).toBe(true);
    pass(5);
    expect(turns.isDone).toBe(true);
    pass(1);
    expect(turns.isDone).toBe(false);
  });

  it('was not the only one while its lane is ready, or a younger pick is under way', async () => {
    const { turns, sent } = bench(1);
    const first = turns.next('slot');
    sent[0]?.answer({ turns: [], taken: 'a', ready: 1 });
    expect(await first).toBe('a');
    expect([turns.isDone, turns.take()]).toEqual([false, 'a']);
    turns.drop('a');
    const second = turns.next('slot');
    sent[1]?.answer({ turns: [], taken: 'a', ready: 0 });
    await second;
    expect(turns.isDone).toBe(true);
    void turns.next('slot');
    expect(turns.isDone).toBe(false);
  });

  it('nothing is known of what is there by a pick that found nothing', async () => {
    const { turns, sent } = bench(1);
    const first = turns.next('slot');
    sent[0]?.answer({ turns: [], ready: 0 });
    expect(await first).toBeUndefined();
    expect(turns.isDone).toBe(false);
  });
});
