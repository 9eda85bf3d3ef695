import { ConfigError } from '@tenantkit/core';
import type { RedisConnection, ServerDefinition } from './definition.ts';
import { firstAnswer } from './probe.ts';
import { retryOnTakenPort, untilUp } from './wait.ts';

/** More than the 16 that are usual: every test file takes a database of its own. */
const DATABASES = 256;

const READY = 'Ready to accept connections';

/** Nothing is kept: the data of a test run dies with it. */
const FLAGS = ['--save', '', '--appendonly', 'no', '--databases', String(DATABASES)];

/** Redis 7. */
export const redis: ServerDefinition<RedisConnection> = {
  name: 'redis',
  title: 'Redis',
  env: {
    variables: 'REDIS_URL',
    read({ REDIS_URL: url }) {
      if (url === undefined || url === '') return undefined;
      if (URL.canParse(url) && ['redis:', 'rediss:'].includes(new URL(url).protocol)) return { url };
      throw new ConfigError({
        surface: 'testing',
        operation: 'startServers',
        problem: 'REDIS_URL is not a redis:// or rediss:// URL',
        hint: 'Write it as redis://user:password@host:6379, or unset it.',
      });
    },
    write: ({ url }) => ({ REDIS_URL: url }),
    url: ({ url }) => url,
    async check({ url }, signal) {
      const { protocol, hostname, port, username, password } = new URL(url);
      const at = { host: hostname, port: port === '' ? 6379 : Number(port), tls: protocol === 'rediss:' };
      const auth =
        password === '' ? [] : [username, password].filter((part) => part !== '').map(decodeURIComponent);
      const answer = await firstAnswer(at, auth.length === 0 ? resp('PING') : resp('AUTH', ...auth), signal);
      const text = answer.toString('latin1');
      if (text.startsWith('-')) throw new Error(`it answered ${text.slice(1).split(/\s/)[0]}`);
      if (!text.startsWith('+')) throw new Error('what answers there is not Redis');
    },
  },
  container: {
    image: 'redis:7.0.15',
    imageVariable: 'TENANTKIT_REDIS_IMAGE',
    port: 6379,
    waitFor: { log: READY, times: 1 },
    // The engine forwards from an address that is not loopback.
    configure: (container) => container.withCommand(['redis-server', '--protected-mode', 'no', ...FLAGS]),
    connect: (container) =>
      Promise.resolve({ url: `redis://${container.getHost()}:${container.getMappedPort(6379)}` }),
  },
  native: {
    advice:
      'install Redis 7 so that redis-server is on the PATH (apt-get install redis-server, brew install redis)',
    missing: (host) =>
      Promise.resolve(host.findProgram('redis-server') === undefined ? ['redis-server'] : []),
    start: ({ host, supervisor, dir, signal }) =>
      retryOnTakenPort(async () => {
        const port = await host.freePort();
        const command = host.findProgram('redis-server') ?? 'redis-server';
        const args = ['--bind', '127.0.0.1', '--port', String(port), '--dir', dir, ...FLAGS];
        const running = await supervisor.spawn({ command, args, stopSignal: 'SIGTERM' }, `redis-${port}`);
        // Its own words: a PING could be answered by whoever else took the port.
        await untilUp(running, { isUp: () => running.output().includes(READY), within: 20_000, signal });
        return { url: `redis://127.0.0.1:${port}` };
      }),
  },
};

function resp(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}
