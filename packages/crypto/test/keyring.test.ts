import { randomBytes } from 'node:crypto';
import {
  ConfigError,
  DecryptionError,
  EncryptionError,
  InvalidTenantError,
  OperationRefusedError,
  TenantFencedError,
  TenantSwitchError,
  auditChannels,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
  type AuditEvent,
} from '@tenantkit/core';
import { HOSTILE_TENANTS, INVALID_TENANTS } from '@tenantkit/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Keyring, memoryKeyStore, type KeyRecord, type KeyStore } from '../src/index.ts';
import { insideOf } from '../src/inside.ts';
import { FIELD, STORES, TENANTS, collect, inside, opened, reasonOf, refusalOf } from './support/keyrings.ts';

/** The store with something done before or after one of its calls. */
function around(store: KeyStore, hooks: Partial<KeyStore>): KeyStore {
  return { ...store, ...hooks };
}

function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}

describe.each(STORES)('a keyring on a store in $kind', ({ make }) => {
  it('gives every tenant a secret of its own at first use', async () => {
    const { keyring, cipher, store } = await opened({ store: await make() });
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        const sealed = await cipher.encryptAsync(tenant, FIELD);
        expect(await cipher.decryptAsync(sealed, FIELD)).toBe(tenant);
      });
      expect(await keyring.status(tenant)).toMatchObject({
        state: 'live',
        epochs: [{ epoch: 1, state: 'active' }],
      });
    }
    const wrapped = await Promise.all(
      TENANTS.map(async (tenant) => {
        const record = await store.read(tenant);
        return record?.state === 'live' ? record.epochs[0]?.wrapped : undefined;
      }),
    );
    expect(new Set(wrapped).size).toBe(TENANTS.length);
  });

  it('serves ids that trip up careless code, each with its own keys', async () => {
    const store = await make();
    const { keyring, cipher } = await opened({ store });
    const sealed = new Map<string, string>();
    for (const tenant of HOSTILE_TENANTS) {
      sealed.set(tenant, await inside(keyring, tenant, () => cipher.encrypt(tenant, FIELD)));
    }
    for (const tenant of HOSTILE_TENANTS) {
      for (const [owner, text] of sealed) {
        const read = inside(keyring, tenant, () => cipher.decrypt(text, FIELD));
        if (owner === tenant) expect(await read).toBe(owner);
        else expect(await reasonOf(() => read)).toBe('authentication');
      }
    }
    const listed = await collect(keyring.list());
    expect(listed.map(({ tenant }) => tenant).toSorted()).toEqual([...HOSTILE_TENANTS].toSorted());
  });

  it('makes one secret, however many ask for the first one at once', async () => {
    const store = await make();
    const master = randomBytes(32);
    const rings = await Promise.all(Array.from({ length: 8 }, () => opened({ store, master })));
    const sealed = await Promise.all(
      rings.flatMap(({ cipher }) =>
        Array.from({ length: 8 }, () => withTenant('acme', () => cipher.encryptAsync('x', FIELD))),
      ),
    );
    const { keyring, cipher } = await opened({ store, master });
    expect((await keyring.status('acme')).epochs).toHaveLength(1);
    for (const text of sealed) {
      expect(await withTenant('acme', () => cipher.decryptAsync(text, FIELD))).toBe('x');
    }
  });

  it('reads in another keyring what the first has written', async () => {
    const store = await make();
    const master = randomBytes(32);
    const first = await opened({ store, master });
    const sealed = await inside(first.keyring, 'acme', () => first.cipher.encrypt('x', FIELD));
    first.keyring.close();
    const second = await opened({ store, master });
    expect(await inside(second.keyring, 'acme', () => second.cipher.decrypt(sealed, FIELD))).toBe('x');
  });

  it('rotates: new values under the new epoch, old ones readable', async () => {
    const store = await make();
    const master = randomBytes(32);
    const { keyring, cipher } = await opened({ store, master });
    const old = await inside(keyring, 'acme', () => cipher.encryptBytes(Buffer.from('old'), FIELD));
    expect(old.readUInt32BE(2)).toBe(1);
    expect((await keyring.rotate('acme')).epoch).toBe(2);
    const fresh = await inside(keyring, 'acme', () => cipher.encryptBytes(Buffer.from('new'), FIELD));
    expect(fresh.readUInt32BE(2)).toBe(2);
    expect(await keyring.status('acme')).toMatchObject({
      epochs: [
        { epoch: 1, state: 'decrypt-only' },
        { epoch: 2, state: 'active' },
      ],
    });
    const second = await opened({ store, master });
    for (const [value, text] of [
      [old, 'old'],
      [fresh, 'new'],
    ] as const) {
      const read = await inside(second.keyring, 'acme', () => second.cipher.decryptBytes(value, FIELD));
      expect(read.toString()).toBe(text);
    }
    expect(await reasonOf(() => keyring.rotate('acme2'))).toBe('keyMissing');
  });

  it('rotates once for many that rotate at the same time', async () => {
    const store = await make();
    const master = randomBytes(32);
    const rings = await Promise.all(Array.from({ length: 4 }, () => opened({ store, master })));
    await rings[0]?.keyring.create('acme');
    const epochs = await Promise.all(rings.map(({ keyring }) => keyring.rotate('acme')));
    const { epochs: held } = (await rings[0]?.keyring.status('acme')) ?? { epochs: [] };
    for (const { epoch } of epochs) expect(held.map((one) => one.epoch)).toContain(epoch);
  });

  it('reads an epoch that another keyring has made in the meantime', async () => {
    const store = await make();
    const master = randomBytes(32);
    const writer = await opened({ store, master });
    const reader = await opened({ store, master });
    await inside(writer.keyring, 'acme', () => writer.cipher.encrypt('x', FIELD));
    await inside(reader.keyring, 'acme', () => undefined);
    await writer.keyring.rotate('acme');
    const sealed = await inside(writer.keyring, 'acme', () => writer.cipher.encrypt('new', FIELD));
    await withTenant('acme', async () => {
      expect(await reasonOf(() => reader.cipher.decrypt(sealed, FIELD))).toBe('keyNotLoaded');
      await reader.keyring.load();
      expect(reader.cipher.decrypt(sealed, FIELD)).toBe('new');
    });
    await writer.keyring.rotate('acme');
    const newer = await inside(writer.keyring, 'acme', () => writer.cipher.encrypt('newer', FIELD));
    expect(await withTenant('acme', () => reader.cipher.decryptAsync(newer, FIELD))).toBe('newer');
  });

  it('shreds: refused at once in this process and in the next, other tenants untouched', async () => {
    const store = await make();
    const master = randomBytes(32);
    const { keyring, cipher } = await opened({ store, master });
    const sealed = new Map<string, string>();
    for (const tenant of TENANTS) {
      sealed.set(tenant, await inside(keyring, tenant, () => cipher.encrypt(tenant, FIELD)));
    }
    await keyring.rotate('acme');
    const before = Date.now();
    const { destroyed, completeAt } = await keyring.shred('acme');
    expect(destroyed).toBe(2);
    expect(Date.parse(completeAt)).toBeGreaterThanOrEqual(before + 75_000);
    expect(await store.secrets('acme')).toBe(0);

    const restarted = await opened({ store, master });
    for (const ring of [{ keyring, cipher }, restarted]) {
      await withTenant('acme', async () => {
        const text = sealed.get('acme') ?? '';
        expect(await reasonOf(() => ring.cipher.decryptAsync(text, FIELD))).toBe('keyShredded');
        expect(await reasonOf(() => ring.cipher.decrypt(text, FIELD))).toBe('keyShredded');
        expect(await reasonOf(() => ring.cipher.encryptAsync('x', FIELD))).toBe('keyShredded');
        expect(await reasonOf(() => ring.cipher.encrypt('x', FIELD))).toBe('keyShredded');
        expect(await reasonOf(() => ring.keyring.load())).toBe('keyShredded');
        expect(await reasonOf(() => ring.keyring.create('acme'))).toBe('keyShredded');
        expect(await reasonOf(() => ring.keyring.rotate('acme'))).toBe('keyShredded');
      });
      for (const tenant of TENANTS) {
        if (tenant === 'acme') continue;
        const read = await inside(ring.keyring, tenant, () =>
          ring.cipher.decrypt(sealed.get(tenant) ?? '', FIELD),
        );
        expect(read).toBe(tenant);
      }
    }
    expect(await keyring.status('acme')).toMatchObject({
      state: 'shredded',
      epochs: [
        { epoch: 1, state: 'shredded' },
        { epoch: 2, state: 'shredded' },
      ],
    });
    expect((await keyring.shred('acme')).destroyed).toBe(2);
  });

  it('shreds a tenant that never had a key, so that it never gets one', async () => {
    const { keyring, cipher } = await opened({ store: await make() });
    expect((await keyring.shred('acme', { evenIfMissing: true })).destroyed).toBe(0);
    expect(await reasonOf(() => withTenant('acme', () => cipher.encryptAsync('x', FIELD)))).toBe(
      'keyShredded',
    );
    expect(await withTenant('acme2', () => cipher.encryptAsync('x', FIELD))).toMatch(/^tk1\./);
  });

  it('ends shredded when create, rotate, encrypt and shred race', async () => {
    for (let round = 0; round < 10; round += 1) {
      const store = await make();
      const master = randomBytes(32);
      const rings = await Promise.all(Array.from({ length: 4 }, () => opened({ store, master })));
      const done = await Promise.allSettled(
        rings.flatMap(({ keyring, cipher }, at) => [
          withTenant('acme', () => cipher.encryptAsync('x', FIELD)),
          keyring.create('acme'),
          keyring.rotate('acme'),
          ...(at === 0 ? [keyring.shred('acme', { evenIfMissing: true })] : []),
        ]),
      );
      for (const result of done) {
        if (result.status === 'rejected') {
          expect(result.reason).toMatchObject({ reason: expect.stringMatching(/^key(Missing|Shredded)$/) });
        }
      }
      expect(await store.read('acme')).toMatchObject({ state: 'shredded' });
      expect(await store.secrets('acme')).toBe(0);
      const after = await opened({ store, master });
      for (const result of done) {
        if (result.status === 'fulfilled' && typeof result.value === 'string') {
          const text = result.value;
          expect(await reasonOf(() => withTenant('acme', () => after.cipher.decryptAsync(text, FIELD)))).toBe(
            'keyShredded',
          );
        }
      }
    }
  });

  it('is not opened with another master key', async () => {
    const store = await make();
    const { keyring } = await opened({ store });
    await keyring.create('acme');
    const error = await refusalOf(() => Keyring.open({ master: randomBytes(32), store }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toMatch(/another master key/);
  });
});

describe('what holds a shred together', () => {
  it('a read of the old record that is under way does not bring the keys back', async () => {
    const memory = memoryKeyStore();
    const reached = gate();
    const go = gate();
    let hold = false;
    const store = around(memory, {
      async read(tenant) {
        const record = await memory.read(tenant);
        if (hold) {
          hold = false;
          reached.open();
          await go.passed;
        }
        return record;
      },
    });
    const master = randomBytes(32);
    const writer = await opened({ store: memory, master });
    const sealed = await inside(writer.keyring, 'acme', () => writer.cipher.encrypt('x', FIELD));
    const { keyring, cipher } = await opened({ store, master });
    hold = true;
    const read = withTenant('acme', () => cipher.decryptAsync(sealed, FIELD));
    await reached.passed;
    await keyring.shred('acme');
    go.open();
    expect(await reasonOf(() => read)).toBe('keyShredded');
    expect(await withTenant('acme', () => reasonOf(() => cipher.decrypt(sealed, FIELD)))).toBe('keyShredded');
  });

  it('a first write that is under way does not bring the tenant back', async () => {
    const memory = memoryKeyStore();
    const reached = gate();
    const go = gate();
    const store = around(memory, {
      async write(record) {
        if (record.state === 'live') {
          reached.open();
          await go.passed;
        }
        return memory.write(record);
      },
    });
    const { keyring, cipher } = await opened({ store });
    const write = withTenant('acme', () => cipher.encryptAsync('x', FIELD));
    await reached.passed;
    await keyring.shred('acme', { evenIfMissing: true });
    go.open();
    expect(await reasonOf(() => write)).toBe('keyShredded');
    expect(await memory.secrets('acme')).toBe(0);
  });

  it('a rotation that is under way does not bring the tenant back', async () => {
    const memory = memoryKeyStore();
    const reached = gate();
    const go = gate();
    const store = around(memory, {
      async write(record) {
        if (record.state === 'live' && record.epochs.length > 1) {
          reached.open();
          await go.passed;
        }
        return memory.write(record);
      },
    });
    const { keyring } = await opened({ store });
    await keyring.create('acme');
    const rotation = keyring.rotate('acme');
    await reached.passed;
    await keyring.shred('acme');
    go.open();
    expect(await reasonOf(() => rotation)).toBe('keyShredded');
    expect(await memory.secrets('acme')).toBe(0);
  });

  it('keys that were handed out are empty afterwards', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const keys = insideOf(keyring).loader.peek('acme');
    if (typeof keys === 'string') throw new Error(keys);
    expect(keys.column(1, 'users', 'ssn')).toBeDefined();
    await keyring.shred('acme');
    expect(keys.dropped).toBe(true);
    expect(keys.column(1, 'users', 'ssn')).toBeUndefined();
  });

  it('a tombstone that was seen once holds, although the store was put back', async () => {
    const store = memoryKeyStore();
    const master = randomBytes(32);
    let backup: KeyRecord | undefined;
    let restored = false;
    const other = around(store, {
      read: (tenant) => (restored && tenant === 'acme' ? Promise.resolve(backup) : store.read(tenant)),
    });
    const { keyring, cipher } = await opened({ store: other, master });
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    backup = await store.read('acme');
    await keyring.shred('acme');
    restored = true;
    expect(await reasonOf(() => withTenant('acme', () => cipher.decryptAsync(sealed, FIELD)))).toBe(
      'keyShredded',
    );
    // What a README has to say: a process that starts after the backup was put back knows nothing of it.
    const restarted = await opened({ store: other, master });
    expect(await withTenant('acme', () => restarted.cipher.decryptAsync(sealed, FIELD))).toBe('x');
  });

  it('tells from the store alone how long others hold keys', async () => {
    const store = memoryKeyStore();
    const master = randomBytes(32);
    const slow = await opened({ store, master, cache: { maxAge: 600_000 } });
    const quick = await opened({ store, master, cache: { maxAge: 1_000 } });
    await quick.keyring.create('acme');
    expect((await store.read('acme'))?.heldFor).toBe(1_250);
    // From here on the slow one holds the key, and has said so before it did.
    await inside(slow.keyring, 'acme', () => undefined);
    expect((await store.read('acme'))?.heldFor).toBe(750_000);
    const before = Date.now();
    const { completeAt } = await quick.keyring.shred('acme');
    expect(Date.parse(completeAt)).toBeGreaterThanOrEqual(before + 750_000);
  });
});

describe('reads and writes that cross', () => {
  /** A store whose next read answers with what was there before it was let through. */
  function held(memory: KeyStore): {
    store: KeyStore;
    next: () => ReturnType<typeof gate> & { reached: Promise<void> };
  } {
    let waiting: { reached: () => void; go: Promise<void> } | undefined;
    const store = around(memory, {
      async read(tenant) {
        const record = await memory.read(tenant);
        const mine = waiting;
        waiting = undefined;
        mine?.reached();
        await mine?.go;
        return record;
      },
    });
    return {
      store,
      next() {
        const reached = gate();
        const go = gate();
        waiting = { reached: reached.open, go: go.passed };
        return { ...go, reached: reached.passed };
      },
    };
  }

  it('two rotations at once make one secret', async () => {
    const memory = memoryKeyStore();
    const master = randomBytes(32);
    const { store, next } = held(memory);
    const slow = await opened({ store, master });
    const quick = await opened({ store: memory, master });
    await quick.keyring.create('acme');
    const read = next();
    const rotation = slow.keyring.rotate('acme');
    await read.reached;
    expect((await quick.keyring.rotate('acme')).epoch).toBe(2);
    read.open();
    expect((await rotation).epoch).toBe(2);
    expect((await quick.keyring.status('acme')).epochs).toHaveLength(2);
  });

  it('a rotation is taken up although an older read is under way', async () => {
    const memory = memoryKeyStore();
    const master = randomBytes(32);
    const { store, next } = held(memory);
    const { keyring, cipher } = await opened({ store, master });
    await keyring.create('acme');
    insideOf(keyring).loader.forget('acme');
    const read = next();
    const loading = withTenant('acme', () => keyring.load());
    await read.reached;
    const rotation = keyring.rotate('acme');
    // The rotation is in the store; what is left of it waits for the read.
    await expect.poll(async () => (await memory.read('acme'))?.revision).toBe(2);
    read.open();
    await Promise.all([loading, rotation]);
    const sealed = withTenant('acme', () => cipher.encryptBytes(Buffer.of(1), FIELD));
    expect(sealed.readUInt32BE(2)).toBe(2);
  });

  it('a read that ends after close leaves no key behind', async () => {
    const memory = memoryKeyStore();
    const master = randomBytes(32);
    const { store, next } = held(memory);
    const { keyring } = await opened({ store, master });
    await keyring.create('acme');
    insideOf(keyring).loader.forget('acme');
    const read = next();
    const loading = withTenant('acme', () => refusalOf(() => keyring.load()));
    await read.reached;
    keyring.close();
    read.open();
    expect(await loading).toBeInstanceOf(ConfigError);
    expect(insideOf(keyring).loader.peek('acme')).toBe('keyNotLoaded');
  });

  it('the store is asked outside of any tenant: the answer is for everybody who waits for it', async () => {
    const memory = memoryKeyStore();
    const seen: unknown[] = [];
    const store = around(memory, {
      read(tenant) {
        seen.push(currentTenant());
        return memory.read(tenant);
      },
      write(record) {
        seen.push(currentTenant());
        return memory.write(record);
      },
    });
    const { cipher } = await opened({ store });
    await withTenant('acme', () => cipher.encryptAsync('x', FIELD));
    expect(seen).toEqual([undefined, undefined]);
  });
});

describe('a missing key', () => {
  it('is never made again in a process that had one', async () => {
    const memory = memoryKeyStore();
    let unmounted = false;
    const store = around(memory, {
      read: (tenant) => (unmounted ? Promise.resolve(undefined) : memory.read(tenant)),
    });
    const { keyring, cipher } = await opened({ store, cache: { maxAge: 100 } });
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    unmounted = true;
    insideOf(keyring).loader.forget('acme');
    await withTenant('acme', async () => {
      expect(await reasonOf(() => cipher.encryptAsync('x', FIELD))).toBe('keyMissing');
      expect(await reasonOf(() => cipher.decryptAsync(sealed, FIELD))).toBe('keyMissing');
      unmounted = false;
      expect(await cipher.decryptAsync(sealed, FIELD)).toBe('x');
    });
  });

  it("is not made at first use with firstUse: 'refuse'", async () => {
    const { keyring, cipher } = await opened({ firstUse: 'refuse' });
    await withTenant('acme', async () => {
      expect(await refusalOf(() => cipher.encryptAsync('x', FIELD))).toBeInstanceOf(EncryptionError);
      expect(await reasonOf(() => cipher.encryptAsync('x', FIELD))).toBe('keyMissing');
      expect(await refusalOf(() => keyring.load())).toBeInstanceOf(DecryptionError);
    });
    await keyring.create('acme');
    await keyring.create('acme');
    expect(await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD))).toMatch(/^tk1\./);
    expect((await keyring.status('acme')).epochs).toHaveLength(1);
  });

  it('that was wrapped by another master, moved from another tenant or altered is not used, nor replaced', async () => {
    const store = memoryKeyStore();
    const master = randomBytes(32);
    const { keyring, cipher } = await opened({ store, master });
    await keyring.create('good');
    await keyring.create('acme2');
    const record = await store.read('acme2');
    if (record?.state !== 'live') throw new Error('no key');
    const [epoch] = record.epochs;
    if (epoch === undefined) throw new Error('no key');
    const flipped = Buffer.from(epoch.wrapped, 'base64url');
    flipped[20] = (flipped[20] ?? 0) ^ 1;
    const altered = {
      moved: epoch,
      flipped: { ...epoch, wrapped: flipped.toString('base64url') },
      short: { ...epoch, wrapped: epoch.wrapped.slice(0, 40) },
      tiny: { ...epoch, wrapped: epoch.wrapped.slice(0, 4) },
      long: { ...epoch, wrapped: `${epoch.wrapped}AAAA` },
    };
    for (const [tenant, value] of Object.entries(altered)) {
      await store.write({ ...record, tenant, revision: 1, epochs: [value] });
      const reason = await reasonOf(() => withTenant(tenant, () => cipher.encryptAsync('x', FIELD)));
      expect([tenant, reason]).toEqual([tenant, 'keyMissing']);
      expect(await store.read(tenant)).toMatchObject({ epochs: [value] });
    }
    const foreign = { ...record, revision: 2, epochs: [{ ...epoch, master: 'ffffffffffffffff' }] };
    expect(await store.write(foreign)).toBe(true);
    insideOf(keyring).loader.forget('acme2');
    expect(await reasonOf(() => withTenant('acme2', () => cipher.encryptAsync('x', FIELD)))).toBe(
      'keyMissing',
    );
    expect(await withTenant('good', () => cipher.encryptAsync('x', FIELD))).toMatch(/^tk1\./);
  });
});

describe('the cache', () => {
  it('asks the store once for many callers, and not again while fresh', async () => {
    const memory = memoryKeyStore();
    let reads = 0;
    const store = around(memory, {
      read(tenant) {
        reads += 1;
        return memory.read(tenant);
      },
    });
    const { keyring, cipher } = await opened({ store });
    await keyring.create('acme');
    reads = 0;
    await withTenant('acme', async () => {
      await Promise.all(Array.from({ length: 50 }, () => cipher.encryptAsync('x', FIELD)));
      for (let count = 0; count < 50; count += 1) cipher.encrypt('x', FIELD);
      await keyring.load();
    });
    expect(reads).toBe(0);
    insideOf(keyring).loader.forget('acme');
    await withTenant('acme', () =>
      Promise.all(Array.from({ length: 50 }, () => cipher.encryptAsync('x', FIELD))),
    );
    expect(reads).toBe(1);
  });

  it('serves synchronous calls while the same process rotates, and the new epoch right after', async () => {
    const memory = memoryKeyStore();
    const reached = gate();
    const go = gate();
    let hold = false;
    const store = around(memory, {
      async read(tenant) {
        const record = await memory.read(tenant);
        // The read that takes the new epoch up.
        if (hold && record?.state === 'live' && record.epochs.length > 1) {
          reached.open();
          await go.passed;
        }
        return record;
      },
    });
    const { keyring, cipher } = await opened({ store });
    await inside(keyring, 'acme', async () => {
      const old = cipher.encryptBytes(Buffer.of(1), FIELD);
      hold = true;
      const rotation = keyring.rotate('acme');
      await reached.passed;
      expect(cipher.decryptBytes(old, FIELD)).toEqual(Buffer.of(1));
      go.open();
      await rotation;
      expect(cipher.encryptBytes(Buffer.of(1), FIELD).readUInt32BE(2)).toBe(2);
      expect(cipher.decryptBytes(old, FIELD)).toEqual(Buffer.of(1));
    });
  });

  it('is not held up by a tenant that asks for keys it does not have', async () => {
    const memory = memoryKeyStore();
    const pending: (() => void)[] = [];
    let slow = '';
    let reads = 0;
    const store = around(memory, {
      async read(tenant) {
        const record = await memory.read(tenant);
        if (tenant === slow) {
          reads += 1;
          await new Promise<void>((resolve) => pending.push(resolve));
        }
        return record;
      },
    });
    const { keyring, cipher } = await opened({ store });
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    insideOf(keyring).loader.forget('acme');
    slow = 'acme';
    const read = withTenant('acme', () => cipher.decryptAsync(sealed, FIELD));
    await expect.poll(() => pending.length).toBe(1);
    for (let count = 0; count < 20; count += 1) {
      expect(await reasonOf(() => withTenant('nobody', () => cipher.decryptAsync(sealed, FIELD)))).toBe(
        'keyMissing',
      );
    }
    for (const resolve of pending) resolve();
    expect(await read).toBe('x');
    expect(reads).toBe(1);
  });

  it('refreshes in the background while in use, and refuses what it could not refresh', async () => {
    const memory = memoryKeyStore();
    let down = false;
    let reads = 0;
    const store = around(memory, {
      read(tenant) {
        reads += 1;
        return down ? Promise.reject(new Error('the disk is gone')) : memory.read(tenant);
      },
    });
    const failed: unknown[] = [];
    const { keyring, cipher } = await opened({
      store,
      cache: { maxAge: 200 },
      onRefreshError: (error) => failed.push(error),
    });
    await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    await withTenant('acme', async () => {
      // Used until the first refresh: never refused.
      const before = reads;
      const refreshed = (): boolean => reads > before;
      while (!refreshed()) {
        cipher.encrypt('x', FIELD);
        await new Promise(setImmediate);
      }
      down = true;
      let reason: unknown;
      while (reason === undefined) {
        try {
          cipher.encrypt('x', FIELD);
        } catch (error) {
          reason = (error as EncryptionError).reason;
        }
        await new Promise(setImmediate);
      }
      expect(reason).toBe('keyNotLoaded');
      expect(failed.length).toBeGreaterThan(0);
      await expect(cipher.encryptAsync('x', FIELD)).rejects.toThrow('the disk is gone');
      await expect(keyring.load()).rejects.toThrow('the disk is gone');
      down = false;
      await keyring.load();
      expect(cipher.encrypt('x', FIELD)).toMatch(/^tk1\./);
    });
  });

  it('drops keys of tenants that nobody asks for any more', async () => {
    const { keyring, cipher } = await opened({ cache: { maxAge: 100 } });
    await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const keys = insideOf(keyring).loader.peek('acme');
    if (typeof keys === 'string') throw new Error(keys);
    await expect.poll(() => keys.dropped).toBe(true);
  });

  it('holds no more tenants than it may, and still serves all of them', async () => {
    const { cipher } = await opened({ cache: { maxTenants: 2, maxColumns: 1 } });
    const tenants = Array.from({ length: 20 }, (_, at) => `t${at}`);
    const sealed = await Promise.all(
      tenants.map((tenant) => withTenant(tenant, () => cipher.encryptAsync(tenant, FIELD))),
    );
    const read = await Promise.all(
      tenants.map((tenant, at) => withTenant(tenant, () => cipher.decryptAsync(sealed[at] ?? '', FIELD))),
    );
    expect(read).toEqual(tenants);
  });

  it('keeps keys by length-safe names: no two columns share one', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      const sealed = cipher.encrypt('x', { table: 'a', column: 'bc' });
      expect(await reasonOf(() => cipher.decrypt(sealed, { table: 'ab', column: 'c' }))).toBe(
        'authentication',
      );
      expect(cipher.decrypt(sealed, { table: 'a', column: 'bc' })).toBe('x');
    });
  });

  it('does not trust a clock that was set back', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const real = Date.now;
    onTestFinished(() => {
      Date.now = real;
    });
    await withTenant('acme', async () => {
      Date.now = () => real() - 3_600_000;
      expect(await reasonOf(() => cipher.encrypt('x', FIELD))).toBe('keyNotLoaded');
      Date.now = () => real() + 3_600_000;
      expect(await reasonOf(() => cipher.encrypt('x', FIELD))).toBe('keyNotLoaded');
      Date.now = real;
      expect(cipher.encrypt('x', FIELD)).toMatch(/^tk1\./);
    });
  });
});

describe('an operator’s methods', () => {
  it('inside a tenant act for that tenant only', async () => {
    const { keyring } = await opened();
    await keyring.create('acme');
    await keyring.create('acme2');
    await withTenant('acme', async () => {
      for (const work of [
        () => keyring.shred('acme2'),
        () => keyring.rotate('acme2'),
        () => keyring.create('acme2'),
        () => keyring.status('acme2'),
      ]) {
        expect(await refusalOf(work)).toBeInstanceOf(TenantSwitchError);
      }
      expect(await refusalOf(() => keyring.list().next())).toBeInstanceOf(OperationRefusedError);
      expect((await keyring.rotate('acme')).epoch).toBe(2);
    });
    expect((await keyring.status('acme2')).epochs).toHaveLength(1);
    const all = await collect(keyring.list());
    expect(all.map(({ tenant }) => tenant).toSorted()).toEqual(['acme', 'acme2']);
  });

  it.each(INVALID_TENANTS)('refuse the id %o', async (tenant) => {
    const { keyring } = await opened();
    const id = tenant as string;
    for (const work of [
      () => keyring.create(id),
      () => keyring.rotate(id),
      () => keyring.shred(id),
      () => keyring.status(id),
    ]) {
      expect(await refusalOf(work)).toBeInstanceOf(InvalidTenantError);
    }
  });

  it('do nothing after close', async () => {
    const { keyring, cipher } = await opened();
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    keyring.close();
    await withTenant('acme', async () => {
      expect(await reasonOf(() => cipher.decrypt(sealed, FIELD))).toBe('keyNotLoaded');
      expect(await refusalOf(() => keyring.load())).toBeInstanceOf(ConfigError);
      expect(await refusalOf(() => cipher.decryptAsync(sealed, FIELD))).toBeInstanceOf(ConfigError);
    });
  });

  it('publish a shred and every refusal once', async () => {
    const { keyring, cipher } = await opened();
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const events: AuditEvent[] = [];
    const listen = (event: unknown): void => void events.push(event as AuditEvent);
    for (const kind of ['refused', 'erasure'] as const) {
      auditChannels[kind].subscribe(listen);
      onTestFinished(() => {
        auditChannels[kind].unsubscribe(listen);
      });
    }
    await inside(keyring, 'acme2', () => reasonOf(() => cipher.decrypt(sealed, FIELD)));
    expect(events).toMatchObject([{ type: 'tenantkit.refused', tenantid: 'acme2' }]);
    await keyring.shred('acme');
    expect(events.slice(1)).toMatchObject([{ type: 'tenantkit.erasure', tenantid: 'acme' }]);
    expect(JSON.stringify(events)).not.toContain(sealed);
  });
});

describe('the fence', () => {
  it('holds back every call of a frozen and of an erased tenant', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    onTestFinished(() => fence.close());
    const { keyring, cipher } = await opened({ fence });
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    await fence.freeze('acme');
    const calls: readonly (() => unknown)[] = [
      () => cipher.encrypt('x', FIELD),
      () => cipher.decrypt(sealed, FIELD),
      () => cipher.encryptAsync('x', FIELD),
      () => keyring.load(),
    ];
    for (const call of calls) {
      expect(await refusalOf(() => withTenant('acme', call))).toBeInstanceOf(TenantFencedError);
    }
    await fence.unfreeze('acme');
    expect(await withTenant('acme', () => cipher.decryptAsync(sealed, FIELD))).toBe('x');
    await fence.markErased('acme');
    for (const call of calls) {
      expect(await refusalOf(() => withTenant('acme', call))).toBeInstanceOf(TenantFencedError);
    }
    expect(await inside(keyring, 'acme2', () => cipher.encrypt('x', FIELD))).toMatch(/^tk1\./);
  });
});

describe('a damaged record', () => {
  it('keeps nobody else out, but a store in which nothing can be read is not opened', async () => {
    const memory = memoryKeyStore();
    const master = randomBytes(32);
    const first = await opened({ store: memory, master });
    await first.keyring.create('acme');
    const listing = (tenants: readonly string[]): KeyStore =>
      around(memory, {
        async *tenants() {
          yield* tenants;
        },
        read: (tenant) =>
          tenant.startsWith('damaged') ? Promise.reject(new Error('damaged')) : memory.read(tenant),
      });
    const { cipher } = await opened({ store: listing(['damaged', 'acme']), master });
    expect(await withTenant('acme', () => cipher.encryptAsync('x', FIELD))).toMatch(/^tk1\./);
    // It is no way past the comparison of the master key either.
    const wrong = Keyring.open({ store: listing(['damaged', 'acme']), master: randomBytes(32) });
    await expect(wrong).rejects.toThrow(/another master key/);
    const nothing = Keyring.open({ store: listing(['damaged', 'damaged2']), master });
    await expect(nothing).rejects.toThrow('damaged');
  });
});

describe('options', () => {
  const good = { master: randomBytes(32), store: memoryKeyStore() };

  it.each([
    ['an unknown one', { ...good, kms: true }],
    ['an unknown one of the cache', { ...good, cache: { ttl: 5 } }],
    ['no master', { store: good.store }],
    ['no store', { master: good.master }],
    ['a store that is none', { ...good, store: { read: () => undefined } }],
    ['a maxAge of nothing', { ...good, cache: { maxAge: 0 } }],
    ['a maxAge of days', { ...good, cache: { maxAge: 86_400_000 } }],
    ['a maxAge that is no number', { ...good, cache: { maxAge: '60000' } }],
    ['another first use', { ...good, firstUse: 'ask' }],
    ['a fence that is none', { ...good, fence: {} }],
    ['a listener that is none', { ...good, onRefreshError: 'log' }],
    ['nothing', undefined],
  ])('%s is refused', async (_, options) => {
    expect(await refusalOf(() => Keyring.open(options as never))).toBeInstanceOf(ConfigError);
    const keyring = await Keyring.open(good);
    keyring.close();
  });
});
