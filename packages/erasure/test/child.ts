import { createErasure, createSigner, generateSigningKey, sqliteLedger } from '@tenantkit/erasure';
import { directoryEraser } from './directory.ts';

// Arguments: the ledger's file, the root of the store, an erasure's id (or `request`), and after how many files to
// stand still.
const [file = '', root = '', id = '', after = '0'] = process.argv.slice(2);
const { privateKey } = await generateSigningKey();
const erasure = createErasure({
  ledger: sqliteLedger(file),
  signer: await createSigner({ privateKey }),
  stores: [
    directoryEraser({
      root,
      store: 'files',
      async afterBatch(gone) {
        if (gone < Number(after)) return;
        process.send?.('standing');
        await new Promise(() => {
          setInterval(() => undefined, 60_000); // until it is killed
        });
      },
    }),
  ],
});
if (id === 'request') {
  const requested = await erasure.request({
    tenant: 'acme',
    reason: 'at once',
    requestedBy: String(process.pid),
  });
  process.send?.(requested.id);
} else {
  await erasure.run(id);
}
