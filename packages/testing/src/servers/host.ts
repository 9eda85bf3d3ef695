import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { findEngine, type Engine } from './engine.ts';

/** What the choice of a provider depends on. Tests hand in other machines. */
export interface Host {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
  readonly isRoot: boolean;
  /** Whether packages can be installed with apt-get here. */
  readonly hasApt: boolean;
  /** The path of a program, looked up in `folders` and then on the PATH. */
  readonly findProgram: (name: string, folders?: readonly string[]) => string | undefined;
  readonly findEngine: () => Promise<Engine | undefined>;
  /** A loopback port that nobody listens on at this moment. */
  readonly freePort: () => Promise<number>;
}

/** Where daemons live that an ordinary user's PATH does not name. */
const MORE_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/opt/homebrew/bin', '/usr/local/bin'];

/** This machine. */
export function thisHost(env: NodeJS.ProcessEnv = process.env): Host {
  return {
    platform: process.platform,
    env,
    isRoot: process.getuid?.() === 0,
    hasApt: existsSync('/etc/debian_version') && existsSync('/usr/bin/apt-get'),
    findProgram(name, folders = []) {
      const path = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
      return [...folders, ...path, ...MORE_FOLDERS].map((folder) => join(folder, name)).find(isExecutable);
    },
    findEngine: () => findEngine(env),
    freePort,
  };
}

/** The folders that a pattern such as `/usr/lib/postgresql/{}/bin` names, newest (highest number) first. */
export function versionFolders(before: string, after = ''): string[] {
  const names = existsSync(before) ? readdirSync(before) : [];
  return names
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    .map((name) => join(before, name, after))
    .filter((folder) => existsSync(folder));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const address = server.address();
      server.close(() => {
        if (typeof address === 'object' && address !== null) resolve(address.port);
        else reject(new Error('no free port'));
      });
    });
  });
}
