import { cacheEraser, Redis, type CachePlacement } from '@tenantkit/cache';
import { createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listen } from './pubsub-support.ts';
import { acme, acme2, failure, operator, ready } from './support.ts';

type Node = Awaited<ReturnType<typeof startRedisNode>>;

let pool: Node;
let node: Node;
let admin: Raw;
let clients: Redis[] = [];
beforeAll(async () => {
  [pool, node] = await Promise.all([startRedisNode(), startRedisNode()]);
  admin = new Raw(node.url);
});
afterAll(async () => {
  admin.disconnect();
  await Promise.all([pool.stop(), node.stop()]);
});
beforeEach(() => admin.acl('SETUSER', 'big', 'reset', 'on', '>right', '~*', '&*', '+@all'));
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

/** A client whose tenants are all at one address, as one user. */
function open(passwords: Record<string, string>): Redis {
  const place = (tenant: string): CachePlacement => {
    const password = passwords[tenant];
    return password === undefined
      ? { level: 'pool' }
      : { level: 'silo', options: { host: '127.0.0.1', port: node.port, username: 'big', password } };
  };
  const client = new Redis(pool.url, { retryStrategy: () => 20, maxRetriesPerRequest: 2, tenant: { place } });
  clients.push(client);
  return client;
}

const connections = async (): Promise<number> =>
  String(await admin.client('LIST')).split('user=big ').length - 1;

describe('two tenants whose places are one address and user', () => {
  it.each([['acme2 first'], ['acme first']])(
    'get in with their own password only, and a wrong one is nobody else’s: %s',
    async (order) => {
      const client = open({ acme: 'WRONG', acme2: 'right' });
      const told: string[] = [];
      client.on('error', () => undefined);
      acme2(() => client.on('error', ({ message }: Error) => told.push(message)));
      if (order === 'acme first')
        expect(await acme(() => failure(() => client.get('key')))).toBeInstanceOf(Error);
      expect(await acme2(() => client.set('key', 'of acme2'))).toBe('OK');
      for (let round = 0; round < 5; round += 1) {
        const [mine, others] = await Promise.all([
          acme(() => failure(() => client.set('key', 'of acme'))),
          acme2(() => client.get('key')),
        ]);
        expect(mine).toBeInstanceOf(Error);
        expect(others).toBe('of acme2');
        await admin.client('KILL', 'USER', 'big');
      }
      expect(await acme2(() => client.get('key'))).toBe('of acme2');
      expect(told).not.toContainEqual(expect.stringContaining('WRONGPASS'));
      expect(await admin.exists('tk:acme:key')).toBe(0);
    },
  );
});

describe('the password of a place with several tenants', () => {
  it('changes for one after the other, and no client with the old one is left', async () => {
    const passwords: Record<string, string> = { acme: 'right', acme2: 'right', a: 'right', ac: 'right' };
    const client = open(passwords);
    client.on('error', () => undefined);
    const tenants = Object.keys(passwords);
    for (const tenant of tenants) await withTenant(tenant, () => client.set('key', tenant));
    const first = client.clientOf('acme');
    const made = acme(() => client.pipeline().get('key'));
    // Two that call nothing from now on: one of them listens.
    const ear = withTenant('ac', () => listen(client));
    await withTenant('ac', () => client.subscribe('news'));
    await admin.acl('SETUSER', 'big', '>next');
    passwords['acme'] = 'next';
    await expect.poll(() => client.clientOf('acme') === first, { timeout: 5000 }).toBe(false);
    const second = client.clientOf('acme');
    await ready(second);
    expect(client.clientOf('acme2')).toBe(first);
    expect([await acme(() => client.get('key')), await acme2(() => client.get('key'))]).toEqual([
      'acme',
      'acme2',
    ]);
    // What was made before has not moved.
    expect(await acme(() => made.exec())).toEqual([[null, 'acme']]);
    for (const tenant of tenants) passwords[tenant] = 'next';
    await expect.poll(() => first.status, { timeout: 5000 }).toBe('end');
    expect(tenants.map((tenant) => client.clientOf(tenant))).toEqual(tenants.map(() => second));
    // It, and the one that hears messages.
    await expect.poll(connections).toBe(2);
    await admin.acl('SETUSER', 'big', '<right');
    await admin.client('KILL', 'USER', 'big');
    for (const tenant of tenants) expect(await withTenant(tenant, () => client.get('key'))).toBe(tenant);
    await expect
      .poll(async () => {
        await withTenant('ac', () => client.publish('news', 'after'));
        return ear.heard.length;
      })
      .toBeGreaterThan(0);
  });

  it('reaches the eraser of a tenant that was frozen before', async () => {
    const passwords: Record<string, string> = { acme: 'right', acme2: 'right' };
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const client = new Redis(pool.url, {
      tenant: {
        fence,
        place: (tenant) => ({
          level: 'silo',
          options: { host: '127.0.0.1', port: node.port, username: 'big', password: passwords[tenant] },
        }),
      },
    });
    clients.push(client);
    client.on('error', () => undefined);
    await acme(() => client.set('key', 'of acme'));
    await acme2(() => client.set('key', 'of acme2'));
    await fence.freeze('acme');
    passwords['acme'] = 'next';
    await admin.acl('SETUSER', 'big', '>next');
    const { items } = await operator(() => cacheEraser(client, { users: false }).plan({ tenant: 'acme' }));
    // Not counted twice.
    expect(items).toEqual([expect.objectContaining({ kind: 'keys', count: 1 })]);
  });
});
