import { withTenant } from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listen, ownNames, type Ear } from './pubsub-support.ts';
import { acme, acme2, failure, openCache, until, type Opened } from './support.ts';

describe('keyspace notifications', () => {
  const names = ownNames();
  const connectionName = names.slice(0, 14);
  let opened: Opened;
  let db: number;
  beforeAll(async () => {
    opened = await openCache({ connectionName, tenant: { names } });
    // Of the whole server, and not put back: another run of these tests may need it still.
    await opened.raw.config('SET', 'notify-keyspace-events', 'KEA');
    db = opened.redis.options.db ?? 0;
  });
  afterAll(() => opened[Symbol.asyncDispose]());

  // The last thing that is heard, whatever was subscribed to.
  const end = async (ears: ReadonlyMap<string, Ear>): Promise<void> => {
    for (const tenant of ears.keys())
      await withTenant(tenant, async () => {
        await opened.redis.subscribe('end');
      });
    for (const [tenant, ear] of ears) {
      await withTenant(tenant, () => opened.redis.publish('end', 'end'));
      await ear.hears('end');
      ear.heard.splice(
        ear.heard.findIndex((entry) => entry.at(-1) === 'end'),
        1,
      );
      withTenant(tenant, () => opened.redis.removeAllListeners());
      await withTenant(tenant, () => opened.redis.unsubscribe());
      await withTenant(tenant, () => opened.redis.punsubscribe());
    }
  };
  const listenAll = (): Map<string, Ear> =>
    new Map(TENANTS.map((tenant) => [tenant, withTenant(tenant, () => listen(opened.redis))]));

  it('of a key tell its tenant, by the name it knows', async () => {
    const { redis } = opened;
    const ears = listenAll();
    for (const tenant of TENANTS)
      await withTenant(tenant, () => redis.subscribe(`__keyspace@${db}__:user:1`));
    for (const tenant of TENANTS) await withTenant(tenant, () => redis.set('user:1', tenant));
    await acme(() => redis.incr('other'));
    await acme2(() => redis.del('user:1'));
    await end(ears);
    for (const [tenant, ear] of ears) {
      const set = ['message', tenant, `__keyspace@${db}__:user:1`, 'set'];
      expect(ear.heard).toEqual(tenant === 'acme2' ? [set, [...set.slice(0, 3), 'del']] : [set]);
    }
  });

  it('of an event tell of the own keys only, though the server has one channel for all', async () => {
    const { redis } = opened;
    const ears = listenAll();
    for (const tenant of TENANTS)
      await withTenant(tenant, () => redis.subscribe(`__keyevent@${db}__:set`, `__keyevent@${db}__:expired`));
    for (const tenant of TENANTS) {
      await withTenant(tenant, () => redis.set(`of:${tenant}`, 'x'));
      await withTenant(tenant, () => redis.set(`brief:${tenant}`, 'x', 'PX', 1));
    }
    await opened.raw.set('nobody', 'x');
    for (const tenant of TENANTS)
      await until(
        () => ears.get(tenant)?.heard.some((entry) => String(entry[2]).endsWith(':expired')) === true,
      );
    await end(ears);
    for (const [tenant, ear] of ears) {
      expect(ear.heard).toEqual([
        ['message', tenant, `__keyevent@${db}__:set`, `of:${tenant}`],
        ['message', tenant, `__keyevent@${db}__:set`, `brief:${tenant}`],
        ['message', tenant, `__keyevent@${db}__:expired`, `brief:${tenant}`],
      ]);
    }
  });

  it.each([
    ['__keyspace@DB__:user:*', ['keyspace']],
    ['__keyspace@*__:user:*', ['keyspace']],
    ['__keyevent@DB__:s[e]t', ['keyevent']],
    ['__keyevent@*__:*', ['keyevent']],
    ['__key*@DB__:*', ['keyspace', 'keyevent']],
    ['__key*@*__:*', ['keyspace', 'keyevent']],
    ['__key*__:*', ['keyspace', 'keyevent']],
  ] as const)('by the pattern %s', async (template, forms) => {
    const { redis } = opened;
    const pattern = template.replace('DB', `${db}`);
    const ears = listenAll();
    for (const tenant of TENANTS)
      await withTenant(tenant, async () => expect(await redis.psubscribe(pattern)).toBe(1));
    for (const tenant of TENANTS) await withTenant(tenant, () => redis.set('user:*', tenant));
    await opened.raw.set('user:*', 'x');
    await end(ears);
    for (const [tenant, ear] of ears) {
      const expected = {
        keyspace: ['pmessage', tenant, pattern, `__keyspace@${db}__:user:*`, 'set'],
        keyevent: ['pmessage', tenant, pattern, `__keyevent@${db}__:set`, 'user:*'],
      };
      expect(ear.heard).toEqual(forms.map((form) => expected[form]));
    }
    // The server has been told that nobody wants them any more.
    const clients = String(await opened.raw.client('LIST')).split('\n');
    const line = clients.find((client) => client.includes(`name=${connectionName}:subscriber`));
    expect(line).toContain(' sub=0 psub=0 ');
  });

  it('of other databases are refused, and so are patterns that could mean anything', async () => {
    const { redis } = opened;
    for (const pattern of [
      `__keyspace@${db + 1}__:*`,
      `__keyevent@${db + 1}__:set`,
      `__keyspace@${db}?__:*`,
      `__keyspace@[0-9]__:*`,
      `__keyspace@0${db}__:*`,
      '__key*',
      '__key[se]*',
      '__keyspace*',
      String.raw`__key\space@0__:*`,
      '__keyevent@',
    ]) {
      const error = await acme(() => failure(() => redis.psubscribe(pattern)));
      expect([pattern, error.message]).toEqual([
        pattern,
        expect.stringContaining('cache.psubscribe is refused'),
      ]);
    }
    for (const channel of [
      `__keyspace@${db + 1}__:user:1`,
      '__keyevent@*__:set',
      '__keyspace@x',
      '__keyevent@',
    ])
      expect(await acme(() => failure(() => redis.subscribe(channel)))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    // What only begins alike is a channel as any other.
    const ears = new Map([['acme', acme(() => listen(redis))]]);
    await acme(() => redis.subscribe('__keyboard', '__key*', '__keyspace'));
    await acme(() => redis.psubscribe('__keyboa*'));
    await acme(() => redis.publish('__keyboard', 'hello'));
    await acme(() => redis.publish('__key*', 'star'));
    await end(ears);
    expect(ears.get('acme')?.heard).toEqual([
      ['message', 'acme', '__keyboard', 'hello'],
      ['pmessage', 'acme', '__keyboa*', '__keyboard', 'hello'],
      ['message', 'acme', '__key*', 'star'],
    ]);
  });

  it('stay those of one tenant when another has enough of them', async () => {
    const { redis } = opened;
    const ears = listenAll();
    for (const tenant of TENANTS) await withTenant(tenant, () => redis.subscribe(`__keyevent@${db}__:set`));
    for (const tenant of TENANTS)
      if (tenant !== 'acme2') await withTenant(tenant, () => redis.unsubscribe(`__keyevent@${db}__:set`));
    for (const tenant of TENANTS) await withTenant(tenant, () => redis.set('user:1', tenant));
    await ears.get('acme2')?.hears('user:1');
    await end(ears);
    for (const [tenant, ear] of ears) expect(ear.heard).toHaveLength(tenant === 'acme2' ? 1 : 0);
  });

  it('cannot be forged by a tenant', async () => {
    const { redis } = opened;
    const ears = listenAll();
    const channel = `__keyspace@${db}__:user:1`;
    for (const tenant of TENANTS)
      await withTenant(tenant, () => redis.subscribe(channel, `__keyevent@${db}__:set`));
    for (const target of [
      channel,
      `__keyevent@${db}__:set`,
      `__keyspace@${db}__:${names.replace('{tenant}', 'acme')}user:1`,
    ])
      expect(await acme2(() => redis.publish(target, 'user:1'))).toBe(0);
    await acme(() => redis.set('user:1', 'x'));
    await end(ears);
    for (const [tenant, ear] of ears) expect(ear.heard).toHaveLength(tenant === 'acme' ? 2 : 0);
  });
});
