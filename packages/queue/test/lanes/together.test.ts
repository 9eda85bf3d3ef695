import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Turns } from '../../src/lanes/turns.ts';
import { bench, type Bench } from '../support.ts';
import { lanesOf, type Lanes } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

/** Works as a worker does: takes jobs until there is nothing, on some slots. */
async function work(mail: Lanes, concurrency: number, ran: string[]): Promise<void> {
  const turns = new Turns({
    pick: (wanted) => mail.pick(wanted),
    concurrency,
    failed: (error) => expect.unreachable(String(error)),
  });
  const slot = async (name: string): Promise<void> => {
    for (;;) {
      const tenant = turns.after(name) ?? (await turns.next());
      if (tenant === undefined) return;
      const id = await mail.take(tenant);
      if (id === undefined) {
        turns.leave(name);
        turns.drop(tenant);
        continue;
      }
      turns.seat(name, tenant);
      ran.push(`${tenant} ${id}`);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, (_, at) => slot(`${at}`)));
}

describe('turns over lanes on Redis', () => {
  it('take every job once, of every lane, in two processes’ worth of slots', async () => {
    const mail = lanesOf(on, 'mail');
    const tenants = ['acme', 'acme2', 'a', 'a-b', 'ac', '__proto__'];
    for (const tenant of tenants) await mail.fill(tenant, 20);
    const ran: string[] = [];
    await Promise.all([work(mail, 5, ran), work(mail, 3, ran)]);
    expect(new Set(ran).size).toBe(120);
    expect(ran.length).toBe(120);
    expect(await mail.members('ready')).toEqual([]);
  });

  it('let a single job of a tenant run before the hundred of another one have', async () => {
    const mail = lanesOf(on, 'mail');
    await mail.fill('acme', 100);
    await mail.fill('a', 1);
    const ran: string[] = [];
    await work(mail, 4, ran);
    expect(ran.length).toBe(101);
    // The four slots may have had a quantum each before.
    expect(ran.findIndex((job) => job.startsWith('a '))).toBeLessThan(20);
  });
});
