import { currentTenant, withTenant } from '@tenantkit/core';
import { Redis, cacheEraser, type RedisOptions } from '@tenantkit/cache';
import { startRedisSentinel, type RedisSentinel } from '@tenantkit/testing/servers';
import { TENANTS } from '@tenantkit/testing';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isPlumbing } from '../src/plumbing.ts';
import { Storm } from './storm.ts';
import { acme, acme2, failure, shown, until } from './support.ts';

let servers: RedisSentinel;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  servers = await startRedisSentinel({ replicas: 1, sentinels: 3, downAfter: 500 });
});
afterAll(() => servers.stop());
beforeEach(async () => {
  const raw = new Raw((await servers.master()).url);
  for (const tenant of TENANTS) await raw.set(`tk:${tenant}:key`, `of ${tenant}`);
  await raw.wait(1, 5_000);
  raw.disconnect();
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

function open(options: RedisOptions = {}): Redis {
  const client = new Redis({
    sentinels: servers.sentinels.map(({ host, port }) => ({ host, port })),
    name: servers.name,
    retryStrategy: () => 10,
    ...options,
  } as object);
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

describe('a client that asks sentinels for the server', () => {
  it.each([{}, { enableAutoPipelining: true }, { lazyConnect: true, protocol: 2 }] as RedisOptions[])(
    'confines every form of a call: %j',
    async (options) => {
      const client = open(options);
      const values = TENANTS.map((tenant) =>
        withTenant(tenant, () =>
          Promise.all([
            client.get('key'),
            client.pipeline().get('key').exec(),
            client.multi().get('key').exec(),
          ]),
        ),
      );
      for (const [index, tenant] of TENANTS.entries())
        expect(await values[index]).toEqual([
          `of ${tenant}`,
          [[null, `of ${tenant}`]],
          [[null, `of ${tenant}`]],
        ]);
      expect(await failure(() => client.get('key'))).toMatchObject({ code: 'TENANT_MISSING' });
      const error = await acme(() => failure(() => client.lpush('key', 'x')));
      expect(error.message).toMatch(/^WRONGTYPE/);
      expect(shown(error)).not.toContain('tk:');
      const eraser = cacheEraser(client);
      expect((await eraser.plan({ tenant: 'a' })).items).toContainEqual({ kind: 'keys', count: 1 });
    },
  );

  it('reads from a replica, which refuses writes in logical names', async () => {
    const reader = open({ role: 'slave' });
    for (const tenant of TENANTS)
      expect(await withTenant(tenant, () => reader.get('key'))).toBe(`of ${tenant}`);
    const error = await acme(() => failure(() => reader.set('key', 'x')));
    expect(error.message).toMatch(/^READONLY/);
    expect(shown(error)).not.toContain('tk:');
  });

  it('calls what its options hold outside of its own work, and of any tenant', async () => {
    const seen: unknown[] = [];
    const note = <T>(value: T): T => {
      seen.push([currentTenant(), isPlumbing()]);
      return value;
    };
    const client = acme(() =>
      open({
        role: 'slave',
        lazyConnect: true,
        preferredSlaves: (slaves) => note(slaves[0] ?? null),
        natMap: () => note(null),
      }),
    );
    expect(await acme2(() => client.get('key'))).toBe('of acme2');
    expect(seen.length).toBeGreaterThan(0);
    for (const entry of seen) expect(entry).toEqual([undefined, false]);
  });

  it('makes connections of one tenant, which follow the master, too', async () => {
    const client = open({ failoverDetector: true });
    const own = acme(() => client.duplicate());
    own.on('error', () => undefined);
    clients.push(own);
    const waited = acme(() => own.blpop('queue', 0));
    await acme(() => client.rpush('queue', 'x'));
    expect(await waited).toEqual(['queue', 'x']);
    expect(await failure(() => acme2(() => own.get('key')))).toMatchObject({ code: 'TENANT_SWITCH' });
    const again = once(own, 'ready');
    await servers.failOver();
    await again;
    expect(await acme(() => own.get('key'))).toBe('of acme');
    expect(await failure(() => acme2(() => own.get('key')))).toMatchObject({ code: 'TENANT_SWITCH' });
  });
});

describe('a failover in the middle of the traffic of two tenants', () => {
  // What the old master has not passed on is lost, as ever with Redis: only that no reply goes astray is seen here.
  const expected =
    /^(?:READONLY|UNBLOCKED|LOADING|MASTERDOWN|NOREPLICAS|EXECABORT|All sentinels are unreachable|connect ECONNREFUSED)/;

  // Without the detector a client stays with the old master until that has become a replica: ten seconds.
  it.each([
    { failoverDetector: true },
    { failoverDetector: true, enableAutoPipelining: true },
  ] as RedisOptions[])('gives no reply to a wrong caller: %j', async (options) => {
    const client = open(options);
    const storm = new Storm(client, ['acme', 'acme2'], { callers: 50, expected });
    for (let time = 0; time < 2; time += 1) {
      await storm.more(1000);
      const before = client.stream.remotePort;
      const { port } = await servers.failOver();
      await until(() => client.stream.remotePort === port && client.status === 'ready');
      expect(client.stream.remotePort).not.toBe(before);
    }
    await storm.more(1000);
    await storm.stop();
    expect([storm.wrong, storm.strange]).toEqual([[], []]);
  });

  it('also when the master has died, and comes back as a replica', async () => {
    const client = open();
    const storm = new Storm(client, ['acme', 'acme2'], { callers: 50, expected });
    await storm.more(500);
    const dead = await servers.master();
    await dead.kill();
    const isElsewhere = (port: number | undefined): boolean => port !== undefined && port !== dead.port;
    await until(() => client.status === 'ready' && isElsewhere(client.stream.remotePort));
    await dead.restart();
    await storm.more(1000);
    await storm.stop();
    expect([storm.wrong, storm.strange]).toEqual([[], []]);
    // One sentinel may hear of it from the others a moment later.
    await expect.poll(async () => (await servers.master()).port).not.toBe(dead.port);
  });
});
