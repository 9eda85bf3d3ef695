import { Redis } from 'ioredis';
import { expect, it, vi } from 'vitest';
import { thisHost } from '../src/servers/host.ts';
import { listContainers } from '../src/servers/engine.ts';
import { startChild, withoutServers } from './child.ts';
import { containerEngine } from './podman.ts';

const LABEL = 'dev.tenantkit.servers';

// One test for all of it: the engine takes its time to start.
it(
  'a server comes from a container engine, and its container ends with the process that started it',
  { timeout: 240_000 },
  async () => {
    await using engine = await containerEngine(thisHost(withoutServers()));
    const containers = (): Promise<string[]> => listContainers(engine.engine, LABEL);
    const env = { ...engine.env, TENANTKIT_SERVERS: 'testcontainers' };
    const before = await containers();

    using child = startChild('up', ['redis'], env);
    const { REDIS_URL } = await child.says;
    const redis = new Redis(REDIS_URL ?? '');
    expect(await redis.ping()).toBe('PONG');
    expect(await redis.config('GET', 'databases')).toContain('256');
    redis.disconnect();
    expect(await containers()).toHaveLength(before.length + 1);
    child.process.kill('SIGKILL');
    await vi.waitUntil(async () => (await containers()).length === before.length, { timeout: 60_000 });

    using dying = startChild('up', ['redis', 'die-at', 'starting '], env);
    expect((await dying.ended).signal).toBe('SIGKILL');
    await vi.waitUntil(async () => (await containers()).length === before.length, { timeout: 60_000 });

    using stopped = startChild('stop', ['redis'], env);
    expect(await stopped.says).toMatchObject({ provider: 'testcontainers' });
    expect((await stopped.ended).code).toBe(0);
    expect(await containers()).toEqual(before);
  },
);
