import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { withTenant } from '@tenantkit/core';
import { FieldCipher, Keyring, memoryKeyStore } from '@tenantkit/crypto';

const cipher = new FieldCipher(await Keyring.open({ master: randomBytes(32), store: memoryKeyStore() }));
const field = { table: 'users', column: 'ssn', row: 7 };
const stored = await withTenant('acme', () => cipher.encryptAsync('123-45-6789', field));
assert.equal(await withTenant('acme', () => cipher.decryptAsync(stored, field)), '123-45-6789');
await assert.rejects(
  withTenant('acme2', () => cipher.decryptAsync(stored, field)),
  { code: 'DECRYPTION_FAILED' },
);
