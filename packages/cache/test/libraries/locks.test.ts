import { Mutex, Semaphore, MultiSemaphore } from 'redis-semaphore';
import Redlock, { ExecutionError } from 'redlock';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, acme2, failure, openCache, type Opened } from '../support.ts';
import { keysByTenant, scriptsOf } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache({
    tenant: { scripts: [...scriptsOf('redlock', '5.0.0-beta.2'), ...scriptsOf('redis-semaphore', '5.8')] },
  });
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
});

describe('redlock', () => {
  it('locks a resource in each tenant, under the same name', async () => {
    const redlock = new Redlock([opened.redis], { retryCount: 0 });
    const lock = await acme(() => redlock.acquire(['invoices', 'customers'], 5000));
    const other = await acme2(() => redlock.acquire(['invoices'], 5000));
    expect(await acme(() => failure(() => redlock.acquire(['invoices'], 5000)))).toBeInstanceOf(
      ExecutionError,
    );
    expect(await keysByTenant(opened.raw)).toEqual({ acme: ['customers', 'invoices'], acme2: ['invoices'] });
    const extended = await acme(() => lock.extend(5000));
    // The value of a lock is the holder's; in another tenant it opens nothing.
    expect(await acme2(() => failure(() => redlock.release(extended)))).toBeInstanceOf(ExecutionError);
    await acme2(() => other.release());
    expect(await acme(() => failure(() => redlock.acquire(['invoices'], 5000)))).toBeInstanceOf(
      ExecutionError,
    );
    await acme(() => extended.release());
    expect(await keysByTenant(opened.raw)).toEqual({});
  });

  it('extends by a timer, in the tenant that holds the lock', async () => {
    const redlock = new Redlock([opened.redis], { retryCount: 0, automaticExtensionThreshold: 4900 });
    const extended = await acme(() =>
      redlock.using(['job'], 5000, async (signal) => {
        const before = await opened.raw.get('tk:acme:job');
        await opened.raw.pexpire('tk:acme:job', 4000);
        // The timer goes off after a tenth of a second, and sets the time to live anew.
        while ((await opened.raw.pttl('tk:acme:job')) <= 4000) signal.throwIfAborted();
        expect(await opened.raw.get('tk:acme:job')).toBe(before);
        return true;
      }),
    );
    expect(extended).toBe(true);
    expect(await opened.raw.dbsize()).toBe(0);
  });

  it('says why it got no lock when its scripts are not in the list', async () => {
    const redlock = new Redlock([opened.guarded()], { retryCount: 0 });
    const errors: Error[] = [];
    redlock.on('error', (error: Error) => errors.push(error));
    const error = await acme(() => failure(() => redlock.acquire(['x'], 1000)));
    expect(error).toBeInstanceOf(ExecutionError);
    expect(errors.length).toBeGreaterThan(0);
    for (const one of errors) expect(one).toMatchObject({ code: 'OPERATION_REFUSED' });
  });
});

describe('redis-semaphore', () => {
  it('holds a mutex in each tenant, under the same name', async () => {
    const options = { acquireAttemptsLimit: 1, lockTimeout: 5000 };
    const mutex = new Mutex(opened.redis, 'invoices', options);
    const same = new Mutex(opened.redis, 'invoices', options);
    const other = new Mutex(opened.redis, 'invoices', options);
    await acme(() => mutex.acquire());
    expect(await acme(() => same.tryAcquire())).toBe(false);
    expect(await acme2(() => other.tryAcquire())).toBe(true);
    expect(await keysByTenant(opened.raw)).toEqual({ acme: ['mutex:invoices'], acme2: ['mutex:invoices'] });
    await acme2(() => other.release());
    expect(await acme(() => same.tryAcquire())).toBe(false);
    await acme(() => mutex.release());
    expect(await opened.raw.dbsize()).toBe(0);
  });

  it('refreshes by a timer, in the tenant that holds the mutex', async () => {
    const mutex = new Mutex(opened.redis, 'job', { lockTimeout: 5000, refreshInterval: 20 });
    await acme(() => mutex.acquire());
    await opened.raw.pexpire('tk:acme:mutex:job', 3000);
    while ((await opened.raw.pttl('tk:acme:mutex:job')) <= 3000) expect(mutex.isAcquired).toBe(true);
    await acme(() => mutex.release());
    expect(await opened.raw.dbsize()).toBe(0);
  });

  it('counts the permits of each tenant alone', async () => {
    const options = { acquireAttemptsLimit: 1, lockTimeout: 5000, refreshInterval: 20 };
    for (const make of [
      () => new Semaphore(opened.redis, 'pool', 2, options),
      () => new MultiSemaphore(opened.redis, 'many', 4, 2, options),
    ]) {
      const [one, two, three, other] = [make(), make(), make(), make()];
      await acme(() => one.acquire());
      await acme(() => two.acquire());
      expect(await acme(() => three.tryAcquire())).toBe(false);
      expect(await acme2(() => other.tryAcquire())).toBe(true);
      await acme(() => one.release());
      expect(await acme(() => three.tryAcquire())).toBe(true);
      await acme(() => two.release());
      await acme(() => three.release());
      await acme2(() => other.release());
    }
    expect(await opened.raw.dbsize()).toBe(0);
  });
});
