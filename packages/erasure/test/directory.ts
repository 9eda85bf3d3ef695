import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { controlTenant, eraseRun, type EraseRun, type Eraser, type ErasureScope } from '@tenantkit/core';
import { z } from 'zod';

/** Options of {@link directoryEraser}. */
export interface DirectoryOptions {
  readonly root: string;
  readonly store: string;
  readonly stage?: 'purge' | 'shred';
  readonly subjects?: Eraser['subjects'];
  /** Files of one batch, default 4. */
  readonly batch?: number;
  /** Awaited after every batch, with the number of files that are gone. */
  readonly afterBatch?: (gone: number, run: EraseRun) => Promise<void> | void;
}

const checkpointSchema = z.strictObject({ gone: z.int(), batch: z.array(z.string()) });

/** A store on disk: `<root>/<tenant>/<subject>/<file>`. A real one, small enough for a test to own. */
export function directoryEraser({
  root,
  store,
  stage = 'purge',
  subjects = 'supported',
  batch = 4,
  afterBatch,
}: DirectoryOptions): Eraser {
  const list = async ({ tenant, subject }: ErasureScope): Promise<string[]> => {
    const folder = subject === undefined ? join(root, tenant) : join(root, tenant, subject);
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(ifMissing([]));
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .toSorted();
  };
  const count = async (scope: ErasureScope) => [{ kind: 'files', count: (await list(scope)).length }];

  return {
    store,
    stage,
    subjects,
    plan: async (scope) => ({ store, items: await count(scope), kept: [] }),

    async erase(scope, given) {
      const run = eraseRun('testing', 'erase', given);
      const saved = await run.checkpoint.load();
      let { gone, batch: files } =
        saved === undefined ? { gone: 0, batch: [] as string[] } : checkpointSchema.parse(JSON.parse(saved));
      for (;;) {
        for (const file of files) await rm(file, { force: true });
        gone += files.length;
        if (files.length > 0) await afterBatch?.(gone, run);
        run.signal.throwIfAborted();
        files = (await list(scope)).slice(0, batch);
        // The intent is saved before the deed: a crash in between neither loses nor doubles a count.
        await run.checkpoint.save(JSON.stringify({ gone, batch: files }));
        run.progress({ kind: 'files', done: gone });
        if (files.length === 0) return { store, erased: [{ kind: 'files', count: gone }], kept: [] };
      }
    },

    async verify(scope) {
      const control = { tenant: controlTenant() };
      await mkdir(join(root, control.tenant), { recursive: true });
      await writeFile(join(root, control.tenant, 'planted'), '');
      const found = (await list(control)).length;
      await rm(join(root, control.tenant), { recursive: true });
      return {
        store,
        remaining: await count(scope),
        kept: [],
        control: { planted: 1, found, method: 'a file under a throw-away tenant, listed by the same code' },
      };
    },
  };
}

/** Fills `<root>/<tenant>/<subject>/file-<n>`, the same names for every tenant. */
export async function fill(root: string, tenant: string, files: number, subject = 'p1'): Promise<void> {
  await mkdir(join(root, tenant, subject), { recursive: true });
  for (let n = 0; n < files; n += 1) {
    await writeFile(join(root, tenant, subject, `file-${n}`), `${tenant}/${subject}/${n}`);
  }
}

/** All files below `folder` with their contents' owner: to compare before and after. */
export async function snapshot(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(ifMissing([]));
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return value;
    throw error;
  };
}
