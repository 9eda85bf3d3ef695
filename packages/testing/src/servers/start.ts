import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { isTenantkitError, StoreUnreachableError, withoutCredentials } from '@tenantkit/core';
import { choose, type Choice } from './choose.ts';
import { startContainer } from './container.ts';
import type { Connections, ProviderName, ServerDefinition, ServerName } from './definition.ts';
import type { Engine } from './engine.ts';
import { ServerFailedError, unavailableTogether } from './errors.ts';
import { thisHost, type Host } from './host.ts';
import { installPackages } from './install.ts';
import { opensearch } from './opensearch.ts';
import { postgres } from './postgres.ts';
import type { ServerProgress } from './progress.ts';
import { redis, redisOf } from './redis.ts';
import { wantedRelease } from './release.ts';
import { parseRequest, viewFor, type NoOthers, type ServersRequest } from './request.ts';
import { s3 } from './s3.ts';
import { startSupervisor, type Supervisor } from './supervisor.ts';

/** A server that is up, and where it came from. */
export type Started<Connection> = Connection & { readonly provider: ProviderName };

/** The servers that were asked for, and no others. */
export type Servers<Request extends ServersRequest = Record<ServerName, true>> = {
  readonly [Name in ServerName as Wanted<Request, Name> extends true ? Name : never]: Started<
    Connections[Name]
  >;
} & {
  readonly [Name in ServerName as boolean extends Wanted<Request, Name> ? Name : never]?: Started<
    Connections[Name]
  >;
} & {
  /** The variables under which the servers are found again: `REDIS_URL`, `S3_ENDPOINT`, … */
  env(): Record<string, string>;
  /** Stops exactly what was started and removes its folder; servers of the environment are left alone. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

type Wanted<Request, Name extends ServerName> = Name extends keyof Request ? Asked<Request[Name]> : false;

/** A release is asked for by its name. */
type Asked<Option> = Option extends string ? true : Option;

const DEFINITIONS = { redis, s3, opensearch, postgres } as const satisfies {
  [Name in ServerName]: ServerDefinition<Connections[Name]>;
};
const NAMES = Object.keys(DEFINITIONS) as ServerName[];

type Definitions = Readonly<Record<ServerName, ServerDefinition<Connections[ServerName]>>>;

/**
 * Starts real servers for tests and demos, all at once, on free loopback ports, with their data in one temporary
 * folder. Each comes from the first of: the environment (`REDIS_URL`, …), a container engine, binaries on this
 * machine (installed with apt-get when this is root on Debian or Ubuntu). `TENANTKIT_SERVERS` forces one.
 *
 * What was started is stopped by `stop()`, and within seconds also when this process ends in any other way,
 * SIGKILL included. No signal handler is installed.
 *
 * @param options - the servers that are wanted, and how to report progress
 * @returns the connections; only those that were asked for are there
 * @throws {@link ServerUnavailableError} when a server cannot be had; it lists the three ways to get it
 * @throws {@link ServerFailedError} when one does not come up; it ends with what the server wrote last
 * @throws StoreUnreachableError when one of the environment does not answer; it names the URL without credentials
 * @throws ConfigError for an unknown option or a variable that is half set
 *
 * @example
 * ```ts
 * import { startServers } from '@tenantkit/testing/servers';
 * await using servers = await startServers({ redis: true, postgres: true });
 * console.log(servers.redis.url); // redis://127.0.0.1:41379
 * ```
 */
export async function startServers<const Request extends ServersRequest>(
  options: Request & NoOthers<Request>,
): Promise<Servers<Request>> {
  return startServersOn<Request>(thisHost(), options);
}

/** {@link startServers} on a given machine. */
export async function startServersOn<const Request extends ServersRequest>(
  host: Host,
  options: Request,
): Promise<Servers<Request>> {
  const { signal, onProgress, quiet, ...wanted } = parseRequest(options);
  const names = NAMES.filter((name) => wanted[name] !== undefined && wanted[name] !== false);
  const release = names.includes('redis') ? wantedRelease(host.env, wanted.redis) : undefined;
  const definitions = (
    release === undefined ? DEFINITIONS : { ...DEFINITIONS, redis: redisOf(release) }
  ) as Definitions;
  const startedAt = performance.now();
  const view = viewFor(host, { onProgress, quiet });
  const failed = new AbortController();
  const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const report =
    (server: ServerName, provider: ProviderName) =>
    (phase: ServerProgress['phase'], message: string): void =>
      view.show({ server, phase, provider, message, elapsed: performance.now() - startedAt });

  let supervisor: Supervisor | undefined;
  try {
    either.throwIfAborted();
    const choices = await chooseAll(names, host, definitions);
    const own = names.some((name) => choices.get(name)?.provider !== 'env');
    supervisor = own ? await startSupervisor((message) => view.warn(message)) : undefined;
    // A download or a set-up that is under way ends with the supervisor; what stop() has to say comes below.
    either.addEventListener('abort', () => void supervisor?.stop().catch(() => undefined), { once: true });
    const installed = installMissing(choices, supervisor, report);
    // Whoever waits for it reports its failure; nobody may, when another failure came first.
    installed.catch(() => undefined);
    const starts = names.map(async (name) => {
      const choice = choices.get(name) as Choice<Connections[ServerName]>;
      const say = report(name, choice.provider);
      const definition = definitions[name];
      try {
        const connection = await bringUp(definition, choice, {
          host,
          supervisor,
          installed,
          signal: either,
          say,
        });
        say('ready', withoutCredentials(definition.env.url(connection)));
        return [name, { ...connection, provider: choice.provider }] as const;
      } catch (error) {
        const shown = either.aborted ? error : explain(definition, choice, error);
        // The others are not waited for: the first error is the one that is thrown.
        failed.abort(shown);
        say('failed', shown instanceof Error ? (shown.message.split('\n')[0] ?? '') : 'given up');
        throw shown;
      }
    });
    // Every start has come to its end before the first error is thrown: none may go on behind our back.
    const results = await Promise.allSettled(starts);
    either.throwIfAborted();
    const started = Object.fromEntries(
      results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])),
    );
    supervisor?.letGo();
    view.close();
    return handle(started, supervisor, definitions) as Servers<Request>;
  } catch (error) {
    view.close();
    await supervisor?.stop();
    throw signal?.aborted === true ? signal.reason : error;
  }
}

interface BringUp {
  readonly host: Host;
  readonly supervisor: Supervisor | undefined;
  readonly installed: Promise<void>;
  readonly signal: AbortSignal;
  readonly say: (phase: 'starting', message: string) => void;
}

async function bringUp<Connection>(
  definition: ServerDefinition<Connection>,
  choice: Choice<Connection>,
  { host, supervisor, installed, signal, say }: BringUp,
): Promise<Connection> {
  const note = (message: string): void => say('starting', message);
  // Until then its line tells of the installation.
  if (choice.provider === 'native' && choice.packages.length > 0) await installed;
  note('starting');
  if (choice.provider === 'env') {
    await definition.env.check(choice.connection, signal);
    return choice.connection;
  }
  if (supervisor === undefined) throw new Error('there is no supervisor');
  if (choice.provider === 'testcontainers') {
    return startContainer(definition.container, { engine: choice.engine, host, supervisor, signal, note });
  }
  const dir = join(supervisor.dir, definition.name);
  mkdirSync(dir, { mode: 0o711 });
  return definition.native.start({ host, supervisor, dir, signal, note });
}

/** One installation for all: apt-get can only run once at a time. */
async function installMissing(
  choices: ReadonlyMap<ServerName, Choice<unknown>>,
  supervisor: Supervisor | undefined,
  report: (server: ServerName, provider: ProviderName) => (phase: 'starting', message: string) => void,
): Promise<void> {
  const waiting = [...choices].filter(
    ([, choice]) => choice.provider === 'native' && choice.packages.length > 0,
  );
  const packages = waiting.flatMap(([, choice]) => (choice.provider === 'native' ? choice.packages : []));
  if (packages.length === 0 || supervisor === undefined) return;
  for (const [name, choice] of waiting) {
    const own = choice.provider === 'native' ? choice.packages.join(', ') : '';
    report(name, 'native')('starting', `installing ${own} (apt-get, as root, without recommended packages)`);
  }
  await installPackages([...new Set(packages)], supervisor);
}

/** All that cannot be had are named at once: nobody wants to learn of them one run at a time. */
async function chooseAll(
  names: readonly ServerName[],
  host: Host,
  definitions: Definitions,
): Promise<Map<ServerName, Choice<unknown>>> {
  let engine: Promise<Engine | undefined> | undefined;
  const findEngine = (): Promise<Engine | undefined> => (engine ??= host.findEngine());
  const chosen = await Promise.allSettled(
    names.map(async (name) => {
      const definition: ServerDefinition<unknown> = definitions[name];
      return [name, await choose(definition, host, findEngine)] as const;
    }),
  );
  const errors = chosen.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []));
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw unavailableTogether(errors);
  return new Map(chosen.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])));
}

function explain<Connection>(
  { name, title, env }: ServerDefinition<Connection>,
  choice: Choice<Connection>,
  error: unknown,
): Error {
  if (isTenantkitError(error)) return error;
  if (choice.provider === 'env') {
    return new StoreUnreachableError({
      surface: 'testing',
      operation: name,
      target: env.url(choice.connection),
      cause: error,
    });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new ServerFailedError({
    server: name,
    problem: `${title} did not come up (${choice.provider}): ${message}\n`,
    hint: 'TENANTKIT_SERVERS=env, testcontainers or native tries another way to get it.',
    cause: error,
  });
}

function handle(
  started: Partial<Record<ServerName, Connections[ServerName]>>,
  supervisor: Supervisor | undefined,
  definitions: Definitions,
): object {
  const stop = async (): Promise<void> => supervisor?.stop();
  return Object.freeze({
    ...started,
    env: (): Record<string, string> =>
      Object.assign(
        {},
        ...NAMES.map((name) => {
          const connection = started[name];
          const definition = definitions[name];
          return connection === undefined ? {} : definition.env.write(connection);
        }),
      ) as Record<string, string>,
    stop,
    [Symbol.asyncDispose]: stop,
  });
}
