import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createSealer } from '../src/seal.ts';

const PLACE = ['list', 'acme', 'uploads', 'tenants/acme/'];
const OLD = { kid: '2026-10', secret: randomBytes(32) };
const NEW = { kid: '2026-11', secret: randomBytes(32).toString('hex') };

describe('a sealed token', () => {
  it('opens at its place and nowhere else', () => {
    const sealer = createSealer();
    const token = sealer.seal('tenants/acme/next', PLACE);
    expect(sealer.open(token, PLACE)).toBe('tenants/acme/next');
    for (const place of [
      ['list', 'acme2', 'uploads', 'tenants/acme/'],
      ['list', 'acme', 'other', 'tenants/acme/'],
      ['list', 'acme', 'uploads', 'tenants/acme/a'],
      ['upload', 'acme', 'uploads', 'tenants/acme/'],
      ['list', 'acme', 'uploadstenants/acme/', ''],
      ['list', 'acme', 'uploads'],
      [],
    ]) {
      expect(sealer.open(token, place)).toBeUndefined();
    }
  });

  it('does not show what it holds, and is the same each time, for one place', () => {
    const sealer = createSealer();
    const one = sealer.seal('tenants/acme/next', PLACE);
    expect(sealer.seal('tenants/acme/next', PLACE)).toBe(one);
    const others = [
      sealer.seal('tenants/acme/nexu', PLACE),
      sealer.seal('tenants/acme/next', [...PLACE, '']),
      createSealer().seal('tenants/acme/next', PLACE),
    ];
    // Not even the nonce is shared: under one nonce, two texts would show how they differ.
    const nonceOf = (token: string): string => Buffer.from(token, 'base64url').toString('hex', 5, 17);
    expect(new Set([one, ...others].map(nonceOf)).size).toBe(4);
    expect(Buffer.from(one, 'base64url').toString('latin1')).not.toContain('tenants');
  });

  it('does not open after any change of any byte, cut or added text', () => {
    const sealer = createSealer();
    const token = sealer.seal('next', PLACE);
    const bytes = Buffer.from(token, 'base64url');
    for (let index = 0; index < bytes.length; index += 1) {
      const changed = Buffer.from(bytes);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(sealer.open(changed.toString('base64url'), PLACE), `byte ${index}`).toBeUndefined();
    }
    for (const other of [
      `${token}A`,
      `${token}=`,
      `${token}\n`,
      ` ${token}`,
      token.slice(0, -1),
      token.slice(1),
      '',
    ]) {
      expect(sealer.open(other, PLACE), other).toBeUndefined();
    }
    for (const other of [undefined, null, 7, {}, [token], 'A'.repeat(100_000)]) {
      expect(sealer.open(other, PLACE)).toBeUndefined();
    }
    expect(sealer.open(token, PLACE)).toBe('next');
  });

  it('does not open where it was cut at any byte', () => {
    const sealer = createSealer();
    const token = sealer.seal('', PLACE);
    const bytes = Buffer.from(token, 'base64url');
    for (let length = 0; length < bytes.length; length += 1) {
      expect(sealer.open(bytes.toString('base64url', 0, length), PLACE), `${length} bytes`).toBeUndefined();
    }
    expect(sealer.open(token, PLACE)).toBe('');
  });

  it('works across processes that share a secret, and through a rotation', () => {
    const [before, after] = [createSealer([OLD]), createSealer([NEW, OLD])];
    const token = before.seal('next', PLACE);
    expect(createSealer([OLD]).open(token, PLACE)).toBe('next');
    expect(after.open(token, PLACE)).toBe('next');
    expect(createSealer([NEW]).open(token, PLACE)).toBeUndefined();
    expect(createSealer([{ kid: OLD.kid, secret: NEW.secret }]).open(token, PLACE)).toBeUndefined();
    expect(before.open(after.seal('next', PLACE), PLACE)).toBeUndefined();
    expect(createSealer().open(token, PLACE)).toBeUndefined();
  });

  it('does not depend on a secret that the caller wipes afterwards', () => {
    const secret = randomBytes(32);
    const copy = Buffer.from(secret);
    const sealer = createSealer([{ kid: 'k', secret }]);
    secret.fill(0);
    const token = sealer.seal('next', PLACE);
    expect(createSealer([{ kid: 'k', secret: copy }]).open(token, PLACE)).toBe('next');
  });
});
