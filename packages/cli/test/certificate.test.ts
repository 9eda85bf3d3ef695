import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateSigningKey } from '@tenantkit/erasure';
import { describe, expect, it } from 'vitest';
import { fill } from '../../erasure/test/directory.ts';
import { DIRECTORY_CONFIG, project, signingKey, tenantkit } from './project.ts';

interface Certified {
  readonly folder: string;
  readonly id: string;
  readonly certificate: string;
}

async function certified(): Promise<Certified> {
  const folder = project(DIRECTORY_CONFIG);
  await fill(join(folder, 'files'), 'acme', 2);
  const done = await tenantkit(folder, ['erase', 'acme', '--yes', '--json']);
  return { folder, ...(done.json() as { id: string; certificate: string }) };
}

/** A folder without a configuration: to verify needs none, and no server. */
function recipient(certificate: string): string {
  const folder = project();
  writeFileSync(join(folder, 'proof.jws'), `${certificate}\n`);
  return folder;
}

describe('tenantkit certificate', () => {
  it('verify tells true from false, offline', async () => {
    const { certificate, id } = await certified();
    const folder = recipient(certificate);
    const [header, payload, signature] = certificate.split('.');
    const statement = JSON.parse(Buffer.from(payload ?? '', 'base64url').toString()) as object;
    const altered = Buffer.from(JSON.stringify({ ...statement, tenant: 'acme2' })).toString('base64url');
    writeFileSync(join(folder, 'altered.jws'), `${header}.${altered}.${signature}`);
    const other = await generateSigningKey();
    writeFileSync(join(folder, 'other.json'), JSON.stringify(other.publicKey));
    writeFileSync(join(folder, 'one.json'), JSON.stringify(signingKey.publicKey));

    const cases = [
      [['proof.jws', '--key', 'jwks.json'], 0],
      [['proof.jws', '--key', 'one.json'], 0],
      [['altered.jws', '--key', 'jwks.json'], 1],
      [['proof.jws', '--key', 'other.json'], 1],
      [['proof.jws', '--key', 'jwks.json', '--subject', 'p1'], 1],
      [['proof.jws', '--key', 'jwks.json', '--tenant', 'acme', '--erasure', id], 0],
      [['proof.jws', '--key', 'jwks.json', '--tenant', 'acme2'], 1],
      [['proof.jws', '--key', 'jwks.json', '--erasure', '00000000-0000-4000-8000-000000000000'], 1],
      [['jwks.json', '--key', 'jwks.json'], 1],
      [['proof.jws', '--key', 'key.json'], 2], // the private key
      [['proof.jws', '--key', 'proof.jws'], 2],
      [['proof.jws', '--key', 'missing.json'], 2],
      [['missing.jws', '--key', 'jwks.json'], 2],
      [['proof.jws'], 2], // no key, no configuration
    ] as const;
    for (const [args, code] of cases) {
      const ended = await tenantkit(folder, ['certificate', 'verify', ...args]);
      expect([args, ended.code]).toEqual([args, code]);
      expect(ended.err).not.toContain(signingKey.privateKey.d);
    }
    const piped = await tenantkit(folder, ['certificate', 'verify', '-', '--key', 'jwks.json'], {
      input: certificate,
    });
    expect(piped.code).toBe(0);
    expect(piped.out).toContain(`Verified: signed by the key ${signingKey.kid}.`);
    const refused = await tenantkit(folder, [
      'certificate',
      'verify',
      'altered.jws',
      '--key',
      'jwks.json',
      '--json',
    ]);
    expect(refused.json()).toMatchObject({
      error: { code: 'SIGNATURE_INVALID', reason: 'mismatch', exitCode: 1 },
    });
  });

  it('verify trusts the configured keys where it is given none', async () => {
    const { folder, certificate } = await certified();
    writeFileSync(join(folder, 'proof.jws'), certificate);
    expect((await tenantkit(folder, ['certificate', 'verify', 'proof.jws'])).code).toBe(0);
  });

  it('show reads a file or the ledger, and hands the certificate on', async () => {
    const { folder, id, certificate } = await certified();
    const shown = await tenantkit(folder, ['certificate', 'show', id, '--json']);
    expect(shown.code).toBe(0);
    expect(shown.json()).toMatchObject({
      verified: false,
      jws: certificate,
      certificate: { tenant: 'acme' },
    });
    const raw = await tenantkit(folder, ['certificate', 'show', id, '--jws']);
    expect(raw.out).toBe(`${certificate}\n`);
    const offline = await tenantkit(recipient(certificate), ['certificate', 'show', 'proof.jws']);
    expect(offline.out).toMatch(/files\s+2 files\s+2 files\s+0 files\s+1 of 1 found/);
    expect(offline.err).toContain('tenantkit certificate verify');

    writeFileSync(join(folder, 'none.jws'), '\u001b[31mnot one');
    const none = await tenantkit(folder, ['certificate', 'show', 'none.jws', '--jws']);
    expect([none.code, none.out]).toEqual([1, '']);

    const planned = await tenantkit(folder, ['erase', 'a', '--json']);
    const early = await tenantkit(folder, [
      'certificate',
      'show',
      (planned.json() as { id: string }).id,
      '--json',
    ]);
    expect(early.code).toBe(4);
    expect(early.json()).toMatchObject({ error: { code: 'ERASURE_STATE', state: 'planned' } });
  });
});
