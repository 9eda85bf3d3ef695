import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  createTenantRegistry,
  memoryTenantStore,
  type TenantRegistry,
  type TenantStore,
} from '../src/index.ts';

const WHERE = { surface: 'cache', operation: 'set' } as const;

let open: TenantRegistry[] = [];
async function registry(
  store: TenantStore,
  onRefreshError?: (error: unknown) => void,
): Promise<TenantRegistry> {
  const made = await createTenantRegistry({
    store,
    ...(onRefreshError === undefined ? {} : { onRefreshError }),
  });
  open.push(made);
  return made;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  for (const each of open) each.close();
  open = [];
  vi.useRealTimers();
});

describe('TenantRegistry', () => {
  it('freezes one tenant and not the one whose id begins the same', async () => {
    const fence = await registry(memoryTenantStore());
    await fence.freeze('acme');
    expect(() => fence.check('acme', WHERE)).toThrow(
      expect.objectContaining({ code: 'TENANT_FENCED', state: 'frozen', surface: 'cache', operation: 'set' }),
    );
    expect(() => fence.check('acme2', WHERE)).not.toThrow();
    await fence.unfreeze('acme');
    expect(() => fence.check('acme', WHERE)).not.toThrow();
  });

  it('a tombstone is permanent', async () => {
    const fence = await registry(memoryTenantStore());
    await fence.markErased('acme');
    await expect(fence.unfreeze('acme')).rejects.toMatchObject({ code: 'TENANT_FENCED', state: 'erased' });
    await fence.freeze('acme');
    expect(fence.state('acme')).toBe('erased');
  });

  it('a tombstone that was seen once holds when the store loses it', async () => {
    const store = memoryTenantStore();
    const fence = await registry({ ...store, load: () => Promise.resolve(new Map()) });
    await fence.markErased('acme');
    await fence.refresh();
    expect(fence.state('acme')).toBe('erased');
    expect(fence.state('acme2')).toBe('active');
  });

  it('hears of a freeze by another process with the next refresh', async () => {
    const store = memoryTenantStore();
    const here = await registry(store);
    const there = await registry(store);
    await there.freeze('acme');
    expect(here.state('acme')).toBe('active');
    await vi.advanceTimersByTimeAsync(5_000);
    expect(here.state('acme')).toBe('frozen');
  });

  it('refuses everybody when it could not refresh for maxStaleness, and recovers', async () => {
    const store = memoryTenantStore();
    let down = false;
    const failures: unknown[] = [];
    const fence = await registry(
      { ...store, load: () => (down ? Promise.reject(new Error('down')) : store.load()) },
      (error) => failures.push(error),
    );
    down = true;
    await vi.advanceTimersByTimeAsync(29_999);
    expect(fence.state('acme')).toBe('active');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(() => fence.check('acme', WHERE)).toThrow(
      expect.objectContaining({ code: 'TENANT_FENCED', state: 'unknown' }),
    );
    expect(failures.length).toBeGreaterThan(0);
    down = false;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(() => fence.check('acme', WHERE)).not.toThrow();
  });

  it('does not lose a freeze that is set while a refresh is under way', async () => {
    const store = memoryTenantStore();
    let release = (): void => undefined;
    let slow = false;
    const fence = await registry({
      ...store,
      async load() {
        const read = await store.load();
        if (slow) await new Promise<void>((resolve) => (release = resolve));
        return read;
      },
    });
    slow = true;
    const refreshing = fence.refresh();
    await vi.advanceTimersByTimeAsync(0);
    await fence.freeze('acme');
    slow = false;
    release();
    await refreshing;
    expect(fence.state('acme')).toBe('frozen');
  });

  it('an older answer that arrives late does not replace a newer one', async () => {
    const store = memoryTenantStore();
    const waiting: (() => void)[] = [];
    let slow = false;
    const here = await registry({
      ...store,
      async load() {
        const read = await store.load();
        if (slow) await new Promise<void>((resolve) => waiting.push(resolve));
        return read;
      },
    });
    slow = true;
    const older = here.refresh();
    await vi.advanceTimersByTimeAsync(1);
    await store.set('acme', 'frozen');
    slow = false;
    await here.refresh();
    expect(here.state('acme')).toBe('frozen');
    for (const release of waiting) release();
    await older;
    expect(here.state('acme')).toBe('frozen');
  });

  it.each([{}, { store: undefined }, { store: { load: () => new Map() } }])(
    'refuses %j, which has no store',
    async (given) => {
      await expect(createTenantRegistry(given as never)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('memoryTenantStore()') as string,
      });
    },
  );

  it.each([
    { refreshEvery: 5_000, maxStaleness: 9_999 },
    { refreshEvery: 0, maxStaleness: 10 },
    { refreshEvery: Number.NaN, maxStaleness: 10 },
  ])('refuses times that do not fit: %j', async (times) => {
    await expect(createTenantRegistry({ store: memoryTenantStore(), ...times })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('refuses an invalid id and a store that cannot be read', async () => {
    const fence = await registry(memoryTenantStore());
    await expect(fence.freeze('a:b')).rejects.toMatchObject({ code: 'TENANT_INVALID' });
    await expect(
      createTenantRegistry({
        store: { ...memoryTenantStore(), load: () => Promise.reject(new Error('down')) },
      }),
    ).rejects.toThrow('down');
  });
});
