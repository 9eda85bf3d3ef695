import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { acme, acme2, failure, openCache, type Opened } from '../support.ts';
import { keysByTenant, scriptsOf } from './support.ts';

let opened: Opened;
let limiter: RateLimiterRedis;
beforeAll(async () => {
  opened = await openCache({
    enableOfflineQueue: false,
    tenant: { scripts: scriptsOf('rate-limiter-flexible', '11.4') },
  });
  // When the service starts, outside of any tenant.
  limiter = new RateLimiterRedis({ storeClient: opened.redis, keyPrefix: 'login', points: 2, duration: 5 });
});
afterAll(() => opened[Symbol.asyncDispose]());

const consume = (): Promise<number> => limiter.consume('user@example.com').then((res) => res.consumedPoints);

it('counts the points of each tenant alone, for the same id', async () => {
  expect(await acme(consume)).toBe(1);
  expect(await acme(consume)).toBe(2);
  expect(await acme2(consume)).toBe(1);
  const refused: unknown = await acme(() =>
    limiter.consume('user@example.com').catch((error: unknown) => error),
  );
  expect(refused).toBeInstanceOf(RateLimiterRes);
  expect(await acme2(consume)).toBe(2);
  expect(await keysByTenant(opened.raw)).toEqual({
    acme: ['login:user@example.com'],
    acme2: ['login:user@example.com'],
  });
});

it('gets, blocks, rewards and deletes in the tenant', async () => {
  await acme(() => limiter.block('id', 100));
  expect((await acme(() => limiter.get('id')))?.consumedPoints).toBe(3);
  expect(await acme2(() => limiter.get('id'))).toBeNull();
  expect((await acme2(() => limiter.penalty('id', 1))).consumedPoints).toBe(1);
  expect((await acme2(() => limiter.reward('id', 1))).consumedPoints).toBe(0);
  await acme2(() => limiter.set('id', 2, 0));
  expect(await acme2(() => limiter.delete('id'))).toBe(true);
  expect((await acme(() => limiter.get('id')))?.consumedPoints).toBe(3);
});

it('calls nothing outside of any tenant', async () => {
  expect(await failure(() => limiter.consume('id'))).toMatchObject({ code: 'TENANT_MISSING' });
});

it('is refused where it is made, without the list', async () => {
  const plain = opened.guarded();
  const [script] = scriptsOf('rate-limiter-flexible', '11.4');
  const error = await failure(() => new RateLimiterRedis({ storeClient: plain, points: 1, duration: 1 }));
  expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
  expect(script).toEqual({ sha1: /SHA-1 (\w+)/.exec(error.message)?.[1] });
});
