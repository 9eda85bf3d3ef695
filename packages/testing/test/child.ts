import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isSame } from '../src/servers/identity.ts';
import type { Record as Recorded } from '../src/servers/sweep.ts';

/** A program of children/ in a process group and a folder for temporary files of its own. */
export interface Child extends Disposable {
  readonly process: ChildProcess;
  readonly temp: string;
  /** The first line of JSON that it writes. */
  readonly says: Promise<Record<string, string>>;
  /** How it ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** What it wrote to stderr so far. */
  complaints(): string;
}

const SPEAKS_WITHIN_MS = 90_000;

/** Starts a program of children/. */
export function startChild(name: string, args: readonly string[], env: Record<string, string> = {}): Child {
  const temp = mkdtempSync(join(tmpdir(), 'tenantkit-test-'));
  const file = fileURLToPath(new URL(`children/${name}.ts`, import.meta.url));
  const child = spawn(process.execPath, ['--conditions=@tenantkit/source', file, ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...withoutServers(), TMPDIR: temp, ...env },
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const says = new Promise<Record<string, string>>((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const line = /^(\{.*\})\n/m.exec(text)?.[1];
      if (line !== undefined) resolve(JSON.parse(line) as Record<string, string>);
    });
    // Before the test's own limit, which would leave the child running.
    const timer = setTimeout(() => reject(new Error(`it did not say anything: ${errors}`)), SPEAKS_WITHIN_MS);
    child.once('exit', () => clearTimeout(timer));
    child.stdout.once('close', () => reject(new Error(`it ended without a word: ${errors}`)));
  });
  // Some are only waited for in other ways.
  says.catch(() => undefined);
  return {
    process: child,
    temp,
    says,
    ended,
    complaints: () => errors,
    [Symbol.dispose]() {
      child.kill('SIGKILL');
      rmSync(temp, { recursive: true, force: true });
    },
  };
}

/** What the supervisors of a child have written down: their own pids and those of the servers. */
export function recordsIn(temp: string): Recorded[] {
  return readdirSync(temp).flatMap((folder) => {
    const records = join(temp, folder, 'records');
    if (!existsSync(records)) return [];
    return readdirSync(records).flatMap((name) => {
      try {
        return [JSON.parse(readFileSync(join(records, name), 'utf8')) as Recorded];
      } catch {
        // Removed between the listing and the reading.
        return [];
      }
    });
  });
}

/** Those of the recorded processes that still run, by pid and start time. */
export function alive(records: readonly Recorded[]): number[] {
  return records.flatMap((record) =>
    record.kind !== 'containers' && isSame(record.pid, record.identity) ? [record.pid] : [],
  );
}

/**
 * Every process that descends from a child, recorded or not: its folder for temporary files is in their
 * environment, or is where they work. Linux only; elsewhere the records have to do.
 */
export function descendants(temp: string): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && belongsTo(temp, name))
    .map(Number);
}

function belongsTo(temp: string, pid: string): boolean {
  try {
    // Servers that write their title over the environment work in a folder of theirs.
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
    return environment.includes(`TMPDIR=${temp}\0`) || readlinkSync(`/proc/${pid}/cwd`).startsWith(temp);
  } catch {
    // Ended since the listing, or somebody else's.
    return false;
  }
}

/** The environment without servers that somebody else runs. */
export function withoutServers(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of SERVER_VARIABLES) delete env[name];
  return env;
}

const SERVER_VARIABLES = [
  'REDIS_URL',
  'S3_ENDPOINT',
  'OPENSEARCH_URL',
  'DATABASE_URL',
  'TENANTKIT_SERVERS',
  'DOCKER_HOST',
];
