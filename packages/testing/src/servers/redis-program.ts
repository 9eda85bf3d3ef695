import { execFileSync } from 'node:child_process';
import { canUnpack, unpackDebian, unpacked, type Program } from './debian.ts';
import type { NativeContext } from './definition.ts';
import type { Host } from './host.ts';
import { RELEASES, type RedisRelease } from './release.ts';

/** The program of a release, where it is on this machine; of no release in particular, whatever there is. */
function redisProgram(host: Host, release: RedisRelease | undefined): Program | undefined {
  const { program, self, version, debian } = RELEASES[release ?? 'redis@7.0'];
  const found = host.findProgram(program);
  const fits = found !== undefined && (release === undefined || says(found, `${self} server v=${version}.`));
  return fits ? { command: found, args: [] } : unpacked({ ...debian, program }, host);
}

/** Whether {@link provideRedis} can work. */
export function canProvideRedis(host: Host, release: RedisRelease | undefined): boolean {
  return redisProgram(host, release) !== undefined || canUnpack(host);
}

/** The program of a release, downloaded where it is not on this machine. @throws Error when that fails */
export async function provideRedis(
  release: RedisRelease | undefined,
  { host, supervisor, note }: Pick<NativeContext, 'host' | 'supervisor' | 'note'>,
): Promise<Program> {
  const there = redisProgram(host, release);
  if (there !== undefined) return there;
  const { title, program, debian } = RELEASES[release ?? 'redis@7.0'];
  note(`downloading ${title} from Debian ${debian.suite} (15 MB, once)`);
  return unpackDebian({ ...debian, program }, host, supervisor);
}

function says(program: string, version: string): boolean {
  try {
    return execFileSync(program, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).startsWith(version);
  } catch {
    // Of another kind of machine, or no program at all: not this release, in any case.
    return false;
  }
}
