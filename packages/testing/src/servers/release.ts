import { ConfigError } from '@tenantkit/core';

/** A server that speaks Redis's protocol, in one of the versions that are tested. */
export type RedisRelease = 'redis@7.0' | 'redis@8.0' | 'valkey@8.1';

/** Everything there is to know about one {@link RedisRelease}. */
export interface ReleaseFacts {
  /** For people: `Redis 8.0`. */
  readonly title: string;
  readonly program: string;
  /** How it calls itself before the number: `Redis` in `--version`, `redis` in the reply to HELLO. */
  readonly self: 'Redis' | 'Valkey';
  /** The number, without the last part. */
  readonly version: string;
  /** The variable that names a server that somebody else runs. */
  readonly variable: string;
  readonly image: string;
  readonly imageVariable: string;
  /** Where Debian has it, for x86 and ARM. */
  readonly debian: { readonly suite: string; readonly package: string };
}

const REDIS = { program: 'redis-server', self: 'Redis' } as const;
const VALKEY = { program: 'valkey-server', self: 'Valkey' } as const;

/** The releases, oldest first. */
export const RELEASES: Readonly<Record<RedisRelease, ReleaseFacts>> = {
  'redis@7.0': {
    ...REDIS,
    title: 'Redis 7.0',
    version: '7.0',
    variable: 'REDIS_7_0_URL',
    image: 'redis:7.0.15',
    imageVariable: 'TENANTKIT_REDIS_7_0_IMAGE',
    debian: { suite: 'bookworm', package: 'redis-server' },
  },
  'redis@8.0': {
    ...REDIS,
    title: 'Redis 8.0',
    version: '8.0',
    variable: 'REDIS_8_0_URL',
    image: 'redis:8.0.2',
    imageVariable: 'TENANTKIT_REDIS_8_0_IMAGE',
    debian: { suite: 'trixie', package: 'redis-server' },
  },
  'valkey@8.1': {
    ...VALKEY,
    title: 'Valkey 8.1',
    version: '8.1',
    variable: 'VALKEY_8_1_URL',
    image: 'valkey/valkey:8.1.1',
    imageVariable: 'TENANTKIT_VALKEY_8_1_IMAGE',
    debian: { suite: 'trixie', package: 'valkey-server' },
  },
};

/** The names of {@link RELEASES}. */
export const RELEASE_NAMES = Object.keys(RELEASES) as [RedisRelease, ...RedisRelease[]];

/**
 * The release that is wanted: the one that was asked for, else the one that `TENANTKIT_REDIS` names.
 *
 * @returns `undefined` when any will do
 * @throws ConfigError when the variable names none
 */
export function wantedRelease(
  env: NodeJS.ProcessEnv,
  asked?: boolean | RedisRelease,
): RedisRelease | undefined {
  if (typeof asked === 'string') return asked;
  const value = env['TENANTKIT_REDIS'];
  if (value === undefined || value === '') return undefined;
  const found = RELEASE_NAMES.find((name) => name === value);
  if (found !== undefined) return found;
  throw new ConfigError({
    surface: 'testing',
    operation: 'startServers',
    problem: 'TENANTKIT_REDIS names no release',
    hint: `Set it to ${RELEASE_NAMES.join(', ')}, or unset it.`,
  });
}
