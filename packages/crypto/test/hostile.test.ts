import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, readdir, stat, writeFile, chown, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  InvalidTenantError,
  OperationRefusedError,
  TenantFencedError,
  TenantSwitchError,
  createTenantRegistry,
  memoryTenantStore,
  withTenant,
  type EraseRun,
} from '@tenantkit/core';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  Keyring,
  fileKeyStore,
  keyringAuditor,
  keyringEraser,
  memoryKeyStore,
  type Field,
  type KeyStore,
  type KeyringOptions,
} from '../src/index.ts';
import { FIELD, collect, inside, opened, reasonOf, refusalOf, temporary } from './support/keyrings.ts';

const run = (): EraseRun => ({
  signal: new AbortController().signal,
  checkpoint: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
  progress: () => undefined,
});

const audited = (keyring: Keyring): Promise<unknown[]> =>
  collect(keyringAuditor(keyring).audit(new AbortController().signal));

/** A store that tells how often it was read. */
function counting(store: KeyStore = memoryKeyStore()): KeyStore & { reads: number } {
  const counted = {
    ...store,
    reads: 0,
    read(tenant: string) {
      counted.reads += 1;
      return store.read(tenant);
    },
  };
  return counted;
}

/** A ciphertext whose header names another epoch. */
function forged(text: string, epoch: number): string {
  const bytes = Buffer.from(text.slice(4), 'base64url');
  bytes.writeUInt32BE(epoch, 2);
  return `tk1.${bytes.toString('base64url')}`;
}

describe('inside a tenant', () => {
  it('the eraser acts on that tenant only, and the auditor is refused', async () => {
    const { keyring, cipher } = await opened();
    const texts = new Map<string, string>();
    for (const tenant of ['acme', 'acme2']) {
      texts.set(tenant, await inside(keyring, tenant, () => cipher.encrypt(tenant, FIELD)));
    }
    const eraser = keyringEraser(keyring);
    const calls: readonly (() => Promise<unknown>)[] = [
      () => eraser.plan({ tenant: 'acme2' }),
      () => eraser.erase({ tenant: 'acme2' }, run()),
      () => eraser.verify({ tenant: 'acme2' }),
    ];
    for (const work of calls) {
      expect(await refusalOf(() => withTenant('acme', work))).toBeInstanceOf(TenantSwitchError);
    }
    expect(await refusalOf(() => withTenant('acme', () => audited(keyring)))).toBeInstanceOf(
      OperationRefusedError,
    );
    expect(await audited(keyring)).toEqual([]);

    expect((await withTenant('acme', () => eraser.erase({ tenant: 'acme' }, run()))).erased).toEqual([
      { kind: 'secrets', count: 1 },
    ]);
    const read = (tenant: string): Promise<string> =>
      withTenant(tenant, () => cipher.decryptAsync(texts.get(tenant) ?? '', FIELD));
    expect(await reasonOf(() => read('acme'))).toBe('keyShredded');
    expect(await read('acme2')).toBe('acme2');
  });

  it('an auditor that was started outside does not go on in it', async () => {
    const { keyring } = await opened();
    const findings = keyringAuditor(keyring).audit(new AbortController().signal);
    expect(
      await refusalOf(() => withTenant('acme', () => findings[Symbol.asyncIterator]().next())),
    ).toBeInstanceOf(OperationRefusedError);
  });

  it('the keyring is not closed', async () => {
    const { keyring, cipher } = await opened();
    const text = await inside(keyring, 'acme2', () => cipher.encrypt('x', FIELD));
    expect(await refusalOf(() => withTenant('acme', () => keyring.close()))).toBeInstanceOf(
      OperationRefusedError,
    );
    expect(await inside(keyring, 'acme2', () => cipher.decrypt(text, FIELD))).toBe('x');
    keyring.close();
    expect(await reasonOf(() => withTenant('acme2', () => cipher.decrypt(text, FIELD)))).toBe('keyNotLoaded');
  });

  it.each(['acme/../../outside', '../outside', ''])('the id %j reaches no path', async (id) => {
    const parent = await temporary();
    await mkdir(join(parent, 'outside'));
    await writeFile(join(parent, 'outside', 'stray'), 'x');
    const store = fileKeyStore({ directory: join(parent, 'keys') });
    const { keyring } = await opened({ store });
    await keyring.create('acme');
    const eraser = keyringEraser(keyring);
    for (const work of [
      () => eraser.plan({ tenant: id }),
      () => eraser.erase({ tenant: id }, run()),
      () => eraser.verify({ tenant: id }),
      () => store.secrets(id),
      () => store.read(id),
      () => store.sweep(id),
    ]) {
      expect(await refusalOf(work)).toBeInstanceOf(InvalidTenantError);
    }
    expect(await readFile(join(parent, 'outside', 'stray'), 'utf8')).toBe('x');
    expect(await store.secrets('acme')).toBe(1);
  });
});

describe('a row', () => {
  class Entity {
    readonly table = 'users';
    readonly column = 'ssn';
    readonly #id: number | undefined;
    constructor(id: number | undefined) {
      this.#id = id;
    }
    get row(): number {
      return this.#id as number;
    }
  }
  const hidden = (row: number | undefined): Field =>
    Object.defineProperty({ table: 'users', column: 'ssn' }, 'row', { value: row }) as Field;

  it.each([
    ['by an accessor of a class', (row: number | undefined): Field => new Entity(row)],
    ['that is not enumerable', hidden],
    ['inherited', (row: number | undefined) => Object.create(new Entity(row)) as Field],
  ])('given %s is bound, and refused when it got lost', async (_, make) => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      const text = cipher.encrypt('seven', make(7));
      expect(cipher.decrypt(text, { table: 'users', column: 'ssn', row: 7 })).toBe('seven');
      expect(await reasonOf(() => cipher.decrypt(text, make(8)))).toBe('authentication');
      expect(await reasonOf(() => cipher.decrypt(text, { table: 'users', column: 'ssn' }))).toBe(
        'authentication',
      );
      expect(await reasonOf(() => cipher.encrypt('lost', make(undefined)))).toBe('context');
    }).catch((error: unknown) => {
      // An object inherited over a private member has no row to read: that is refused by the object itself.
      if (!(error instanceof TypeError) || _ !== 'inherited') throw error;
    });
  });

  it('that a polluted prototype would give is refused', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      const plain = { table: 'users', column: 'ssn' };
      // oxlint-disable-next-line no-extend-native -- the attack itself
      Object.defineProperty(Object.prototype, 'row', { value: 'everywhere', configurable: true });
      try {
        expect(await reasonOf(() => cipher.encrypt('x', plain))).toBe('context');
        expect(cipher.decrypt(cipher.encrypt('x', FIELD), FIELD)).toBe('x');
      } finally {
        Reflect.deleteProperty(Object.prototype, 'row');
      }
      expect(cipher.decrypt(cipher.encrypt('x', plain), plain)).toBe('x');
    });
  });

  it('and the names are read once', async () => {
    const { keyring, cipher } = await opened();
    const seen: string[] = [];
    const field = new Proxy(
      { ...FIELD },
      {
        get(target, key) {
          seen.push(String(key));
          return Reflect.get(target, key) as unknown;
        },
      },
    );
    await inside(keyring, 'acme', () => {
      expect(cipher.decrypt(cipher.encrypt('x', field), FIELD)).toBe('x');
    });
    expect(seen.toSorted()).toEqual(['column', 'row', 'table']);
  });
});

describe('a master key in the wrong place', () => {
  const key = randomBytes(32).toString('base64');
  const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQ';
  const hex = randomBytes(32).toString('hex');
  it.each<[string, object, string?]>([
    ['as the name of the variable', { master: { env: key } }],
    ['in part, as the name of the variable', { master: { env: key.slice(0, 20) } }, key.slice(0, 20)],
    ['in hexadecimal, as the name of the variable', { master: { env: hex } }],
    ['as the path of the file', { master: { file: key } }],
    ['as an option of master', { master: { env: 'K', [key]: 1 } }],
    ['as an option', { master: { env: 'K' }, [key]: 1 }],
    ['of letters, as an option', { master: { env: 'K' }, [LETTERS]: 1 }, LETTERS],
    ['like a long name', { master: { env: `A_${LETTERS}` } }, LETTERS],
    ['in hexadecimal, as an option', { master: { env: 'K' }, [hex]: 1 }],
    ['as a text', { master: key }],
  ])('%s is in no error', async (_, options: object, part: string = key) => {
    const error = await refusalOf(() =>
      Keyring.open({ store: memoryKeyStore(), ...options } as KeyringOptions),
    );
    const all = inspect(error, { depth: 9, showHidden: true });
    expect(all).not.toContain(key);
    expect(all).not.toContain(hex);
    expect(all).not.toContain(part);
  });

  it('leaves the name of a variable and of an option in the error when they are names', async () => {
    const missing = { master: { env: 'TENANTKIT_NO_SUCH_KEY' }, store: memoryKeyStore() };
    expect(String(await refusalOf(() => Keyring.open(missing)))).toContain('TENANTKIT_NO_SUCH_KEY');
    const unknown = { ...missing, caches: {} } as unknown as KeyringOptions;
    expect(String(await refusalOf(() => Keyring.open(unknown)))).toContain('caches');
  });
});

describe('a wrong master key', () => {
  it('is refused although tombstones come first', async () => {
    const store = memoryKeyStore();
    const master = randomBytes(32);
    const { keyring } = await opened({ store, master });
    for (let at = 0; at < 40; at += 1) {
      await keyring.create(`t${at}`);
      await keyring.shred(`t${at}`);
    }
    await keyring.create('acme');
    expect(String(await refusalOf(() => opened({ store })))).toContain('another master key');
    await opened({ store, master });
  });

  it('makes no first key beside one that another process has made since', async () => {
    const store = memoryKeyStore();
    const right = await opened({ store });
    const wrong = await opened({ store });
    await right.keyring.create('acme');
    expect(String(await refusalOf(() => wrong.keyring.create('acme2')))).toContain('another master key');
    expect(await store.read('acme2')).toBeUndefined();
    await right.keyring.create('acme2');
  });
});

describe('a record that was altered', () => {
  async function altered(change: object): Promise<{ readonly keyring: Keyring; readonly directory: string }> {
    const directory = join(await temporary(), 'keys');
    const master = randomBytes(32);
    const store = fileKeyStore({ directory });
    await (await opened({ store, master })).keyring.create('acme');
    const path = join(directory, 'tk-acme', '00000001.json');
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), ...change }));
    return { ...(await opened({ store, master })), directory };
  }

  it.each([Number.MAX_SAFE_INTEGER, 4_500_001])('to be held for %d ms is damaged', async (heldFor) => {
    expect(String(await refusalOf(() => altered({ heldFor })))).toContain('damaged');
  });

  it('to be held for no time does not make a shred complete before this process is', async () => {
    const { keyring, directory } = await altered({ heldFor: 0 });
    const before = Date.now();
    const { completeAt, destroyed } = await keyring.shred('acme');
    expect(destroyed).toBe(1);
    expect(Date.parse(completeAt) - before).toBeGreaterThanOrEqual(75_000);
    const path = join(directory, 'tk-acme', '00000002.json');
    const buried = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...buried, heldFor: 0 }));
    const again = await keyring.shred('acme');
    expect(Date.parse(again.completeAt) - before).toBeGreaterThanOrEqual(75_000);
  });

  it('to be the last revision is not replaced by one that nobody finds', async () => {
    const directory = join(await temporary(), 'keys');
    const store = fileKeyStore({ directory });
    const { keyring } = await opened({ store });
    await keyring.create('acme');
    const folder = join(directory, 'tk-acme');
    const record = JSON.parse(await readFile(join(folder, '00000001.json'), 'utf8')) as object;
    for (const revision of [99_999_998, 99_999_999]) {
      await writeFile(join(folder, `${revision}.json`), JSON.stringify({ ...record, revision }));
      if (revision === 99_999_998) {
        expect(String(await refusalOf(() => keyring.rotate('acme')))).toContain('revision');
        expect((await keyring.shred('acme')).destroyed).toBe(1);
      } else {
        expect(String(await refusalOf(() => keyring.shred('acme')))).toContain('damaged');
      }
      expect((await readdir(folder)).every((name) => /^\d{8}\.json$/.test(name))).toBe(true);
    }
  });
});

describe('a slow key store', () => {
  /** A store whose answers are held back from `hold` on, until the function that it gives is called. */
  function holding(inner: KeyStore): { readonly store: KeyStore; readonly hold: () => () => void } {
    let held: Promise<void> = Promise.resolve();
    const store: KeyStore = {
      ...inner,
      async read(tenant) {
        const record = await inner.read(tenant);
        await held;
        return record;
      },
    };
    const hold = (): (() => void) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return () => {
        held = Promise.resolve();
        resolve();
      };
    };
    return { store, hold };
  }

  it('gives no keys that are older than maxAge', async () => {
    const inner = memoryKeyStore();
    const master = randomBytes(32);
    const { keyring: other } = await opened({ store: inner, master, cache: { maxAge: 100 } });
    for (const tenant of ['acme', 'acme2']) await other.create(tenant);
    const { store, hold } = holding(inner);
    const { cipher } = await opened({ store, master, cache: { maxAge: 100 } });
    const clock = vi.spyOn(Date, 'now');
    onTestFinished(() => clock.mockRestore());

    const answer = hold();
    const under = ['acme', 'acme2'].map((tenant) =>
      withTenant(tenant, () => cipher.encryptAsync('x', FIELD)).catch(String),
    );
    // Another process shreds while the answer is on its way, and the time that it stated runs out.
    const { completeAt } = await other.shred('acme');
    clock.mockReturnValue(Date.parse(completeAt) + 1);
    answer();
    const [shredded, live] = await Promise.all(under);
    expect(shredded).toContain('destroyed for good');
    expect(live).toMatch(/^tk1\./);
  });

  it('that never answers within maxAge is said to be slow', async () => {
    const inner = memoryKeyStore();
    const clock = vi.spyOn(Date, 'now');
    onTestFinished(() => clock.mockRestore());
    let time = 1_000_000_000_000;
    clock.mockImplementation(() => time);
    const slow: KeyStore = {
      ...inner,
      read(tenant) {
        time += 200;
        return inner.read(tenant);
      },
    };
    const { keyring } = await opened({ store: slow, cache: { maxAge: 100 } });
    expect(String(await refusalOf(() => keyring.create('acme')))).toContain('cache.maxAge');
  });

  it('does not carry a call past a freeze', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    onTestFinished(() => fence.close());
    const { store, hold } = holding(memoryKeyStore());
    const master = randomBytes(32);
    const first = await opened({ store, master });
    const text = await inside(first.keyring, 'acme', () => first.cipher.encrypt('x', FIELD));
    const { cipher, keyring } = await opened({ store, master, fence });
    const calls: readonly (() => Promise<unknown>)[] = [
      () => cipher.encryptAsync('x', FIELD),
      () => cipher.decryptAsync(text, FIELD),
      () => cipher.encryptBytesAsync(Buffer.from('x'), FIELD),
      () => cipher.decryptBytesAsync(Buffer.from(text.slice(4), 'base64url'), FIELD),
      () => keyring.load(),
    ];
    const answer = hold();
    const under = calls.map((call) => refusalOf(() => withTenant('acme', call)));
    await fence.freeze('acme');
    answer();
    for (const error of await Promise.all(under)) expect(error).toBeInstanceOf(TenantFencedError);
    await fence.unfreeze('acme');
    for (const call of calls) await withTenant('acme', call);
  });
});

describe('a value of another tenant', () => {
  it('is the first thing that a missing epoch and a missing key are explained by', async () => {
    const { keyring, cipher } = await opened({ firstUse: 'refuse' });
    for (const tenant of ['acme', 'acme2']) await keyring.create(tenant);
    await keyring.rotate('acme');
    const text = await withTenant('acme', () => cipher.encryptAsync('x', FIELD));
    for (const [tenant, reason] of [
      ['acme2', 'epoch'],
      ['a', 'keyMissing'],
    ] as const) {
      const error = await refusalOf(() => withTenant(tenant, () => cipher.decryptAsync(text, FIELD)));
      expect(error).toMatchObject({ reason });
      expect(String(error)).toMatch(/It may belong to another tenant: rule that out first/);
    }
    expect(await withTenant('acme', () => cipher.decryptAsync(text, FIELD))).toBe('x');
  });
});

describe('forged epochs', () => {
  it('cost one read of the store, however many there are', async () => {
    const store = counting();
    const { keyring, cipher } = await opened({ store });
    const text = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    store.reads = 0;
    await withTenant('acme', async () => {
      for (let epoch = 2; epoch < 500; epoch += 1) {
        expect(await reasonOf(() => cipher.decryptAsync(forged(text, epoch), FIELD))).toBe('epoch');
        await keyring.load();
      }
    });
    // One a second at most, and a machine under load may take some seconds.
    expect(store.reads).toBeLessThan(20);
    expect(store.reads).toBeGreaterThan(0);
  });

  it('do not push each other out: to load and try again ends', async () => {
    const { keyring, cipher } = await opened();
    const text = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const rows = [forged(text, 7), forged(text, 8)];
    await withTenant('acme', async () => {
      const first = await Promise.all(rows.map((row) => reasonOf(() => cipher.decrypt(row, FIELD))));
      expect(first).toEqual(['keyNotLoaded', 'keyNotLoaded']);
      await keyring.load();
      const second = await Promise.all(rows.map((row) => reasonOf(() => cipher.decrypt(row, FIELD))));
      expect(second).toEqual(['epoch', 'epoch']);
      expect(cipher.decrypt(text, FIELD)).toBe('x');
    });
  });
});

describe('durability', () => {
  it('a reader makes a record durable before it is used, once', async () => {
    const directory = join(await temporary(), 'keys');
    const master = randomBytes(32);
    const writer = await opened({ store: fileKeyStore({ directory }), master });
    await writer.keyring.create('acme');
    const reader = fileKeyStore({ directory });
    const probe = await open(directory, 'r');
    const sync = vi.spyOn(Object.getPrototypeOf(probe) as typeof probe, 'sync');
    await probe.close();
    onTestFinished(() => sync.mockRestore());
    await reader.read('acme');
    expect(sync).toHaveBeenCalledTimes(2);
    await reader.read('acme');
    expect(sync).toHaveBeenCalledTimes(2);
    await writer.keyring.rotate('acme');
    sync.mockClear();
    await reader.read('acme');
    expect(sync).toHaveBeenCalledTimes(2);
  });
});

describe('a tenant that never was', () => {
  it('is not shredded by mistake, and can be on purpose', async () => {
    const { keyring, store } = await opened();
    expect(await reasonOf(() => keyring.shred('acme2'))).toBe('keyMissing');
    expect(await store.read('acme2')).toBeUndefined();
    await keyring.create('acme2');
    expect((await keyring.shred('acme', { evenIfMissing: true })).destroyed).toBe(0);
    expect(await reasonOf(() => keyring.create('acme'))).toBe('keyShredded');
    const wrong = { force: true } as unknown as { evenIfMissing: boolean };
    expect(String(await refusalOf(() => keyring.shred('acme2', wrong)))).toContain('force');
    expect((await keyringEraser(keyring).erase({ tenant: 'ac' }, run())).erased).toEqual([
      { kind: 'secrets', count: 0 },
    ]);
    expect(await reasonOf(() => keyring.create('ac'))).toBe('keyShredded');
  });
});

// Only root can give a file away.
describe.runIf(process.getuid?.() === 0)('something of another user', () => {
  it('is no key directory and no master key', async () => {
    const parent = await temporary();
    const directory = join(parent, 'keys');
    await mkdir(directory, { mode: 0o700 });
    const file = join(parent, 'master');
    await writeFile(file, randomBytes(32), { mode: 0o400 });
    const options = { master: { file }, store: fileKeyStore({ directory }) };
    await opened(options);
    await chown(directory, 65_534, 65_534);
    expect(String(await refusalOf(() => opened(options)))).toContain('belongs to another user');
    await chown(directory, 0, 0);
    await chown(file, 65_534, 65_534);
    expect(String(await refusalOf(() => opened(options)))).toContain('belongs to another user');
    await chown(file, 0, 0);
    await opened(options);
    await chmod(file, 0o420);
    expect((await stat(file)).mode & 0o777).toBe(0o420);
    expect(String(await refusalOf(() => opened(options)))).toContain('its group can write it');
  });
});

describe('more tenants at work than are held', () => {
  it('keep their keys within withKeys, and no longer', async () => {
    const { keyring, cipher } = await opened({ cache: { maxTenants: 2 } });
    const tenants = ['acme', 'acme2', 'a', 'a-b', 'ac'];
    let waiting = 0;
    let go: (value: undefined) => void = () => undefined;
    const all = new Promise<undefined>((resolve) => {
      go = resolve;
    });
    const texts = await Promise.all(
      tenants.map((tenant) =>
        inside(keyring, tenant, async () => {
          waiting += 1;
          if (waiting === tenants.length) go(undefined);
          await all;
          return cipher.encrypt(tenant, FIELD);
        }),
      ),
    );
    const held: string[] = [];
    for (const [at, tenant] of tenants.entries()) {
      const read = await Promise.resolve()
        .then(() => withTenant(tenant, () => cipher.decrypt(texts[at] ?? '', FIELD)))
        .catch((error: unknown) => reasonOf(() => Promise.reject(error)));
      if (read === tenant) held.push(tenant);
      else expect(read).toBe('keyNotLoaded');
    }
    expect(held.length).toBeLessThanOrEqual(2);
    expect(held.length).toBeGreaterThan(0);
  });
});

describe('bytes that lie', () => {
  const detached = (): Uint8Array => {
    const bytes = new Uint8Array(100);
    structuredClone(bytes, { transfer: [bytes.buffer] });
    return bytes;
  };
  it.each([
    ['a Proxy', (): Uint8Array => new Proxy(Buffer.alloc(100, 1), {})],
    ['an object with the prototype', (): Uint8Array => Object.create(Uint8Array.prototype) as Uint8Array],
    ['a detached buffer', detached],
  ])('%s is refused', async (_, make) => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      expect(await reasonOf(() => cipher.encryptBytes(make(), FIELD))).toBe('type');
      expect(await reasonOf(() => cipher.encryptBytesAsync(make(), FIELD))).toBe('type');
      expect(await reasonOf(() => cipher.decryptBytes(make(), FIELD))).toBe('malformed');
      expect(await reasonOf(() => cipher.decryptBytesAsync(make(), FIELD))).toBe('malformed');
    });
  });

  it('a subclass with another length is read as what it holds', async () => {
    class Lying extends Uint8Array {
      override get byteLength(): number {
        return 5;
      }
      override get length(): number {
        return 5;
      }
    }
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      const bytes = new Lying(100).fill(7);
      expect(cipher.decryptBytes(cipher.encryptBytes(bytes, FIELD), FIELD)).toHaveLength(100);
      const sealed = await cipher.encryptBytesAsync(bytes, FIELD);
      expect(await cipher.decryptBytesAsync(sealed, FIELD)).toHaveLength(100);
    });
  });
});
