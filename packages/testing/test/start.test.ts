import { createServer, type Server, type Socket } from 'node:net';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, inject, it, vi } from 'vitest';
import { thisHost, type Host } from '../src/servers/host.ts';
import { startServersOn } from '../src/servers/start.ts';
import type { ServerProgress } from '../src/servers/progress.ts';
import { bareMachine, ownPrograms } from './machine.ts';

const provided = inject('servers');

// Other runs have folders of their own in the usual place.
const temp = mkdtempSync(join(tmpdir(), 'tenantkit-test-'));
// PostgreSQL runs as another user where this is root.
chmodSync(temp, 0o711);
process.env['TMPDIR'] = temp;
afterAll(() => rmSync(temp, { recursive: true }));

// Several servers come up in one test, on whatever the machine has left.
vi.setConfig({ testTimeout: 180_000 });

describe('servers of the environment', () => {
  it('are used as they are, and are left alone by stop()', async () => {
    const host = bareMachine({
      env: {
        REDIS_URL: provided.redis.url,
        S3_ENDPOINT: provided.s3.endpoint,
        S3_ACCESS_KEY_ID: provided.s3.accessKeyId,
        S3_SECRET_ACCESS_KEY: provided.s3.secretAccessKey,
        OPENSEARCH_URL: provided.opensearch.url,
        DATABASE_URL: provided.postgres.url,
      },
    });
    const servers = await startServersOn(host, {
      redis: true,
      s3: true,
      opensearch: true,
      postgres: true,
      quiet: true,
    });
    expect(servers.env()).toEqual({ ...host.env, S3_REGION: 'us-east-1' });
    expect(servers.redis).toEqual({ url: provided.redis.url, provider: 'env' });
    await servers.stop();
    const redis = new Redis(provided.redis.url);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
  });

  it.concurrent.each([
    ['redis', { REDIS_URL: 'redis://user:secret@127.0.0.1:PORT/3' }, 'redis://127.0.0.1:PORT/3'],
    [
      's3',
      { S3_ENDPOINT: 'http://127.0.0.1:PORT', S3_ACCESS_KEY_ID: 'secret', S3_SECRET_ACCESS_KEY: 'secret' },
      'http://127.0.0.1:PORT',
    ],
    ['opensearch', { OPENSEARCH_URL: 'http://user:secret@127.0.0.1:PORT' }, 'http://127.0.0.1:PORT'],
    [
      'postgres',
      { DATABASE_URL: 'postgresql://user:secret@127.0.0.1:PORT/d' },
      'postgresql://127.0.0.1:PORT/d',
    ],
  ])(
    '%s: where nothing or nobody answers the error names the URL without credentials',
    async (name, env, shown) => {
      const port = String(await thisHost({}).freePort());
      const variables = Object.fromEntries(
        Object.entries(env).map(([key, value]) => [key, value.replace('PORT', port)]),
      );
      const error = await failure(bareMachine({ env: variables }), { [name]: true });
      expect(error).toMatchObject({ code: 'STORE_UNREACHABLE' });
      expect(error.message).toContain(shown.replace('PORT', port));
      expect(JSON.stringify([error.message, String(error.cause)])).not.toContain('secret');

      // Something takes the connection and never says a word: no hang.
      await using silent = await listening(
        createServer(() => undefined),
        Number(port),
      );
      expect(silent.server.listening).toBe(true);
      expect(await failure(bareMachine({ env: variables }), { [name]: true })).toMatchObject({
        code: 'STORE_UNREACHABLE',
      });
    },
  );

  it.each([
    ['redis', 'REDIS_URL', 'redis://127.0.0.1:PORT'],
    ['postgres', 'DATABASE_URL', 'postgresql://127.0.0.1:PORT/d'],
    ['opensearch', 'OPENSEARCH_URL', 'http://127.0.0.1:PORT'],
  ])('%s: another kind of server is not taken for it', async (name, variable, url) => {
    await using web = await listening(
      createServer(
        (socket) =>
          void socket.on('error', () => undefined).end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'),
      ),
    );
    const error = await failure(bareMachine({ env: { [variable]: url.replace('PORT', String(web.port)) } }), {
      [name]: true,
    });
    expect(String(error.cause)).toContain('what answers there is not');
  });

  it('wrong credentials are named as such', async () => {
    const url = provided.redis.url.replace('redis://', 'redis://nobody:secret@');
    const error = await failure(bareMachine({ env: { REDIS_URL: url } }), { redis: true });
    expect(String(error.cause)).toContain('WRONGPASS');
    const { endpoint, accessKeyId } = provided.s3;
    const env = { S3_ENDPOINT: endpoint, S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: 'secret' };
    const s3 = await failure(bareMachine({ env }), { s3: true });
    expect(String(s3.cause)).toContain('it does not accept the keys');
    expect(JSON.stringify([error.message, s3.message])).not.toContain('secret');
  });
});

describe('servers of this machine', () => {
  it('takes another port when the one that was free is taken', async () => {
    await using taken = await listening(createServer());
    const ports = [taken.port];
    const asked: number[] = [];
    const freePort = async (): Promise<number> => {
      const port = ports.pop() ?? (await thisHost({}).freePort());
      asked.push(port);
      return port;
    };
    await using servers = await startServersOn(ownPrograms({ freePort }), { redis: true, quiet: true });
    expect(asked).toHaveLength(2);
    expect(servers.redis.url).toBe(`redis://127.0.0.1:${asked[1]}`);
  });

  it('gives up when every port is taken, names the reason, and leaves nothing', async () => {
    await using taken = await listening(createServer());
    const before = folders();
    const error = await failure(ownPrograms({ freePort: () => Promise.resolve(taken.port) }), {
      redis: true,
    });
    expect(error).toMatchObject({ code: 'SERVER_FAILED', server: 'redis' });
    expect(error.message).toMatch(/in use/);
    expect(folders()).toEqual(before);
  });

  it('stop() can be called twice, and is what `await using` calls', async () => {
    const before = folders();
    const servers = await startServersOn(ownPrograms(), { redis: true, quiet: true });
    expect(folders()).toHaveLength(before.length + 1);
    await servers.stop();
    await servers.stop();
    await servers[Symbol.asyncDispose]();
    expect(folders()).toEqual(before);
  });

  it('two runs at the same time do not meet', async () => {
    const start = (): ReturnType<typeof startServersOn<{ redis: true; s3: true; quiet: true }>> =>
      startServersOn(ownPrograms(), { redis: true, s3: true, quiet: true });
    const [one, two] = await Promise.all([start(), start()]);
    expect(one.redis.url).not.toBe(two.redis.url);
    expect(one.s3.endpoint).not.toBe(two.s3.endpoint);
    await one.stop();
    const redis = new Redis(two.redis.url);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
    await two.stop();
  });

  it('a signal gives up the start with its reason, and leaves nothing', async () => {
    const before = folders();
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ message }: ServerProgress): void => {
      if (message === 'ceph-osd') controller.abort(reason);
    };
    const starting = startServersOn(ownPrograms(), {
      s3: true,
      redis: true,
      signal: controller.signal,
      onProgress,
    });
    await expect(starting).rejects.toBe(reason);
    expect(folders()).toEqual(before);
    await expect(
      startServersOn(ownPrograms(), { redis: true, signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
  });

  it('does not wait for a step that takes long, be it a signal or another server that ends the start', async () => {
    const before = folders();
    const endless = join(temp, 'endless');
    writeFileSync(endless, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
    const host = (programs: Readonly<Record<string, string>>): Host =>
      ownPrograms({ findProgram: (name, more) => programs[name] ?? ownPrograms().findProgram(name, more) });
    const controller = new AbortController();
    const reason = new Error('enough');
    const starting = startServersOn(host({ monmaptool: endless }), {
      s3: true,
      signal: controller.signal,
      onProgress: ({ message }) => message === 'monmaptool' && controller.abort(reason),
    });
    await expect(starting).rejects.toBe(reason);

    const programs = host({ monmaptool: endless, 'redis-server': '/bin/false' });
    expect(await failure(programs, { redis: true, s3: true })).toMatchObject({ server: 'redis' });
    expect(folders()).toEqual(before);
  });

  it('one server that fails takes the others with it, at once', async () => {
    const before = folders();
    // A program of that name which is none.
    const findProgram = (name: string, more?: readonly string[]): string | undefined =>
      name === 'ceph-mon' ? '/bin/false' : ownPrograms().findProgram(name, more);
    const error = await failure(ownPrograms({ findProgram }), { redis: true, s3: true });
    expect(error).toMatchObject({ code: 'SERVER_FAILED', server: 's3' });
    expect(error.message).toContain('/bin/false ended with code 1');
    expect(folders()).toEqual(before);
  });

  it('progress tells every server, its provider, the time, and the URL without credentials', async () => {
    const told: ServerProgress[] = [];
    await using servers = await startServersOn(ownPrograms(), {
      redis: true,
      postgres: true,
      onProgress: (step) => void told.push(step),
    });
    for (const server of ['redis', 'postgres'] as const) {
      const [first, ...others] = told.filter((step) => step.server === server);
      expect(first).toMatchObject({ phase: 'starting', provider: 'native' });
      expect(others.at(-1)).toMatchObject({ phase: 'ready' });
      expect(others.at(-1)?.elapsed).toBeGreaterThan(0);
    }
    const { password } = new URL(servers.postgres.url);
    expect(password).not.toBe('');
    expect(JSON.stringify(told)).not.toContain(password);
  });
});

describe('what startServers takes', () => {
  it('all servers that cannot be had are named at once', async () => {
    const error = await failure(bareMachine(), { redis: true, postgres: true, quiet: true });
    expect(error).toBeInstanceOf(AggregateError);
    expect(error.message).toMatch(/Redis cannot be had[^]*PostgreSQL cannot be had/);
  });

  it('an unknown server or option is refused', async () => {
    expect(await failure(bareMachine(), { mongodb: true })).toMatchObject({
      code: 'CONFIG_INVALID',
    });
    expect((await failure(bareMachine(), { redis: 'yes' })).message).toContain('redis');
  });

  it('nothing is started when nothing is asked for', async () => {
    const before = folders();
    await using servers = await startServersOn(bareMachine(), { quiet: true });
    expect(servers.env()).toEqual({});
    expect(folders()).toEqual(before);
  });
});

async function failure(host: Host, request: object): Promise<Error> {
  return startServersOn(host, { quiet: true, ...request }).then(
    () => new Error('it started'),
    (error: Error) => error,
  );
}

/** The folders of servers that were started from this file. */
function folders(): string[] {
  return readdirSync(temp).filter((name) => name.startsWith('tenantkit-servers-'));
}

async function listening(
  server: Server,
  port = 0,
): Promise<{ server: Server; port: number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port }, resolve);
  });
  const address = server.address();
  return {
    server,
    port: typeof address === 'object' && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
