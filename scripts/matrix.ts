// The tests of the cache, and of the demo that uses it, once on every release of Redis and Valkey that is promised.
//
//   pnpm test:matrix [what vitest takes]     TENANTKIT_REDIS=valkey@8.1 pnpm test runs everything on one of them
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { RELEASES, RELEASE_NAMES, type RedisRelease } from '../packages/testing/src/servers/release.ts';
import { startServers } from '../packages/testing/src/servers/start.ts';

const TESTS = ['packages/cache', 'examples/demo'];

/** What Vitest writes about a run, as far as it is told here. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
}

const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');
const folder = mkdtempSync(join(tmpdir(), 'tenantkit-matrix-'));
try {
  // The others are the same for every lane.
  await using others = await startServers({ s3: true, opensearch: true, postgres: true });
  const lines: string[] = [];
  for (const release of RELEASE_NAMES) lines.push(await lane(release, others.env()));
  console.log(`\n${lines.join('\n')}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function lane(release: RedisRelease, env: Record<string, string>): Promise<string> {
  const { title } = RELEASES[release];
  const file = join(folder, `${release}.json`);
  const given = process.argv.slice(2);
  const startedAt = performance.now();
  console.log(`\n${title}`);
  const run = spawn(
    process.execPath,
    [
      vitest,
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${file}`,
      ...(given.length > 0 ? given : TESTS),
    ],
    { stdio: 'inherit', env: { ...process.env, ...env, TENANTKIT_REDIS: release } },
  );
  const [code] = (await once(run, 'exit')) as [number | null];
  if (code !== 0) process.exitCode = 1;
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  return `${title.padEnd(10)}  ${said(file, code)} in ${seconds} s`;
}

function said(file: string, code: number | null): string {
  try {
    const { numPassedTests, numFailedTests, numPendingTests } = JSON.parse(
      readFileSync(file, 'utf8'),
    ) as Report;
    const skipped = numPendingTests > 0 ? `, ${numPendingTests} skipped` : '';
    const otherwise = code !== 0 && numFailedTests === 0 ? ', and an error outside of the tests' : '';
    return `${numPassedTests} passed, ${numFailedTests} failed${skipped}${otherwise}`;
  } catch (error) {
    // Vitest has come to no end: there is no report, and above stands why.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      return `ended with code ${code} before there was a report`;
    throw error;
  }
}
