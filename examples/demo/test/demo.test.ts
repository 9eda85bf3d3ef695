import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, inject, it } from 'vitest';
import { SABOTAGES } from './sabotages.ts';

const folder = dirname(dirname(fileURLToPath(import.meta.url)));
const SURFACES = ['cache', 'storage', 'queue', 'search', 'crypto'];

interface Run {
  readonly code: number;
  readonly output: string;
  /** The row of each surface in the summary, as its cells. */
  readonly rows: ReadonlyMap<string, readonly string[]>;
}

function runDemo(sabotage?: string): Promise<Run> {
  const { redis, s3, opensearch } = inject('servers');
  const env = {
    ...process.env,
    NO_COLOR: '1',
    FORCE_COLOR: undefined,
    TENANTKIT_SERVERS: 'env',
    // Whichever release this run is on: it is the one at REDIS_URL.
    TENANTKIT_REDIS: '',
    REDIS_URL: redis.url,
    S3_ENDPOINT: s3.endpoint,
    S3_REGION: s3.region,
    S3_ACCESS_KEY_ID: s3.accessKeyId,
    S3_SECRET_ACCESS_KEY: s3.secretAccessKey,
    OPENSEARCH_URL: opensearch.url,
    DEMO_SABOTAGE: sabotage,
  };
  const preload = sabotage === undefined ? [] : ['--import', join(folder, 'test/sabotage.ts')];
  const args = ['--conditions=@tenantkit/source', ...preload, join(folder, 'src/main.ts')];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env, timeout: 110_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? -1);
      resolve({ code, output: stdout + stderr, rows: summaryOf(stdout) });
    });
  });
}

function summaryOf(stdout: string): ReadonlyMap<string, readonly string[]> {
  const table = stdout.slice(stdout.lastIndexOf('\nSummary\n'));
  const rows = table.split('\n').map((line) => line.trim().split(/ {2,}/));
  return new Map(
    rows.filter(([name]) => SURFACES.includes(name ?? '')).map(([name = '', ...cells]) => [name, cells]),
  );
}

describe('the demo', () => {
  it('shows own read, other tenant, no tenant and erased for every surface, and ends with 0', async () => {
    const { code, output, rows } = await runDemo();
    expect(code, output).toBe(0);
    for (const surface of SURFACES) {
      expect(rows.get(surface), surface).toEqual(['works', 'unreachable', 'refused', 'nothing left']);
    }
    expect(output).toContain('verified offline');
    expect(output).not.toContain('✗');
  }, 120_000);

  // Sequentially on purpose: a sabotaged demo must not disturb the queue of another one.
  it.each(Object.entries(SABOTAGES))(
    'notices %s',
    async (name, { surface }) => {
      const { code, output, rows } = await runDemo(name);
      expect(code, output).toBe(1);
      const row = rows.get(surface);
      expect(row, output).toHaveLength(4);
      expect(row).not.toEqual(['works', 'unreachable', 'refused', 'nothing left']);
    },
    120_000,
  );
});
