import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ConfigError, isTenantkitError } from '@tenantkit/core';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { load } from '../fixtures/fresh.ts';
import type { Program } from './debian.ts';
import type { RedisConnection } from './definition.ts';
import { ServerFailedError, ServerUnavailableError } from './errors.ts';
import { thisHost, type Host } from './host.ts';
import { canProvideRedis, provideRedis } from './redis-program.ts';
import { NOT_KEPT, READY } from './redis.ts';
import { RELEASES, RELEASE_NAMES, wantedRelease, type RedisRelease } from './release.ts';
import { startSupervisor, type Running, type Supervisor } from './supervisor.ts';
import { retryOnTakenPort, untilUp } from './wait.ts';

/** One server of several, on this machine. */
export interface RedisNode extends RedisConnection {
  /** `127.0.0.1` */
  readonly host: string;
  readonly port: number;
  /** Ends it without a word (SIGKILL). Resolves when it has ended. */
  kill(): Promise<void>;
  /** Starts it anew after {@link RedisNode.kill}, on the same port, in the same folder. */
  restart(): Promise<void>;
  /** Makes it stand still (SIGSTOP): connections stay open, and nothing is answered. */
  pause(): Promise<void>;
  /** Lets it go on. */
  resume(): Promise<void>;
}

/** What is the same in all groups. */
export interface GroupOptions {
  /** By default the one that `TENANTKIT_REDIS` names, or else whatever Redis there is. */
  readonly release?: RedisRelease | undefined;
  /** Gives up the start, stops what was started, and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What a group has whose start is over. */
export interface StartedGroup extends AsyncDisposable {
  /** Stops all its servers and removes their data. */
  stop(): Promise<void>;
}

/** How a server of a group is started. */
interface NodePlan {
  readonly name: string;
  /** How many ports it needs; the first is that of its clients. */
  readonly ports?: number;
  /** The settings, and the URL scheme. */
  readonly settings: (
    ports: readonly number[],
    dir: string,
  ) => readonly string[] | Promise<readonly string[]>;
  readonly scheme?: 'redis' | 'rediss';
}

/** A sentinel has its own words. */
const SENTINEL_READY = 'Sentinel ID is';

const UP_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 20;

/** Servers that are started and stopped together, by programs of this machine. */
export class RedisGroup {
  readonly #host: Host;
  readonly #supervisor: Supervisor;
  readonly #program: Program;
  #signal: AbortSignal;

  private constructor(host: Host, supervisor: Supervisor, program: Program, signal: AbortSignal) {
    this.#host = host;
    this.#supervisor = supervisor;
    this.#program = program;
    this.#signal = signal;
  }

  /**
   * Starts what `build` starts, all of it or nothing.
   *
   * @throws {@link ServerUnavailableError} when the program cannot be had
   * @throws {@link ServerFailedError} when something does not come up
   */
  static async start<T extends object>(
    title: string,
    { release, signal = new AbortController().signal }: GroupOptions,
    build: (group: RedisGroup) => Promise<T>,
  ): Promise<Readonly<T> & StartedGroup> {
    signal.throwIfAborted();
    const host = thisHost();
    const wanted = wantedRelease(host.env, release);
    if (!canProvideRedis(host, wanted)) throw unavailable(title, wanted);
    const supervisor = await startSupervisor((message) => process.emitWarning(message));
    const onAbort = (): void => void supervisor.stop().catch(() => undefined);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const program = await provideRedis(wanted, { host, supervisor, note: () => undefined });
      const group = new RedisGroup(host, supervisor, program, signal);
      const built = await build(group);
      signal.throwIfAborted();
      // It gives up the start alone: what waits later goes on, also when it was one of a time.
      group.#signal = new AbortController().signal;
      signal.removeEventListener('abort', onAbort);
      supervisor.letGo();
      const stop = (): Promise<void> => supervisor.stop();
      return Object.freeze({ ...built, stop, [Symbol.asyncDispose]: stop });
    } catch (error) {
      await supervisor.stop();
      signal.throwIfAborted();
      throw isTenantkitError(error) ? error : failed(title, error);
    }
  }

  /** Starts one server. */
  async node(plan: NodePlan): Promise<RedisNode> {
    const { name, ports: count = 1, scheme = 'redis' } = plan;
    const dir = join(this.#supervisor.dir, name);
    return retryOnTakenPort(async (attempt) => {
      const ports = await Promise.all(Array.from({ length: count }, () => this.#host.freePort()));
      // A cluster keeps there who it is: an attempt that has failed must leave nothing to the next.
      const own = `${dir}-${attempt}`;
      mkdirSync(own);
      const settings = await plan.settings(ports, own);
      const port = ports[0] ?? 0;
      let starts = 0;
      let running = await this.#launch(`${name}-${port}`, own, settings);
      return Object.freeze({
        url: `${scheme}://127.0.0.1:${port}`,
        host: '127.0.0.1',
        port,
        async kill() {
          running.kill('SIGKILL');
          await running.ended;
        },
        restart: async () => {
          starts += 1;
          running = await this.#launch(`${name}-${port}-${starts}`, own, settings);
        },
        pause: () => running.halt(true),
        resume: () => running.halt(false),
      });
    });
  }

  /** Waits until a condition holds. @throws Error with `what` when it takes too long */
  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + UP_WITHIN_MS;
    while (!(await condition())) {
      if (performance.now() > end) throw new Error(`${what} did not happen within ${UP_WITHIN_MS / 1000} s`);
      await delay(LOOK_EVERY_MS, undefined, { signal: this.#signal });
    }
  }

  async #launch(name: string, dir: string, settings: readonly string[]): Promise<Running> {
    const { command, args } = this.#program;
    const all = [...args, ...settings];
    const running = await this.#supervisor.spawn({ command, args: all, cwd: dir }, name);
    const isUp = (): boolean => running.output().includes(READY) || running.output().includes(SENTINEL_READY);
    await untilUp(running, { isUp, within: UP_WITHIN_MS, signal: this.#signal });
    return running;
  }
}

/** What every server of a group is started with. */
export function commonSettings(dir: string): readonly string[] {
  return ['--bind', '127.0.0.1', '--dir', dir, ...NOT_KEPT];
}

/** Settings by name as arguments of the program. */
export function settingsOf(settings: Readonly<Record<string, string>> | undefined): string[] {
  return Object.entries(settings ?? {}).flatMap(([name, value]) => [`--${name}`, ...value.split(' ')]);
}

/** Sends one command on a connection of its own. Needs `ioredis`. */
export function callNode(at: Address, command: string, ...args: Argument[]): Promise<unknown> {
  return onConnection(at, (redis) => redis.call(command, ...args));
}

/** {@link callNode} for replies that may be no text. */
export function callNodeBuffer(at: Address, command: string, ...args: Argument[]): Promise<unknown> {
  return onConnection(at, (redis) => redis.callBuffer(command, ...args));
}

type Address = Pick<RedisNode, 'url'>;
type Argument = string | number | Buffer;

async function onConnection<T>({ url }: Address, use: (redis: Redis) => Promise<T>): Promise<T> {
  const { Redis } = await load('ioredis', () => import('ioredis'));
  const redis = new Redis(url, {
    retryStrategy: null,
    enableReadyCheck: false,
    // The only TLS here is on loopback, with whatever certificate the caller has made.
    ...(url.startsWith('rediss:') ? { tls: { rejectUnauthorized: false } } : {}),
  });
  // The call rejects with the same.
  redis.on('error', () => undefined);
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

/** Checks options. @throws ConfigError for one that there is not, or with a value that cannot be */
export function checked<Schema extends z.ZodObject>(
  operation: string,
  schema: Schema,
  options: unknown,
): z.infer<Schema> {
  const parsed = schema.safeParse(options);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? `unknown option ${issue.keys.join(', ')}` : undefined;
  throw new ConfigError({
    surface: 'testing',
    operation,
    problem: unknown ?? `${issue?.path.join('.') ?? 'options'}: ${issue?.message ?? 'not accepted'}`,
    hint: `The options are ${Object.keys(schema.shape).join(', ')}.`,
  });
}

/** The schema of {@link GroupOptions}. */
export const groupOptions = {
  release: z.enum(RELEASE_NAMES).optional(),
  signal: z.instanceof(AbortSignal).optional(),
};

function unavailable(title: string, release: RedisRelease | undefined): ServerUnavailableError {
  const { title: server, program } = RELEASES[release ?? 'redis@7.0'];
  return new ServerUnavailableError({
    server: 'redis',
    problem: `${title} cannot be had: it is made of programs of this machine, ${server} is not installed, and this is not Debian or Ubuntu, where it could be downloaded.`,
    ways: [`native: install ${server} so that ${program} is on the PATH.`],
  });
}

function failed(title: string, error: unknown): ServerFailedError {
  const message = error instanceof Error ? error.message : String(error);
  return new ServerFailedError({
    server: 'redis',
    problem: `${title} did not come up: ${message}\n`,
    hint: 'TENANTKIT_REDIS names another release to try.',
    cause: error,
  });
}
