import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sqliteLedger } from '@tenantkit/erasure';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/load.ts';
import { tooOld } from '../src/node-version.ts';
import { DIRECTORY_CONFIG, IMPORTS, project, tenantkit } from './project.ts';

describe('bad usage ends with 2', () => {
  it.each([
    ['an unknown command', ['forget', 'acme']],
    ['an unknown option', ['erase', 'acme', '--force']],
    ['no tenant', ['erase']],
    ['one word too many', ['erase', 'acme', 'acme2']],
    ['options that exclude each other', ['erase', 'acme', '--yes', '--approve']],
    ['a rehearsal that is none', ['erase', 'acme', '--yes', '--dry-run']],
    ['an id that cannot be one', ['erase', 'acme:2', '--yes']],
    ['a person that cannot be one', ['erase', 'acme/../acme2', '--yes']],
    ['no person', ['erase', 'acme/', '--yes']],
    ['a reason that would forge lines', ['erase', 'acme', '--yes', '--reason', 'a\nb']],
    ['a configuration that is not there', ['erasures', 'list', '--config', 'missing.ts']],
    ['nothing', []],
  ])('%s', async (_, args) => {
    const folder = project(DIRECTORY_CONFIG);
    const ended = await tenantkit(folder, args);
    expect(ended.code).toBe(2);
    expect(ended.out).toBe('');
    expect(ended.err).not.toMatch(/\n\s+at /); // no stack
    const ledger = sqliteLedger(join(folder, 'ledger.db'));
    expect(await ledger.list()).toEqual([]);
    await ledger.close();
  });

  it('and says so to programs, too', async () => {
    const ended = await tenantkit(project(DIRECTORY_CONFIG), ['erase', 'acme', '--force', '--json']);
    expect(ended.json()).toMatchObject({ error: { code: 'commander.unknownOption', exitCode: 2 } });
  });
});

describe('help', () => {
  it('lists the commands that there are, and the exit codes', async () => {
    const { code, out } = await tenantkit(project(), ['--help']);
    expect(code).toBe(0);
    const commands = [...out.matchAll(/^ {2}(\w+) .*$/gm)].map(([, name]) => name);
    expect(commands).toEqual(['erase', 'erasures', 'certificate', 'audit', 'help']);
    expect(out).toContain('130 interrupted');
    expect((await tenantkit(project(), ['--version'])).out).toMatch(/^\d+\.\d+\.\d+/);
  });
});

const MINIMAL = "stores: [directoryEraser({ root: 'files', store: 'files' })], ledger, signer";

describe('a configuration', () => {
  it.each([
    ['an object in TypeScript', 'tenantkit.config.ts', `export default defineConfig({ ${MINIMAL} });`],
    ['a function', 'tenantkit.config.ts', `export default defineConfig(async () => ({ ${MINIMAL} }));`],
    ['.mts', 'tenantkit.config.mts', `const s: string = 'x'; export default defineConfig({ ${MINIMAL} });`],
    ['.js', 'tenantkit.config.js', `export default defineConfig({ ${MINIMAL} });`],
    ['.mjs', 'tenantkit.config.mjs', `export default { ${MINIMAL} };`],
  ])('may be %s', async (_, name, text) => {
    const ended = await tenantkit(project(IMPORTS + text, name), ['erasures', 'list', '--json']);
    expect(ended.err).toBe('');
    expect(ended.json()).toEqual({ erasures: [] });
  });

  it('may lie elsewhere', async () => {
    const folder = project(`${IMPORTS} export default defineConfig({ ${MINIMAL} });`, 'elsewhere.ts');
    expect((await tenantkit(folder, ['erasures', 'list'])).code).toBe(2);
    expect((await tenantkit(folder, ['--config', 'elsewhere.ts', 'erasures', 'list'])).code).toBe(0);
  });

  it.each([
    ['an unknown key', `export default { ${MINIMAL}, store: 1 };`, /Unrecognized key: "store"/],
    ['no store', 'export default { stores: [], ledger, signer };', /stores: must name at least one store/],
    ['no ledger', 'export default { stores: [{}], signer };', /ledger: must be a ledger/],
    ['no default export', 'export const config = 1;', /Export defineConfig/],
    ['a syntax that is none', 'export default {', /It threw SyntaxError/],
    ['a module that is missing', "import 'no-such-package';", /no-such-package/],
    [
      'a secret in what it throws',
      "throw new Error('cannot parse redis://app:hunter2@db.internal:6379/0');",
      /redis:\/\/…@db\.internal/,
    ],
    [
      'a password with every character in it',
      "throw new Error('cannot reach postgres://me:hunter2/a?b#c@db.internal/app');",
      /postgres:\/\/…@db\.internal/,
    ],
    [
      'a key that is no JSON',
      "JSON.parse('hunter2-is-the-key');",
      /It threw SyntaxError: a text that it reads is not JSON/,
    ],
  ])('with %s is refused with 2', async (_, text, message) => {
    const ended = await tenantkit(project(IMPORTS + text), ['erasures', 'list', '--json']);
    expect(ended.code).toBe(2);
    expect(ended.json()).toMatchObject({
      error: { code: 'CONFIG_INVALID', message: expect.stringMatching(message) },
    });
    expect(ended.out + ended.err).not.toContain('hunter2');
    expect(ended.err).not.toMatch(/\n\s+at /);
  });

  it.each([
    ["JSON.parse(process.env.ERASURE_KEY ?? '');", 'not set: ERASURE_KEY.'],
    [`JSON.parse(process.env["KEY_OF_ERASURES"] || '') ?? process.env.HOME`, 'not set: KEY_OF_ERASURES.'],
  ])('names what it reads of the environment and does not find there: %s', async (text, words) => {
    const folder = project(IMPORTS + text);
    const ended = await tenantkit(folder, ['audit']);
    expect(ended).toMatchObject({ code: 2, err: expect.stringContaining(words) as string });
    const env = { ERASURE_KEY: 'hunter2', KEY_OF_ERASURES: 'hunter2' };
    const told = await tenantkit(folder, ['audit'], { env });
    expect(told.err).toContain('is not JSON');
    expect(told.err).not.toMatch(/not set|hunter2/);
  });

  it('may name auditors alone: whoever audits needs no key and no ledger', async () => {
    const found = {
      store: 'files',
      severity: 'info',
      code: 'seen',
      name: 'a',
      message: 'It is there.',
      hint: '',
    };
    const auditors = `[{ store: 'files', async *audit() { yield ${JSON.stringify(found)}; } }]`;
    const file = (more: string) => `import { defineConfig } from '@tenantkit/cli';
import { writeFileSync } from 'node:fs';
export default defineConfig({ auditors: ${auditors}, ${more} });`;
    const folder = project(file("close: () => writeFileSync('closed', '')"));
    const ended = await tenantkit(folder, ['audit', '--json']);
    expect(ended.json()).toMatchObject({ stores: ['files'], findings: [found] });
    expect(ended).toMatchObject({ code: 0, err: 'asking files\n' });
    expect(existsSync(join(folder, 'closed'))).toBe(true);
    for (const args of [
      ['erasures', 'list'],
      ['erase', 'acme', '--dry-run'],
      ['certificate', 'verify', 'key.json'],
    ]) {
      const refused = await tenantkit(folder, args);
      expect(refused).toMatchObject({ code: 2, out: '' });
      expect(refused.err).toContain('this command needs stores, ledger and signer');
    }
    expect((await tenantkit(project(file('stores: []')), ['audit'])).err).toContain(
      'must name at least one store',
    );
    expect((await tenantkit(project(file('planMaxAge: 1')), ['audit'])).err).toContain('planMaxAge');
    expect((await tenantkit(project('export default { auditors: [] };'), ['audit'])).err).toContain(
      'at least one auditor',
    );
  });

  it('may use what Node cannot strip: it is compiled then', async () => {
    const folder = project('enum Limit { Store = 5 }\nexport default { limit: Limit.Store };');
    const refused = await tenantkit(folder, ['erasures', 'list', '--json']);
    // It was read: what is refused is what it says.
    expect(refused.json()).toMatchObject({ error: { message: expect.stringContaining('stores') } });
    expect(refused.err).not.toContain('cannot be loaded');
  });

  it('is compiled where Node runs no TypeScript', async () => {
    const folder = project();
    mkdirSync(join(folder, 'lib'));
    writeFileSync(
      join(folder, 'lib/stores.ts'),
      'export const stores: readonly object[] = [{ store: "files" }];',
    );
    writeFileSync(
      join(folder, 'tenantkit.config.ts'),
      `import { stores } from './lib/stores.ts';
const ledger: object = {};
export default async () => ({ stores, ledger, signer: await Promise.resolve({}) });`,
    );
    const config = await loadConfig({ folder, typescript: false });
    expect(config).toEqual({ stores: [{ store: 'files' }], ledger: {}, signer: {} });
  });
});

describe('the Node that runs it', () => {
  it.each([
    ['20.20.2', true],
    ['22.12.0', true],
    ['22.13.0', false],
    ['24.21.0', false],
    ['100.0.0', false],
  ])('%s is too old: %s', (version, expected) => {
    const problem = tooOld(version);
    expect(problem !== undefined).toBe(expected);
    if (expected) expect(problem).toContain(`this is ${version}`);
  });
});

describe('the process', () => {
  it('ends by itself, and says so when the configuration leaves something open', async () => {
    const open = `const timer = setInterval(() => undefined, 60_000);`;
    const left = project(`${IMPORTS}${open} export default defineConfig({ ${MINIMAL} });`);
    const lingering = await tenantkit(left, ['erasures', 'list']);
    expect(lingering.code).toBe(0);
    expect(lingering.err).toContain('let it export `close`');

    const closed = project(
      `${IMPORTS}${open} export default { ${MINIMAL}, close: () => clearInterval(timer) };`,
    );
    const tidy = await tenantkit(closed, ['erasures', 'list']);
    expect(tidy).toMatchObject({ code: 0, err: '' });
  });

  it('tells programs what was thrown at a time when nobody waited for it', async () => {
    const late = `setImmediate(() => { throw new Error('redis://me:hunter2@db.internal is gone'); });
const close = () => new Promise((resolve) => setTimeout(resolve, 5_000));`;
    const folder = project(`${IMPORTS}${late} export default { ${MINIMAL}, close };`);
    const ended = await tenantkit(folder, ['erasures', 'list', '--json']);
    expect(ended.code).toBe(1);
    expect(ended.out).toContain('redis://…@db.internal is gone');
    expect(ended.out + ended.err).not.toContain('hunter2');
  });

  it('ends although close never does', async () => {
    const folder = project(
      `${IMPORTS} export default { ${MINIMAL}, close: () => new Promise(() => undefined) };`,
    );
    expect((await tenantkit(folder, ['erasures', 'list'])).code).toBe(0);
  });
});
