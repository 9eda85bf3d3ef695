import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Host } from './host.ts';
import type { Supervisor } from './supervisor.ts';

/** How a program is started. */
export interface Program {
  readonly command: string;
  /** What comes before the program's own arguments. */
  readonly args: readonly string[];
}

/** A program of another release of Debian. */
export interface DebianProgram {
  readonly suite: string;
  readonly package: string;
  readonly program: string;
}

/** Where Debian's packages come from, and the variable for a mirror. */
const MIRROR = 'http://deb.debian.org/debian';
const MIRROR_VARIABLE = 'TENANTKIT_DEBIAN_MIRROR';

/** How Debian calls the kinds of machine that it is tested on. */
const MACHINES: Readonly<Record<string, { readonly libraries: string; readonly loader: string }>> = {
  x64: { libraries: 'x86_64-linux-gnu', loader: 'ld-linux-x86-64.so.2' },
  arm64: { libraries: 'aarch64-linux-gnu', loader: 'ld-linux-aarch64.so.1' },
};

// apt-get with lists, cache and state of its own: it asks neither for root nor for the machine's lock, and the
// machine's packages stay as they are. Its other settings, a proxy among them, are the machine's.
const SCRIPT = `
set -eu
folder=$1 suite=$2 package=$3 mirror=$4
[ ! -e "$folder" ] || exit 0
work=$folder.unfinished
rm -rf "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/root"
apt=$work/apt
: > "$apt/status"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if [ ! -e "$keyring" ]; then
  # Ubuntu has the keys in a package, which its own keys vouch for.
  (cd "$apt" && apt-get -q download debian-archive-keyring && dpkg-deb -x debian-archive-keyring_*.deb "$work/keys")
  keyring=$work/keys$keyring
fi
echo "deb [signed-by=$keyring] $mirror $suite main" > "$apt/sources.list"

get() {
  apt-get -q -y -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 -o Acquire::Retries=1 \\
    -o Acquire::Languages=none -o APT::Sandbox::User= -o APT::Update::Error-Mode=any \\
    -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \\
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \\
    -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" \\
    -o Dir::Cache="$apt" -o Dir::Cache::Archives="$apt/archives" "$@"
}
get update
get install --download-only --no-install-recommends "$package"
for file in "$apt"/archives/*.deb; do dpkg-deb -x "$file" "$work/root"; done
mv "$work/root" "$folder"
rm -rf "$work"
`;

/** Whether {@link unpackDebian} can work here; what it has unpacked before needs neither. */
export function canUnpack({ platform, hasApt }: Host): boolean {
  return platform === 'linux' && hasApt && MACHINES[process.arch] !== undefined;
}

/** A program that {@link unpackDebian} has unpacked, now or in an earlier run. */
export function unpacked(wanted: DebianProgram, host: Host): Program | undefined {
  const machine = MACHINES[process.arch];
  if (host.platform !== 'linux' || machine === undefined) return undefined;
  const folder = folderOf(wanted, host);
  const program = join(folder, 'usr/bin', wanted.program);
  // Newer releases have all of it under /usr.
  const libraries = ['usr/lib', 'lib'].map((parent) => join(folder, parent, machine.libraries));
  const loader = libraries.map((path) => join(path, machine.loader)).find(existsSync);
  if (loader === undefined || !existsSync(program)) return undefined;
  // It wants a newer C library than the machine may have: it is started with its own.
  return { command: loader, args: ['--library-path', libraries.join(':'), program] };
}

/**
 * Downloads a program of another release of Debian with all that it needs, and unpacks it into the cache folder.
 * Nothing is installed, so that root is not needed. Once begun it is finished.
 *
 * @throws Error with the end of apt-get's output
 */
export async function unpackDebian(
  wanted: DebianProgram,
  host: Host,
  supervisor: Supervisor,
): Promise<Program> {
  const folder = folderOf(wanted, host);
  const mirror = host.env[MIRROR_VARIABLE] ?? MIRROR;
  const name = `${wanted.package} of Debian ${wanted.suite}`;
  mkdirSync(cacheOf(host), { recursive: true });
  try {
    const args = [
      `${folder}.lock`,
      'sh',
      '-c',
      SCRIPT,
      'unpack',
      folder,
      wanted.suite,
      wanted.package,
      mirror,
    ];
    await supervisor.run(
      { command: 'flock', args, cwd: '/', env: { LC_ALL: 'C' }, finishes: true },
      `unpack-${wanted.program}`,
    );
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Error(
      `${name} could not be downloaded; is ${mirror} reachable (${MIRROR_VARIABLE} names another mirror)? ${said}`,
      { cause: error },
    );
  }
  const program = unpacked(wanted, host);
  if (program === undefined)
    throw new Error(`${name} was unpacked to ${folder}, and ${wanted.program} is not there`);
  return program;
}

function folderOf({ suite, package: name }: DebianProgram, host: Host): string {
  return join(cacheOf(host), `debian-${suite}-${name}`);
}

function cacheOf({ env }: Host): string {
  return join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'tenantkit');
}
