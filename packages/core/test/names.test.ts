import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nameTemplate } from '../src/index.ts';

const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const template = fc
  .tuple(
    fc.constantFrom('', 'tk:', 'customers/', 'a', '{', 'tk:{'),
    fc.constantFrom(':', '/', '}:', '.', ':a', '/x-', '~'),
  )
  .map(([before, after]) => `${before}{tenant}${after}`);

describe('nameTemplate', () => {
  it('round-trips every name of every tenant', () => {
    fc.assert(
      fc.property(template, id, fc.string({ unit: 'binary' }), (text, tenant, name) => {
        const names = nameTemplate(text, { surface: 'cache' });
        const physical = names.encode(tenant, name);
        expect(names.decode(tenant, physical)).toBe(name);
        expect(names.owns(tenant, physical)).toBe(true);
        expect(names.tenantOf(physical)).toBe(tenant);
      }),
    );
  });

  it('is injective, and no tenant can decode what another encoded', () => {
    // Ids and names that lie close together: random ones would hardly ever come near a collision.
    const close = fc.constantFrom('a', 'a-b', 'ab', 'a_', 'acme', 'acme2', 'ac', 'A');
    const name = fc.stringMatching(/^[ab:/}~.2-]{0,4}$/);
    fc.assert(
      fc.property(template, close, name, close, name, (text, tenantA, nameA, tenantB, nameB) => {
        fc.pre(tenantA !== tenantB);
        const names = nameTemplate(text, { surface: 'cache' });
        const physical = names.encode(tenantA, nameA);
        expect(physical).not.toBe(names.encode(tenantB, nameB));
        expect(names.owns(tenantB, physical)).toBe(false);
        expect(() => names.decode(tenantB, physical)).toThrow(
          expect.objectContaining({ code: 'ISOLATION_BREACH' }),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it('strips anchored: a prefix in the middle of a name stays', () => {
    const names = nameTemplate('tk:{tenant}:', { surface: 'cache' });
    expect(names.decode('acme', 'tk:acme:tk:acme:x')).toBe('tk:acme:x');
    expect(() => names.decode('acme', 'x:tk:acme:y')).toThrow(
      expect.objectContaining({ code: 'ISOLATION_BREACH' }),
    );
    expect(() => names.decode('acme', 'tk:acme2:x')).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('acme2') }),
    );
  });

  it.each([
    ['tk:', 'no {tenant}'],
    ['{tenant}:{tenant}:', 'twice'],
    ['tk:{tenant}', 'nothing after'],
    ['{tenant}-', 'an id character after'],
    ['{tenant}_x:', 'an id character after'],
    ['tk{tenant}9:', 'an id character after'],
    ['tk!{tenant}:', 'reserved'],
    ['{tenant}!', 'reserved'],
    ['tk\n{tenant}:', 'control character'],
  ])('refuses the template %j (%s)', (text) => {
    expect(() => nameTemplate(text, { surface: 'cache' })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }),
    );
  });

  it('refuses what the store reserves', () => {
    expect(() => nameTemplate('tk*{tenant}:', { surface: 'cache', forbid: /[*?]/ })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }),
    );
    expect(nameTemplate('tk.{tenant}:', { surface: 'cache', forbid: /[*?]/ }).prefix('a')).toBe('tk.a:');
  });

  it('treats template characters literally when it looks for the owner', () => {
    const names = nameTemplate('a.b[{tenant}]:', { surface: 'cache' });
    expect(names.tenantOf('a.b[acme]:x')).toBe('acme');
    expect(names.tenantOf('aXb[acme]:x')).toBeUndefined();
    expect(names.tenantOf('tk!registry')).toBeUndefined();
  });

  it('refuses to build a name from an invalid id', () => {
    const names = nameTemplate('tk:{tenant}:', { surface: 'cache' });
    for (const call of [
      () => names.prefix('a:b'),
      () => names.encode('a:b', 'x'),
      () => names.decode('a:b', 'tk:a:b:x'),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'TENANT_INVALID' }));
    }
  });
});
