import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { generateSigningKey } from '@tenantkit/erasure';
import { onTestFinished } from 'vitest';

const PACKAGES = join(import.meta.dirname, '../..');
const MAIN = join(import.meta.dirname, '../src/main.ts');
const LINKS = {
  '@tenantkit/cache': 'cache',
  '@tenantkit/cli': 'cli',
  '@tenantkit/core': 'core',
  '@tenantkit/erasure': 'erasure',
  ioredis: 'cache/node_modules/ioredis',
} as const;

/** One key for all tests of a file. */
export const signingKey = await generateSigningKey();

/** Imports for the configurations of tests. */
export const IMPORTS = `
import { defineConfig } from '@tenantkit/cli';
import { createSigner, sqliteLedger } from '@tenantkit/erasure';
import { readFileSync } from 'node:fs';
import { directoryEraser } from ${JSON.stringify(join(PACKAGES, 'erasure/test/directory.ts'))};
const signer = await createSigner({ privateKey: JSON.parse(readFileSync('key.json', 'utf8')) });
const ledger = sqliteLedger('ledger.db');
`;

/** A configuration with one store in the folder `files`, which stands still when STAND is set. */
export const DIRECTORY_CONFIG = `${IMPORTS}
const afterBatch = async (gone: number, run: { signal: AbortSignal }): Promise<void> => {
  if (gone !== Number(process.env.STAND)) return;
  process.stderr.write('STANDING\\n');
  const alive = setInterval(() => undefined, 60_000);
  await new Promise((resolve) => run.signal.addEventListener('abort', resolve));
  clearInterval(alive);
};
export default defineConfig({
  stores: [directoryEraser({ root: 'files', store: 'files', afterBatch })],
  ledger,
  signer,
});
`;

/** A folder as a user of the command has it: a configuration, a key, and installed packages. */
export function project(config?: string, name = 'tenantkit.config.ts'): string {
  const folder = mkdtempSync(join(tmpdir(), 'tenantkit-cli-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'node_modules/@tenantkit'), { recursive: true });
  for (const [link, target] of Object.entries(LINKS)) {
    symlinkSync(join(PACKAGES, target), join(folder, 'node_modules', link));
  }
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, 'key.json'), JSON.stringify(signingKey.privateKey));
  writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys: [signingKey.publicKey] }));
  if (config !== undefined) writeFileSync(join(folder, name), config);
  return folder;
}

/** How a command ended. */
export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  /** Standard output as JSON. */
  json(): unknown;
}

/** A command that runs. */
export interface Running {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly ended: Promise<Ended>;
  /** Resolves once standard error holds the text. */
  says(text: string): Promise<void>;
}

/** Starts the command, as a shell would. */
export function start(
  folder: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Running {
  const child = spawn(process.execPath, ['--conditions=@tenantkit/source', MAIN, ...args], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = once(child, 'close').then(([code]) => ({
    code: code as number | null,
    out,
    err,
    json: () => JSON.parse(out) as unknown,
  }));
  return {
    child,
    ended,
    async says(text) {
      while (!err.includes(text)) {
        if (child.exitCode !== null) throw new Error(`It ended without saying ${text}: ${err}`);
        await Promise.race([once(child.stderr, 'data'), ended]);
      }
    },
  };
}

/** Runs the command to its end. */
export function tenantkit(
  folder: string,
  args: readonly string[],
  { env = {}, input }: { readonly env?: Readonly<Record<string, string>>; readonly input?: string } = {},
): Promise<Ended> {
  const running = start(folder, args, env);
  running.child.stdin.end(input);
  return running.ended;
}
