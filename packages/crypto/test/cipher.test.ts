import { randomBytes, randomInt } from 'node:crypto';
import { setImmediate as tick } from 'node:timers/promises';
import {
  DecryptionError,
  EncryptionError,
  MissingTenantError,
  acrossTenants,
  withTenant,
} from '@tenantkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FieldCipher, memoryKeyStore, type Field, type Keyring } from '../src/index.ts';
import { LENGTH, MAX_PLAINTEXT, OVERHEAD, TEXT_PREFIX, toText } from '../src/format.ts';
import { FIELD, TENANTS, inside, opened, reasonOf, refusalOf } from './support/keyrings.ts';

const bytesOf = (text: string): Buffer => Buffer.from(text.slice(TEXT_PREFIX.length), 'base64url');

/** Everything of an error that a caller can see, but for the stack. */
function shapeOf(error: unknown): string {
  if (!(error instanceof Error)) throw new Error('not an error');
  const own = Object.getOwnPropertyNames(error).filter((name) => name !== 'stack');
  return JSON.stringify([String(error), error, own.map((name) => [name, Reflect.get(error, name)])]);
}

describe('encrypt and decrypt', () => {
  it('give back every text and every bytes', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', () => {
      fc.assert(
        fc.property(fc.string({ unit: 'grapheme' }), fc.uint8Array(), (text, bytes) => {
          expect(cipher.decrypt(cipher.encrypt(text, FIELD), FIELD)).toBe(text);
          expect(cipher.decryptBytes(cipher.encryptBytes(bytes, FIELD), FIELD)).toEqual(Buffer.from(bytes));
        }),
      );
    });
  });

  it('leave null null and encrypt the empty text', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      expect(cipher.encrypt(null, FIELD)).toBeNull();
      expect(cipher.decrypt(null, FIELD)).toBeNull();
      expect(cipher.encryptBytes(null, FIELD)).toBeNull();
      expect(await cipher.decryptBytesAsync(null, FIELD)).toBeNull();
      const empty = cipher.encrypt('', FIELD);
      expect(bytesOf(empty)).toHaveLength(OVERHEAD);
      expect(cipher.decrypt(empty, FIELD)).toBe('');
    });
  });

  it('keep a byte order mark and what is beyond the basic plane', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', () => {
      for (const text of ['\u{feff}a', '🐘', 'e\u0301', '\0']) {
        expect(cipher.decrypt(cipher.encrypt(text, FIELD), FIELD)).toBe(text);
      }
    });
  });

  it('give another ciphertext each time', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', () => {
      expect(cipher.encrypt('same', FIELD)).not.toBe(cipher.encrypt('same', FIELD));
    });
  });

  it('take a row as text, number and bigint alike', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', () => {
      const sealed = cipher.encrypt('x', { ...FIELD, row: 7 });
      expect(cipher.decrypt(sealed, { ...FIELD, row: '7' })).toBe('x');
      expect(cipher.decrypt(sealed, { ...FIELD, row: 7n })).toBe('x');
    });
  });

  it('hold 16 MiB and not one byte more', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      const longest = Buffer.alloc(MAX_PLAINTEXT, 1);
      expect(cipher.decryptBytes(cipher.encryptBytes(longest, FIELD), FIELD).equals(longest)).toBe(true);
      const text = longest.toString('latin1');
      expect(cipher.decrypt(cipher.encrypt(text, FIELD), FIELD) === text).toBe(true);
      expect(await reasonOf(() => cipher.encryptBytes(Buffer.alloc(MAX_PLAINTEXT + 1), FIELD))).toBe('size');
      expect(await reasonOf(() => cipher.encrypt(`${text.slice(1)}é`, FIELD))).toBe('size');
    });
  });
});

describe('what is refused before encryption', () => {
  const NOT_TEXT: readonly unknown[] = [
    undefined,
    1,
    true,
    {},
    [],
    Symbol('s'),
    Buffer.from('x'),
    new String('x'),
  ];

  it.each(NOT_TEXT)('%o is no text', async (value) => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      expect(await reasonOf(() => cipher.encrypt(value as string, FIELD))).toBe('type');
      expect(cipher.encrypt('x', FIELD)).toMatch(/^tk1\./);
    });
  });

  it.each(['x', undefined, 1, [1], new ArrayBuffer(1), new Uint16Array(1), new DataView(new ArrayBuffer(1))])(
    '%o is no bytes',
    async (value) => {
      const { keyring, cipher } = await opened();
      await inside(keyring, 'acme', async () => {
        expect(await reasonOf(() => cipher.encryptBytes(value as unknown as Uint8Array, FIELD))).toBe('type');
        expect(cipher.encryptBytes(Buffer.from('x'), FIELD)).toBeInstanceOf(Buffer);
      });
    },
  );

  it.each(['\ud800', 'a\udc00b', '🐘'.slice(0, 1)])('a lone surrogate', async (text) => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      const error = await refusalOf(() => cipher.encrypt(text, FIELD));
      expect(error).toBeInstanceOf(EncryptionError);
      expect(error).toMatchObject({ code: 'ENCRYPTION_FAILED', reason: 'text' });
      expect(cipher.encrypt(text.toWellFormed(), FIELD)).toMatch(/^tk1\./);
    });
  });

  const FIELDS: readonly unknown[] = [
    undefined,
    null,
    'users.ssn',
    {},
    { table: 'users' },
    { column: 'ssn' },
    { table: '', column: 'ssn' },
    { table: 'users', column: '' },
    { table: 'users', column: 'ssn', row: '' },
    { table: 'users', column: 'ssn', row: undefined },
    { table: 'users', column: 'ssn', row: null },
    { table: 'users', column: 'ssn', row: 1.5 },
    { table: 'users', column: 'ssn', row: Number.NaN },
    { table: 'users', column: 'ssn', row: 2 ** 53 },
    { table: 'users', column: 'ssn', row: {} },
    { table: 'users', column: 'ssn', rowId: '7' },
    { table: 'users', column: 'ssn', tenant: 'acme2' },
    { table: 'us\ud800ers', column: 'ssn' },
    { table: 'users', column: 'x'.repeat(257) },
    { table: ['users'], column: 'ssn' },
  ];

  it.each(FIELDS)('the field %j', async (field) => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', async () => {
      const sealed = cipher.encrypt('x', FIELD);
      expect(await reasonOf(() => cipher.encrypt('x', field as Field))).toBe('context');
      expect(await reasonOf(() => cipher.encrypt(null, field as Field))).toBe('context');
      expect(await reasonOf(() => cipher.decrypt(sealed, field as Field))).toBe('context');
      expect(await reasonOf(() => cipher.encryptAsync('x', field as Field))).toBe('context');
      expect(cipher.decrypt(sealed, FIELD)).toBe('x');
    });
  });

  it('a call without a tenant, and inside acrossTenants', async () => {
    const { keyring, cipher } = await opened();
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const calls: readonly (() => unknown)[] = [
      () => cipher.encrypt('x', FIELD),
      () => cipher.decrypt(sealed, FIELD),
      () => cipher.encrypt(null, FIELD),
      () => cipher.encryptAsync('x', FIELD),
      () => cipher.decryptAsync(sealed, FIELD),
      () => keyring.load(),
    ];
    for (const work of calls) {
      expect(await refusalOf(work)).toBeInstanceOf(MissingTenantError);
      expect(await refusalOf(() => acrossTenants({ reason: 'test', actor: 'test' }, work))).toBeInstanceOf(
        MissingTenantError,
      );
    }
    expect(await inside(keyring, 'acme', () => cipher.decrypt(sealed, FIELD))).toBe('x');
  });

  it('a synchronous call before the keys are loaded, on the first and on a later use', async () => {
    const store = memoryKeyStore();
    const master = randomBytes(32);
    const first = await opened({ store, master });
    const sealed = await inside(first.keyring, 'acme', () => first.cipher.encrypt('x', FIELD));
    const { keyring, cipher } = await opened({ store, master });
    await withTenant('acme', async () => {
      expect(await reasonOf(() => cipher.encrypt('x', FIELD))).toBe('keyNotLoaded');
      expect(await reasonOf(() => cipher.decrypt(sealed, FIELD))).toBe('keyNotLoaded');
      await keyring.load();
      expect(cipher.decrypt(sealed, FIELD)).toBe('x');
    });
    await withTenant('acme2', async () => {
      expect(await reasonOf(() => cipher.encrypt('x', FIELD))).toBe('keyNotLoaded');
    });
  });

  it('a cipher on something that is no keyring', () => {
    const values: readonly unknown[] = [{}, null, undefined, FieldCipher];
    for (const value of values) {
      expect(() => new FieldCipher(value as Keyring)).toThrow(/not a Keyring/);
    }
  });
});

// Each case is checked on a ciphertext that decrypts: what is refused is the change.
describe('what is refused on decryption', () => {
  async function sealedFor(tenants: readonly string[]): Promise<{
    keyring: Keyring;
    cipher: FieldCipher;
    sealed: string;
  }> {
    const { keyring, cipher } = await opened();
    for (const tenant of tenants) {
      await keyring.create(tenant);
      // Two epochs, so that a swap of the epoch meets a key that exists.
      await keyring.rotate(tenant);
    }
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('Ada', FIELD));
    return { keyring, cipher, sealed };
  }

  it('every other value of every byte', async () => {
    const { keyring, cipher, sealed } = await sealedFor(['acme']);
    const bytes = bytesOf(sealed);
    expect(bytes).toHaveLength(OVERHEAD + 3);
    const expected = (at: number): RegExp => {
      if (at === 0) return /^version$/;
      if (at === 1) return /^suite$/;
      return at < LENGTH.header ? /^(epoch|keyNotLoaded|authentication)$/ : /^authentication$/;
    };
    await inside(keyring, 'acme', async () => {
      for (let at = 0; at < bytes.length; at += 1) {
        for (let flip = 1; flip < 256; flip += 1) {
          const other = Buffer.from(bytes);
          other[at] = (bytes[at] ?? 0) ^ flip;
          const reason = await reasonOf(() => cipher.decryptBytes(other, FIELD));
          expect([at, flip, reason]).toEqual([at, flip, expect.stringMatching(expected(at))]);
        }
        expect(cipher.decryptBytes(bytes, FIELD).toString()).toBe('Ada');
      }
    });
  });

  it('every other character of every character of the text', async () => {
    const { keyring, cipher, sealed } = await sealedFor(['acme']);
    await inside(keyring, 'acme', async () => {
      for (let at = 0; at < sealed.length; at += 1) {
        for (const character of 'AQaz09-_+/=. \n\u0141') {
          if (sealed[at] === character) continue;
          const other = sealed.slice(0, at) + character + sealed.slice(at + 1);
          expect(await refusalOf(() => cipher.decrypt(other, FIELD))).toBeInstanceOf(DecryptionError);
        }
      }
      expect(cipher.decrypt(sealed, FIELD)).toBe('Ada');
    });
  });

  it('every truncation and every extension, at both ends', async () => {
    const { keyring, cipher, sealed } = await sealedFor(['acme']);
    const bytes = bytesOf(sealed);
    await inside(keyring, 'acme', async () => {
      for (let length = 0; length < bytes.length; length += 1) {
        const reason = await reasonOf(() => cipher.decryptBytes(bytes.subarray(0, length), FIELD));
        expect([length, reason]).toEqual([length, length < OVERHEAD ? 'malformed' : 'authentication']);
        expect(await refusalOf(() => cipher.decryptBytes(bytes.subarray(length + 1), FIELD))).toBeInstanceOf(
          DecryptionError,
        );
      }
      for (let length = 0; length < sealed.length; length += 1) {
        expect(await refusalOf(() => cipher.decrypt(sealed.slice(0, length), FIELD))).toBeInstanceOf(
          DecryptionError,
        );
      }
      for (let byte = 0; byte < 256; byte += 1) {
        const more = Buffer.concat([bytes, Buffer.of(byte)]);
        expect(await reasonOf(() => cipher.decryptBytes(more, FIELD))).toBe('authentication');
        expect(
          await refusalOf(() => cipher.decryptBytes(Buffer.concat([Buffer.of(byte), bytes]), FIELD)),
        ).toBeInstanceOf(DecryptionError);
      }
      expect(cipher.decrypt(sealed, FIELD)).toBe('Ada');
    });
  });

  it('another tenant, table, column, row or epoch, all in the same outward shape', async () => {
    const { keyring, cipher, sealed } = await sealedFor(TENANTS);
    const shapes = new Set<string>();
    const refused = async (tenant: string, text: string, field: Field, what: string): Promise<void> => {
      const error = await refusalOf(() => inside(keyring, tenant, () => cipher.decrypt(text, field)));
      expect(error).toBeInstanceOf(DecryptionError);
      expect([what, error]).toMatchObject([what, { reason: 'authentication' }]);
      shapes.add(shapeOf(error));
    };
    for (const tenant of TENANTS) if (tenant !== 'acme') await refused(tenant, sealed, FIELD, tenant);
    const fields: readonly Field[] = [
      { ...FIELD, table: 'user' },
      { ...FIELD, table: 'USERS' },
      { ...FIELD, column: 'ssn2' },
      { ...FIELD, table: 'usersss', column: 'n' },
      { ...FIELD, row: '8' },
      { ...FIELD, row: '07' },
      { ...FIELD, row: '7 ' },
      { table: 'users', column: 'ssn' },
      { table: 'users', column: 'ssn\u0000\u0000\u0000\u00017' },
    ];
    for (const field of fields) await refused('acme', sealed, field, JSON.stringify(field));
    const bytes = bytesOf(sealed);
    expect(bytes.readUInt32BE(2)).toBe(2);
    const older = Buffer.from(bytes);
    older.writeUInt32BE(1, 2);
    await refused('acme', toText(older), FIELD, 'epoch');
    await refused('acme', `${sealed}=`, FIELD, 're-encoded');
    const flipped = Buffer.from(bytes);
    flipped[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await refused('acme', toText(flipped), FIELD, 'flipped');
    expect(await inside(keyring, 'acme', () => cipher.decrypt(sealed, FIELD))).toBe('Ada');
    // One shape: nothing tells what it was that did not fit.
    expect([...shapes]).toHaveLength(1);
  });

  it('a field without a row is another field than one with', async () => {
    const { keyring, cipher } = await sealedFor(['acme']);
    const { table, column } = FIELD;
    await inside(keyring, 'acme', async () => {
      const sealed = cipher.encrypt('Ada', { table, column });
      expect(await reasonOf(() => cipher.decrypt(sealed, FIELD))).toBe('authentication');
      expect(cipher.decrypt(sealed, { table, column })).toBe('Ada');
    });
  });

  it('an epoch that the tenant never had', async () => {
    const { keyring, cipher, sealed } = await sealedFor(['acme']);
    for (const epoch of [0, 3, 0xffff_ffff]) {
      const other = bytesOf(sealed);
      other.writeUInt32BE(epoch, 2);
      await withTenant('acme', async () => {
        expect(await reasonOf(() => cipher.decryptBytesAsync(other, FIELD))).toBe('epoch');
        // Synchronous calls cannot ask the store: after one more load they say the same, and not "load" forever.
        await reasonOf(() => cipher.decryptBytes(other, FIELD));
        await keyring.load();
        expect(await reasonOf(() => cipher.decryptBytes(other, FIELD))).toBe('epoch');
        expect(cipher.decrypt(sealed, FIELD)).toBe('Ada');
      });
    }
  });

  it('a tenant that has no key, without making one', async () => {
    const { keyring, cipher, sealed } = await sealedFor(['acme']);
    expect(await reasonOf(() => withTenant('acme2', () => cipher.decryptAsync(sealed, FIELD)))).toBe(
      'keyMissing',
    );
    expect(await keyring.status('acme2')).toEqual({ tenant: 'acme2', state: 'none', epochs: [] });
  });

  it('bytes that are no text, when a text is asked for', async () => {
    const { keyring, cipher } = await sealedFor(['acme']);
    await inside(keyring, 'acme', async () => {
      const sealed = cipher.encryptBytes(Buffer.of(0xff, 0xfe), FIELD);
      expect(await reasonOf(() => cipher.decrypt(toText(sealed), FIELD))).toBe('malformed');
      expect(cipher.decryptBytes(sealed, FIELD)).toEqual(Buffer.of(0xff, 0xfe));
    });
  });

  it.each([1, undefined, {}, [], '', 'Ada', 'tk1.', Buffer.alloc(200)])('%o', async (value) => {
    const { keyring, cipher, sealed } = await sealedFor(['acme']);
    await inside(keyring, 'acme', async () => {
      expect(await reasonOf(() => cipher.decrypt(value as string, FIELD))).toBe('malformed');
      expect(await reasonOf(() => cipher.decryptBytes(sealed as unknown as Uint8Array, FIELD))).toBe(
        'malformed',
      );
      expect(cipher.decrypt(sealed, FIELD)).toBe('Ada');
    });
  });
});

describe('asynchronous calls', () => {
  it('belong to the tenant, field and bytes at the moment of the call', async () => {
    const { cipher } = await opened();
    const field: { table: string; column: string; row: string } = { ...FIELD };
    const bytes = Buffer.from('before');
    const pending = withTenant('acme', () => cipher.encryptBytesAsync(bytes, field));
    bytes.fill(0);
    field.row = '8';
    const sealed = await withTenant('acme2', () => pending);
    const read = withTenant('acme', () => cipher.decryptBytesAsync(sealed, FIELD));
    const copy = Buffer.from(sealed);
    sealed.fill(0);
    expect((await read).toString()).toBe('before');
    expect(await reasonOf(() => withTenant('acme2', () => cipher.decryptBytesAsync(copy, FIELD)))).toBe(
      'keyMissing',
    );
  });

  it('of many tenants at once never mix', async () => {
    const { cipher } = await opened();
    const sealed = await Promise.all(
      Array.from({ length: 600 }, async (_, at) => {
        const tenant = TENANTS[randomInt(TENANTS.length)] ?? 'acme';
        const text = await withTenant(tenant, async () => {
          if (at % 3 === 0) await tick();
          return cipher.encryptAsync(`${tenant}:${at}`, FIELD);
        });
        return { tenant, at, text };
      }),
    );
    await Promise.all(
      sealed.map(({ tenant, at, text }) =>
        Promise.all(
          TENANTS.map(async (other) => {
            const read = withTenant(other, () => cipher.decryptAsync(text, FIELD));
            if (other === tenant) expect(await read).toBe(`${tenant}:${at}`);
            else expect(await reasonOf(() => read)).toMatch(/^(authentication|keyMissing)$/);
          }),
        ),
      ),
    );
  });
});

describe('salts', () => {
  it('do not repeat in 100 000 encryptions', async () => {
    const { keyring, cipher } = await opened();
    await inside(keyring, 'acme', () => {
      const seen = new Set<string>();
      const one = Buffer.of(1);
      for (let count = 0; count < 100_000; count += 1) {
        seen.add(
          cipher.encryptBytes(one, FIELD).toString('latin1', LENGTH.header, LENGTH.header + LENGTH.salt),
        );
      }
      expect(seen.size).toBe(100_000);
    });
  });
});
