import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import { Cluster, cacheAuditor, cacheEraser, indexCache, type Redis } from '@tenantkit/cache';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { slotOf, slotTag } from '../src/registry-names.ts';
import { startClusterNode } from './cluster-node.ts';
import { run } from './erase-run.ts';
import { openCache, type Opened } from './support.ts';

const PERSON = { tenant: 'acme', subject: 'p1' };

// No tag of a slot: a shorter one has the same.
const NO_TAG = 'zzzz';

let fence: TenantRegistry;
beforeEach(async () => {
  fence = await createTenantRegistry({ store: memoryTenantStore() });
  return () => fence.close();
});

async function unknownIn(client: Redis | Cluster): Promise<string[]> {
  const names: string[] = [];
  for await (const { code, name = '' } of cacheAuditor(client).audit())
    if (code === 'unknown_reserved_name') names.push(name);
  return names.sort();
}

/** Writes what is about three persons, two of one tenant. */
async function fill(client: Redis | Cluster): Promise<void> {
  for (const person of [PERSON, { tenant: 'acme', subject: 'p2' }, { tenant: 'acme2', subject: 'p1' }])
    await withTenant(person, () => client.set(`of ${person.subject}`, '1'));
}

describe('a registry under a name that this client does not write', () => {
  let opened: Opened;
  let redis: Redis;
  beforeAll(async () => {
    opened = await openCache();
  });
  afterAll(() => opened[Symbol.asyncDispose]());
  beforeEach(async () => {
    await opened.raw.flushdb();
    redis = opened.guarded({ tenant: { index: true, fence } });
    await fill(redis);
  });

  const left = async (): Promise<string[]> => (await opened.raw.keys('*')).sort();
  const plant = (name: string, type: string): Promise<unknown> =>
    type === 'string' ? opened.raw.set(name, '1') : opened.raw.zadd(name, 1, 'kof p1', 2, 'kgone');

  it.each(['zset', 'string'])('is named by the auditor, and goes with its person (%s)', async (type) => {
    const before = await left();
    expect(await unknownIn(redis)).toEqual([]);
    const own = ['tk!subject{x}:p1:tk:acme:', `tk!subject{${NO_TAG}}:p1:tk:acme:`];
    const others = ['tk!keys{x}:tk:acme:', 'tk!subject{x}:p1:tk:acme2:', 'tk!subject{x}:p2:tk:acme:'];
    for (const name of [...own, ...others]) await plant(name, type);
    expect(await unknownIn(redis)).toEqual([...own, ...others].sort());
    expect(isVerified(await cacheEraser(redis).verify(PERSON))).toBe(false);
    await cacheEraser(redis).erase(PERSON, run());
    expect(isVerified(await cacheEraser(redis).verify(PERSON))).toBe(true);
    const gone = new Set(['tk:acme:of p1', 'tk!subject:p1:tk:acme:']);
    expect(await left()).toEqual([...before.filter((name) => !gone.has(name)), ...others].sort());
  });

  it('leads to keys that are erased, as where a Cluster has become one server', async () => {
    await opened.raw.rename('tk!subject:p1:tk:acme:', 'tk!subject{3k}:p1:tk:acme:');
    const { erased } = await cacheEraser(redis).erase(PERSON, run());
    expect(erased).toEqual([{ kind: 'keys', count: 1 }]);
    expect(isVerified(await cacheEraser(redis).verify(PERSON))).toBe(true);
    expect(await opened.raw.exists('tk:acme:of p1', 'tk:acme:of p2', 'tk:acme2:of p1')).toBe(2);
  });

  it('ends the erasure of no person when it is the own one: the auditor names it, and it is for others to remove', async () => {
    const own = 'tk!subject:p1:tk:acme:';
    const eraser = cacheEraser(redis);
    await eraser.erase(PERSON, run());
    await plant(own, 'string');
    await eraser.erase(PERSON, run());
    const proof = await eraser.verify(PERSON);
    expect(isVerified(proof)).toBe(false);
    expect(proof.remaining).toContainEqual({ kind: 'entries', count: 1 });
    const findings: unknown[] = [];
    for await (const { code, name } of cacheAuditor(redis).audit()) findings.push([code, name]);
    expect(findings).toEqual([['broken_registry', own]]);
    await opened.raw.unlink(own);
    await eraser.erase(PERSON, run());
    expect(isVerified(await eraser.verify(PERSON))).toBe(true);
    expect(await opened.raw.exists('tk:acme:of p2', 'tk:acme2:of p1')).toBe(2);
  });

  it.each(['zset', 'string'])(
    'goes with its tenant, which is erased by a complete registry (%s)',
    async (type) => {
      await indexCache(redis);
      await fence.freeze('acme');
      for (const name of ['tk!keys{x}:tk:acme:', 'tk!subject{x}:p1:tk:acme:', 'tk!keys{x}:tk:acme2:'])
        await plant(name, type);
      const eraser = cacheEraser(redis);
      await eraser.erase({ tenant: 'acme' }, run());
      expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(false);
      await eraser.erase({ tenant: 'acme' }, run());
      expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
      expect(await left()).toEqual(
        ['tk!keys:tk:acme2:', 'tk!keys{x}:tk:acme2:', 'tk!subject:p1:tk:acme2:', 'tk:acme2:of p1'].sort(),
      );
    },
  );

  it('is none where the client itself writes: what stands there and is no set stays, and is told of', async () => {
    await opened.raw.set('tk!subject:p1:tk:acme:', 'nobody knows what it has named');
    await cacheEraser(redis).erase(PERSON, run());
    expect(await opened.raw.exists('tk!subject:p1:tk:acme:')).toBe(1);
    expect(isVerified(await cacheEraser(redis).verify(PERSON))).toBe(false);
  });

  it('does not make a recount of a tenant at work say that registries are incomplete', async () => {
    await indexCache(redis);
    await cacheEraser(redis).verify({ tenant: 'acme' });
    expect(await opened.raw.exists('tk!indexed:tk:{tenant}:')).toBe(1);
  });
});

it('in a Cluster is one without the tag of a slot', async () => {
  await using server = await startClusterNode();
  const cluster = new Cluster([server.port], { tenant: { index: true, fence } });
  try {
    await once(cluster, 'ready');
    await fill(cluster);
    expect(await unknownIn(cluster)).toEqual([]);
    const before = (await server.raw.keys('*')).sort();
    const own = ['tk!subject:p1:tk:acme:', `tk!subject{${NO_TAG}}:p1:tk:acme:`];
    const others = [`tk!keys{${NO_TAG}}:tk:acme:`, 'tk!keys:tk:acme:', 'tk!subject:p1:tk:acme2:'];
    for (const name of [...own, ...others]) await server.raw.zadd(name, 1, 'kof p1', 2, 'kgone');
    expect(await unknownIn(cluster)).toEqual([...own, ...others].sort());
    await cacheEraser(cluster).erase(PERSON, run());
    expect(isVerified(await cacheEraser(cluster).verify(PERSON))).toBe(true);
    const tag = slotTag(slotOf('tk:acme:of p1'));
    const gone = new Set(['tk:acme:of p1', `tk!subject{${tag}}:p1:tk:acme:`, `tk!keys{${tag}}:tk:acme:`]);
    expect((await server.raw.keys('*')).sort()).toEqual(
      [...before.filter((name) => !gone.has(name)), ...others].sort(),
    );
    await cacheEraser(cluster).erase({ tenant: 'acme' }, run());
    expect(isVerified(await cacheEraser(cluster).verify({ tenant: 'acme' }))).toBe(true);
  } finally {
    cluster.disconnect();
  }
});
