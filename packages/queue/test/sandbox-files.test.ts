import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as bullmq from 'bullmq';
import { OperationRefusedError, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Worker } from '@tenantkit/queue';
import { urlOf } from '../src/sandbox/sandbox.ts';
import { execArgv, processorFile } from './processes.ts';
import { KEY, bench, finished, type Bench, type Finished } from './support.ts';

const FOLDER = new URL('processors/', import.meta.url);
const tenant = { signingKeys: [KEY] };

let on: Bench;
let odd: string;
beforeAll(async () => {
  on = await bench();
  odd = join(await mkdtemp(join(tmpdir(), 'tenantkit-sandbox-')), 'a b?c#d%41é~名');
  await symlink(fileURLToPath(FOLDER), odd);
});
afterEach(() => on.reset());
afterAll(async () => {
  await rm(join(odd, '..'), { recursive: true });
  await on[Symbol.asyncDispose]();
});

async function run(file: string | URL, isThread: boolean): Promise<Finished | undefined> {
  const worker = on.worker('mail', file, {
    useWorkerThreads: isThread,
    workerForkOptions: { execArgv },
    workerThreadsOptions: { execArgv },
  });
  const all = finished(worker, 1);
  await withTenant('acme', () => on.queue('mail').add('any', { n: 1 }, { jobId: 'one' }));
  return (await all)[0];
}

describe.each([
  ['processes', false],
  ['threads', true],
])('the file of a sandboxed processor in %s', (_kind, isThread) => {
  it.each(['plain.cjs', 'commonjs/plain.js', 'compiled.cjs', 'module.js', 'awaited.mjs', 'typed.ts'])(
    'may be %s',
    async (file) => {
      const told = `${file.replace('commonjs/', '')} acme one`;
      expect((await run(processorFile(file), isThread))?.result).toContain(told);
    },
  );

  it('may be a path without its ending, a path from the working directory, and a URL with a query', async () => {
    expect((await run(processorFile('module'), isThread))?.result).toBe('module.js acme one');
    await on.reset();
    expect((await run(relative(process.cwd(), processorFile('module.js')), isThread))?.result).toBe(
      'module.js acme one',
    );
    await on.reset();
    expect((await run(new URL('awaited.mjs?v=1', FOLDER), isThread))?.result).toBe(
      'awaited.mjs acme one ?v=1',
    );
  });

  it.each(['module.js', 'plain.cjs'])('may be %s in a folder with any name', async (file) => {
    expect((await run(join(odd, file), isThread))?.result).toBe(`${file} acme one`);
  });

  it.each([
    ['broken.mjs', 'the module failed'],
    ['named.mjs', 'No function is exported in processor file'],
  ])('fails the job when it cannot be used: %s', async (file, message) => {
    expect((await run(processorFile(file), isThread))?.error?.message).toBe(message);
  });
});

describe('the processor that a Worker is given', () => {
  const make = (processor: unknown, options: object = {}): Worker =>
    new Worker('mail', processor as string, { connection: on.redis, tenant, ...options });
  const raw = (processor: unknown): bullmq.Worker =>
    new bullmq.Worker('mail', processor as string, { connection: on.redis });

  it.each([
    processorFile('missing.js'),
    processorFile('missing'),
    './missing.mjs',
    new URL('missing.js', FOLDER),
    new URL('https://example.com/processor.js'),
  ])('is a file that exists: %s', (file) => {
    const messageOf = (construct: (file: unknown) => unknown): string | undefined => {
      try {
        construct(file);
        return undefined;
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(messageOf(make)).toBeDefined();
    expect(messageOf(make)).toBe(messageOf(raw));
  });

  it.each([undefined, null, '', {}, 7])('is not %s: jobs are not fetched by hand', (processor) => {
    expect(() => make(processor)).toThrow(OperationRefusedError);
  });

  it('runs with the options that were given, whatever becomes of their object', async () => {
    const workerForkOptions = { execArgv };
    const worker = on.worker('mail', processorFile('module.js'), { workerForkOptions });
    workerForkOptions.execArgv = ['--no-such-option'];
    const all = finished(worker, 1);
    await withTenant('acme', () => on.queue('mail').add('any', {}, { jobId: 'one' }));
    expect(await all).toMatchObject([{ result: 'module.js acme one' }]);
  });

  it('is not replaced later', () => {
    const worker = on.worker('mail', processorFile('module.js'), { autorun: false });
    const inside = worker as unknown as { createSandbox(file: string): void };
    expect(() => withTenant('acme', () => inside.createSandbox(processorFile('plain.cjs')))).toThrow(
      OperationRefusedError,
    );
    expect(() => inside.createSandbox(processorFile('plain.cjs'))).toThrow(TypeError);
  });
});

describe('the URL of a path', () => {
  it('says what a path may hold and a URL may not', () => {
    expect(urlOf('/a b/c?d#e%41.js')).toBe('file:///a%20b/c%3Fd%23e%2541.js');
    expect(urlOf('/a/b')).toBe('file:///a/b.js');
    expect(urlOf('/a/b.worker')).toBe('file:///a/b.worker.js');
    expect(urlOf('file:///a/b.js?c')).toBe('file:///a/b.js?c');
  });
});
