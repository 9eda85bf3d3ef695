import type { Redis, RedisOptions } from '@tenantkit/cache';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { listen, ownNames } from './pubsub-support.ts';
import { acme, acme2, failure, openCache, ready, type Opened } from './support.ts';

// What only a user shows to whom the server refuses something.
const names = ownNames();
let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

async function confined(rules: readonly string[], options: RedisOptions = {}): Promise<Redis> {
  const username = `user-${randomUUID()}`;
  await opened.raw.call('ACL', 'SETUSER', username, 'on', '>secret', '~*', '+@all', ...rules);
  const redis = opened.guarded({ username, password: 'secret', ...options });
  onTestFinished(async () => {
    redis.disconnect();
    await opened.raw.call('ACL', 'DELUSER', username);
  });
  await ready(redis);
  return redis;
}

const subscribersOf = async (channel: string): Promise<unknown> =>
  (await opened.raw.pubsub('NUMSUB', channel))[1];
const physical = (channel: string): string => names.replace('{tenant}', 'acme') + channel;

it('a subscription that the server refuses takes away none that another call stands for', async () => {
  const redis = await confined(['resetchannels', `&${physical('news')}`], { tenant: { names } });
  const ear = acme(() => listen(redis));
  const [fails, works] = await acme(() =>
    Promise.all([failure(() => redis.subscribe('news', 'refused')), redis.subscribe('news')]),
  );
  expect(fails.message).toMatch(/^NOPERM/);
  expect(works).toBe(2);
  await opened.raw.publish(physical('news'), 'hello');
  await ear.hears('hello');
  expect(ear.heard).toEqual([['message', 'acme', 'news', 'hello']]);
  expect(await acme(() => redis.unsubscribe('news'))).toBe(0);
});

it('what was subscribed to before the server refused the rest of a call is left again', async () => {
  const redis = await confined(['resetchannels', `&${physical('fine*')}`], { tenant: { names } });
  // So many that they go out in several commands, of which the last is refused.
  const fine = Array.from({ length: 1000 }, (_, n) => `fine${n}`);
  const error = await acme(() => failure(() => redis.subscribe(...fine, 'refused')));
  expect(error.message).toMatch(/^NOPERM/);
  await expect.poll(() => subscribersOf(physical('fine7'))).toBe(0);
  // The control: it is heard of where nothing is refused.
  await acme(() => redis.subscribe(...fine));
  expect(await subscribersOf(physical('fine7'))).toBe(1);
});

it('a lent connection of which the server does not tell what is left on it goes to nobody else', async () => {
  // As the server numbers the one connection that is lent.
  const idOf = (redis: Redis): Promise<number> =>
    acme(() =>
      redis.dedicated(async (own) => {
        await own.set('mark', '1');
        const lines = String(await opened.raw.client('LIST')).split('\n');
        const lent = lines.find(
          (line) => line.includes(` name=${redis.options.connectionName} `) && / cmd=set /.test(line),
        );
        return Number(/^id=(\d+)/.exec(lent ?? '')?.[1]);
      }),
    );
  const tenant = { dedicated: { max: 1 } };
  const told = await confined(['allchannels'], { connectionName: `told-${randomUUID()}`, tenant });
  const first = await idOf(told);
  expect(first).toBeGreaterThan(0);
  expect(await idOf(told)).toBe(first);
  const silent = await confined(['allchannels', '-client|info'], {
    connectionName: `silent-${randomUUID()}`,
    tenant,
  });
  const other = await idOf(silent);
  expect(other).toBeGreaterThan(0);
  expect(await idOf(silent)).not.toBe(other);
  await acme(() => silent.set('key', 'of acme'));
  expect(await acme(() => silent.dedicated((own) => own.get('key')))).toBe('of acme');
  expect(await acme2(() => silent.dedicated((own) => own.get('key')))).toBeNull();
});
