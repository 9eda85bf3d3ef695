import { ConfigError } from '@tenantkit/core';
import type { ProviderName, ServerDefinition } from './definition.ts';
import type { Engine } from './engine.ts';
import { ServerUnavailableError } from './errors.ts';
import type { Host } from './host.ts';

/** How a server is going to be had. */
export type Choice<Connection> =
  | { readonly provider: 'env'; readonly connection: Connection }
  | { readonly provider: 'testcontainers'; readonly engine: Engine }
  /** `packages`: what has to be installed first. */
  | { readonly provider: 'native'; readonly packages: readonly string[] };

const PROVIDERS: readonly string[] = ['env', 'testcontainers', 'native'] satisfies ProviderName[];

/** The provider that TENANTKIT_SERVERS forces. @throws ConfigError when it names none */
function forcedProvider({ env }: Host): ProviderName | undefined {
  const value = env['TENANTKIT_SERVERS'];
  if (value === undefined || value === '') return undefined;
  if (isProvider(value)) return value;
  throw new ConfigError({
    surface: 'testing',
    operation: 'startServers',
    problem: 'TENANTKIT_SERVERS names no provider',
    hint: `Set it to ${PROVIDERS.join(', ')}, or unset it.`,
  });
}

/**
 * The first provider that has the server: the environment, a container engine, this machine.
 *
 * @param findEngine - asks for the engine; several servers share one answer
 * @throws {@link ServerUnavailableError} with the three ways to get the server
 */
export async function choose<Connection>(
  definition: ServerDefinition<Connection>,
  host: Host,
  findEngine: () => Promise<Engine | undefined>,
): Promise<Choice<Connection>> {
  const forced = forcedProvider(host);
  const { title, env, native } = definition;
  if (forced === undefined || forced === 'env') {
    const connection = env.read(host.env);
    if (connection !== undefined) return { provider: 'env', connection };
    if (forced === 'env')
      throw unavailable(definition, `${title}: TENANTKIT_SERVERS is env, and ${env.variables} is not set.`);
  }
  if (forced === undefined || forced === 'testcontainers') {
    const engine = await findEngine();
    if (engine !== undefined) return { provider: 'testcontainers', engine };
    if (forced === 'testcontainers') {
      throw unavailable(
        definition,
        `${title}: TENANTKIT_SERVERS is testcontainers, and no container engine answers on its socket.`,
      );
    }
  }
  const packages = await native.missing(host);
  if (packages === undefined) {
    throw unavailable(
      definition,
      `${title} cannot be had: ${env.variables} is not set, no container engine answers on its socket, and ${host.platform} has no binaries of it.`,
    );
  }
  if (packages.length === 0 || (host.isRoot && host.hasApt)) return { provider: 'native', packages };
  const why = host.hasApt ? 'this is not root' : 'this is not Debian or Ubuntu';
  throw unavailable(
    definition,
    `${title} cannot be had: ${env.variables} is not set, no container engine answers on its socket, ${packages.join(', ')} ${packages.length === 1 ? 'is' : 'are'} not installed, and ${why}, so that it cannot be installed from here.`,
  );
}

function unavailable<Connection>(
  { name, title, env, container, native }: ServerDefinition<Connection>,
  problem: string,
): ServerUnavailableError {
  return new ServerUnavailableError({
    server: name,
    problem,
    ways: [
      `env: set ${env.variables} to a running ${title}.`,
      `testcontainers: start Docker or Podman; the image is ${container.image}, or the one that ${container.imageVariable} names.`,
      `native: ${native.advice}; as root on Debian or Ubuntu that is done for you.`,
    ],
  });
}

function isProvider(value: string): value is ProviderName {
  return PROVIDERS.includes(value);
}
