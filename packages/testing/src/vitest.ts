import type { TestProject } from 'vitest/node';
import type { Connections, ServerName } from './servers/definition.ts';
import { startServers, type Started } from './servers/start.ts';

/** What `inject('servers')` gives in a test: the connections of all four servers. */
export type ProvidedServers = { readonly [Name in ServerName]: Started<Connections[Name]> };

declare module 'vitest' {
  interface ProvidedContext {
    servers: ProvidedServers;
  }
}

/**
 * Global setup for Vitest: all four servers, started once per run and stopped with it.
 *
 * @returns the teardown
 *
 * @example
 * ```ts
 * // vitest.config.ts
 * import { defineConfig } from 'vitest/config';
 * export default defineConfig({ test: { globalSetup: ['@tenantkit/testing/vitest'] } });
 *
 * // some.test.ts
 * import { inject } from 'vitest';
 * import { freshRedis } from '@tenantkit/testing';
 * const { url, cleanup } = await freshRedis(inject('servers').redis);
 * ```
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const servers = await startServers({ redis: true, s3: true, opensearch: true, postgres: true });
  const { redis, s3, opensearch, postgres } = servers;
  project.provide('servers', { redis, s3, opensearch, postgres });
  return () => servers.stop();
}
