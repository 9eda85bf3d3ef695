import { createTenantRegistry, memoryTenantStore, type Eraser, type TenantRegistry } from '@tenantkit/core';
import { verifyCertificate, type ErasureProgress } from '@tenantkit/erasure';
import { describe, expect, it, onTestFinished } from 'vitest';
import { directoryEraser, fill, snapshot } from './directory.ts';
import { approved, erasureOf, folder, ledgerIn, rejection, signer } from './setup.ts';

const keys = [signer.publicKey];

async function registry(store = memoryTenantStore(), maxStaleness = 500): Promise<TenantRegistry> {
  const fence = await createTenantRegistry({ store, refreshEvery: 10, maxStaleness });
  onTestFinished(() => fence.close());
  return fence;
}

describe('with a fence', () => {
  it('the tenant is refused before anything is erased, and stays refused', async () => {
    const root = folder();
    await fill(root, 'acme', 3);
    const store = memoryTenantStore();
    const [fence, other] = [await registry(store), await registry(store)];
    const seen: string[] = [];
    const files = directoryEraser({ root, store: 'files' });
    const erasure = erasureOf(
      [{ ...files, erase: (scope, run) => (seen.push(other.state('acme')), files.erase(scope, run)) }],
      { fence },
    );
    const id = await approved(erasure, 'acme');
    expect(other.state('acme')).toBe('active');
    const progress: ErasureProgress[] = [];
    const begun = performance.now();
    await erasure.run(id, { onProgress: (event) => progress.push(event) });

    // The other process has heard of it by the time that the first byte goes.
    expect(seen).toEqual(['frozen']);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(500);
    expect(progress).toContainEqual({ type: 'waiting', remaining: 500, total: 500 });
    expect(fence.state('acme')).toBe('erased');
    expect(fence.state('acme2')).toBe('active');
    const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys });
    expect(certificate.fence).toMatchObject({ mode: 'tenant', maxStaleness: 500 });
  });

  it('the wait can be interrupted and begins anew', async () => {
    const root = folder();
    await fill(root, 'acme', 3);
    const fence = await registry(memoryTenantStore(), 10_000);
    const ledger = ledgerIn(folder());
    const files = directoryEraser({ root, store: 'files' });
    const slow = erasureOf([files], { fence, ledger });
    const id = await approved(slow, 'acme');
    const halted = new AbortController();
    const error = await rejection(
      slow.run(id, {
        signal: halted.signal,
        onProgress: (event) => event.type === 'waiting' && halted.abort(),
      }),
    );
    expect(error).toMatchObject({ code: 'ERASURE_INTERRUPTED' });
    expect((await slow.status(id)).state).toBe('draining');
    expect(await snapshot(root)).toHaveLength(3);
    expect(fence.state('acme')).toBe('frozen');

    // Set up with a shorter wait meanwhile: the longer one of those that still run counts.
    const waits: number[] = [];
    const again = new AbortController();
    const quick = erasureOf([files], { fence: await registry(), ledger });
    await rejection(
      quick.run(id, {
        signal: again.signal,
        onProgress(event) {
          if (event.type !== 'waiting') return;
          waits.push(event.total);
          again.abort();
        },
      }),
    );
    expect(waits).toEqual([10_000]);
  });

  it('lifted between two runs, everything is done anew', async () => {
    const root = folder();
    await fill(root, 'acme', 3);
    const store = memoryTenantStore();
    const fence = await registry(store);
    const erases: string[] = [];
    let down = true;
    const recorded = (eraser: Eraser, broken: () => boolean): Eraser => ({
      ...eraser,
      erase: (scope, run) => {
        erases.push(eraser.store);
        return broken() ? Promise.reject(new Error('down')) : eraser.erase(scope, run);
      },
    });
    const erasure = erasureOf(
      [
        recorded(directoryEraser({ root, store: 'files' }), () => false),
        recorded(directoryEraser({ root: folder(), store: 'flaky' }), () => down),
      ],
      { fence },
    );
    const id = await approved(erasure, 'acme');
    await rejection(erasure.run(id));
    expect(await snapshot(root)).toEqual([]);
    await fence.unfreeze('acme');
    await fill(root, 'acme', 2); // written while nobody refused it
    down = false;
    erases.length = 0;
    await erasure.run(id);
    expect(erases.toSorted()).toEqual(['files', 'flaky']);
    expect(await snapshot(root)).toEqual([]);
    const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys });
    expect(certificate.stores[0]?.erased).toEqual([{ kind: 'files', count: 5 }]);
  });

  it('lifted and set again between two runs, what was written meanwhile is found', async () => {
    const root = folder();
    await fill(root, 'acme', 3);
    const fence = await registry();
    let down = true;
    const keys2 = directoryEraser({ root: folder(), store: 'slow' });
    const erasure = erasureOf(
      [
        directoryEraser({ root, store: 'files' }),
        {
          ...keys2,
          verify: (scope) => (down ? Promise.reject(new Error('down')) : keys2.verify(scope)),
        },
      ],
      { fence },
    );
    const id = await approved(erasure, 'acme');
    await rejection(erasure.run(id));
    expect((await erasure.status(id)).stores).toMatchObject([{ state: 'verified' }, { state: 'erased' }]);
    await fence.unfreeze('acme');
    await fill(root, 'acme', 2);
    await fence.freeze('acme');
    down = false;
    // The recount sees it, and says so; the run after it removes it.
    const error = await rejection(erasure.run(id));
    expect(error).toMatchObject({ code: 'ERASURE_NOT_VERIFIED' });
    expect((await erasure.run(id)).state).toBe('completed');
    expect(await snapshot(root)).toEqual([]);
    const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys });
    expect(certificate.stores[0]?.erased).toEqual([{ kind: 'files', count: 5 }]);
  });

  it('lifted while a run recounts, everything is done anew', async () => {
    const root = folder();
    await fill(root, 'acme', 3);
    const fence = await registry();
    const files = directoryEraser({ root, store: 'files' });
    let lifted = false;
    const erasure = erasureOf(
      [
        {
          ...files,
          async verify(scope) {
            const verification = await files.verify(scope);
            if (lifted) return verification;
            lifted = true;
            await fence.unfreeze('acme');
            await fill(root, 'acme', 2); // written behind the recount
            return verification;
          },
        },
      ],
      { fence },
    );
    const id = await approved(erasure, 'acme');
    expect((await erasure.run(id)).state).toBe('completed');
    expect(await snapshot(root)).toEqual([]);
  });

  it('kept between two runs, only what failed is done again', async () => {
    const fence = await registry();
    const erases: string[] = [];
    let down = true;
    const [calm, flaky] = [
      directoryEraser({ root: folder(), store: 'calm' }),
      directoryEraser({ root: folder(), store: 'flaky' }),
    ];
    const erasure = erasureOf(
      [
        { ...calm, erase: (scope, run) => (erases.push('calm'), calm.erase(scope, run)) },
        {
          ...flaky,
          erase: (scope, run) => (
            erases.push('flaky'),
            down ? Promise.reject(new Error('down')) : flaky.erase(scope, run)
          ),
        },
      ],
      { fence },
    );
    const id = await approved(erasure, 'acme');
    await rejection(erasure.run(id));
    down = false;
    await erasure.run(id);
    expect(erases.toSorted()).toEqual(['calm', 'flaky', 'flaky']);
  });

  it('has to be there until the end', async () => {
    const ledger = ledgerIn(folder());
    const files = directoryEraser({ root: folder(), store: 'files' });
    const fence = await registry();
    const halted = new AbortController();
    const fenced = erasureOf([files], { ledger, fence });
    const id = await approved(fenced, 'acme');
    await rejection(
      fenced.run(id, {
        signal: halted.signal,
        onProgress: (event) => event.type === 'state' && event.state === 'purging' && halted.abort(),
      }),
    );
    const bare = erasureOf([files], { ledger });
    expect(await rejection(bare.run(id))).toMatchObject({
      code: 'ERASURE_CONFIG_CHANGED',
      missing: ['the fence'],
    });
    expect((await fenced.run(id)).state).toBe('completed');
  });

  it('a person is erased without freezing the tenant, and the certificate says so', async () => {
    const root = folder();
    await fill(root, 'acme', 2, 'p1');
    const fence = await registry();
    const files = directoryEraser({ root, store: 'files' });
    const seen: string[] = [];
    const erasure = erasureOf(
      [{ ...files, erase: (scope, run) => (seen.push(fence.state('acme')), files.erase(scope, run)) }],
      { fence },
    );
    const id = await approved(erasure, 'acme', 'p1');
    await erasure.run(id);
    expect(seen).toEqual(['active']);
    expect(fence.state('acme')).toBe('active');
    const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys });
    expect(certificate.fence).toEqual({ mode: 'none', why: 'subject_scope' });
  });
});
