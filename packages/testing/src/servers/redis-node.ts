import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  RedisGroup,
  checked,
  commonSettings,
  groupOptions,
  settingsOf,
  type GroupOptions,
  type RedisNode,
  type StartedGroup,
} from './redis-group.ts';

/** Options of {@link startRedisNode}. */
export interface RedisNodeOptions extends GroupOptions {
  /** What the server proves itself with, as PEM. It then speaks TLS only. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string } | undefined;
  /** Settings as in redis.conf: `{ maxmemory: '10mb' }`. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

const schema = z.strictObject({
  tls: z.strictObject({ key: z.string(), cert: z.string(), ca: z.string() }).optional(),
  settings: z.record(z.string(), z.string()).optional(),
  ...groupOptions,
});

/**
 * Starts one Redis of one's own, for what belongs to a whole server: TLS, users, scripts, its end. Ends as
 * {@link startRedisCluster} says.
 *
 * @param options - TLS, settings and release
 * @throws {@link ServerUnavailableError} when the program cannot be had
 * @throws {@link ServerFailedError} when it does not come up
 * @throws ConfigError for an unknown option
 *
 * @example
 * ```ts
 * import { startRedisNode } from '@tenantkit/testing/servers';
 * await using server = await startRedisNode({ settings: { maxmemory: '10mb' } });
 * const redis = new Redis(server.url);
 * ```
 */
export async function startRedisNode(options: RedisNodeOptions = {}): Promise<RedisNode & StartedGroup> {
  const { tls, settings, ...rest } = checked('startRedisNode', schema, options);
  return RedisGroup.start('A Redis of its own', rest, (group) =>
    group.node({
      name: 'redis',
      scheme: tls === undefined ? 'redis' : 'rediss',
      async settings([port = 0], dir) {
        const own = [...commonSettings(dir), ...settingsOf(settings)];
        if (tls === undefined) return [...own, '--port', `${port}`];
        const files = Object.entries(tls).map(([name, pem]) => [
          FLAGS[name as keyof typeof tls],
          join(dir, name),
          pem,
        ]);
        for (const [, file = '', pem = ''] of files) await writeFile(file, pem, { mode: 0o600 });
        const flags = files.flatMap(([flag = '', file = '']) => [flag, file]);
        return [...own, '--port', '0', '--tls-port', `${port}`, '--tls-auth-clients', 'no', ...flags];
      },
    }),
  );
}

const FLAGS = { key: '--tls-key-file', cert: '--tls-cert-file', ca: '--tls-ca-cert-file' } as const;
