import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ConfigError } from '@tenantkit/core';
import type { NativeContext, PostgresConnection, ServerDefinition } from './definition.ts';
import { versionFolders, type Host } from './host.ts';
import { firstAnswer } from './probe.ts';
import { retryOnTakenPort, untilUp } from './wait.ts';

const READY = 'database system is ready to accept connections';

/** Nothing is kept, so nothing needs to reach the disk. */
const SETTINGS = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_connections=200'];

/** Asks whether the server speaks TLS; PostgreSQL answers with the one letter S or N. */
const SSL_REQUEST = Uint8Array.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** PostgreSQL 15. */
export const postgres: ServerDefinition<PostgresConnection> = {
  name: 'postgres',
  title: 'PostgreSQL',
  env: {
    variables: 'DATABASE_URL',
    read({ DATABASE_URL: url }) {
      if (url === undefined || url === '') return undefined;
      if (URL.canParse(url) && ['postgres:', 'postgresql:'].includes(new URL(url).protocol)) return { url };
      throw new ConfigError({
        surface: 'testing',
        operation: 'startServers',
        problem: 'DATABASE_URL is not a postgres:// or postgresql:// URL',
        hint: 'Write it as postgresql://user:password@host:5432/database, or unset it.',
      });
    },
    write: ({ url }) => ({ DATABASE_URL: url }),
    url: ({ url }) => url,
    async check({ url }, signal) {
      const { hostname, port } = new URL(url);
      const at = { host: hostname, port: port === '' ? 5432 : Number(port) };
      const answer = (await firstAnswer(at, SSL_REQUEST, signal)).toString('latin1');
      if (!['S', 'N'].includes(answer.slice(0, 1))) throw new Error('what answers there is not PostgreSQL');
    },
  },
  container: {
    image: 'postgres:15.18',
    imageVariable: 'TENANTKIT_POSTGRES_IMAGE',
    port: 5432,
    // The image starts the server once to set it up, and then for good.
    waitFor: { log: READY, times: 2 },
    configure: (container) =>
      container
        .withEnvironment({ POSTGRES_PASSWORD: CONTAINER_PASSWORD })
        .withCommand(['postgres', ...SETTINGS.flatMap((setting) => ['-c', setting])]),
    connect: (container) =>
      Promise.resolve({
        url: urlOf(container.getHost(), container.getMappedPort(5432), CONTAINER_PASSWORD),
      }),
  },
  native: {
    advice: 'install PostgreSQL 15 or newer (apt-get install postgresql, brew install postgresql@15)',
    missing: (host) => Promise.resolve(bin(host, 'initdb') === undefined ? ['postgresql'] : []),
    start,
  },
};

/** One per program: whoever reaches the port from outside of this machine must not get in. */
const CONTAINER_PASSWORD = randomBytes(18).toString('base64url');

async function start({ host, supervisor, dir, signal }: NativeContext): Promise<PostgresConnection> {
  const owner = ownerOf(host);
  if (owner !== undefined) {
    const closed = closedFolder(dirname(dir));
    if (closed !== undefined) {
      throw new Error(`${closed} is closed to the user postgres: set TMPDIR to a folder that all may enter`);
    }
    chownSync(dir, owner.uid, owner.gid);
  }
  const password = randomBytes(18).toString('base64url');
  const passwordFile = join(dir, 'password');
  // No trust, not even on loopback: other people may be on this machine, and a superuser can run programs.
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (owner !== undefined) chownSync(passwordFile, owner.uid, owner.gid);

  const data = join(dir, 'data');
  const auth = ['--auth=scram-sha-256', '--username=postgres', `--pwfile=${passwordFile}`];
  const args = ['-D', data, ...auth, '--encoding=UTF8', '--locale=C', '--no-sync'];
  await supervisor.run({ command: need(host, 'initdb'), args, cwd: dir, ...owner }, 'postgres-initdb');

  return retryOnTakenPort(async () => {
    const port = await host.freePort();
    const settings = [`port=${port}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories=', ...SETTINGS];
    const running = await supervisor.spawn(
      {
        command: need(host, 'postgres'),
        args: ['-D', data, ...settings.flatMap((setting) => ['-c', setting])],
        cwd: dir,
        // At once, but in order: a killed server leaves its shared memory behind.
        stopSignal: 'SIGQUIT',
        ...owner,
      },
      `postgres-${port}`,
    );
    await untilUp(running, { isUp: () => running.output().includes(READY), within: 60_000, signal });
    return { url: urlOf('127.0.0.1', port, password) };
  });
}

function urlOf(host: string, port: number, password: string): string {
  return `postgresql://postgres:${password}@${host}:${port}/postgres`;
}

function bin(host: Host, name: string): string | undefined {
  // Debian keeps the server's programs away from the PATH, one folder per version.
  return host.findProgram(name, versionFolders('/usr/lib/postgresql', 'bin'));
}

function need(host: Host, name: string): string {
  const found = bin(host, name);
  if (found === undefined) throw new Error(`${name} was not found`);
  return found;
}

/** PostgreSQL refuses to run as root; the package has made a user for it. */
function ownerOf({ isRoot }: Host): { uid: number; gid: number } | undefined {
  if (!isRoot) return undefined;
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** The first folder on the way up that other users may not walk through. */
function closedFolder(dir: string): string | undefined {
  if ((statSync(dir).mode & 0o001) === 0) return dir;
  const above = dirname(dir);
  return above === dir ? undefined : closedFolder(above);
}
