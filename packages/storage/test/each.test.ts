import { expect, it } from 'vitest';
import { each } from '../src/each.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

it('asks for no more than is worked off, and for nothing after an error', async () => {
  let asked = 0;
  let under = 0;
  let most = 0;
  async function* endless(): AsyncGenerator<number> {
    for (;;) {
      asked += 1;
      await turn();
      yield asked;
    }
  }
  let ended = 0;
  const work = each(
    endless(),
    async (item) => {
      under += 1;
      most = Math.max(most, under);
      for (let n = 0; n < 10; n += 1) await turn();
      under -= 1;
      if (item === 20) throw new Error('twenty');
      ended += 1;
    },
    4,
  );
  await expect(work).rejects.toThrow('twenty');
  expect(most).toBe(4);
  expect(asked).toBeLessThanOrEqual(20 + 4 + 1);
  // What was under way when it failed has ended before the failure is told.
  expect(under).toBe(0);
  const before = [asked, ended];
  for (let n = 0; n < 10; n += 1) await turn();
  expect([asked, ended]).toEqual(before);
});

it('works off a list, and fails with the list', async () => {
  const done: number[] = [];
  await each([1, 2, 3], async (item) => void done.push(item));
  expect(done).toEqual([1, 2, 3]);
  function* broken(): Generator<number> {
    yield 1;
    throw new Error('list');
  }
  await expect(each(broken(), () => Promise.resolve())).rejects.toThrow('list');
});
