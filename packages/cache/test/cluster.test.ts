import { TenantSwitchError, currentTenant, isVerified, withTenant } from '@tenantkit/core';
import {
  Cluster,
  Command,
  Redis,
  cacheAuditor,
  cacheBackstop,
  cacheEraser,
  type ClusterOptions,
} from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { Cluster as RawCluster } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isPlumbing } from '../src/plumbing.ts';
import { slotOf } from '../src/registry-names.ts';
import { startClusterNode, type ClusterNode } from './cluster-node.ts';
import { startClusterNodes } from './cluster-nodes.ts';
import { acme, acme2, failure, operator, shown, until } from './support.ts';

let node: ClusterNode;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  node = await startClusterNode();
});
afterAll(() => node[Symbol.asyncDispose]());
beforeEach(async () => {
  await node.raw.flushall();
  for (const tenant of TENANTS) await node.raw.set(`tk:${tenant}:key`, `of ${tenant}`);
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

function open(options: ClusterOptions = {}): Cluster {
  const cluster = new Cluster(
    [{ host: '127.0.0.1', port: node.port }],
    options as ClusterOptions & { redisOptions?: { replyMapping?: 'legacy' } },
  );
  clients.push(cluster);
  return cluster;
}

const refused = expect.objectContaining({ code: 'OPERATION_REFUSED' });

describe('a cluster', () => {
  it.each([{}, { enableAutoPipelining: true }] as ClusterOptions[])(
    'confines every form of a call, from before it is ready on: %j',
    async (options) => {
      const cluster = open({ ...options, lazyConnect: true });
      const early = TENANTS.map((tenant) =>
        withTenant(tenant, () =>
          Promise.all([
            cluster.get('key'),
            cluster.pipeline().get('key').exec(),
            cluster.multi().get('key').exec(),
          ]),
        ),
      );
      const refusals = await Promise.all([
        failure(() => cluster.get('key')),
        failure(() => acme(() => cluster.config('GET', '*'))),
        failure(() => acme(() => cluster.call('FROBNICATE'))),
      ]);
      expect(refusals).toEqual([expect.objectContaining({ code: 'TENANT_MISSING' }), refused, refused]);
      for (const [index, tenant] of TENANTS.entries()) {
        const value = `of ${tenant}`;
        expect(await early[index]).toEqual([value, [[null, value]], [[null, value]]]);
      }
      await Promise.all(
        TENANTS.map((tenant) =>
          withTenant(tenant, async () => {
            for (let n = 0; n < 50; n += 1) await cluster.set(`n${n}`, `${tenant} ${n}`);
            const values = await Promise.all(Array.from({ length: 50 }, (_, n) => cluster.get(`n${n}`)));
            expect(values).toEqual(Array.from({ length: 50 }, (_, n) => `${tenant} ${n}`));
          }),
        ),
      );
      expect(await acme(() => cluster.pipeline().get('key').config('GET', '*').get('key').exec())).toEqual([
        [null, 'of acme'],
        [refused],
        [null, 'of acme'],
      ]);
      expect(await operator(() => cluster.get('tk:acme2:key'))).toBe('of acme2');
    },
  );

  it('computes slots from physical keys, and keeps a tenant in one slot when asked to', async () => {
    const cluster = open();
    const error = await failure(() => acme(() => cluster.mget('a', 'b')));
    expect(error.message).toMatch(/^CROSSSLOT/);
    expect(shown(error)).not.toContain('tk:acme:');
    expect(await acme(() => cluster.mget('{x}a', '{x}b'))).toEqual([null, null]);
    const tagged = open({ tenant: { hashTag: true } });
    await acme(() => tagged.mset('a', '1', 'b', '2', 'c', '3'));
    expect(await acme(() => tagged.mget('a', 'b', 'c'))).toEqual(['1', '2', '3']);
    const keys = await node.raw.keys('tk:{acme}:*');
    const slots = await Promise.all(keys.map((key) => node.raw.cluster('KEYSLOT', key)));
    expect(new Set(slots).size).toBe(1);
    expect(slots).toHaveLength(3);
  });

  it('hands out guarded clients only', async () => {
    const cluster = open();
    await once(cluster, 'ready');
    const made: readonly (Redis | Cluster)[] = [
      ...cluster.nodes(),
      ...cluster.nodes('master'),
      ...cluster.nodes().map((node) => node.duplicate()),
      cluster.duplicate(),
      cluster.duplicate([], { scaleReads: 'master' }),
    ];
    expect(made).toHaveLength(5);
    for (const client of made) {
      clients.push(client);
      expect(client instanceof Redis || client instanceof Cluster).toBe(true);
      expect(await acme(() => client.get('key'))).toBe('of acme');
      expect(await failure(() => client.get('key'))).toMatchObject({ code: 'TENANT_MISSING' });
      expect(await failure(() => acme(() => client.config('GET', '*')))).toEqual(refused);
    }
    const [first] = cluster.nodes();
    expect(await acme(() => first?.scan(0, 'COUNT', 100))).toEqual(['0', ['key']]);
    expect(
      await failure(() =>
        acme(() => cluster.defineCommand('peek', { lua: 'return 1', tenant: 'keys-only' })),
      ),
    ).toEqual(refused);
    expect(await failure(() => acme(() => cluster.multi({ pipeline: false })))).toEqual(refused);
    expect(() => cluster.addBuiltinCommand('sendCommand')).toThrow(/refused/);
  });

  it('keeps pipelines and listeners to their tenants', async () => {
    const cluster = open();
    const ready = new Promise((resolve) => {
      acme2(() => cluster.on('ready', () => resolve(cluster.get('key'))));
    });
    expect(await ready).toBe('of acme2');
    const made = acme(() => cluster.pipeline().get('key'));
    expect(await failure(() => acme2(() => made.exec()))).toBeInstanceOf(TenantSwitchError);
    expect(await acme(() => made.exec())).toEqual([[null, 'of acme']]);
    const refreshed = await new Promise((resolve) => {
      acme(() => cluster.refreshSlotsCache((error) => resolve([error, cluster.get('key')])));
    });
    expect(await Promise.all(refreshed as unknown[])).toEqual([undefined, 'of acme']);
    const late = open();
    const waited = new Promise((resolve) => {
      acme(() => late.delayUntilReady(() => resolve([currentTenant()?.tenant, isPlumbing()])));
    });
    expect(await waited).toEqual(['acme', false]);
  });

  it('survives broken connections without mixing tenants', async () => {
    const cluster = open({ retryDelayOnFailover: 1 });
    cluster.on('error', () => undefined);
    const state = { running: true, replies: 0 };
    const workers = TENANTS.map((tenant) =>
      withTenant(tenant, async () => {
        while (state.running) {
          expect(await cluster.get('key')).toBe(`of ${tenant}`);
          state.replies += 1;
        }
      }),
    );
    for (let kill = 0; kill < 5; kill += 1) {
      const enough = state.replies + 20;
      await node.raw.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await until(() => state.replies >= enough);
    }
    state.running = false;
    await Promise.all(workers);
  });

  it('is erased and audited over its masters', async () => {
    const cluster = open();
    await acme(async () => {
      for (let n = 0; n < 300; n += 1) await cluster.set(`n${n}`, 'x');
    });
    const before = await node.raw.dbsize();
    const eraser = cacheEraser(cluster);
    expect((await eraser.plan({ tenant: 'acme' })).items).toEqual([{ kind: 'keys', count: 301 }]);
    const outcome = await eraser.erase(
      { tenant: 'acme' },
      {
        signal: new AbortController().signal,
        checkpoint: { load: async () => undefined, save: async () => undefined },
        progress: () => undefined,
      },
    );
    expect(outcome.erased).toEqual([{ kind: 'keys', count: 301 }]);
    expect(await node.raw.dbsize()).toBe(before - 301);
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    await node.raw.set('plain', '1');
    const names: unknown[] = [];
    for await (const { name } of cacheAuditor(cluster).audit(new AbortController().signal)) names.push(name);
    expect(names).toEqual(['plain']);
  });

  it('without an offline queue waits with a turn until it is ready', async () => {
    for (let times = 0; times < 10; times += 1) {
      const cluster = open({ enableAutoPipelining: true, enableOfflineQueue: false });
      const early = acme(() => Promise.all([cluster.get('key'), cluster.strlen('key')]));
      expect(await early).toEqual(['of acme', 7]);
      expect(cluster.status).toBe('ready');
      cluster.disconnect();
    }
  });

  it('that is never ready rejects what has waited for it', async () => {
    const state = async (wanted: string): Promise<void> => {
      while (!(await node.raw.cluster('INFO')).includes(`cluster_state:${wanted}`));
    };
    // A cluster that lacks a slot is not ready.
    await node.raw.cluster('DELSLOTS', 1);
    try {
      await state('fail');
      const cluster = open({ enableAutoPipelining: true, enableOfflineQueue: false });
      cluster.on('error', () => undefined);
      const error = await acme(() => failure(() => cluster.get('key')));
      expect(error.message).toMatch(/^Cluster isn't ready/);
    } finally {
      await node.raw.cluster('ADDSLOTS', 1);
      await state('ok');
    }
  });

  it('without an offline queue answers a whole turn, as the autopipelining of ioredis does', async () => {
    const options = {
      enableAutoPipelining: true,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      // Otherwise ioredis tries again what it has rejected.
      retryDelayOnFailover: 0,
    };
    for (const lazyConnect of [false, true]) {
      const cluster = open({ ...options, lazyConnect });
      const raw = new RawCluster([{ host: '127.0.0.1', port: node.port }], { ...options, lazyConnect });
      clients.push(raw);
      const turn = (key: string, client: Cluster | RawCluster): Promise<unknown> =>
        Promise.all([client.get(key), client.get(key), client.strlen(key)]);
      for (let times = 0; times < 2; times += 1) {
        expect(await acme(() => turn('key', cluster))).toEqual(['of acme', 'of acme', 7]);
        expect(await turn('tk:acme:key', raw)).toEqual(['of acme', 'of acme', 7]);
      }
    }
    // Without autopipelining, ioredis knows no node yet and says so.
    const direct = open({ ...options, enableAutoPipelining: false });
    expect((await failure(() => acme(() => direct.get('key')))).message).toMatch(/Cluster isn't ready/);
  });

  it('whose nodes nobody can reach rejects a turn, too', async () => {
    const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], {
      enableAutoPipelining: true,
      clusterRetryStrategy: () => null,
    });
    clients.push(cluster);
    cluster.on('error', () => undefined);
    const errors = await acme(() =>
      Promise.all([failure(() => cluster.get('a')), failure(() => cluster.get('b'))]),
    );
    for (const { message } of errors) expect(message).toMatch(/None of startup nodes|Connection is closed/);
    expect(cluster.autoPipelineQueueSize).toBe(0);
  });

  it('has no options of a connection', () => {
    const cluster = open({ lazyConnect: true });
    for (const name of ['host', 'port', 'readOnly', 'password']) expect(name in cluster.options).toBe(false);
  });

  it.each([true, false])('that has ended rejects what is called then: autopipelining %s', async (isAuto) => {
    const nowhere = new Cluster([{ host: '127.0.0.1', port: 1 }], {
      enableAutoPipelining: isAuto,
      clusterRetryStrategy: () => null,
    });
    clients.push(nowhere);
    nowhere.on('error', () => undefined);
    await until(() => nowhere.status === 'end');
    const known = open({ enableAutoPipelining: isAuto });
    expect(await acme(() => known.get('key'))).toBe('of acme');
    const ended = once(known, 'end');
    known.disconnect();
    await ended;
    for (const cluster of [nowhere, known]) {
      const told = Promise.withResolvers<unknown>();
      const calls = acme(() => [
        cluster.get('a'),
        cluster
          .pipeline()
          .get('a')
          .exec((...answer) => told.resolve(answer)),
        cluster.multi().get('a').exec(),
        told.promise,
      ]);
      // ioredis answers a pipeline with the error of each command, where it knows the slots.
      for (const call of await Promise.allSettled(calls))
        expect(shown(call)).toMatch(/Connection is closed|Cluster is ended/);
      expect(cluster.autoPipelineQueueSize).toBe(0);
    }
  });

  it('with replicas that answer reads, one that hangs holds up no write', async () => {
    await using nodes = await startClusterNodes();
    const cluster = new Cluster([{ host: '127.0.0.1', port: nodes.first.port }], {
      enableAutoPipelining: true,
      scaleReads: 'slave',
    });
    clients.push(cluster);
    cluster.on('error', () => undefined);
    const key = Array.from({ length: 100 }, (_, n) => `key${n}`).find(
      (name) => slotOf(`tk:acme:${name}`) < 8192,
    ) as string;
    await acme(() => cluster.set(key, 'x'));
    await expect.poll(() => acme(() => cluster.get(key))).toBe('x');
    await nodes.replica.raw.client('PAUSE', 60_000);
    const reads: unknown[] = [];
    const read = (): void =>
      void acme(() => cluster.get(key)).then(
        (value) => reads.push(value),
        (error) => reads.push(error),
      );
    read();
    // It has left by then, and what is called now waits for it.
    await new Promise(setImmediate);
    read();
    expect(await acme(() => cluster.set(key, 'y'))).toBe('OK');
    expect(await acme(() => cluster.set(key, 'z'))).toBe('OK');
    expect(reads).toEqual([]);
    expect(cluster.autoPipelineQueueSize).toBe(1);
    expect(await nodes.first.raw.get(`tk:acme:${key}`)).toBe('z');
  }, 20_000);

  it('refuses a node of the caller’s own', async () => {
    const cluster = open();
    expect(await acme(() => cluster.get('key'))).toBe('of acme');
    const seen: unknown[] = [];
    const fake = { status: 'ready', sendCommand: (command: unknown) => seen.push(command) };
    const command = (): Command => new Command('get', ['key'], { replyEncoding: 'utf8' });
    for (const stream of [undefined, { write: () => true }, { isPipeline: true, write: () => true }]) {
      const call = (): unknown => cluster.sendCommand(command(), stream as never, { slot: 1, redis: fake });
      expect(await failure(() => acme(call))).toEqual(refused);
      expect(
        await failure(() => acme(() => cluster.sendCommand(command(), { write: () => true } as never))),
      ).toEqual(refused);
    }
    expect(seen).toEqual([]);
    expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
  });

  it('is ended, and made to wait, by no tenant of several', async () => {
    const cluster = open();
    expect(await acme(() => cluster.get('key'))).toBe('of acme');
    for (const call of [
      () => cluster.quit(),
      () => cluster.disconnect(),
      () => cluster.nodes()[0]?.disconnect(),
      () => cluster.nodes()[0]?.quit(),
      () => cluster.blpop('list', 0),
    ])
      expect(await failure(() => acme(call))).toEqual(refused);
    const own = acme(() => cluster.duplicate());
    const popped = acme(() => own.blpop('list', 0));
    expect(await failure(() => acme2(() => own.get('key')))).toBeInstanceOf(TenantSwitchError);
    expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
    await acme(() => cluster.rpush('list', 'x'));
    expect(await popped).toEqual(['list', 'x']);
    const ended = once(own, 'end');
    expect(await acme(() => own.quit())).toBe('OK');
    await ended;
    const cut = acme(() => cluster.duplicate());
    await once(cut, 'ready');
    const gone = once(cut, 'end');
    acme(() => cut.disconnect());
    await gone;
    expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
  });

  it('calls what its options hold outside of its own work', async () => {
    const seen: unknown[] = [];
    const note = <T>(value: T): T => {
      seen.push([currentTenant(), isPlumbing()]);
      return value;
    };
    const cluster = acme(() =>
      open({
        dnsLookup: (_, callback) => note(callback)(null, '127.0.0.1', 4),
        natMap: () => note(null),
        clusterRetryStrategy: () => note(null),
        scaleReads: (nodes: readonly Redis[]) => note(nodes)[0] ?? null,
      }),
    );
    expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
    cluster.disconnect(true);
    await once(cluster, 'end');
    expect(seen.length).toBeGreaterThanOrEqual(3);
    for (const entry of seen) expect(entry).toEqual([undefined, false]);
  });

  it('works as a user whom the backstop confines, and is confined', async () => {
    await node.raw.call('ACL', 'SETUSER', 'confined', ...cacheBackstop('acme'), '>secret');
    try {
      const redisOptions = { username: 'confined', password: 'secret', enableReadyCheck: false };
      const warned: unknown[] = [];
      const cluster = open({ redisOptions, scaleReads: 'all' });
      cluster.on('node error', (error) => warned.push(error));
      expect(await acme(() => cluster.get('key'))).toBe('of acme');
      expect(await acme(() => cluster.multi().get('key').exec())).toEqual([[null, 'of acme']]);
      const [only] = cluster.nodes();
      await new Promise((resolve, reject) => {
        cluster.refreshSlotsCache((error) => (error ? reject(error) : resolve(undefined)));
      });
      expect(warned).toEqual([]);
      const raw = new RawCluster([{ port: node.port }], { redisOptions });
      clients.push(raw);
      await once(raw, 'ready');
      for (const [command, ...args] of [
        ['READONLY'],
        ['READWRITE'],
        ['ASKING'],
        ['CLUSTER', 'SHARDS'],
      ] as const)
        expect(await raw.nodes()[0]?.call(command, ...args)).toBeDefined();
      for (const [command, ...args] of [
        ['GET', 'tk:acme2:key'],
        ['CLUSTER', 'NODES'],
        ['CLUSTER', 'GETKEYSINSLOT', '1', '10'],
        ['CLUSTER', 'RESET'],
        ['INFO'],
      ] as const)
        expect((await failure(() => raw.nodes()[0]?.call(command, ...args))).message).toMatch(/^NOPERM/);
      expect(only).toBeInstanceOf(Redis);
    } finally {
      await node.raw.call('ACL', 'DELUSER', 'confined');
    }
  });

  it('that is not there ends an eraser with an error', async () => {
    const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }]);
    clients.push(cluster);
    cluster.on('error', () => undefined);
    const error = await failure(() => cacheEraser(cluster, { timeout: 200 }).plan({ tenant: 'acme' }));
    expect(error).toMatchObject({ code: 'STORE_UNREACHABLE', target: 'redis://127.0.0.1:1' });
  });

  it('ends outside of any tenant', async () => {
    const cluster = open();
    await once(cluster, 'ready');
    expect(await cluster.quit()).toBe('OK');
  });
});
