/**
 * `crash.ts <directory> <create|rotate|shred> <n>`: does that to the tenant acme and is killed by SIGKILL right
 * before the n-th call that changes the file system. Exits with 0 when there were fewer.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { MASTER } from './crash-master.ts';

const [directory = '', operation = '', position = ''] = process.argv.slice(2);
let left = Infinity;

function step(): void {
  left -= 1;
  if (left === 0) process.kill(process.pid, 'SIGKILL');
}

const promises = fs.promises as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
const probe = await fs.promises.open(import.meta.filename, 'r');
const handle = Object.getPrototypeOf(probe) as typeof promises;
await probe.close();

for (const [target, names] of [
  [promises, ['mkdir', 'link', 'unlink', 'rm', 'open']],
  [handle, ['writeFile', 'write', 'truncate', 'sync']],
] as const) {
  for (const name of names) {
    const original = target[name];
    if (original === undefined) throw new Error(`node:fs has no ${name}`);
    target[name] = function counted(this: unknown, ...args: unknown[]) {
      const reads = name === 'open' && (Number(args[1]) & fs.constants.O_CREAT) === 0;
      if (!reads) step();
      return Reflect.apply(original, this, args);
    };
  }
}
syncBuiltinESMExports();

const { Keyring, fileKeyStore } = await import('../../../src/index.ts');
const keyring = await Keyring.open({
  master: Buffer.from(MASTER, 'hex'),
  store: fileKeyStore({ directory }),
});
left = Number(position);
if (operation === 'create') await keyring.create('acme');
else if (operation === 'rotate') await keyring.rotate('acme');
else if (operation === 'shred') await keyring.shred('acme');
else throw new Error(`no such operation: ${operation}`);
keyring.close();
