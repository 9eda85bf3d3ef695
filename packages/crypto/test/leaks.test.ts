import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { isTenantkitError, withTenant } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import {
  FieldCipher,
  Keyring,
  keyringAuditor,
  keyringEraser,
  memoryKeyStore,
  type Field,
} from '../src/index.ts';
import { insideOf } from '../src/inside.ts';
import { FIELD, inside, opened, refusalOf } from './support/keyrings.ts';

const PLAINTEXT = 'the plaintext 4711';
const TENANT = 'tenant-of-this-test';

/** Every form in which an object could end up in a log. */
function shown(value: unknown): string {
  const error = value instanceof Error ? `${value.message}\n${value.stack}\n${String(value)}` : '';
  return [
    inspect(value, { depth: Infinity, showHidden: true, getters: true }),
    inspect({ nested: { value } }, { depth: Infinity, showHidden: true }),
    JSON.stringify(value),
    JSON.stringify({ nested: value }),
    JSON.stringify(Object.getOwnPropertyNames(value)),
    String(value),
    error,
  ].join('\n');
}

function forms(secret: Buffer): string[] {
  return [
    secret.toString('hex'),
    secret.toString('base64').slice(0, 20),
    secret.toString('base64url').slice(0, 20),
    [...secret.subarray(0, 6)].join(', '),
    [...secret.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(' '),
  ];
}

describe('nothing secret is shown', () => {
  it('by a keyring, a cipher, an eraser or an auditor', async () => {
    const master = randomBytes(32);
    const { keyring, cipher, store } = await opened({ master });
    await inside(keyring, TENANT, () => cipher.encrypt(PLAINTEXT, FIELD));
    const record = await store.read(TENANT);
    const wrapped = record?.state === 'live' ? (record.epochs[0]?.wrapped ?? '') : '';
    expect(wrapped).not.toBe('');
    for (const value of [keyring, cipher, keyringEraser(keyring), keyringAuditor(keyring)]) {
      const text = shown(value);
      for (const secret of [PLAINTEXT, TENANT, wrapped, ...forms(master)]) expect(text).not.toContain(secret);
    }
    expect(JSON.stringify({ keyring, cipher })).toBe(
      '{"keyring":{"name":"Keyring","store":"memory"},"cipher":{"name":"FieldCipher"}}',
    );
    expect(inspect(keyring)).toBe("Keyring { store: 'memory' }");
    expect(inspect(cipher)).toBe('FieldCipher {}');
    expect(Object.keys(keyring)).toEqual([]);
    expect(Object.keys(cipher)).toEqual([]);
  });

  it('by the keys in memory, which hold no Buffer with a secret', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, TENANT, () => cipher.encrypt(PLAINTEXT, FIELD));
    const keys = insideOf(keyring).loader.peek(TENANT);
    if (typeof keys === 'string') throw new Error(keys);
    const secret = keys.column(1, FIELD.table, FIELD.column)?.key.export();
    expect(secret).toHaveLength(32);
    const text = shown(keys) + shown(keys.column(1, FIELD.table, FIELD.column)?.key);
    for (const form of forms(secret ?? Buffer.alloc(0))) expect(text).not.toContain(form);
  });

  it('by any error', async () => {
    const master = randomBytes(32);
    const store = memoryKeyStore();
    const { keyring, cipher } = await opened({ store, master });
    const sealed = await inside(keyring, TENANT, () => cipher.encrypt(PLAINTEXT, FIELD));
    await keyring.create('other-tenant');
    await keyring.create('shredded-tenant');
    await keyring.shred('shredded-tenant');
    const works: readonly (() => unknown)[] = [
      () => inside(keyring, 'other-tenant', () => cipher.decrypt(sealed, FIELD)),
      () => inside(keyring, TENANT, () => cipher.decrypt(sealed, { ...FIELD, row: PLAINTEXT })),
      () => inside(keyring, TENANT, () => cipher.decrypt(`${sealed}A`, FIELD)),
      () => inside(keyring, TENANT, () => cipher.decrypt(PLAINTEXT, FIELD)),
      () => inside(keyring, TENANT, () => cipher.encrypt(`${PLAINTEXT}\ud800`, FIELD)),
      () => inside(keyring, TENANT, () => cipher.encrypt({ PLAINTEXT } as unknown as string, FIELD)),
      () => inside(keyring, TENANT, () => cipher.encrypt(PLAINTEXT, { [PLAINTEXT]: 1 } as unknown as Field)),
      () => withTenant('shredded-tenant', () => cipher.decryptAsync(sealed, FIELD)),
      () => withTenant('unloaded-tenant', () => cipher.encrypt(PLAINTEXT, FIELD)),
      () => withTenant('missing-tenant', () => cipher.decryptAsync(sealed, FIELD)),
      () => withTenant(TENANT, () => keyring.shred('other-tenant')),
      () => Keyring.open({ master: randomBytes(32), store }),
      () => Keyring.open({ master: master.subarray(1), store }),
      () => Keyring.open({ master: master.toString('hex') as never, store }),
      () => Keyring.open({ master, store, [TENANT]: PLAINTEXT } as never),
      () => new FieldCipher({ PLAINTEXT } as never),
    ];
    for (const work of works) {
      const error = await refusalOf(work);
      expect(isTenantkitError(error)).toBe(true);
      // The stack names files and functions; the row, the tenant and the value are in none of it.
      const text = shown(error);
      const own = text.includes(`unknown option "${TENANT}"`) ? [] : [TENANT];
      for (const secret of [
        PLAINTEXT,
        sealed,
        'other-tenant',
        'shredded-tenant',
        'unloaded-tenant',
        'missing-tenant',
        ...own,
        ...forms(master),
      ]) {
        expect(text).not.toContain(secret);
      }
      expect((error as Error).cause).toBeUndefined();
    }
    expect(await inside(keyring, TENANT, () => cipher.decrypt(sealed, FIELD))).toBe(PLAINTEXT);
  });
});
