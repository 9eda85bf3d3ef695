import { eraseRun, type ErasureScope } from '@tenantkit/core';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import {
  ErasureBusyError,
  ErasureInterruptedError,
  LeaseLostError,
  createErasure,
  readCertificate,
  sqliteLedger,
  verifyCertificate,
} from '@tenantkit/erasure';
import { describe, expect, it, onTestFinished } from 'vitest';
import { directoryEraser, fill, snapshot } from './directory.ts';
import { approved, erasureOf, folder, gate, ledgerIn, rejection, signer } from './setup.ts';

const keys = [signer.publicKey];

/** A process of its own that runs an erasure and stands still after a batch; see child.ts. */
function child(...args: readonly string[]): ChildProcess {
  const forked = fork(join(import.meta.dirname, 'child.ts'), args, {
    execArgv: ['--conditions=@tenantkit/source'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  onTestFinished(() => void forked.kill('SIGKILL'));
  return forked;
}

async function message(from: ChildProcess): Promise<unknown> {
  const [value] = (await once(from, 'message')) as [unknown];
  return value;
}

describe('a process that is killed in the middle of a store', () => {
  it('leaves an erasure that another one ends with the same certificate', async () => {
    const content: unknown[] = [];
    for (const killed of [false, true]) {
      const [root, path] = [folder(), folder()];
      for (const tenant of ['acme', 'acme2']) await fill(root, tenant, 20);
      const ledger = ledgerIn(path);
      const erasure = erasureOf([directoryEraser({ root, store: 'files' })], { ledger });
      const id = await approved(erasure, 'acme');
      if (killed) {
        const running = child(join(path, 'ledger.db'), root, id, '8');
        expect(await message(running)).toBe('standing');
        expect(await snapshot(join(root, 'acme'))).toHaveLength(12);
        // It lives: its lease holds.
        expect(await rejection(erasure.run(id))).toBeInstanceOf(ErasureBusyError);
        running.kill('SIGKILL');
        await once(running, 'exit');
      }
      expect((await erasure.run(id)).state).toBe('completed');
      expect(await snapshot(join(root, 'acme'))).toEqual([]);
      expect(await snapshot(join(root, 'acme2'))).toHaveLength(20);
      const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys });
      // What differs between any two erasures is left out.
      const { erasure: _id, times: _times, completeAt: _at, ledger: _head, ...same } = certificate;
      content.push({ ...same, stores: same.stores.map((store) => ({ ...store, verifiedAt: '' })) });
    }
    expect(content[1]).toEqual(content[0]);
    expect(content[1]).toMatchObject({ stores: [{ erased: [{ kind: 'files', count: 20 }] }] });
  });

  it('was asked for by several processes at once, and is one erasure', async () => {
    const path = folder();
    await sqliteLedger(join(path, 'ledger.db')).close();
    const asking = [1, 2, 3].map(() => child(join(path, 'ledger.db'), folder(), 'request', '0'));
    const ids = await Promise.all(asking.map(message));
    expect(new Set(ids).size).toBe(1);
    expect(await ledgerIn(path).list()).toMatchObject([{ id: ids[0] }]);
  });
});

describe('two runs at once', () => {
  it('are one run and one typed refusal', async () => {
    const root = folder();
    await fill(root, 'acme', 8);
    const ledger = ledgerIn(folder());
    const [reached, go] = [gate(), gate()];
    const files = directoryEraser({
      root,
      store: 'files',
      afterBatch: () => (reached.open(), go.opened),
    });
    const erasure = erasureOf([files], { ledger });
    const id = await approved(erasure, 'acme');
    const first = erasure.run(id);
    await reached.opened;
    const error = await rejection(erasure.run(id));
    expect(error).toBeInstanceOf(ErasureBusyError);
    expect(error).toMatchObject({ code: 'ERASURE_BUSY', holder: expect.stringMatching(/:\d+$/) });
    go.open();
    expect((await first).state).toBe('completed');
    expect((await erasure.run(id)).state).toBe('completed');
  });

  it('of different tenants do not wait for each other', async () => {
    const root = folder();
    for (const tenant of ['acme', 'acme2']) await fill(root, tenant, 8);
    const go = gate();
    let waiting = 0;
    const files = directoryEraser({
      root,
      store: 'files',
      batch: 8,
      async afterBatch() {
        waiting += 1;
        if (waiting === 2) go.open();
        await go.opened;
      },
    });
    const erasure = erasureOf([files]);
    const ids = [await approved(erasure, 'acme'), await approved(erasure, 'acme2')];
    const ended = await Promise.all(ids.map((id) => erasure.run(id)));
    expect(ended.map(({ state }) => state)).toEqual(['completed', 'completed']);
  });

  it('end for the one that has lost its lease, which writes nothing any more', async () => {
    const root = folder();
    await fill(root, 'acme', 8);
    let now = Date.now();
    const path = folder();
    const ledger = ledgerIn(path, { clock: () => now });
    const [reached, go] = [gate(), gate()];
    const files = directoryEraser({
      root,
      store: 'files',
      afterBatch: (gone) => (gone === 4 ? (reached.open(), go.opened) : undefined),
    });
    const erasure = createErasure({ stores: [files], ledger, signer, leaseTtl: 60_000 });
    const id = await approved(erasure, 'acme');
    const first = erasure.run(id);
    await reached.opened;
    now += 60_001; // as if the machine had slept
    const taken = await ledger.acquire(id, 'another', 60_000);
    expect(taken.ok).toBe(true);
    const before = (await ledger.read(id))?.events.length;
    go.open();
    expect(await rejection(first)).toBeInstanceOf(LeaseLostError);
    expect((await ledger.read(id))?.events).toHaveLength(before ?? 0);
    if (taken.ok) await ledger.release(taken.lease);
    expect((await erasure.run(id)).state).toBe('completed');
  });

  it('end by themselves when the renewal finds the lease gone', async () => {
    let now = Date.now();
    const ledger = ledgerIn(folder(), { clock: () => now });
    const reached = gate();
    const files = directoryEraser({ root: folder(), store: 'files' });
    let stuck = true;
    const erasure = createErasure({
      ledger,
      signer,
      leaseTtl: 120,
      stores: [
        {
          ...files,
          erase(scope, run) {
            if (!stuck) return files.erase(scope, run);
            reached.open();
            const { signal } = eraseRun('testing', 'erase', run);
            return new Promise((_, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason as Error));
            });
          },
        },
      ],
    });
    const id = await approved(erasure, 'acme');
    const first = erasure.run(id);
    await reached.opened;
    now += 10_000;
    const taken = await ledger.acquire(id, 'another', 120);
    expect(await rejection(first)).toBeInstanceOf(LeaseLostError);
    if (taken.ok) await ledger.release(taken.lease);
    stuck = false;
    expect((await erasure.run(id)).state).toBe('completed');
  });
});

describe('an interruption', () => {
  it('keeps the state, and the next run goes on inside the store', async () => {
    const root = folder();
    await fill(root, 'acme', 20);
    const halted = new AbortController();
    const files = directoryEraser({
      root,
      store: 'files',
      afterBatch: (gone) => {
        if (gone === 8) halted.abort(new Error('SIGINT'));
      },
    });
    const erasure = erasureOf([files]);
    const id = await approved(erasure, 'acme');
    const error = await rejection(erasure.run(id, { signal: halted.signal }));
    expect(error).toBeInstanceOf(ErasureInterruptedError);
    expect(error).toMatchObject({ code: 'ERASURE_INTERRUPTED', cause: new Error('SIGINT') });
    expect(await snapshot(root)).toHaveLength(12);
    const status = await erasure.status(id);
    // What a store throws because it was told to stop is not its failure.
    expect(status).toMatchObject({ state: 'purging', stores: [{ state: 'pending' }] });
    expect(status.stores[0]?.failure).toBeUndefined();
    expect((await erasure.run(id)).state).toBe('completed');
    expect(readCertificate(await erasure.certificate(id)).stores[0]).toMatchObject({
      before: [{ kind: 'files', count: 20 }],
      erased: [{ kind: 'files', count: 20 }],
    });
  });

  it('before the beginning changes nothing', async () => {
    const erasure = erasureOf([directoryEraser({ root: folder(), store: 'files' })]);
    const id = await approved(erasure, 'acme');
    const error = await rejection(erasure.run(id, { signal: AbortSignal.abort() }));
    expect(error).toBeInstanceOf(ErasureInterruptedError);
    expect((await erasure.status(id)).state).toBe('approved');
  });

  it('of a plan leaves none', async () => {
    const halted = new AbortController();
    const files = directoryEraser({ root: folder(), store: 'files' });
    const erasure = erasureOf([{ ...files, plan: (scope) => (halted.abort(), files.plan(scope)) }]);
    const { id } = await erasure.request({ tenant: 'acme', reason: 'x', requestedBy: 'x' });
    const error = await rejection(erasure.plan(id, { signal: halted.signal }));
    expect(error).toMatchObject({ code: 'ERASURE_INTERRUPTED', operation: 'plan' });
    expect((await erasure.status(id)).state).toBe('received');
  });

  it.each(['plan', 'verify'] as const)('reaches a store that counts for its %s', async (step) => {
    const halted = new AbortController();
    const files = directoryEraser({ root: folder(), store: 'files' });
    const heard: unknown[] = [];
    const erasure = erasureOf([
      {
        ...files,
        [step]: (_scope: ErasureScope, signal?: AbortSignal) =>
          new Promise((_, reject) => {
            signal?.addEventListener('abort', () => {
              heard.push(signal.reason);
              reject(signal.reason as Error);
            });
            halted.abort('enough');
          }),
      },
    ]);
    const id =
      step === 'plan'
        ? (await erasure.request({ tenant: 'acme', reason: 'x', requestedBy: 'x' })).id
        : await approved(erasure, 'acme');
    const call = step === 'plan' ? erasure.plan.bind(erasure) : erasure.run.bind(erasure);
    expect(await rejection(call(id, { signal: halted.signal }))).toBeInstanceOf(ErasureInterruptedError);
    expect(heard).toEqual(['enough']);
  });

  it('by an observer that throws is not a failure of a store', async () => {
    const root = folder();
    await fill(root, 'acme', 8);
    const erasure = erasureOf([directoryEraser({ root, store: 'files' })]);
    const id = await approved(erasure, 'acme');
    const broken = new Error('the progress bar is broken');
    const error = await rejection(
      erasure.run(id, {
        onProgress(event) {
          if (event.type === 'store' && event.status === 'working') throw broken;
        },
      }),
    );
    expect(error).toBe(broken);
    expect((await erasure.status(id)).stores[0]?.failure).toBeUndefined();
    expect((await erasure.run(id)).state).toBe('completed');
  });
});
