import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished, vi } from 'vitest';
import { withoutServers } from './child.ts';

const MAIN = fileURLToPath(new URL('../src/servers/main.ts', import.meta.url));

it('pnpm servers prints and writes the exports, stays up, and stops on Ctrl-C', async () => {
  const temp = mkdtempSync(join(tmpdir(), 'tenantkit-test-'));
  onTestFinished(() => rmSync(temp, { recursive: true, force: true }));
  // PostgreSQL runs as another user where this is root.
  chmodSync(temp, 0o711);
  const file = join(temp, 'servers.env');
  const main = run(['--only', 'redis,postgres', '--write-env', file], { TMPDIR: temp });
  await vi.waitUntil(() => main.errors().includes('Up until Ctrl-C'), { timeout: 120_000 });
  const lines = /^export REDIS_URL='(\S+)'\nexport DATABASE_URL='\S+'\n$/.exec(readFileSync(file, 'utf8'));
  expect(main.output()).toContain(lines?.[0] ?? 'the exports');
  // It holds a password.
  expect(statSync(file).mode & 0o077).toBe(0);
  const redis = new Redis(lines?.[1] ?? '', { retryStrategy: () => null });
  expect(await redis.ping()).toBe('PONG');
  // Stopping it is what is asked for.
  redis.on('error', () => undefined);
  main.kill('SIGINT');
  expect(await main.ended).toBe(0);
  await vi.waitUntil(() => redis.status === 'end', { timeout: 30_000 });
});

it.each([
  [['--only', 'redis,mysql'], 2, /--only takes redis, s3, opensearch, postgres/],
  [['--unknown'], 2, /Unknown option '--unknown'/],
])('pnpm servers refuses %o', async (args, code, message) => {
  const main = run(args);
  expect(await main.ended).toBe(code);
  expect(main.errors()).toMatch(message);
});

it('pnpm servers ends with 1 and the reason when a server cannot be had', async () => {
  const main = run(['--only', 'redis'], { TENANTKIT_SERVERS: 'env' });
  expect(await main.ended).toBe(1);
  expect(main.errors()).toMatch(/REDIS_URL is not set[^]*1\. env[^]*2\. testcontainers[^]*3\. native/);
});

interface Main {
  readonly ended: Promise<number | null>;
  output(): string;
  errors(): string;
  kill(signal: NodeJS.Signals): void;
}

function run(args: readonly string[], env: Record<string, string> = {}): Main {
  const main = spawn(process.execPath, ['--conditions=@tenantkit/source', MAIN, ...args], {
    env: { ...withoutServers(), TENANTKIT_SERVERS: 'native', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  main.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  main.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  return {
    ended: new Promise((resolve) => {
      main.once('close', (code) => resolve(code));
    }),
    output: () => output,
    errors: () => errors,
    kill: (signal) => void main.kill(signal),
  };
}
