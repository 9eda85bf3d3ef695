import { startRedisNode, type RedisRelease } from '@tenantkit/testing/servers';
import { Redis } from 'ioredis';
import { writeFileSync } from 'node:fs';
import { PARTS, RECORD } from './recorded.ts';

const RELEASES: readonly RedisRelease[] = ['redis@7.0', 'redis@8.0', 'valkey@8.1'];

// What the tests ask for. Others differ between releases without a meaning for tenants.
const FLAGS: ReadonlySet<unknown> = new Set([
  'blocking',
  'denyoom',
  'no_mandatory_keys',
  'readonly',
  'write',
]);
const CATEGORIES: ReadonlySet<unknown> = new Set(['@admin', '@scripting', '@transaction']);

/** What a running server says of its commands: lines as they are recorded, without the name of the release. */
export async function describeCommands(redis: Redis): Promise<readonly string[]> {
  const names = (await redis.command('LIST')) as string[];
  const infos = (await redis.call('COMMAND', 'INFO', ...names)) as Info[];
  return infos.map(line).sort();
}

// As `COMMAND INFO` answers: name, arity, flags, first, last, step, categories, tips, specs, subcommands.
type Info = readonly unknown[];

function line(info: Info): string {
  const [name, , flags, , , , categories, , specs] = info as readonly [string, ...(readonly unknown[][])];
  const traits = [
    ...(flags ?? []).filter((flag) => FLAGS.has(flag)),
    ...(categories ?? []).filter((category) => CATEGORIES.has(category)),
  ];
  const told = (specs as unknown[][]).map((spec) => {
    const part = (key: string): unknown => spec[spec.indexOf(key) + 1];
    return [(part('flags') as string[]).join(' '), step(part('begin_search')), step(part('find_keys'))].join(
      ', ',
    );
  });
  return [
    name.toLowerCase().replace('|', ' '),
    traits.sort((a, b) => String(a).localeCompare(String(b))).join(' '),
    told.join('; '),
  ].join(PARTS);
}

// `['type', 'index', 'spec', ['index', 1]]` → `index 1`
function step(told: unknown): string {
  const [, type, , spec] = told as readonly [string, string, string, readonly (string | number)[]];
  return [type, ...spec.filter((_, place) => place % 2 === 1)].join(' ');
}

async function record(): Promise<void> {
  const told = new Map<string, RedisRelease[]>();
  for (const release of RELEASES) {
    await using server = await startRedisNode({ release });
    const redis = new Redis(server.url);
    for (const line of await describeCommands(redis)) told.set(line, [...(told.get(line) ?? []), release]);
    redis.disconnect();
  }
  const lines = [...told].map(([line, releases]) => [line, releases.join(' ')].join(PARTS)).sort();
  writeFileSync(RECORD, `${lines.join('\n')}\n`);
}

if (import.meta.main) await record();
