import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sqliteLedger, verifyCertificate } from '@tenantkit/erasure';
import { describe, expect, it } from 'vitest';
import { fill, snapshot } from '../../erasure/test/directory.ts';
import { DIRECTORY_CONFIG, IMPORTS, project, signingKey, start, tenantkit } from './project.ts';

const keys = [signingKey.publicKey];
// Escape sequences: what a pipe or a log must not hold.
const ANSI = '\u001B[';

async function filled(config = DIRECTORY_CONFIG): Promise<string> {
  const folder = project(config);
  for (const tenant of ['acme', 'acme2', 'a', 'a-b', 'ac']) await fill(join(folder, 'files'), tenant, 6);
  return folder;
}

const left = (folder: string, tenant: string): Promise<readonly string[]> =>
  snapshot(join(folder, 'files', tenant));

describe('tenantkit erase', () => {
  it('plans, shows, and waits for an approval; then erases, and hands out the proof', async () => {
    const folder = await filled();
    const planned = await tenantkit(folder, [
      'erase',
      'acme',
      '--reason',
      'contract ended',
      '--by',
      'ops',
      '--json',
    ]);
    expect(planned.code).toBe(4);
    expect(planned.json()).toMatchObject({
      id: expect.any(String),
      tenant: 'acme',
      state: 'planned',
      waitingFor: 'approval',
      requests: [{ reason: 'contract ended', requestedBy: 'ops' }],
      stores: [{ store: 'files', planned: { items: [{ kind: 'files', count: 6 }] } }],
    });
    expect(await left(folder, 'acme')).toHaveLength(6);

    const done = await tenantkit(folder, [
      'erase',
      'acme',
      '--approve',
      '--by',
      'dpo',
      '--out',
      'proof.jws',
      '--json',
    ]);
    expect(done.code).toBe(0);
    expect(done.json()).toMatchObject({
      state: 'completed',
      approval: { by: 'dpo' },
      certificate: expect.any(String),
    });
    expect(await left(folder, 'acme')).toEqual([]);
    for (const other of ['acme2', 'a', 'a-b', 'ac']) expect(await left(folder, other)).toHaveLength(6);

    const text = readFileSync(join(folder, 'proof.jws'), 'utf8').trim();
    const { certificate } = await verifyCertificate(text, { keys });
    expect(certificate).toMatchObject({ tenant: 'acme', requestedBy: 'ops', approvedBy: 'dpo' });
    const verified = await tenantkit(folder, [
      'certificate',
      'verify',
      'proof.jws',
      '--key',
      'jwks.json',
      '--json',
    ]);
    expect(verified.code).toBe(0);
    expect(verified.json()).toMatchObject({
      verified: true,
      kid: signingKey.kid,
      certificate: { tenant: 'acme' },
    });
  });

  it('shows people a table on standard output, and what happens on standard error', async () => {
    const folder = await filled();
    const waits = await tenantkit(folder, ['erase', 'acme']);
    expect(waits.code).toBe(4);
    expect(waits.out).toMatch(/^store\s+would erase\s+would keep\nfiles\s+6 files\n$/);
    expect(waits.err).toMatch(/tenantkit erase acme --approve --plan \d+\n/);

    const done = await tenantkit(folder, ['erase', 'acme', '--yes']);
    expect(done.code).toBe(0);
    expect(done.out).toMatch(/state\s+completed/);
    expect(done.out).toMatch(/files\s+verified\s+6 files\s+6 files/);
    for (const step of ['purging', 'files: erasing', 'files: erased', 'verifying', 'completed']) {
      expect(done.err).toContain(`${step}\n`);
    }
    expect(done.out + done.err + waits.out + waits.err).not.toContain(ANSI);
  });

  it('shows what an erasure does not reach, from the ledger and without one', async () => {
    const folder = await filled(`${IMPORTS}
const files = directoryEraser({ root: 'files', store: 'files' });
const plan: typeof files.plan = async (scope) => ({ ...(await files.plan(scope)), notes: ['Tapes keep copies.'] });
export default defineConfig({ stores: [{ ...files, plan }], ledger, signer });
`);
    for (const more of [[], ['--dry-run']])
      expect((await tenantkit(folder, ['erase', 'acme', ...more])).out).toContain(
        'files: Tapes keep copies.\n',
      );
    const json = await tenantkit(folder, ['erase', 'acme', '--dry-run', '--json']);
    expect(json.json()).toMatchObject({ inventories: [{ notes: ['Tapes keep copies.'] }] });
  });

  it('--dry-run counts, and leaves nothing behind', async () => {
    const folder = await filled();
    const dry = await tenantkit(folder, ['erase', 'acme', '--dry-run', '--json']);
    expect(dry.code).toBe(0);
    expect(dry.json()).toMatchObject({
      dryRun: true,
      tenant: 'acme',
      inventories: [{ store: 'files', items: [{ kind: 'files', count: 6 }], kept: [] }],
    });
    expect(await left(folder, 'acme')).toHaveLength(6);
    expect((await tenantkit(folder, ['erase', 'acme', '--dry-run'])).err).not.toContain('Is the id right?');
    expect((await tenantkit(folder, ['erase', 'acmee', '--dry-run'])).err).toContain('Is the id right?');
    const list = await tenantkit(folder, ['erasures', 'list', '--json']);
    expect(list.json()).toEqual({ erasures: [] });
  });

  it.each(['acmee', 'acme/nobody'])(
    'asks whether the id %s, of which there is nothing, is right',
    async (target) => {
      const folder = await filled();
      for (const more of [['--dry-run'], [], ['--approve'], ['--yes'], ['--yes', '--json']]) {
        const erased = await tenantkit(folder, ['erase', target, ...more]);
        expect(erased.err, more.join(' ')).toContain('No store knows anything of it. Is the id right?');
      }
      expect(await left(folder, 'acme')).toHaveLength(6);
      const known = await tenantkit(folder, ['erase', 'acme', '--yes']);
      expect(known.err).not.toContain('Is the id right?');
    },
  );

  it('--yes erases one person and no other', async () => {
    const folder = await filled();
    await fill(join(folder, 'files'), 'acme', 3, 'p2');
    const done = await tenantkit(folder, ['erase', 'acme/p2', '--yes', '--out', 'proof.jws', '--json']);
    expect(done.code).toBe(0);
    expect(await left(folder, 'acme')).toHaveLength(6);
    for (const [person, code] of [
      ['p2', 0],
      ['p1', 1],
    ] as const) {
      const args = ['certificate', 'verify', 'proof.jws', '--key', 'jwks.json', '--subject', person];
      expect((await tenantkit(folder, args)).code).toBe(code);
    }
  });

  it('--approve without a plan is refused, and with one it is not', async () => {
    const folder = await filled();
    const refused = await tenantkit(folder, ['erase', 'acme', '--approve', '--json']);
    expect(refused.code).toBe(2);
    expect(refused.json()).toMatchObject({ error: { code: 'CONFIG_INVALID', exitCode: 2 } });
    expect(await left(folder, 'acme')).toHaveLength(6);
    await tenantkit(folder, ['erase', 'acme/p1']);
    // A plan for one person is none for the tenant, and none for another person.
    for (const other of ['acme', 'acme/p2', 'acme2/p1']) {
      expect((await tenantkit(folder, ['erase', other, '--approve'])).code).toBe(2);
    }
    expect((await tenantkit(folder, ['erase', 'acme/p1', '--approve'])).code).toBe(0);
  });

  it('--plan approves the plan that was shown, and no newer one', async () => {
    const folder = await filled();
    const shown = /--plan (\d+)/.exec((await tenantkit(folder, ['erase', 'acme'])).err)?.[1] ?? '';
    const newer = /--plan (\d+)/.exec((await tenantkit(folder, ['erase', 'acme'])).err)?.[1] ?? '';
    expect(Number(newer)).toBeGreaterThan(Number(shown));
    const approve = ['erase', 'acme', '--approve', '--plan'];
    expect((await tenantkit(folder, [...approve, shown])).code).not.toBe(0);
    expect(await left(folder, 'acme')).toHaveLength(6);
    expect((await tenantkit(folder, [...approve, 'x'])).code).toBe(2);
    expect((await tenantkit(folder, ['erase', 'acme', '--yes', '--plan', newer])).code).toBe(2);
    expect((await tenantkit(folder, [...approve, newer])).code).toBe(0);
    expect(await left(folder, 'acme')).toEqual([]);
  });

  it('ends with 1 and can be resumed when a recount still finds something', async () => {
    const folder = await filled(`${IMPORTS}
import { existsSync, writeFileSync } from 'node:fs';
const files = directoryEraser({ root: 'files', store: 'files' });
export default defineConfig({
  stores: [{
    ...files,
    async verify(scope) {
      if (!existsSync('calm')) writeFileSync('files/acme/p1/late', '');
      return files.verify(scope);
    },
  }],
  ledger,
  signer,
});`);
    const found = await tenantkit(folder, ['erase', 'acme', '--yes', '--json']);
    expect(found.code).toBe(1);
    const { error } = found.json() as { error: { erasure: string } };
    expect(error).toMatchObject({
      code: 'ERASURE_NOT_VERIFIED',
      verifications: [{ store: 'files', remaining: [{ kind: 'files', count: 1 }] }],
    });
    expect(found.err).toContain(`tenantkit erasures resume ${error.erasure}`);
    await fill(folder, 'calm', 1);
    expect((await tenantkit(folder, ['erasures', 'resume', error.erasure])).code).toBe(0);
    expect(await left(folder, 'acme')).toEqual([]);
  });
});

describe('an erasure that is interrupted', () => {
  it('by SIGINT ends with 130, and is resumed to the same counts', async () => {
    const folder = await filled();
    const running = start(folder, ['erase', 'acme', '--yes', '--json'], { STAND: '4' });
    await running.says('STANDING');
    running.child.kill('SIGINT');
    const stopped = await running.ended;
    expect(stopped.code).toBe(130);
    const { error } = stopped.json() as { error: { erasure: string } };
    expect(error).toMatchObject({ code: 'ERASURE_INTERRUPTED', exitCode: 130 });
    expect(stopped.err).toContain(`tenantkit erasures resume ${error.erasure}`);
    expect(await left(folder, 'acme')).toHaveLength(2);

    const shown = await tenantkit(folder, ['erasures', 'show', error.erasure, '--json']);
    expect(shown.json()).toMatchObject({ state: 'purging', stores: [{ state: 'pending' }] });
    // The same command again says what to do, and does nothing by itself.
    const again = await tenantkit(folder, ['erase', 'acme', '--json']);
    expect(again.code).toBe(4);
    expect(again.json()).toMatchObject({ id: error.erasure, waitingFor: 'run' });
    const resumed = await tenantkit(folder, ['erasures', 'resume', error.erasure, '--json']);
    expect(resumed.code).toBe(0);
    expect(resumed.json()).toMatchObject({
      state: 'completed',
      stores: [{ counted: { items: [{ count: 6 }] }, erased: [{ count: 6 }] }],
    });
  });

  it('by SIGKILL is resumed at once, to the same counts', async () => {
    const folder = await filled();
    const running = start(folder, ['erase', 'acme', '--yes'], { STAND: '4' });
    await running.says('STANDING');
    // Meanwhile it cannot be run twice.
    const busy = await tenantkit(folder, ['erase', 'acme', '--yes', '--json']);
    expect(busy.code).toBe(4);
    expect(busy.json()).toMatchObject({ error: { code: 'ERASURE_BUSY', until: expect.any(String) } });
    running.child.kill('SIGKILL');
    await running.ended;
    const resumed = await tenantkit(folder, ['erase', 'acme', '--yes', '--json']);
    expect(resumed.code).toBe(0);
    expect(resumed.json()).toMatchObject({
      state: 'completed',
      stores: [{ counted: { items: [{ count: 6 }] }, erased: [{ count: 6 }] }],
    });
    expect(await left(folder, 'acme2')).toHaveLength(6);
  });

  it('twice by SIGINT ends at once, also where a store does not listen', async () => {
    const folder = await filled(`${IMPORTS}
const files = directoryEraser({ root: 'files', store: 'files' });
export default defineConfig({
  stores: [{
    ...files,
    erase: () => {
      process.stderr.write('STANDING\\n');
      return new Promise(() => { setInterval(() => undefined, 60_000); });
    },
  }],
  ledger,
  signer,
});`);
    const running = start(folder, ['erase', 'acme', '--yes']);
    await running.says('STANDING');
    running.child.kill('SIGINT');
    await running.says('once more to stop at once');
    running.child.kill('SIGINT');
    expect((await running.ended).code).toBe(130);
    // At once: after the first signal alone it would have written down that it was interrupted.
    const ledger = sqliteLedger(join(folder, 'ledger.db'));
    const [only] = await ledger.list();
    const types = (await ledger.read(only?.id ?? ''))?.events.map(({ body }) => body.type);
    await ledger.close();
    expect(types?.at(-1)).toBe('counted');
  });
});

describe('tenantkit erasures', () => {
  it('lists, shows, and does not resume what nobody has approved', async () => {
    const folder = await filled();
    await tenantkit(folder, ['erase', 'acme2', '--yes']);
    const planned = await tenantkit(folder, ['erase', 'acme', '--json']);
    const { id } = planned.json() as { id: string };

    const all = await tenantkit(folder, ['erasures', 'list', '--json']);
    expect(all.json()).toMatchObject({
      erasures: [
        { id, tenant: 'acme', person: false, state: 'planned' },
        { tenant: 'acme2', state: 'completed' },
      ],
    });
    const open = await tenantkit(folder, ['erasures', 'list', '--open', '--json']);
    expect(open.json()).toMatchObject({ erasures: [{ id }] });
    expect((open.json() as { erasures: unknown[] }).erasures).toHaveLength(1);
    expect((await tenantkit(folder, ['erasures', 'list', '--tenant', 'acme2'])).out).toMatch(
      /acme2\s+tenant\s+completed/,
    );

    const resumed = await tenantkit(folder, ['erasures', 'resume', id, '--json']);
    expect(resumed.code).toBe(4);
    expect(resumed.json()).toMatchObject({ id, waitingFor: 'approval' });
    expect(await left(folder, 'acme')).toHaveLength(6);
    const unknown = await tenantkit(folder, ['erasures', 'show', 'nobody', '--json']);
    expect(unknown.code).toBe(2);
    expect(unknown.json()).toMatchObject({ error: { code: 'ERASURE_NOT_FOUND' } });
    expect((await tenantkit(folder, ['erasures', 'show', id])).out).toMatch(/tenant\s+acme\n/);
  });
});
