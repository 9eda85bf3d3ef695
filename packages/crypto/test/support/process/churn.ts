/** Makes tenants, encrypts, rotates and shreds without end, and tells over IPC what it was promised; until it is killed. */
import { randomInt } from 'node:crypto';
import { withTenant } from '@tenantkit/core';
import { FieldCipher, Keyring, fileKeyStore } from '../../../src/index.ts';
import { MASTER } from './crash-master.ts';
import { FIELD, type Promised } from './messages.ts';

const [directory = '', tenants = '4'] = process.argv.slice(2);
const keyring = await Keyring.open({
  master: Buffer.from(MASTER, 'hex'),
  store: fileKeyStore({ directory }),
  cache: { maxAge: 500 },
});
const cipher = new FieldCipher(keyring);

function tell(promised: Promised): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(promised, (error: Error | null) => (error === null ? resolve() : reject(error)));
  });
}

for (;;) {
  const tenant = `t${randomInt(Number(tenants))}`;
  const dice = randomInt(100);
  try {
    if (dice < 20) await keyring.rotate(tenant);
    else if (dice < 22) await tell({ tenant, completeAt: (await keyring.shred(tenant)).completeAt });
    else await tell({ tenant, text: await withTenant(tenant, () => cipher.encryptAsync(tenant, FIELD)) });
  } catch (error) {
    const reason = typeof error === 'object' && error !== null && 'reason' in error ? error.reason : error;
    if (reason !== 'keyMissing' && reason !== 'keyShredded') throw error;
  }
}
