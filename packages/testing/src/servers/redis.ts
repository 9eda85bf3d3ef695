import { ConfigError } from '@tenantkit/core';
import type { Program } from './debian.ts';
import type { ContainerRecipe, NativeContext, RedisConnection, ServerDefinition } from './definition.ts';
import { firstAnswer } from './probe.ts';
import { canProvideRedis, provideRedis } from './redis-program.ts';
import { RELEASES, type RedisRelease, type ReleaseFacts } from './release.ts';
import { retryOnTakenPort, untilUp } from './wait.ts';

/** More than the 16 that are usual: every test file takes a database of its own. */
const DATABASES = 256;

/** What Redis and Valkey write when they are up. */
export const READY = 'Ready to accept connections';

/** Nothing is kept: the data of a test run dies with it. */
export const NOT_KEPT = ['--save', '', '--appendonly', 'no'] as const;

const FLAGS = [...NOT_KEPT, '--databases', String(DATABASES)];

/** Redis 7. */
export const redis: ServerDefinition<RedisConnection> = {
  name: 'redis',
  title: 'Redis',
  env: {
    variables: 'REDIS_URL',
    read: readFrom('REDIS_URL'),
    write: ({ url }) => ({ REDIS_URL: url }),
    url: ({ url }) => url,
    async check({ url }, signal) {
      const auth = credentialsOf(url);
      const text = await ask(url, auth.length === 0 ? ['PING'] : ['AUTH', ...auth], signal);
      if (!text.startsWith('+')) throw new Error('what answers there is not Redis');
    },
  },
  container: containerOf('redis:7.0.15', 'TENANTKIT_REDIS_IMAGE', 'redis-server'),
  native: {
    advice:
      'install Redis 7 so that redis-server is on the PATH (apt-get install redis-server, brew install redis)',
    missing: (host) =>
      Promise.resolve(host.findProgram('redis-server') === undefined ? ['redis-server'] : []),
    start: (context) =>
      launch({ command: context.host.findProgram('redis-server') ?? 'redis-server', args: [] }, context),
  },
};

/** One release of Redis or Valkey, and no other. */
export function redisOf(release: RedisRelease): ServerDefinition<RedisConnection> {
  const facts = RELEASES[release];
  const { title, program, variable, image, imageVariable } = facts;
  return {
    name: 'redis',
    title,
    env: {
      variables: variable,
      read: readFrom(variable),
      // Programs look for the one; whoever asks for this release, for the other.
      write: ({ url }) => ({ REDIS_URL: url, [variable]: url }),
      url: ({ url }) => url,
      check: ({ url }, signal) => checkRelease(url, facts, signal),
    },
    container: containerOf(image, imageVariable, program),
    native: {
      advice: `install ${title} so that ${program} is on the PATH`,
      missing: (host) =>
        Promise.resolve(canProvideRedis(host, release) ? [] : host.hasApt ? undefined : [title]),
      start: async (context) => launch(await provideRedis(release, context), context),
    },
  };
}

function readFrom(variable: string): (env: NodeJS.ProcessEnv) => RedisConnection | undefined {
  return ({ [variable]: url }) => {
    if (url === undefined || url === '') return undefined;
    if (URL.canParse(url) && ['redis:', 'rediss:'].includes(new URL(url).protocol)) return { url };
    throw new ConfigError({
      surface: 'testing',
      operation: 'startServers',
      problem: `${variable} is not a redis:// or rediss:// URL`,
      hint: 'Write it as redis://user:password@host:6379, or unset it.',
    });
  };
}

function containerOf(
  image: string,
  imageVariable: string,
  program: string,
): ContainerRecipe<RedisConnection> {
  return {
    image,
    imageVariable,
    port: 6379,
    waitFor: { log: READY, times: 1 },
    // The engine forwards from an address that is not loopback.
    configure: (container) => container.withCommand([program, '--protected-mode', 'no', ...FLAGS]),
    connect: (container) =>
      Promise.resolve({ url: `redis://${container.getHost()}:${container.getMappedPort(6379)}` }),
  };
}

function launch(
  { command, args }: Program,
  { host, supervisor, dir, signal }: NativeContext,
): Promise<RedisConnection> {
  return retryOnTakenPort(async () => {
    const port = await host.freePort();
    const own = [...args, '--bind', '127.0.0.1', '--port', String(port), '--dir', dir, ...FLAGS];
    const running = await supervisor.spawn({ command, args: own, stopSignal: 'SIGTERM' }, `redis-${port}`);
    // Its own words: a PING could be answered by whoever else took the port.
    await untilUp(running, { isUp: () => running.output().includes(READY), within: 20_000, signal });
    return { url: `redis://127.0.0.1:${port}` };
  });
}

async function checkRelease(
  url: string,
  { title, self, version }: ReleaseFacts,
  signal: AbortSignal,
): Promise<void> {
  const [user, password] = credentialsOf(url);
  const auth =
    user === undefined ? [] : ['AUTH', ...(password === undefined ? ['default', user] : [user, password])];
  const text = await ask(url, ['HELLO', '3', ...auth], signal);
  const words = text.split('\r\n');
  const after = (name: string): string => words[words.indexOf(name) + 2] ?? '';
  if (!words.includes('server')) throw new Error('what answers there is not Redis');
  const found = [after('server'), after('version')] as const;
  if (found[0] !== self.toLowerCase() || !found[1].startsWith(`${version}.`))
    throw new Error(`what answers there is ${found.join(' ')}, not ${title}`);
}

async function ask(url: string, words: readonly string[], signal: AbortSignal): Promise<string> {
  const { protocol, hostname, port } = new URL(url);
  const at = { host: hostname, port: port === '' ? 6379 : Number(port), tls: protocol === 'rediss:' };
  const text = (await firstAnswer(at, resp(...words), signal)).toString('latin1');
  if (text.startsWith('-')) throw new Error(`it answered ${text.slice(1).split(/\s/)[0]}`);
  return text;
}

/** The password, or user and password; nothing when the URL has none. */
function credentialsOf(url: string): string[] {
  const { username, password } = new URL(url);
  return password === '' ? [] : [username, password].filter((part) => part !== '').map(decodeURIComponent);
}

function resp(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}
