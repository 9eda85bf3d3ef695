import { currentTenant, withTenant, type TenantRegistry } from '@tenantkit/core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { QueuePlacement } from '../src/placement.ts';
import { Silos } from '../src/silos.ts';

const POOL: QueuePlacement = { level: 'pool' };
const pool = (): QueuePlacement => POOL;
const silo = (host: string): QueuePlacement => ({ level: 'silo', connection: { host } });

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'Date'] }));
afterEach(() => void vi.useRealTimers());
const pass = (milliseconds: number): void => void vi.advanceTimersByTime(milliseconds);

/** Silos whose stores are the hosts that were opened. */
function silos(place: (tenant: string) => unknown, fence?: TenantRegistry) {
  const asked: string[] = [];
  const opened: string[] = [];
  const failed: Error[] = [];
  const made = new Silos<string>({
    place(tenant) {
      asked.push(`${tenant} ${currentTenant()?.tenant}`);
      return place(tenant) as QueuePlacement;
    },
    fence,
    open(connection) {
      const { host } = connection as { host: string };
      if (host === 'closed') throw new TypeError('cannot be opened');
      opened.push(`${host} ${currentTenant()?.tenant}`);
      return host;
    },
    failed: (error) => failed.push(error),
  });
  return { made, asked, opened, failed, at: (tenant: string) => made.at(tenant, 'add') };
}

const refused = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('it was accepted');
};
const UNPLACED =
  'queue.add is refused: nobody knows where the jobs of the tenant are. The function tenant.place has failed, or its answer is no placement; the event error says why.';
const UNFENCED =
  'queue.add is refused: tenant.place names another place than before, and without a fence others may still write to the old one. Give the option tenant.fence, and move a tenant while it is frozen; or restart every process.';

describe('the silos of a queue', () => {
  it('are opened once, outside of any tenant, for whoever is there', () => {
    const { made, opened, asked, at } = silos((tenant) => (tenant === 'acme' ? POOL : silo(tenant[0] ?? '')));
    const ask = (tenant: string): string | undefined => withTenant('caller', () => at(tenant));
    expect(['acme', 'big', 'best', 'other'].map(ask)).toEqual([undefined, 'b', 'b', 'o']);
    expect(opened).toEqual(['b undefined', 'o undefined']);
    expect(asked).toEqual(['acme undefined', 'big undefined', 'best undefined', 'other undefined']);
    expect(made.stores).toEqual(['b', 'o']);
  });

  it('are believed for a second, and no longer', () => {
    const { asked, at } = silos(() => silo('s'));
    for (const wait of [0, 1, 998]) {
      pass(wait);
      at('acme');
    }
    expect(asked).toHaveLength(1);
    pass(1);
    at('acme');
    expect(asked).toHaveLength(2);
  });

  it('are refused where nobody knows, and the pool is no answer then', () => {
    let answer: unknown;
    const { failed, at } = silos(() => {
      if (answer instanceof Error) throw answer;
      return answer;
    });
    const cause = new RangeError('no route to customer big');
    answer = cause;
    expect(refused(() => at('big'))).toBe(UNPLACED);
    answer = { level: 'nowhere' };
    expect(refused(() => at('big'))).toBe(UNPLACED);
    answer = silo('closed');
    expect(refused(() => at('big'))).toBe(UNPLACED);
    const hint = "Answer { level: 'pool' } or { level: 'silo', connection }, at once and from memory.";
    const message = (problem: string): object => ({
      code: 'CONFIG_INVALID',
      surface: 'queue',
      operation: 'place',
      hint,
      message: `Invalid configuration of queue.place: ${problem}. ${hint}`,
    });
    expect(failed).toMatchObject([
      { ...message('tenant.place has failed, as the cause says'), cause },
      message("place.level: must be 'pool' or 'silo'"),
      message('tenant.place has failed, as the cause says'),
    ]);
    // Nothing of it is remembered.
    answer = silo('s');
    expect(at('big')).toBe('s');
  });

  it('let nobody move who may still be written to elsewhere', () => {
    let answer = pool();
    const { asked, at } = silos(() => answer);
    expect(at('acme')).toBeUndefined();
    answer = silo('s');
    expect(at('acme')).toBeUndefined();
    pass(1_000);
    expect(refused(() => at('acme'))).toBe(UNFENCED);
    // Asked again at once: as soon as the old answer is back, the tenant works.
    answer = POOL;
    expect(at('acme')).toBeUndefined();
    expect(asked).toHaveLength(3);
    // Who was never met was not moved.
    answer = silo('s');
    expect(at('globex')).toBe('s');
  });

  it('move a tenant behind a fence, and believe nothing that was said while it was frozen', () => {
    const fence = { state: (id: string) => (id === 'globex' ? 'frozen' : 'active') } as TenantRegistry;
    let answer = pool();
    const { asked, at } = silos(() => answer, fence);
    expect([at('acme'), at('globex')]).toEqual([undefined, undefined]);
    answer = silo('s');
    expect([at('acme'), at('globex')]).toEqual([undefined, 's']);
    pass(1_000);
    expect([at('acme'), at('globex')]).toEqual(['s', 's']);
    expect(asked.map((one) => one.split(' ')[0])).toEqual(['acme', 'globex', 'globex', 'acme', 'globex']);
  });

  it('forget nobody for a tenant that is known: who is forgotten may be moved unnoticed', () => {
    let moved = '';
    const { at } = silos((tenant) => (tenant === moved ? silo('s') : POOL));
    for (let n = 0; n < 10_000; n += 1) at(`t${n}`);
    pass(1_000);
    at('t9999');
    moved = 't0';
    expect(refused(() => at('t0'))).toBe(UNFENCED);
  });

  it('remember ten thousand tenants, and forget those of the pool first', () => {
    const { asked, at } = silos((tenant) => (tenant === 'big' ? silo('s') : POOL));
    at('big');
    for (let n = 0; n < 10_000; n += 1) at(`t${n}`);
    const known = asked.length;
    for (const tenant of ['big', 't1', 't9999']) at(tenant);
    expect(asked).toHaveLength(known);
    // The oldest one of the pool had to go, and comes back in the place of the next.
    at('t0');
    expect(asked).toHaveLength(known + 1);
    at('t1');
    expect(asked).toHaveLength(known + 2);
    at('t0');
    expect(asked).toHaveLength(known + 2);
  });
});
