import { randomBytes } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { withTenant } from '@tenantkit/core';
import { FieldCipher, Keyring, fileKeyStore, keyringEraser } from '@tenantkit/crypto';
import { NEIGHBOUR, TENANT, answers, refused, type DemoSurface } from '../surface.ts';

const FIELD = { table: 'people', column: 'ssn', row: '1' } as const;

/** Field encryption: one keyring, kept in a file. */
export async function cryptoSurface({ folder }: { readonly folder: string }): Promise<DemoSurface> {
  const keyring = await Keyring.open({ master: randomBytes(32), store: fileKeyStore({ directory: folder }) });
  const cipher = new FieldCipher(keyring);
  /** The column of a database that the tenants share. */
  const column = new Map<string, string>();

  return {
    name: 'crypto',
    eraser: keyringEraser(keyring),
    async seed() {
      for (const tenant of [TENANT, NEIGHBOUR]) {
        column.set(tenant, await withTenant(tenant, () => cipher.encryptAsync(`ssn of ${tenant}`, FIELD)));
      }
    },
    ownRead: async () => [
      await answers(`${TENANT}: decrypt`, `ssn of ${TENANT}`, () => decrypt(TENANT, TENANT)),
      await answers(`${NEIGHBOUR}: decrypt`, `ssn of ${NEIGHBOUR}`, () => decrypt(NEIGHBOUR, NEIGHBOUR)),
    ],
    otherTenant: async () => [
      await refused(`${NEIGHBOUR}: decrypt the column of acme`, ['DECRYPTION_FAILED'], () =>
        decrypt(NEIGHBOUR, TENANT),
      ),
      await refused(`${TENANT}: decrypt one’s own value in another row`, ['DECRYPTION_FAILED'], () =>
        withTenant(TENANT, () => cipher.decryptAsync(column.get(TENANT) ?? '', { ...FIELD, row: '2' })),
      ),
    ],
    noTenant: async () => [
      await refused('encrypt', ['TENANT_MISSING'], () => cipher.encryptAsync('x', FIELD)),
      await refused('decrypt', ['TENANT_MISSING'], () =>
        cipher.decryptAsync(column.get(TENANT) ?? '', FIELD),
      ),
    ],
    // The wrapped secrets; a tombstone, which stays for ever, holds none.
    async raw(tenant) {
      const records = new Map<string, Buffer>();
      const directory = join(folder, `tk-${tenant}`);
      for (const file of await readdir(directory)) {
        const bytes = await readFile(join(directory, file));
        if (bytes.includes('"wrapped"')) records.set(file, bytes);
      }
      return records;
    },
    async close() {
      keyring.close();
    },
  };

  function decrypt(as: string, of: string): Promise<unknown> {
    return withTenant(as, () => cipher.decryptAsync(column.get(of) ?? '', FIELD));
  }
}
