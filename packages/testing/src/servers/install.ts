import type { Supervisor } from './supervisor.ts';

// One at a time, also among several runs. Services that a package would start by itself are kept from starting
// while we install, and only then, unless the machine has a policy of its own.
const SCRIPT = `
set -u
LIMITS='-o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15'
missing=
for package in "$@"; do
  case "$(dpkg-query -W -f '\${Status}' "$package" 2>/dev/null)" in
    *'ok installed') ;;
    *) missing=yes ;;
  esac
done
[ -n "$missing" ] || exit 0

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\n# Kept by tenantkit while it installs servers for tests.\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi

# The lock of the lists is not one that apt-get waits for.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  said=$(apt-get -q $LIMITS -o Acquire::Retries=0 update 2>&1); code=$?
  printf '%s\\n' "$said"
  [ $code -eq 0 ] && break
  case "$said" in *'Could not get lock'*) sleep 3 ;; *) break ;; esac
done

# Without this each package would wait for its own time-out: half an hour. One source that is gone is none of our
# business, the packages may come from the others.
case "$said" in
  *Hit:*|*Get:*) ;;
  *Err:*) echo 'E: none of the package sources of this machine answered'; exit 100 ;;
esac
apt-get -q -y $LIMITS -o Acquire::Retries=1 -o DPkg::Lock::Timeout=600 install --no-install-recommends "$@"
`;

const LOCK = '/run/lock/tenantkit-apt.lock';

/**
 * Installs Debian packages. Needs root. Once begun it is never cut off, not even when the run is: half an
 * installation would leave the machine's package manager broken.
 *
 * @throws Error with the end of apt-get's output
 */
export async function installPackages(packages: readonly string[], supervisor: Supervisor): Promise<void> {
  try {
    await supervisor.run(
      {
        command: 'flock',
        args: [LOCK, 'sh', '-c', SCRIPT, 'install', ...packages],
        cwd: '/',
        // The script reads what apt-get says.
        env: { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
        finishes: true,
      },
      'apt-get',
    );
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Error(
      `${packages.join(', ')} could not be installed; are the package sources of this machine reachable? ${said}`,
      { cause: error },
    );
  }
}
