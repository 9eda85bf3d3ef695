import { randomBytes } from 'node:crypto';
import { chmod, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, withTenant } from '@tenantkit/core';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Keyring, memoryKeyStore, type MasterKeySource } from '../src/index.ts';
import { FIELD, inside, opened, refusalOf, temporary } from './support/keyrings.ts';

function setEnv(value: string | undefined): { readonly env: string } {
  const env = 'TENANTKIT_TEST_MASTER';
  const before = process.env[env];
  onTestFinished(() => {
    if (before === undefined) delete process.env[env];
    else process.env[env] = before;
  });
  if (value === undefined) delete process.env[env];
  else process.env[env] = value;
  return { env };
}

async function fileWith(contents: string | Uint8Array, mode = 0o600): Promise<{ readonly file: string }> {
  const file = join(await temporary(), 'master');
  await writeFile(file, contents);
  await chmod(file, mode);
  return { file };
}

describe('the master key', () => {
  // 0xfb and 0xff: base64 and base64url differ.
  const master = Buffer.concat([Buffer.of(0xfb, 0xff), randomBytes(30)]);

  it('is the same from bytes, from the environment and from a file, in every form', async () => {
    const store = memoryKeyStore();
    const first = await opened({ store, master });
    const sealed = await inside(first.keyring, 'acme', () => first.cipher.encrypt('x', FIELD));
    const sources: readonly MasterKeySource[] = [
      new Uint8Array(master),
      setEnv(master.toString('base64')),
      await fileWith(master),
      await fileWith(master.toString('base64')),
      await fileWith(`${master.toString('base64url')}\n`),
      await fileWith(master.toString('hex'), 0o400),
      await fileWith(master.toString('hex'), 0o440),
    ];
    for (const source of sources) {
      const { cipher } = await opened({ store, master: source });
      expect(await withTenant('acme', () => cipher.decryptAsync(sealed, FIELD))).toBe('x');
    }
    const { file } = await fileWith(master);
    await symlink(file, `${file}.link`);
    const { cipher } = await opened({ store, master: { file: `${file}.link` } });
    expect(await withTenant('acme', () => cipher.decryptAsync(sealed, FIELD))).toBe('x');
  });

  it('is copied: the caller wipes its own, and nothing changes', async () => {
    const store = memoryKeyStore();
    const mine = Buffer.from(master);
    const { keyring, cipher } = await opened({ store, master: mine });
    mine.fill(0);
    const sealed = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const second = await opened({ store, master });
    expect(await withTenant('acme', () => second.cipher.decryptAsync(sealed, FIELD))).toBe('x');
    // And what the caller has given is as it was.
    const untouched = Buffer.from(master);
    (await Keyring.open({ master: untouched, store })).close();
    expect(untouched).toEqual(master);
  });

  const text = master.toString('base64');
  const refused: readonly (readonly [string, () => unknown])[] = [
    ['31 bytes', () => master.subarray(1)],
    ['33 bytes', () => Buffer.concat([master, Buffer.of(1)])],
    ['nothing', () => Buffer.alloc(0)],
    ['a wiped buffer', () => Buffer.alloc(32)],
    ['one byte repeated', () => Buffer.alloc(32, 7)],
    ['a text', () => text],
    ['a number', () => 32],
    ['an unknown source', () => ({ vault: 'x' })],
    ['two sources', () => ({ env: 'A', file: 'b' })],
    ['a variable that is not set', () => setEnv(undefined)],
    ['an empty variable', () => setEnv('')],
    ['a pass phrase', () => setEnv('correct horse battery staple')],
    ['43 characters with junk', () => setEnv(`${master.toString('base64url').slice(0, 42)}!`)],
    ['base64 in the other alphabet', () => setEnv(text.replaceAll('/', '_'))],
    ['base64 with unused bits', () => setEnv(`${text.slice(0, 42)}${text[42] === 'B' ? 'C' : 'B'}=`)],
    ['upper-case hexadecimal', () => setEnv(master.toString('hex').toUpperCase())],
    ['63 hexadecimal digits', () => setEnv(master.toString('hex').slice(1))],
    ['a wiped key as text', () => setEnv(Buffer.alloc(32).toString('base64'))],
    ['a file that is not there', () => ({ file: '/nonexistent/tenantkit/master' })],
    ['a directory', async () => ({ file: await temporary() })],
    ['a file that others read', () => fileWith(master, 0o604)],
    ['a file that the group writes', () => fileWith(master, 0o620)],
    ['a file of megabytes', () => fileWith(Buffer.alloc(2_000_000, 1))],
    ['an empty file', () => fileWith('')],
  ];

  it.each(refused)('is not %s', async (_, make) => {
    const source = (await make()) as MasterKeySource;
    const error = await refusalOf(() => Keyring.open({ master: source, store: memoryKeyStore() }));
    expect(error).toBeInstanceOf(ConfigError);
    for (const secret of [text, master.toString('hex'), master.toString('base64url'), 'correct horse']) {
      expect(String(error)).not.toContain(secret.slice(0, 12));
    }
    (await Keyring.open({ master, store: memoryKeyStore() })).close();
  });
});
