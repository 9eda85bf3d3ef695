import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const demo = join(dirname(dirname(fileURLToPath(import.meta.url))), 'src/main.ts');

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tk-killed-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Starts the demo with servers of its own, and waits until they are up and in use. */
async function startDemo(): Promise<ChildProcess> {
  // Without the variables that name running servers: these must be started, and so be stopped.
  const named = new Set(['REDIS_URL', 'S3_ENDPOINT', 'OPENSEARCH_URL', 'DATABASE_URL', 'TENANTKIT_SERVERS']);
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !named.has(name)));
  const child = spawn(process.execPath, ['--conditions=@tenantkit/source', demo, '--keep'], {
    env: { ...env, TMPDIR: folder, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout })) if (line === 'cache') break;
  child.stdout.resume();
  return child;
}

/** What the supervisor of the servers has written down about itself and about what it runs. */
async function recorded(): Promise<{ readonly places: string[]; readonly pids: number[] }> {
  const places = (await readdir(folder))
    .filter((name) => name.startsWith('tenantkit-servers-'))
    .map((name) => join(folder, name));
  const files = await Promise.all(
    places.map(async (place) =>
      (await readdir(join(place, 'records'))).map((name) => join(place, 'records', name)),
    ),
  );
  const records = await Promise.all(
    files.flat().map(async (file) => JSON.parse(await readFile(file, 'utf8')) as { readonly pid?: number }),
  );
  return { places, pids: records.flatMap(({ pid }) => pid ?? []) };
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // Where nothing collects the orphans, as in a container without an init, what has ended is listed all the same.
    const stat = `/proc/${pid}/stat`;
    return !existsSync(stat) || !/\) [ZX] /.test(readFileSync(stat, 'utf8'));
  } catch {
    return false;
  }
}

describe('a demo that is killed', () => {
  it.each(['SIGINT', 'SIGKILL'] as const)(
    'leaves no server behind after %s',
    async (signal) => {
      const child = await startDemo();
      const { places, pids } = await recorded();
      expect(places).toHaveLength(1);
      expect(pids.filter(isThere)).toEqual(pids);
      expect(pids.length).toBeGreaterThan(0);

      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
      await vi.waitFor(() => expect(pids.filter(isThere)).toEqual([]), { timeout: 10_000, interval: 100 });
      await vi.waitFor(() => expect(places.filter((place) => existsSync(place))).toEqual([]), {
        timeout: 10_000,
        interval: 100,
      });
    },
    180_000,
  );
});
