import { withTenant } from '@tenantkit/core';
import { Cluster, type ClusterOptions, type Command, type Redis } from '@tenantkit/cache';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startClusterNodes, type ClusterNodes } from './cluster-nodes.ts';
import { failure, shown } from './support.ts';

// An id that stands at the beginning of an address, and one that is a slot's number, too.
const TENANTS = ['127', '1', 'acme'] as const;
const NAMES = '{tenant}.';

let nodes: ClusterNodes;
let clients: Cluster[] = [];
// Every test moves a slot of its own, which the first master holds at the beginning.
let tag: string;
let slot: number;
let tried = 0;
beforeAll(async () => {
  nodes = await startClusterNodes();
}, 60_000);
afterAll(() => nodes[Symbol.asyncDispose]());
beforeEach(async () => {
  do {
    tried += 1;
    tag = `{t${tried}}`;
    slot = await nodes.first.raw.cluster('KEYSLOT', tag);
  } while (slot >= 8192);
  for (const tenant of TENANTS) await nodes.first.raw.set(`${tenant}.${tag}key`, `of ${tenant}`);
  // Some read it there.
  expect(await nodes.first.raw.wait(1, 30_000)).toBe(1);
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

async function open(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = new Cluster([{ host: '127.0.0.1', port: nodes.first.port }], {
    tenant: { names: NAMES },
    ...options,
  } as ClusterOptions & { redisOptions?: { replyMapping?: 'legacy' } });
  clients.push(cluster);
  await once(cluster, 'ready');
  return cluster;
}

const forms: Readonly<Record<string, (cluster: Cluster, key: string) => Promise<unknown>>> = {
  'a call': (cluster, key) => cluster.get(key),
  'a pipeline': async (cluster, key) => (await cluster.pipeline().get(key).get(key).exec())?.[1]?.[1],
  'a transaction': async (cluster, key) => (await cluster.multi().get(key).exec())?.[0]?.[1],
};

async function expectOwn(cluster: Cluster, form: (cluster: Cluster, key: string) => Promise<unknown>) {
  const values = TENANTS.map((tenant) => withTenant(tenant, () => form(cluster, `${tag}key`)));
  expect(await Promise.all(values)).toEqual(TENANTS.map((tenant) => `of ${tenant}`));
}

describe.each([{}, { enableAutoPipelining: true }] as ClusterOptions[])('a slot, with %j', (options) => {
  it.each(Object.entries(forms))('that was moved is found on its new node by %s', async (_, form) => {
    const cluster = await open(options);
    await expectOwn(cluster, form);
    await nodes.move(slot);
    const before = await gets(nodes.second);
    await expectOwn(cluster, form);
    expect((await gets(nodes.second)) - before).toBeGreaterThanOrEqual(TENANTS.length);
  });

  it.each(Object.entries(forms))(
    'that is being moved is asked for on its new node by %s',
    async (_, form) => {
      const cluster = await open(options);
      await expectOwn(cluster, form);
      await nodes.moveKeysOnly(slot);
      const before = await gets(nodes.second);
      await expectOwn(cluster, form);
      expect((await gets(nodes.second)) - before).toBeGreaterThanOrEqual(TENANTS.length);
      await nodes.finish(slot);
      await expectOwn(cluster, form);
    },
  );

  it('that moves under load gives no value to another tenant', async () => {
    const cluster = await open(options);
    const state = { running: true, replies: 0 };
    const workers = TENANTS.flatMap((tenant) =>
      Object.values(forms).map((form) =>
        withTenant(tenant, async () => {
          while (state.running) {
            expect(await form(cluster, `${tag}key`)).toBe(`of ${tenant}`);
            state.replies += 1;
          }
        }),
      ),
    );
    await nodes.move(slot);
    const enough = state.replies + 100;
    while (state.replies < enough) await nodes.second.raw.ping();
    state.running = false;
    await Promise.all(workers);
  });
});

it.each(['pipelines', 'calls'])(
  'a slot whose keys are split makes each tenant wait for its own, and retries them in nobody’s name (%s)',
  async (form) => {
    for (const tenant of TENANTS) await nodes.first.raw.set(`${tenant}.${tag}other`, `other of ${tenant}`);
    const cluster = await open({ retryDelayOnTryAgain: 5, maxRedirections: 10_000 });
    await expectOwn(cluster, (client, key) => client.get(key));
    await nodes.moveKeysOnly(
      slot,
      TENANTS.map((tenant) => `${tenant}.${tag}other`),
    );
    const before = await tryAgains();
    const both = [`${tag}key`, `${tag}other`];
    // ioredis retries in one timer what was told to try again, whosever it is.
    const values = TENANTS.map((tenant) =>
      withTenant(tenant, async () =>
        form === 'calls' ? cluster.mget(both) : (await cluster.pipeline().mget(both).exec())?.[0]?.[1],
      ),
    );
    while ((await tryAgains()) < before + 30) await nodes.second.raw.ping();
    await nodes.move(slot);
    expect(await Promise.all(values)).toEqual(
      TENANTS.map((tenant) => [`of ${tenant}`, `other of ${tenant}`]),
    );
  },
);

it('a redirection that leads nowhere names no physical key', async () => {
  const cluster = await open({ maxRedirections: 0 });
  await nodes.move(slot);
  const error = await failure(() => withTenant('acme', () => cluster.get(`${tag}key`)));
  expect(error.message).toMatch(/^Too many Cluster redirections/);
  expect(shown(error)).not.toContain('acme.');
});

it.each(['slave', 'all'] as const)(
  'reads that are scaled to %s are those of the tenant',
  async (scaleReads) => {
    const cluster = await open({ scaleReads });
    expect(cluster.nodes('slave')).toHaveLength(1);
    const before = await gets(nodes.replica);
    const until = async (): Promise<boolean> => (await gets(nodes.replica)) > before;
    do {
      await expectOwn(cluster, (client, key) => client.get(key));
      await expectOwn(cluster, async (client, key) => (await client.pipeline().get(key).exec())?.[0]?.[1]);
    } while (!(await until()));
    await withTenant('acme', () => cluster.set(`${tag}key`, 'of acme'));
  },
);

it('a function that chooses the node sees logical names, outside of any tenant', async () => {
  const seen: unknown[] = [];
  const cluster = await open({
    scaleReads: (all: readonly Redis[], command: Command) => {
      seen.push(command.name, ...command.args);
      return all[0] ?? null;
    },
  });
  expect(await withTenant('acme', () => cluster.get(`${tag}key`))).toBe('of acme');
  expect(seen).toEqual(['get', `${tag}key`]);
});

async function tryAgains(): Promise<number> {
  const counts = [nodes.first, nodes.second].map(async ({ raw }) =>
    Number(/errorstat_TRYAGAIN:count=(\d+)/.exec(await raw.info('errorstats'))?.[1] ?? 0),
  );
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

async function gets({ raw }: { raw: ClusterNodes['first']['raw'] }): Promise<number> {
  return Number(/cmdstat_get:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0);
}
