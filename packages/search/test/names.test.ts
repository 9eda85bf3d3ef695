import { HOSTILE_TENANTS, TENANTS } from '@tenantkit/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ID_MAX_BYTES, tenantNames } from '../src/names.ts';
import { readSettings } from '../src/options.ts';

const settings = readSettings({ indices: ['orders', 'orders-2'] });
const of = (tenant: string): ReturnType<typeof tenantNames> => tenantNames(settings, tenant, 'get');

const tenant = fc.constantFrom(...HOSTILE_TENANTS);
const id = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' });

describe('names', () => {
  it('what was encoded decodes to the same', () => {
    fc.assert(
      fc.property(tenant, id, (name, one) => {
        expect(of(name).decode(of(name).encode(one))).toBe(one);
      }),
    );
  });

  it('no two pairs of tenant and _id meet', () => {
    fc.assert(
      fc.property(tenant, id, tenant, id, (a, one, b, other) => {
        const same = a === b && one === other;
        expect(of(a).encode(one) === of(b).encode(other)).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });

  it('a tenant decodes nobody else’s', () => {
    fc.assert(
      fc.property(tenant, tenant, id, (a, b, one) => {
        fc.pre(a !== b);
        expect(() => of(a).decode(of(b).encode(one))).toThrow(
          expect.objectContaining({ code: 'ISOLATION_BREACH' }),
        );
      }),
    );
    for (const physical of ['', 'acme', '1', '~1', 'ACME~1', ' acme~1', undefined, null, 1, ['acme~1']]) {
      expect(() => of('acme').decode(physical)).toThrow(
        expect.objectContaining({ code: 'ISOLATION_BREACH' }),
      );
    }
    expect(of('acme').decode('acme~1')).toBe('1');
  });

  it('stores an _id as tenant, ~ and _id', () => {
    expect(TENANTS.map((name) => of(name).encode('1'))).toEqual([
      'acme~1',
      'acme2~1',
      'a~1',
      'a-b~1',
      'ac~1',
    ]);
    expect(of('a').encode(5)).toBe('a~5');
    expect(of('a').encode('..')).toBe('a~..');
    expect(of('a').encode('a~1')).toBe('a~a~1');
  });

  it('refuses what is no _id', () => {
    for (const value of [
      '',
      null,
      undefined,
      true,
      {},
      ['1'],
      { toString: () => '1' },
      Number.NaN,
      Infinity,
      '\ud800',
      'a\udc00b',
    ]) {
      expect(() => of('acme').encode(value)).toThrow(expect.objectContaining({ code: 'OPERATION_REFUSED' }));
    }
    const longest = ID_MAX_BYTES - 'acme~'.length;
    expect(of('acme').encode('x'.repeat(longest))).toHaveLength(ID_MAX_BYTES);
    expect(() => of('acme').encode('x'.repeat(longest + 1))).toThrow(/longer than 507 bytes/);
    expect(() => of('acme').encode('é'.repeat(longest / 2 + 1))).toThrow(/longer than/);
  });

  it('makes an _id of its own for a document without one', () => {
    const made = Array.from({ length: 100 }, () => of('acme').generate());
    expect(new Set(made).size).toBe(100);
    for (const one of made) expect(of('acme').decode(one)).toMatch(/^[\w-]{20}$/);
  });

  it('accepts the configured indices and nothing that only stands for them', () => {
    expect(of('acme').index('orders')).toBe('orders');
    for (const name of [
      undefined,
      null,
      '',
      [],
      ['orders'],
      '*',
      'orders*',
      'order?',
      'orders,orders-2',
      '_all',
      '-orders',
      '+orders',
      '<orders-{now/d}>',
      'remote:orders',
      'ORDERS',
      'orders ',
      '%6frders',
      'orders/_doc',
      '.orders',
      'null',
      '__proto__',
    ]) {
      expect(() => of('acme').index(name)).toThrow(expect.objectContaining({ code: 'OPERATION_REFUSED' }));
    }
  });
});

describe('options', () => {
  const invalid = (options: unknown): unknown => {
    try {
      readSettings(options);
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
    return 'accepted';
  };

  it('accepts what is meant', () => {
    expect(
      readSettings({ indices: ['a'], field: 'customer', subjectsField: 'persons', names: 'x.{tenant}/' }),
    ).toMatchObject({
      field: 'customer',
      subjectsField: 'persons',
    });
    expect(readSettings({ indices: ['a'] })).toMatchObject({ field: 'tenant_id', subjectsField: 'subjects' });
  });

  it.each([
    undefined,
    {},
    { indices: [] },
    { indices: 'orders' },
    { indices: ['*'] },
    { indices: ['Orders'] },
    { indices: ['_all'] },
    { indices: ['.kibana'] },
    { indices: ['a,b'] },
    { indices: ['<a-{now/d}>'] },
    { indices: ['remote:a'] },
    { indices: ['null'] },
    { indices: ['a'], field: 'a.b' },
    { indices: ['a'], field: '_id' },
    { indices: ['a'], field: '__proto__' },
    { indices: ['a'], field: 'subjects' },
    { indices: ['a'], names: '{tenant}-' },
    { indices: ['a'], names: '{tenant}' },
    { indices: ['a'], names: 'tk!{tenant}~' },
    { indices: ['a'], names: `{tenant}~${'x'.repeat(128)}` },
    { indices: ['a'], fence: {} },
    { indices: ['a'], subjects: [{ field: 'author' }] },
    { indices: ['a'], place: () => ({ level: 'pool' }) },
    { indices: ['a'], unknown: true },
  ])('refuses %j', (options) => {
    expect(invalid(options)).toBe('CONFIG_INVALID');
  });
});
