import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { isVerified } from '@tenantkit/core';
import { storageAuditor, storageEraser } from '@tenantkit/storage';
import pMap from 'p-map';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { everything, of, put, run } from './erase-support.ts';
import { open, type Opened } from './open.ts';

const CHILD = fileURLToPath(new URL('kills-child.ts', import.meta.url));
const SCOPE = { tenant: 'acme' };

/** Runs work in a process of its own, which is killed as soon as it has said something; answers what it has said. */
async function killed({ bucket, options }: Opened, work: 'erase' | 'verify'): Promise<string> {
  const child = spawn(process.execPath, ['--conditions=@tenantkit/source', CHILD], {
    env: { ...process.env, WORK: JSON.stringify({ bucket, options, work }) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  let said = '';
  child.stdout.on('data', (text: Buffer) => {
    said += text.toString();
    child.kill('SIGKILL');
  });
  const [, signal] = (await ended) as [number | null, string | null];
  expect(signal).toBe('SIGKILL');
  return said;
}

const codes = async ({ s3, bucket }: Opened): Promise<string[]> => {
  const found: string[] = [];
  for await (const { code } of storageAuditor(s3, { bucket }).audit())
    if (code !== 'not_examined') found.push(code);
  return found;
};

afterEach(() => void vi.useRealTimers());

describe('a process that is killed', () => {
  it('in the middle of an erasure leaves what the next run erases', { timeout: 60_000 }, async () => {
    await using own = await open({ traits: { versioned: true } });
    const keys = Array.from({ length: 1_100 }, (_, n) => `tenants/acme/${n}`);
    await pMap(keys, (key) => put(own, key), { concurrency: 16 });
    await put(own, 'tenants/acme2/0');
    const said = await killed(own, 'erase');
    expect(said).toMatch(/^versions \d+/);
    expect(said).not.toContain('done');
    const eraser = storageEraser(own.s3, { bucket: own.bucket });
    await eraser.erase(SCOPE, run());
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
    const left = await everything(own);
    expect(of(left, 'acme2')).toHaveLength(1);
    expect(left).toHaveLength(1);
  });

  it('in the middle of a verification leaves controls, which are found, and removed later', async () => {
    await using own = await open();
    await put(own, 'tenants/acme2/0');
    expect(await killed(own, 'verify')).toBe('planted\n');
    expect(await codes(own)).toEqual(['control_left', 'control_left']);
    const eraser = storageEraser(own.s3, { bucket: own.bucket });
    // They may be those of another process that is at work.
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
    expect(await codes(own)).toEqual(['control_left', 'control_left']);
    // A server takes what is signed a quarter of an hour ahead.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 11 * 60_000 });
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
    vi.useRealTimers();
    expect(await codes(own)).toEqual([]);
    expect(await everything(own)).toHaveLength(1);
  });

  it('leaves controls that an erasure removes, too', async () => {
    await using own = await open({ traits: { versioned: true } });
    await killed(own, 'verify');
    const eraser = storageEraser(own.s3, { bucket: own.bucket });
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 11 * 60_000 });
    const { erased } = await eraser.erase({ tenant: 'acme2' }, run());
    vi.useRealTimers();
    // They are not the tenant's, and not counted as such.
    expect(erased.every(({ count }) => count === 0)).toBe(true);
    expect(await everything(own)).toEqual([]);
    expect(await codes(own)).toEqual([]);
  });
});
