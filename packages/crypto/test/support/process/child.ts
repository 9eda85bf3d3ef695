/** What the child processes of processes.test.ts have in common: they are told what to do over IPC. */
import { withTenant } from '@tenantkit/core';
import { FieldCipher, Keyring, fileKeyStore } from '../../../src/index.ts';
import { FIELD, type Answer, type Order } from './messages.ts';

async function opened(order: Order): Promise<{ readonly keyring: Keyring; readonly cipher: FieldCipher }> {
  const keyring = await Keyring.open({
    master: Buffer.from(order.master, 'hex'),
    store: fileKeyStore({ directory: order.directory }),
    cache: { maxAge: order.maxAge },
  });
  return { keyring, cipher: new FieldCipher(keyring) };
}

function answer(message: Answer): void {
  process.send?.(message);
}

/** Encrypts the first value of each tenant, all at once. */
async function race(order: Order, go: Promise<unknown>): Promise<void> {
  const { cipher } = await opened(order);
  answer({ kind: 'ready' });
  await go;
  const texts = await Promise.all(
    order.tenants.map((tenant) => withTenant(tenant, () => cipher.encryptAsync(tenant, FIELD))),
  );
  answer({ kind: 'texts', texts });
}

/** Decrypts one value over and over until it is refused, and says when it last could. */
async function read(order: Order): Promise<void> {
  const { keyring, cipher } = await opened(order);
  const [tenant = ''] = order.tenants;
  await withTenant(tenant, async () => {
    await keyring.load();
    let last = 0;
    try {
      for (;;) {
        cipher.decrypt(order.text, FIELD);
        if (last === 0) answer({ kind: 'ready' });
        last = Date.now();
        await new Promise(setImmediate);
      }
    } catch (error) {
      const again = await cipher.decryptAsync(order.text, FIELD).then(
        () => 'decrypted',
        (later: unknown) => reasonOf(later),
      );
      answer({ kind: 'refused', last, reason: reasonOf(error), again });
    }
  });
}

/** Decrypts one value, once. */
async function once(order: Order): Promise<void> {
  const { cipher } = await opened(order);
  const [tenant = ''] = order.tenants;
  const again = await withTenant(tenant, () => cipher.decryptAsync(order.text, FIELD)).catch(reasonOf);
  answer({ kind: 'refused', last: 0, reason: '', again });
}

function reasonOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'reason' in error
    ? String(error.reason)
    : String(error);
}

let go: (value: undefined) => void = () => undefined;
const told = new Promise<undefined>((resolve) => {
  go = resolve;
});
process.on('message', (order: Order | { readonly kind: 'go' }) => {
  if (order.kind === 'go') {
    go(undefined);
    return;
  }
  const work = { race, read, once }[order.kind];
  void work(order, told).finally(() => process.disconnect());
});
