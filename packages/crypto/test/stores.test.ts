import {
  chmod,
  link,
  mkdir,
  readFile,
  readdir,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, controlTenant } from '@tenantkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  fileKeyStore,
  type KeyRecord,
  type KeyStore,
  type LiveRecord,
  type StoreFinding,
} from '../src/index.ts';
import { directoryName, tenantOf } from '../src/stores/file-names.ts';
import { STORES, TENANTS, collect, refusalOf, temporary } from './support/keyrings.ts';

const live = (tenant: string, revision: number, epochs: readonly number[] = [1]): LiveRecord => ({
  format: 'tenantkit-keys/1',
  tenant,
  revision,
  state: 'live',
  heldFor: 1000,
  epochs: epochs.map((epoch) => ({
    epoch,
    createdAt: '2026-11-21T03:00:00.000Z',
    master: '0123456789abcdef',
    wrapped: 'A'.repeat(80),
  })),
});

const shredded = (tenant: string, revision: number): KeyRecord => ({
  format: 'tenantkit-keys/1',
  tenant,
  revision,
  state: 'shredded',
  heldFor: 1000,
  shreddedAt: '2026-11-21T03:00:00.000Z',
  destroyed: [1],
});

async function listed(store: KeyStore): Promise<string[]> {
  return (await collect(store.tenants())).toSorted();
}

describe.each(STORES)('a key store in $kind', ({ make }) => {
  async function prepared(): Promise<KeyStore> {
    const store = await make();
    await store.prepare();
    return store;
  }

  it('has nothing at first', async () => {
    const store = await prepared();
    expect(await store.read('acme')).toBeUndefined();
    expect(await store.secrets('acme')).toBe(0);
    expect(await listed(store)).toEqual([]);
    await store.sweep('acme');
    expect(await collect(store.audit(new AbortController().signal))).toEqual([]);
  });

  it('reads back what was written, each tenant its own', async () => {
    const store = await prepared();
    for (const tenant of TENANTS) expect(await store.write(live(tenant, 1))).toBe(true);
    for (const tenant of TENANTS) expect(await store.read(tenant)).toEqual(live(tenant, 1));
    expect(await listed(store)).toEqual(TENANTS.toSorted());
  });

  it('creates only where nothing is, and replaces only the revision before', async () => {
    const store = await prepared();
    expect(await store.write(live('acme', 2))).toBe(false);
    expect(await store.read('acme')).toBeUndefined();
    expect(await store.write(live('acme', 1))).toBe(true);
    expect(await store.write({ ...live('acme', 1), heldFor: 5 })).toBe(false);
    expect(await store.write(live('acme', 3))).toBe(false);
    expect(await store.read('acme')).toEqual(live('acme', 1));
    expect(await store.write(live('acme', 2, [1, 2]))).toBe(true);
    expect(await store.read('acme')).toEqual(live('acme', 2, [1, 2]));
    // A number that was used once is never free again, although its record is gone.
    expect(await store.write(live('acme', 1))).toBe(false);
    expect(await store.write(live('acme', 2))).toBe(false);
  });

  it('never replaces a tombstone', async () => {
    const store = await prepared();
    expect(await store.write(shredded('never-had-one', 1))).toBe(true);
    expect(await store.write(live('acme', 1))).toBe(true);
    expect(await store.write(shredded('acme', 2))).toBe(true);
    for (const revision of [1, 2, 3]) expect(await store.write(live('acme', revision))).toBe(false);
    expect(await store.write(shredded('acme', 3))).toBe(false);
    expect(await store.read('acme')).toEqual(shredded('acme', 2));
    expect(await store.write(live('never-had-one', 2))).toBe(false);
  });

  it('counts secrets', async () => {
    const store = await prepared();
    await store.write(live('acme', 1));
    expect(await store.secrets('acme')).toBe(1);
    await store.write(live('acme', 2, [1, 2, 3]));
    expect(await store.secrets('acme')).toBe(3);
    await store.write(live('acme2', 1));
    await store.write(shredded('acme', 3));
    expect(await store.secrets('acme')).toBe(0);
    expect(await store.secrets('acme2')).toBe(1);
  });

  it('lets exactly one of many writers win', async () => {
    const store = await prepared();
    for (const revision of [1, 2, 3]) {
      const won = await Promise.all(
        Array.from({ length: 20 }, (_, at) => store.write({ ...live('acme', revision), heldFor: at })),
      );
      expect(won.filter(Boolean)).toHaveLength(1);
      expect((await store.read('acme'))?.heldFor).toBe(won.indexOf(true));
    }
  });

  it('shows a reader a whole record at every moment', async () => {
    const store = await prepared();
    await store.write(live('acme', 1));
    const written = new AbortController();
    const seen: number[] = [];
    const reader = (async () => {
      while (!written.signal.aborted) seen.push((await store.read('acme'))?.revision ?? 0);
    })();
    for (let revision = 2; revision <= 20; revision += 1) await store.write(live('acme', revision));
    written.abort();
    await reader;
    expect(seen.length).toBeGreaterThan(0);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen).not.toContain(0);
  });

  it('removes a control without a trace, and nothing else', async () => {
    const store = await prepared();
    const control = controlTenant();
    await store.write(live(control, 1));
    await store.write(shredded(control, 2));
    await store.write(live('acme', 1));
    await store.removeControl(control);
    expect(await store.read(control)).toBeUndefined();
    expect(await listed(store)).toEqual(['acme']);
    for (const tenant of ['acme', 'tk-control-1', 'tk-control-', `x${control}`]) {
      expect(await refusalOf(() => store.removeControl(tenant))).toBeInstanceOf(ConfigError);
    }
    expect(await store.read('acme')).toEqual(live('acme', 1));
  });

  it('is not changed through what it was given or has given', async () => {
    const store = await prepared();
    const record = { ...live('acme', 1), epochs: [...live('acme', 1).epochs] };
    await store.write(record);
    record.epochs.length = 0;
    const read = await store.read('acme');
    if (read?.state === 'live') (read.epochs as unknown[]).length = 0;
    expect(await store.read('acme')).toEqual(live('acme', 1));
  });
});

describe('the file store', () => {
  async function inDirectory(): Promise<{ directory: string; store: KeyStore }> {
    const directory = join(await temporary(), 'keys');
    const store = fileKeyStore({ directory });
    await store.prepare();
    return { directory, store };
  }

  const audited = async (store: KeyStore): Promise<StoreFinding[]> =>
    collect(store.audit(new AbortController().signal));

  const codes = async (store: KeyStore): Promise<string[]> =>
    (await audited(store)).map(({ code }) => code).toSorted();

  /** As if the file had been there for long. */
  const aged = (path: string): Promise<void> => utimes(path, new Date(0), new Date(0));

  it('lets nobody but the owner in, whatever the umask', async () => {
    const before = process.umask(0);
    try {
      const { directory, store } = await inDirectory();
      await store.write(live('acme', 1));
      await store.write(live('acme', 2));
      expect((await stat(directory)).mode & 0o777).toBe(0o700);
      expect((await stat(join(directory, 'tk-acme'))).mode & 0o777).toBe(0o700);
      const names = await readdir(join(directory, 'tk-acme'));
      expect(names.toSorted()).toEqual(['00000001.json', '00000002.json']);
      for (const name of names) {
        expect((await stat(join(directory, 'tk-acme', name))).mode & 0o777).toBe(0o600);
      }
    } finally {
      process.umask(before);
    }
  });

  it('empties what it has replaced', async () => {
    const { directory, store } = await inDirectory();
    await store.write(live('acme', 1));
    const first = join(directory, 'tk-acme', '00000001.json');
    // Another link, as a copy that shares the blocks: the contents go, not only the name.
    await link(first, join(directory, 'copy'));
    expect((await readFile(first, 'utf8')).length).toBeGreaterThan(0);
    await store.write(shredded('acme', 2));
    expect(await readFile(first, 'utf8')).toBe('');
    expect(await readFile(join(directory, 'copy'), 'utf8')).toBe('');
  });

  it('gives every tenant a directory that a file system without case keeps apart', () => {
    const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
    fc.assert(
      fc.property(id, id, (a, b) => {
        expect(tenantOf(directoryName(a))).toBe(a);
        expect(directoryName(a)).toBe(directoryName(a).toLowerCase());
        expect(directoryName(a) === directoryName(b)).toBe(a === b);
      }),
      { numRuns: 1_000 },
    );
    for (const name of [
      'acme',
      'tk-',
      'tk-ACME',
      'tk-+1',
      'tk-a.b',
      'tk-a+',
      '..',
      'tk-..',
      `tk-${'a'.repeat(65)}`,
    ]) {
      expect([name, tenantOf(name)]).toEqual([name, undefined]);
    }
  });

  it('refuses a directory that others can write to, until that is put right', async () => {
    const { directory, store } = await inDirectory();
    for (const mode of [0o720, 0o702, 0o777]) {
      await chmod(directory, mode);
      expect(await refusalOf(() => fileKeyStore({ directory }).prepare())).toBeInstanceOf(ConfigError);
    }
    await chmod(directory, 0o700);
    await fileKeyStore({ directory }).prepare();
    expect(await store.write(live('acme', 1))).toBe(true);
  });

  it('refuses a directory whose parent is not there, or that is a file', async () => {
    const { directory } = await inDirectory();
    const missing = fileKeyStore({ directory: join(directory, 'no', 'such') });
    const error = await refusalOf(() => missing.prepare());
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain('ENOENT');
    expect(String(error)).not.toContain(directory);
    await writeFile(join(directory, 'file'), '');
    await expect(fileKeyStore({ directory: join(directory, 'file') }).prepare()).rejects.toThrow(ConfigError);
  });

  it('refuses options that it does not know', () => {
    expect(() => fileKeyStore({ directory: '' })).toThrow(ConfigError);
    expect(() => fileKeyStore({ directory: 'x', mode: 0o644 } as never)).toThrow(/mode/);
  });

  it('neither reads nor replaces a damaged record', async () => {
    const { directory, store } = await inDirectory();
    await store.write(live('acme', 1));
    await store.write(live('acme2', 1));
    const path = join(directory, 'tk-acme', '00000001.json');
    const whole = await readFile(path, 'utf8');
    const damages: Readonly<Record<string, string>> = {
      empty: '',
      'cut short': whole.slice(0, -10),
      'another tenant': JSON.stringify(live('acme2', 1)),
      'another revision': JSON.stringify(live('acme', 2)),
      'an unknown field': JSON.stringify({ ...live('acme', 1), extra: 1 }),
      'an unknown format': JSON.stringify({ ...live('acme', 1), format: 'tenantkit-keys/2' }),
      'no epochs': JSON.stringify({ ...live('acme', 1), epochs: [] }),
      'epochs that do not ascend': JSON.stringify(live('acme', 1, [2, 1])),
      'an epoch of 33 bits': JSON.stringify(live('acme', 1, [0x1_0000_0000])),
      null: 'null',
    };
    for (const [what, text] of Object.entries(damages)) {
      await writeFile(path, text);
      const reading = await refusalOf(() => store.read('acme'));
      const writing = await refusalOf(() => store.write(live('acme', 2)));
      const findings = await audited(store);
      expect([what, reading, writing, findings]).toMatchObject([
        what,
        { code: 'CONFIG_INVALID' },
        { code: 'CONFIG_INVALID' },
        [{ code: 'unreadable_record', name: path }],
      ]);
    }
    await writeFile(path, whole);
    expect(await store.read('acme')).toEqual(live('acme', 1));
    expect(await store.read('acme2')).toEqual(live('acme2', 1));
  });

  it('counts, reports and sweeps what a stopped process has left', async () => {
    const { directory, store } = await inDirectory();
    await store.write(live('acme', 1));
    const at = (name: string): string => join(directory, 'tk-acme', name);
    const secret = await readFile(at('00000001.json'), 'utf8');
    await store.write(shredded('acme', 2));
    // Stopped after the tombstone, before the record under it was emptied.
    await writeFile(at('00000001.json'), secret);
    // Stopped while writing.
    await writeFile(at('.new-1-aa'), secret, { mode: 0o600 });
    await writeFile(at('.new-1-bb'), secret.slice(0, 40), { mode: 0o600 });
    expect(await store.secrets('acme')).toBe(3);
    // As long as it may be a write that is under way, it is not reported.
    expect(await codes(store)).toEqual([]);
    for (const name of await readdir(join(directory, 'tk-acme'))) await aged(at(name));
    expect(await codes(store)).toEqual(['abandoned_write', 'abandoned_write', 'superseded_secret']);
    await store.sweep('acme');
    expect(await store.secrets('acme')).toBe(0);
    expect(await codes(store)).toEqual([]);
    expect(await store.read('acme')).toEqual(shredded('acme', 2));
    expect(await readFile(at('00000001.json'), 'utf8')).toBe('');
  });

  it('does not destroy by a sweep what was given its name in between', async () => {
    const { directory, store } = await inDirectory();
    await store.write(live('acme', 1));
    const record = join(directory, 'tk-acme', '00000001.json');
    // Stopped between giving the name and removing the other one: two names of one file.
    await link(record, join(directory, 'tk-acme', '.new-1-aa'));
    await store.sweep('acme');
    expect(await readdir(join(directory, 'tk-acme'))).toEqual(['00000001.json']);
    expect(await store.read('acme')).toEqual(live('acme', 1));
  });

  it('reports rights of others, strange files and links', async () => {
    const { directory, store } = await inDirectory();
    await store.write(live('acme', 1));
    const record = join(directory, 'tk-acme', '00000001.json');
    expect(await codes(store)).toEqual([]);
    await chmod(record, 0o640);
    expect(await audited(store)).toMatchObject([{ code: 'wrong_mode', severity: 'high', name: record }]);
    await chmod(record, 0o600);
    await chmod(join(directory, 'tk-acme'), 0o755);
    await chmod(directory, 0o750);
    expect(await codes(store)).toEqual(['wrong_mode', 'wrong_mode']);
    await chmod(join(directory, 'tk-acme'), 0o700);
    await chmod(directory, 0o700);
    await writeFile(join(directory, 'backup.json'), '{}');
    await mkdir(join(directory, 'tk-ACME'));
    await writeFile(join(directory, 'tk-acme', '00000001.json.bak'), '{}', { mode: 0o600 });
    await symlink(record, join(directory, 'tk-acme', '00000000.json'));
    expect(await codes(store)).toEqual(['unknown_file', 'unknown_file', 'unknown_file', 'unknown_file']);
    expect(await listed(store)).toEqual(['acme']);
  });

  it('does not follow a link in place of a record', async () => {
    const { directory, store } = await inDirectory();
    const elsewhere = join(directory, 'elsewhere');
    const text = JSON.stringify(live('acme', 1));
    await writeFile(elsewhere, text);
    await mkdir(join(directory, 'tk-acme'), { mode: 0o700 });
    await symlink(elsewhere, join(directory, 'tk-acme', '00000001.json'));
    expect(await refusalOf(() => store.read('acme'))).toBeInstanceOf(ConfigError);
    expect(await refusalOf(() => store.write(live('acme', 2)))).toBeInstanceOf(ConfigError);
    expect(await readFile(elsewhere, 'utf8')).toBe(text);
    expect(await store.write(live('acme2', 1))).toBe(true);
  });

  it('goes on where a process was stopped before the first record', async () => {
    const { directory, store } = await inDirectory();
    await mkdir(join(directory, 'tk-acme'), { mode: 0o700 });
    expect(await store.read('acme')).toBeUndefined();
    expect(await listed(store)).toEqual([]);
    expect(await store.write(live('acme', 1))).toBe(true);
    await truncate(join(directory, 'tk-acme', '00000001.json'), 0);
    // Emptied without a successor is damage, not the beginning: no second key is made.
    expect(await refusalOf(() => store.write(live('acme', 1)))).toBeInstanceOf(ConfigError);
  });
});
