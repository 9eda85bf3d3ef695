import { describe, expectTypeOf, it } from 'vitest';
import type { Field, FieldCipher, Keyring, KeyringOptions } from '../src/index.ts';

type Cipher = InstanceType<typeof FieldCipher>;

describe('types', () => {
  it('a text becomes a text, null stays null', () => {
    const call = (cipher: Cipher, field: Field, maybe: string | null): unknown[] => {
      expectTypeOf(cipher.encrypt('x', field)).toEqualTypeOf<string>();
      expectTypeOf(cipher.encrypt(null, field)).toEqualTypeOf<null>();
      expectTypeOf(cipher.encrypt(maybe, field)).toEqualTypeOf<string | null>();
      expectTypeOf(cipher.decryptAsync(maybe, field)).toEqualTypeOf<Promise<string | null>>();
      expectTypeOf(cipher.encryptBytes(Buffer.of(1), field)).toEqualTypeOf<Buffer>();
      return [
        // @ts-expect-error undefined is not null: a column that was not selected must not be written as one
        cipher.encrypt(undefined, field),
        // @ts-expect-error bytes have their own method
        cipher.encrypt(Buffer.of(1), field),
        // @ts-expect-error a row id that got lost
        cipher.encrypt('x', { table: 'a', column: 'b', row: undefined }),
        // @ts-expect-error the tenant comes from the context
        cipher.encrypt('x', { table: 'a', column: 'b', tenant: 'acme' }),
      ];
    };
    expectTypeOf(call).toBeFunction();
  });

  it('a keyring is opened, not made, and with known options only', () => {
    // @ts-expect-error the constructor is private
    expectTypeOf<ConstructorParameters<typeof Keyring>>().toBeNever();
    expectTypeOf<KeyringOptions>().not.toHaveProperty('kms');
    expectTypeOf<keyof KeyringOptions>().toEqualTypeOf<
      'master' | 'store' | 'firstUse' | 'cache' | 'fence' | 'onRefreshError'
    >();
  });
});
