import { Cluster, Redis } from 'ioredis';
import { describe, expect, it, vi } from 'vitest';
import { startRedisCluster, startRedisNode, startRedisSentinel } from '@tenantkit/testing/servers';
import { isSame, identityOf } from '../src/servers/identity.ts';

vi.setConfig({ testTimeout: 120_000 });

describe('a Redis Cluster', () => {
  it('shares the slots among its masters, and moves them with their keys while clients work', async () => {
    await using servers = await startRedisCluster({ masters: 3, replicas: 1 });
    const [first, second, third] = servers.masters;
    const cluster = new Cluster([...servers.masters]);
    const raw = new Redis(first?.url ?? '');
    try {
      expect(await raw.call('CLUSTER', 'INFO')).toContain('cluster_size:3');
      expect(servers.replicas).toHaveLength(1);
      const slot = await raw.cluster('KEYSLOT', 'key');
      await cluster.set('key', 'x');
      const from = servers.ownerOf(slot);
      const [to, further] = [first, second, third].filter((node) => node !== from);
      if (to === undefined || further === undefined) throw new TypeError('there are three');
      for (const target of [to, further, from]) {
        await servers.move(slot, target);
        expect(servers.ownerOf(slot)).toBe(target);
        const own = new Redis(target.url);
        expect(await own.get('key')).toBe('x');
        own.disconnect();
        expect(await cluster.get('key')).toBe('x');
      }
      await servers.beginMove(slot, to);
      const left = new Redis(from.url);
      await expect(left.get('key')).rejects.toThrow(`ASK ${slot} 127.0.0.1:${to.port}`);
      left.disconnect();
      expect(await cluster.get('key')).toBe('x');
      await servers.finishMove(slot, to);
      expect(await cluster.get('key')).toBe('x');
      expect(() => servers.ownerOf(16_384)).toThrow(RangeError);
      await expect(servers.move(slot, to)).rejects.toThrow(/there already/);
    } finally {
      cluster.disconnect();
      raw.disconnect();
    }
  });

  it('moves slots to and fro as fast as it can, and the masters agree after each', async () => {
    await using servers = await startRedisCluster({ masters: 3, signal: AbortSignal.timeout(60_000) });
    const masters = servers.masters.map(({ url }) => new Redis(url));
    try {
      for (let move = 0; move < 60; move += 1) {
        const slot = move % 2;
        const others = servers.masters.filter((node) => node !== servers.ownerOf(slot));
        const to = others[move % 3 === 0 ? 0 : 1];
        if (to === undefined) throw new TypeError('there are three');
        await servers.move(slot, to);
        const told = await Promise.all(masters.map((master) => master.cluster('NODES')));
        for (const text of told as string[]) {
          const [, , , , , , , , ...slots] =
            text
              .split('\n')
              .find((line) => line.includes(`:${to.port}@`))
              ?.split(' ') ?? [];
          expect(slots.some((range) => range.split('-')[0] === `${slot}` || range === '0-1')).toBe(true);
        }
        // Two with one epoch settle between themselves later who has the slot.
        const epochs = told.map((text) =>
          (text as string)
            .trim()
            .split('\n')
            .toSorted()
            .map((line) => line.split(' ')[6]),
        );
        expect(new Set(epochs[0]).size).toBe(3);
        expect(new Set(epochs.map((own) => own.join())).size).toBe(1);
      }
    } finally {
      for (const master of masters) master.disconnect();
    }
  });

  it('has servers that can be halted, killed and started again', async () => {
    await using servers = await startRedisCluster({
      masters: 1,
      settings: { 'cluster-node-timeout': '1000' },
    });
    const [node] = servers.masters;
    if (node === undefined) throw new TypeError('there is one');
    const raw = new Redis(node.url, { commandTimeout: 300 });
    raw.on('error', () => undefined);
    try {
      await raw.set('key', 'x');
      await node.pause();
      await expect(raw.get('key')).rejects.toThrow('Command timed out');
      await node.resume();
      expect(await vi.waitFor(() => raw.get('key'), 30_000)).toBe('x');
      const id = await raw.cluster('MYID');
      await node.kill();
      await node.restart();
      // The same one, with its slots and without what was not kept.
      expect(await vi.waitFor(() => raw.cluster('MYID'), 30_000)).toBe(id);
    } finally {
      raw.disconnect();
    }
  });
});

it('sentinels find the master, and another one after a failover', async () => {
  await using servers = await startRedisSentinel({ replicas: 1, sentinels: 3 });
  const redis = new Redis({ sentinels: [...servers.sentinels], name: servers.name });
  try {
    await redis.set('key', 'x');
    await redis.wait(1, 5_000);
    const before = await servers.master();
    const after = await servers.failOver();
    expect(after).not.toBe(before);
    expect(await vi.waitFor(() => redis.get('key'), 30_000)).toBe('x');
  } finally {
    redis.disconnect();
  }
});

it('what was started ends with stop(), and with a signal in the middle of the start', async () => {
  const servers = await startRedisNode({ settings: { maxmemory: '10mb' } });
  const raw = new Redis(servers.url);
  const info = await raw.info();
  expect(info).toContain('maxmemory:10485760');
  const pid = Number(/process_id:(\d+)/.exec(info)?.[1]);
  const identity = identityOf(pid) ?? '';
  expect(isSame(pid, identity)).toBe(true);
  raw.disconnect();
  await servers.stop();
  expect(isSame(pid, identity)).toBe(false);

  const reason = new Error('enough');
  const late = new AbortController();
  const starting = startRedisCluster({ signal: late.signal });
  late.abort(reason);
  await expect(starting).rejects.toBe(reason);
  await expect(startRedisNode({ signal: late.signal })).rejects.toBe(reason);
});

it.each([
  [() => startRedisCluster({ masters: 0 }), 'masters'],
  [() => startRedisCluster({ shards: 3 } as object), 'unknown option shards'],
  [() => startRedisSentinel({ downAfter: 1 }), 'downAfter'],
  [() => startRedisNode({ release: 'redis@6.2' as 'redis@7.0' }), 'release'],
])('options that there are not are refused: %s', async (start, problem) => {
  await expect(start()).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(problem),
  });
});

it('a setting that the server does not know is told with its own words', async () => {
  await expect(startRedisNode({ settings: { frobnicate: 'yes' } })).rejects.toMatchObject({
    code: 'SERVER_FAILED',
    message: expect.stringContaining('frobnicate'),
  });
});
