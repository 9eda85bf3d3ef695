import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { choose, type Choice } from '../src/servers/choose.ts';
import type { RedisConnection } from '../src/servers/definition.ts';
import type { Host } from '../src/servers/host.ts';
import { canProvideRedis } from '../src/servers/redis-program.ts';
import { redisOf } from '../src/servers/redis.ts';
import { RELEASES, RELEASE_NAMES, type RedisRelease } from '../src/servers/release.ts';
import { startServersOn } from '../src/servers/start.ts';
import { bareMachine, ownPrograms } from './machine.ts';

const ENGINE = { url: 'unix:///run/engine.sock' };
const folder = mkdtempSync(join(tmpdir(), 'tenantkit-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

// Nothing was ever unpacked there.
const cache = { XDG_CACHE_HOME: join(folder, 'cache') };

describe.each(RELEASE_NAMES)('%s', (release) => {
  const { variable, image, title, program } = RELEASES[release];
  const chosen = (has: Partial<Host>): Promise<Choice<RedisConnection>> => {
    const machine = bareMachine({ ...has, env: { ...cache, ...has.env } });
    return choose(redisOf(release), machine, machine.findEngine);
  };

  it('comes from its own variable, and from no other', async () => {
    const url = 'redis://h:1';
    const named = { env: { [variable]: url, REDIS_URL: 'redis://other' } };
    expect(await chosen(named)).toEqual({ provider: 'env', connection: { url } });
    await expect(chosen({ env: { REDIS_URL: url } })).rejects.toThrow(`${variable} is not set`);
    await expect(chosen({ env: { [variable]: 'http://h' } })).rejects.toThrow(
      `${variable} is not a redis://`,
    );
  });

  it('comes from its own image where an engine answers', async () => {
    const choice = await chosen({ findEngine: () => Promise.resolve(ENGINE) });
    expect(choice).toEqual({ provider: 'testcontainers', engine: ENGINE });
    expect(redisOf(release).container.image).toBe(image);
  });

  it('is downloaded on Debian and Ubuntu, also by those who are not root', async () => {
    expect(await chosen({ hasApt: true })).toEqual({ provider: 'native', packages: [] });
  });

  it('elsewhere is an error that names the ways to get it', async () => {
    // A program of that name, of another release.
    const other = chosen({ findProgram: () => process.execPath });
    for (const way of [title, variable, image, program, 'this is not Debian or Ubuntu'])
      await expect(other).rejects.toThrow(way);
  });

  it('is the one that starts, by option and by TENANTKIT_REDIS', async () => {
    const machine = ownPrograms();
    const named = { ...machine, env: { ...machine.env, TENANTKIT_REDIS: release } };
    for (const [host, redis] of [
      [machine, release],
      [named, true],
    ] as const) {
      const starting = startServersOn(host, { redis, quiet: true });
      if (canProvideRedis(machine, release)) {
        await using servers = await starting;
        expect(await selfOf(servers.redis.url)).toMatch(
          new RegExp(`^${release.replace('.', String.raw`\.`)}\\.`),
        );
        expect(servers.env()).toEqual({ REDIS_URL: servers.redis.url, [variable]: servers.redis.url });
      } else await expect(starting).rejects.toMatchObject({ code: 'SERVER_UNAVAILABLE', server: 'redis' });
    }
  });
});

it('a server of another release is not taken for it', async () => {
  const { url } = inject('servers').redis;
  const self = await selfOf(url);
  for (const release of RELEASE_NAMES) {
    const host = bareMachine({ env: { [RELEASES[release].variable]: url } });
    const starting = startServersOn(host, { redis: release, quiet: true });
    if (self.startsWith(`${release}.`)) expect((await starting).redis).toEqual({ url, provider: 'env' });
    else {
      const cause: unknown = expect.objectContaining({
        message: `what answers there is ${self.replace('@', ' ')}, not ${RELEASES[release].title}`,
      });
      await expect(starting).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', cause });
    }
  }
});

it.each([
  [{ redis: true }, { TENANTKIT_REDIS: 'redis@6.2' }],
  [{ redis: 'redis@6.2' as RedisRelease }, {}],
])('%o with %o is refused, and the releases are named', async (wanted, env) => {
  const starting = startServersOn(bareMachine({ env }), { ...wanted, quiet: true });
  await expect(starting).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(RELEASE_NAMES.join(', ')),
  });
});

it('a mirror that cannot be reached is named, and leaves nothing behind', async () => {
  const { freePort, hasApt, findProgram } = ownPrograms();
  const mirror = `http://127.0.0.1:${await freePort()}/debian`;
  const machine = bareMachine({
    hasApt: true,
    env: { ...cache, TENANTKIT_DEBIAN_MIRROR: mirror, TENANTKIT_SERVERS: 'native' },
    freePort,
    findProgram: (name) => (name.endsWith('-server') ? undefined : findProgram(name)),
  });
  const starting = startServersOn(machine, { redis: 'redis@8.0', quiet: true });
  await expect(starting).rejects.toMatchObject({
    code: 'SERVER_FAILED',
    message: expect.stringContaining(
      `is ${mirror} reachable (TENANTKIT_DEBIAN_MIRROR names another mirror)?`,
    ),
  });
  if (hasApt) await expect(starting).rejects.toThrow(/Could not connect/);
  const left = existsSync(cache.XDG_CACHE_HOME) ? readdirSync(join(cache.XDG_CACHE_HOME, 'tenantkit')) : [];
  expect(left).not.toContain('debian-trixie-redis-server');
});

/** `redis@7.0.15` */
async function selfOf(url: string): Promise<string> {
  const redis = new Redis(url);
  try {
    const hello = (await redis.call('HELLO', '3')) as unknown[];
    const after = (name: string): string => String(hello[hello.indexOf(name) + 1]);
    return `${after('server')}@${after('version')}`;
  } finally {
    redis.disconnect();
  }
}
