import { randomBytes } from 'node:crypto';
import { readdir, writeFile, readFile, utimes, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ConfigError,
  OperationRefusedError,
  acrossTenants,
  isVerified,
  withTenant,
  type EraseRun,
  type Finding,
} from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import {
  Keyring,
  fileKeyStore,
  keyringAuditor,
  keyringEraser,
  memoryKeyStore,
  type KeyStore,
} from '../src/index.ts';
import {
  FIELD,
  STORES,
  TENANTS,
  collect,
  inside,
  opened,
  reasonOf,
  refusalOf,
  temporary,
} from './support/keyrings.ts';

function run(signal = new AbortController().signal): EraseRun & { readonly seen: unknown[] } {
  const seen: unknown[] = [];
  let state: string | undefined;
  return {
    seen,
    signal,
    checkpoint: {
      load: () => Promise.resolve(state),
      save(text) {
        state = text;
        return Promise.resolve();
      },
    },
    progress: (progress) => void seen.push(progress),
  };
}

async function found(keyring: Keyring): Promise<Finding[]> {
  return collect(keyringAuditor(keyring).audit(new AbortController().signal));
}

const codes = async (keyring: Keyring): Promise<string[]> =>
  (await found(keyring)).map(({ code }) => code).toSorted();

describe.each(STORES)('the eraser of a keyring on a store in $kind', ({ make }) => {
  it('plans, erases and verifies one tenant, and leaves the others as they are', async () => {
    const store = await make();
    const { keyring, cipher } = await opened({ store });
    const sealed = new Map<string, string>();
    for (const tenant of TENANTS)
      sealed.set(tenant, await inside(keyring, tenant, () => cipher.encrypt(tenant, FIELD)));
    await keyring.rotate('acme');
    const eraser = keyringEraser(keyring);
    expect(eraser).toMatchObject({
      store: 'crypto',
      stage: 'shred',
      subjects: { unsupported: expect.any(String) },
    });

    const others = JSON.stringify(await Promise.all(TENANTS.slice(1).map((tenant) => store.read(tenant))));
    expect(await eraser.plan({ tenant: 'acme' })).toEqual({
      store: 'crypto',
      items: [{ kind: 'secrets', count: 2 }],
      kept: [],
    });
    expect((await keyring.status('acme')).state).toBe('live');
    // Before: the verification says what is there. A verification that cannot say no proves nothing.
    const before = await eraser.verify({ tenant: 'acme' });
    expect(isVerified(before)).toBe(false);
    expect(before.remaining).toContainEqual({ kind: 'secrets', count: 2 });
    expect(before.control).toMatchObject({ planted: 1, found: 1 });

    const first = run();
    const started = Date.now();
    const outcome = await eraser.erase({ tenant: 'acme' }, first);
    expect(outcome).toMatchObject({ store: 'crypto', erased: [{ kind: 'secrets', count: 2 }], kept: [] });
    expect(Date.parse(outcome.completeAt ?? '')).toBeGreaterThanOrEqual(started + 60_000);
    expect(first.seen).toEqual([{ kind: 'secrets', done: 2, total: 2 }]);
    // Again, as after a crash of the orchestrator.
    expect(await eraser.erase({ tenant: 'acme' }, first)).toMatchObject({
      erased: [{ kind: 'secrets', count: 2 }],
    });

    // A second erasure, later on: there is nothing left to erase.
    expect(await eraser.erase({ tenant: 'acme' }, run())).toMatchObject({
      erased: [{ kind: 'secrets', count: 0 }],
    });

    const after = await eraser.verify({ tenant: 'acme' });
    expect(after.remaining).toEqual([{ kind: 'secrets', count: 0 }]);
    expect(isVerified(after)).toBe(true);
    expect(
      await reasonOf(() => withTenant('acme', () => cipher.decryptAsync(sealed.get('acme') ?? '', FIELD))),
    ).toBe('keyShredded');
    for (const tenant of TENANTS.slice(1)) {
      expect(await withTenant(tenant, () => cipher.decryptAsync(sealed.get(tenant) ?? '', FIELD))).toBe(
        tenant,
      );
    }
    expect(JSON.stringify(await Promise.all(TENANTS.slice(1).map((tenant) => store.read(tenant))))).toBe(
      others,
    );
    // The controls have left nothing.
    const left = await collect(keyring.list());
    expect(left.map(({ tenant }) => tenant).toSorted()).toEqual(TENANTS.toSorted());
    expect(await codes(keyring)).toEqual([]);
  });

  it('erases a tenant that never had a key', async () => {
    const { keyring } = await opened({ store: await make() });
    const eraser = keyringEraser(keyring, { store: 'crypto:fields' });
    const missing = await eraser.verify({ tenant: 'acme' });
    expect(missing.remaining).toContainEqual({ kind: 'missing tombstones', count: 1 });
    expect(isVerified(missing)).toBe(false);
    expect(await eraser.erase({ tenant: 'acme' }, run())).toMatchObject({
      store: 'crypto:fields',
      erased: [{ kind: 'secrets', count: 0 }],
    });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  });

  it('works inside of a bypass, and inside of the tenant itself', async () => {
    const { keyring } = await opened({ store: await make() });
    const eraser = keyringEraser(keyring);
    for (const [tenant, within] of [
      ['acme', (work: () => Promise<void>) => acrossTenants({ reason: 'erasure', actor: 'operator' }, work)],
      ['acme2', (work: () => Promise<void>) => withTenant('acme2', work)],
    ] as const) {
      await keyring.create(tenant);
      await within(async () => {
        await eraser.erase({ tenant }, run());
        expect(isVerified(await eraser.verify({ tenant }))).toBe(true);
      });
    }
  });
});

describe('the eraser', () => {
  it('refuses a person, and says what to do', async () => {
    const { keyring } = await opened();
    await keyring.create('acme');
    const eraser = keyringEraser(keyring);
    const scope = { tenant: 'acme', subject: 'person-7' };
    for (const work of [
      () => eraser.plan(scope),
      () => eraser.erase(scope, run()),
      () => eraser.verify(scope),
    ]) {
      expect(await refusalOf(work)).toBeInstanceOf(OperationRefusedError);
    }
    expect((await keyring.status('acme')).state).toBe('live');
  });

  it('stops before it destroys when it was told to', async () => {
    const { keyring } = await opened();
    await keyring.create('acme');
    const stopped = AbortSignal.abort(new Error('stopped'));
    await expect(keyringEraser(keyring).erase({ tenant: 'acme' }, run(stopped))).rejects.toThrow('stopped');
    expect((await keyring.status('acme')).state).toBe('live');
  });

  it('says which copies it cannot reach, when it was told of backups', async () => {
    const { keyring } = await opened();
    await keyring.create('acme');
    const eraser = keyringEraser(keyring, { backupDays: 30 });
    const started = Date.now();
    const day = 86_400_000;
    const { kept } = await eraser.plan({ tenant: 'acme' });
    expect(kept).toMatchObject([{ kind: 'wrapped secrets in backups', count: 1 }]);
    await eraser.erase({ tenant: 'acme' }, run());
    expect((await eraser.erase({ tenant: 'acme' }, run())).kept).toHaveLength(1);
    const verification = await eraser.verify({ tenant: 'acme' });
    expect(verification.kept).toMatchObject([{ kind: 'wrapped secrets in backups', count: 1 }]);
    expect(Date.parse(verification.kept[0]?.until ?? '')).toBeGreaterThanOrEqual(started + 30 * day);
    expect(isVerified(verification)).toBe(true);
  });

  it.each([{ backupDays: 0 }, { backupDays: 1.5 }, { store: '' }, { stage: 'purge' }])(
    'refuses the options %j',
    async (options) => {
      const { keyring } = await opened();
      expect(() => keyringEraser(keyring, options as never)).toThrow(ConfigError);
    },
  );

  it('is not verified by a store that forgets to destroy, or to count', async () => {
    const memory = memoryKeyStore();
    // A store whose tombstones do not destroy.
    const keeps: KeyStore = { ...memory, secrets: () => Promise.resolve(1) };
    const first = await opened({ store: keeps });
    await first.keyring.create('acme');
    await first.keyring.shred('acme');
    const kept = await keyringEraser(first.keyring).verify({ tenant: 'acme' });
    expect(isVerified(kept)).toBe(false);
    // One that counts nothing: without the control its zero would pass for proof.
    const blind: KeyStore = { ...memoryKeyStore(), secrets: () => Promise.resolve(0) };
    const second = await opened({ store: blind });
    await second.keyring.create('acme');
    await second.keyring.shred('acme');
    const unseen = await keyringEraser(second.keyring).verify({ tenant: 'acme' });
    expect(unseen.remaining).toEqual([{ kind: 'secrets', count: 0 }]);
    expect(unseen.control).toMatchObject({ planted: 1, found: 0 });
    expect(isVerified(unseen)).toBe(false);
  });
});

describe('the auditor', () => {
  it('finds secrets that do not open, and nothing in a sound store', async () => {
    const store = memoryKeyStore();
    const { keyring } = await opened({ store });
    for (const tenant of TENANTS) await keyring.create(tenant);
    await keyring.shred('ac');
    expect(await codes(keyring)).toEqual([]);
    const record = await store.read('acme');
    if (record?.state !== 'live') throw new Error('no key');
    await store.write({ ...record, tenant: 'moved', revision: 1 });
    expect(await found(keyring)).toMatchObject([
      { store: 'crypto', severity: 'critical', code: 'secret_does_not_unwrap', name: 'moved' },
    ]);
    // What names another master key is not used, so it has to be reported.
    const [epoch] = record.epochs;
    if (epoch === undefined) throw new Error('no key');
    await store.write({ ...record, revision: 2, epochs: [{ ...epoch, master: 'f'.repeat(16) }] });
    const names = (await found(keyring)).map(({ name }) => name);
    expect(new Set(names)).toEqual(new Set(['acme', 'moved']));
  });

  it('finds erased tenants that still have secrets, and they are gone after the next shred', async () => {
    const directory = join(await temporary(), 'keys');
    const { keyring } = await opened({ store: fileKeyStore({ directory }) });
    await keyring.create('acme');
    const path = join(directory, 'tk-acme', '00000001.json');
    const secret = await readFile(path, 'utf8');
    await keyring.shred('acme');
    await writeFile(path, secret);
    expect(await codes(keyring)).toEqual(['secret_outlives_tombstone']);
    const verification = await keyringEraser(keyring).verify({ tenant: 'acme' });
    expect(verification.remaining).toEqual([{ kind: 'secrets', count: 1 }]);
    await keyring.shred('acme');
    expect(await codes(keyring)).toEqual([]);
    expect(isVerified(await keyringEraser(keyring).verify({ tenant: 'acme' }))).toBe(true);
  });

  it('finds damage, wrong rights and leftovers, and goes on past a damaged record', async () => {
    const directory = join(await temporary(), 'keys');
    const master = randomBytes(32);
    const { keyring } = await opened({ master, store: fileKeyStore({ directory }) });
    const control = `tk-control-${'0'.repeat(32)}`;
    for (const tenant of ['a', 'acme', 'acme2', control]) await keyring.create(tenant);
    await writeFile(join(directory, 'tk-a', '00000001.json'), '{');
    await chmod(join(directory, 'tk-acme', '00000001.json'), 0o644);
    await writeFile(join(directory, 'tk-acme2', '.new-1-aa'), 'x', { mode: 0o600 });
    await utimes(join(directory, 'tk-acme2', '.new-1-aa'), new Date(0), new Date(0));
    expect(await codes(keyring)).toEqual([
      'abandoned_write',
      'leftover_control',
      'unreadable_record',
      'wrong_mode',
    ]);
    // One damaged record does not keep the others out.
    const again = await opened({ master, store: fileKeyStore({ directory }) });
    await again.keyring.create('acme3');
    expect(await readdir(directory)).toContain('tk-acme3');
  });

  it('stops when it is told to, and refuses unknown options', async () => {
    const { keyring } = await opened();
    await keyring.create('acme');
    const audit = keyringAuditor(keyring).audit(AbortSignal.abort(new Error('stopped')));
    await expect(collect(audit)).rejects.toThrow('stopped');
    expect(() => keyringAuditor(keyring, { deep: true } as never)).toThrow(ConfigError);
    expect(() => keyringAuditor(keyring, { deep: true } as never)).toThrow(
      'unknown option "deep"; there are store',
    );
  });
});
