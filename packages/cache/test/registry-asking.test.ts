import { withTenant } from '@tenantkit/core';
import { Cluster } from '@tenantkit/cache';
import { startRedisCluster, type RedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { slotOf } from '../src/registry-names.ts';
import { proxyTo } from './proxy.ts';
import { acme, until } from './support.ts';

it('while a slot moves, a write is done when its entry is, which goes another way', async () => {
  await using servers = await startRedisCluster({ masters: 3 });
  const slot = slotOf('tk:acme:key');
  const from = servers.ownerOf(slot);
  const to = servers.masters.find((node) => node !== from) as RedisNode;
  await using proxy = await proxyTo(to);
  const cluster = new Cluster([...servers.masters], {
    tenant: { index: true },
    natMap: (address) => {
      const [host = '', port] = address.split(':');
      return { host, port: Number(port) === to.port ? proxy.port : Number(port) };
    },
  });
  const target = new Raw(to.url);
  try {
    await once(cluster, 'ready');
    await acme(() => cluster.set('key', 'x'));
    // The key stays where it is for now; what is new goes to the other master.
    await servers.beginMove(slot, to, []);
    const as = <T>(fn: () => T): T => withTenant({ tenant: 'acme', subject: 'p1' }, fn);
    // The connection to it is there.
    const there = Array.from({ length: 100 }, (_, n) => `there${n}`).find(
      (key) => servers.ownerOf(slotOf(`tk:acme:${key}`)) === to,
    );
    await acme(() => cluster.set(there ?? '', 'x'));
    proxy.commands();
    proxy.hold();
    let isDone = false;
    const writes = as(() =>
      Promise.all([
        cluster.set('key', 'y'),
        cluster.pipeline().set('key', 'z').exec(),
        cluster.multi().set('key', 'z').exec(),
      ]),
    ).finally(() => {
      isDone = true;
    });
    await until(() => proxy.commands().includes('asking'));
    // What has stayed is answered by the other master.
    expect(await acme(() => cluster.get('key'))).toBe('z');
    expect(isDone).toBe(false);
    proxy.release();
    expect(await writes).toEqual(['OK', [[null, 'OK']], [[null, 'OK']]]);
    await servers.finishMove(slot, to);
    const sets = (await target.keys('tk!*')).filter((name) => name.includes('p1'));
    expect(sets).toHaveLength(1);
    expect(await target.zrange(sets[0] ?? '', '0', '-1')).toEqual(['kkey']);
  } finally {
    target.disconnect();
    cluster.disconnect();
  }
});
