import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { Redis as TenantRedis } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { freshRedis, type FreshRedis } from '@tenantkit/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { IMPORTS, project, signingKey, tenantkit } from './project.ts';

const CONFIG = `${IMPORTS}
import { Redis, cacheAuditor, cacheEraser } from '@tenantkit/cache';
const redis = new Redis(process.env.REDIS_URL!);
redis.on('error', () => undefined);
const timeout = Number(process.env.TIMEOUT ?? 30_000);
export default defineConfig({
  stores: [cacheEraser(redis, { timeout })],
  auditors: [cacheAuditor(redis, { timeout })],
  ledger,
  signer,
  close: () => redis.disconnect(),
});`;

const TENANTS = ['acme', 'acme2', 'a', 'a-b', 'ac'] as const;

let server: FreshRedis;
let raw: Redis;
let redis: TenantRedis;

beforeAll(async () => {
  server = await freshRedis(inject('servers').redis);
  raw = new Redis(server.url);
  redis = new TenantRedis(server.url);
});

afterAll(async () => {
  raw.disconnect();
  redis.disconnect();
  await server.cleanup();
});

async function fill(): Promise<void> {
  await raw.flushdb();
  for (const tenant of TENANTS) {
    await withTenant(tenant, async () => {
      for (let n = 0; n < 50; n += 1) await redis.set(`user:${n}`, tenant);
    });
  }
}

async function dump(pattern: string): Promise<Record<string, string | null>> {
  const keys = (await raw.keys(pattern)).toSorted();
  return Object.fromEntries(await Promise.all(keys.map(async (key) => [key, await raw.get(key)] as const)));
}

describe('on a Redis that is there', () => {
  it('one tenant is erased, and the others are byte for byte what they were', async () => {
    await fill();
    const others = Object.fromEntries(
      Object.entries(await dump('*')).filter(([key]) => !key.startsWith('tk:acme:')),
    );
    const folder = project(CONFIG);
    const env = { REDIS_URL: server.url };
    const planned = await tenantkit(folder, ['erase', 'acme', '--json'], { env });
    expect(planned.code).toBe(4);
    expect(Object.keys(await dump('tk:acme:*'))).toHaveLength(50);
    const done = await tenantkit(folder, ['erase', 'acme', '--approve', '--out', 'proof.jws', '--json'], {
      env,
    });
    expect(done).toMatchObject({ code: 0 });
    expect(await dump('*')).toEqual(others);
    // Offline: without the server.
    const verified = await tenantkit(folder, [
      'certificate',
      'verify',
      'proof.jws',
      '--key',
      'jwks.json',
      '--json',
    ]);
    expect(verified.json()).toMatchObject({
      verified: true,
      kid: signingKey.kid,
      certificate: {
        tenant: 'acme',
        stores: [
          {
            store: 'cache',
            before: [{ kind: 'keys', count: 50 }],
            erased: [{ kind: 'keys', count: 50 }],
            remaining: [
              { kind: 'keys', count: 0 },
              { kind: 'acl-user', count: 0 },
            ],
            control: { planted: 1, found: 1 },
          },
        ],
      },
    });
  });

  it('a person is refused where the store cannot tell people apart', async () => {
    await fill();
    const folder = project(CONFIG);
    const refused = await tenantkit(folder, ['erase', 'acme/p1', '--yes', '--json'], {
      env: { REDIS_URL: server.url },
    });
    expect(refused.code).toBe(2);
    expect(refused.json()).toMatchObject({
      error: { code: 'ERASURE_SUBJECT_UNSUPPORTED', stores: [{ store: 'cache' }] },
    });
    expect(await raw.dbsize()).toBe(250);
  });

  it('audit finds what belongs to nobody, and nothing else', async () => {
    await fill();
    const folder = project(CONFIG);
    const env = { REDIS_URL: server.url };
    const clean = await tenantkit(folder, ['audit', '--json'], { env });
    expect(clean.code).toBe(0);
    expect(clean.json()).toEqual({ stores: ['cache'], findings: [] });

    await raw.set('stray\u001B[2J', 'x');
    const found = await tenantkit(folder, ['audit', '--json'], { env });
    expect(found.code).toBe(1);
    expect(found.json()).toMatchObject({
      findings: [{ store: 'cache', code: 'outside_every_tenant', severity: 'high' }],
    });
    const shown = await tenantkit(folder, ['audit'], { env });
    expect(shown.out).toMatch(/high\s+cache\s+outside_every_tenant\s+stray/);
    expect(shown.out).not.toContain('\u001B');
    expect((await tenantkit(folder, ['audit', '--store', 'search'], { env })).code).toBe(2);
  });
});

describe('on a Redis that is not there', () => {
  it('ends with 3, soon, and without its password', async () => {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const { port } = free.address() as AddressInfo;
    free.close();
    await once(free, 'close');
    const folder = project(CONFIG);
    const env = { REDIS_URL: `redis://app:hunter2@127.0.0.1:${port}`, TIMEOUT: '1000' };
    const begun = performance.now();
    for (const args of [['erase', 'acme', '--yes'], ['audit']]) {
      const ended = await tenantkit(folder, [...args, '--json'], { env });
      expect([args, ended.code]).toEqual([args, 3]);
      expect(ended.json()).toMatchObject({ error: { exitCode: 3 } });
      expect(ended.out + ended.err).not.toContain('hunter2');
    }
    expect(performance.now() - begun).toBeLessThan(100_000);
    // It is planned as soon as the server is back.
    await fill();
    expect((await tenantkit(folder, ['erase', 'acme'], { env: { REDIS_URL: server.url } })).code).toBe(4);
  });

  it('ends with 3 when somebody listens there and says nothing', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    onTestFinished(() => void silent.close());
    const { port } = silent.address() as AddressInfo;
    // A client that waits for ever, as BullMQ wants it: the time-out of the orchestrator ends it.
    const folder = project(`${IMPORTS}
import { Redis } from 'ioredis';
const redis = new Redis({ host: '127.0.0.1', port: ${port}, maxRetriesPerRequest: null });
const count = async () => ({ store: 'raw', items: [{ kind: 'keys', count: await redis.dbsize() }], kept: [] });
export default defineConfig({
  stores: [{ store: 'raw', subjects: 'supported', plan: count, erase: () => Promise.reject(), verify: () => Promise.reject() }],
  storeTimeout: 500,
  ledger,
  signer,
  close: () => redis.disconnect(),
});`);
    const ended = await tenantkit(folder, ['erase', 'acme', '--yes', '--json']);
    expect(ended.code).toBe(3);
    expect(ended.json()).toMatchObject({
      error: { code: 'ERASURE_STORES_FAILED', failures: [{ store: 'raw', code: 'ERASURE_STORE_SILENT' }] },
    });
  });
});
