import assert from 'node:assert/strict';
import {
  createErasure,
  createSigner,
  generateSigningKey,
  sqliteLedger,
  verifyCertificate,
} from '@tenantkit/erasure';

const key = await generateSigningKey();
const control = { planted: 1, found: 1, method: 'a made-up store' };
const empty = {
  store: 'made-up',
  stage: 'purge',
  subjects: 'supported',
  plan: () => Promise.resolve({ store: 'made-up', items: [], kept: [] }),
  erase: () => Promise.resolve({ store: 'made-up', erased: [], kept: [] }),
  verify: () => Promise.resolve({ store: 'made-up', remaining: [], kept: [], control }),
} as const;
const erasure = createErasure({
  stores: [empty],
  ledger: sqliteLedger(':memory:'),
  signer: await createSigner(key),
});
const { id } = await erasure.request({ tenant: 'acme', reason: 'left', requestedBy: 'ops' });
await erasure.plan(id);
await erasure.approve(id, { by: 'ops' });
await erasure.run(id);
const { certificate } = await verifyCertificate(await erasure.certificate(id), { keys: [key.publicKey] });
assert.equal(certificate.tenant, 'acme');
