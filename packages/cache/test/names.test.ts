import { IsolationBreachError } from '@tenantkit/core';
import { HOSTILE_TENANTS, INVALID_TENANTS, TENANTS } from '@tenantkit/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CacheNames, escapeGlob, RESERVED } from '../src/names.ts';

const TEMPLATES = ['tk:{tenant}:', '{tenant}:', 'a*b[c]?d\\:{tenant}/', 'tk:{{tenant}}:', '{tenant}.x-'];

const tenant = fc.oneof(fc.constantFrom(...HOSTILE_TENANTS), fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/));
// Names out of the same letters as the prefixes, so that they look like physical ones.
const near = fc
  .array(fc.constantFrom('tk', ':', '{', '}', 'acme', 'acme2', 'a', '-', 'b', '!', '*', '\\', '\0', 'é'))
  .map((parts) => parts.join(''));
const name = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), near);
const template = fc.constantFrom(...TEMPLATES);

describe('names of the cache', () => {
  it('come back as they were given', () => {
    fc.assert(
      fc.property(template, tenant, name, (names, id, key) => {
        const own = new CacheNames({ names }).of(id);
        expect(own.decode(own.encode(key), 'get')).toBe(key);
        const bytes = Buffer.from(key);
        expect(own.decode(own.encode(bytes), 'get').equals(bytes)).toBe(true);
        expect(own.encode(bytes).equals(Buffer.from(own.encode(key)))).toBe(true);
      }),
    );
  });

  it('meet only when tenant and name are the same', () => {
    fc.assert(
      fc.property(template, tenant, name, tenant, name, (names, a, keyOfA, b, keyOfB) => {
        const made = new CacheNames({ names });
        const same = made.of(a).encode(keyOfA) === made.of(b).encode(keyOfB);
        expect(same).toBe(a === b && keyOfA === keyOfB);
      }),
    );
  });

  it('of one tenant are a breach for another', () => {
    fc.assert(
      fc.property(template, tenant, tenant, name, (names, a, b, key) => {
        fc.pre(a !== b);
        const made = new CacheNames({ names });
        const physical = made.of(a).encode(key);
        expect(made.of(b).owns(physical)).toBe(false);
        expect(() => made.of(b).decode(physical, 'get')).toThrow(IsolationBreachError);
        expect(() => made.of(b).decode(Buffer.from(physical), 'get')).toThrow(IsolationBreachError);
        expect(made.codec.tenantOf(physical)).toBe(a);
      }),
    );
  });

  it('are taken apart at the beginning only', () => {
    const names = new CacheNames().of('acme');
    expect(names.encode('tk:acme:x')).toBe('tk:acme:tk:acme:x');
    expect(names.decode('tk:acme:tk:acme:x', 'get')).toBe('tk:acme:x');
    for (const foreign of ['tk:acme', 'xtk:acme:x', 'TK:acme:x', 'tk:acme2:x', 'tk!acme:x', '']) {
      expect(() => names.decode(foreign, 'get')).toThrow(IsolationBreachError);
      expect(() => names.decode(Buffer.from(foreign), 'get')).toThrow(IsolationBreachError);
    }
  });

  it('say nothing about the other tenant in the error', () => {
    try {
      new CacheNames().of('acme').decode('tk:globex:secret', 'scan');
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({
        surface: 'cache',
        operation: 'scan',
        message: expect.stringContaining('a key outside the tenant came back'),
      });
      expect((error as Error).message).not.toMatch(/globex|secret/);
    }
  });

  it('stay texts or bytes when they are taken apart', () => {
    const own = new CacheNames().of('acme');
    expect(own.decode('tk:acme:x', 'get')).toBe('x');
    expect(own.decode(Buffer.from('tk:acme:x'), 'get')).toEqual(Buffer.from('x'));
    expect(own.decode(Buffer.from('tk:acme:'), 'get')).toEqual(Buffer.alloc(0));
  });

  it('cannot be changed by whoever gets hold of them', () => {
    const own = new CacheNames().of('acme');
    expect(() => Object.assign(own, { prefix: 'tk:acme2:' })).toThrow(TypeError);
    expect(own.encode('x')).toBe('tk:acme:x');
  });

  it('never begin as those of tenantkit itself do', () => {
    expect(RESERVED).toBe('tk!');
    for (const names of TEMPLATES)
      for (const id of HOSTILE_TENANTS)
        expect(new CacheNames({ names }).of(id).prefix.startsWith(RESERVED)).toBe(false);
  });

  it('are not made for what is no tenant', () => {
    for (const invalid of INVALID_TENANTS)
      expect(() => new CacheNames().of(invalid as string)).toThrow(/Invalid tenant id/);
    for (const id of TENANTS) expect(new CacheNames().of(id).prefix).toBe(`tk:${id}:`);
  });

  it('stay the same for more tenants than are remembered', () => {
    const names = new CacheNames();
    const first = names.of('t0');
    expect(names.of('t0')).toBe(first);
    for (let id = 1; id < 10_000; id += 1) names.of(`t${id}`);
    // As many as are remembered.
    expect(names.of('t0')).toBe(first);
    const last = names.of('t10000');
    expect(names.of('t0')).not.toBe(first);
    expect(names.of('t10000')).toBe(last);
    expect(names.of('t0').encode('x')).toBe('tk:t0:x');
    for (let id = 10_001; id < 25_000; id += 1) names.of(`t${id}`);
    expect(names.of('t1').encode('x')).toBe('tk:t1:x');
  });
});

describe('templates', () => {
  it('put the hash tag around the tenant', () => {
    const prefix = (options: ConstructorParameters<typeof CacheNames>[0]): string =>
      new CacheNames(options).of('acme').prefix;
    expect(prefix({ hashTag: true })).toBe('tk:{acme}:');
    expect(prefix({ hashTag: true, names: '{tenant}:' })).toBe('{acme}:');
    expect(prefix({ hashTag: true, names: 'x:{{tenant}}:' })).toBe('x:{acme}:');
  });

  it.each(['{x}:{tenant}:', '}{{tenant}:'])('refuse the hash tag in %s', (names) => {
    expect(() => new CacheNames({ names, hashTag: true })).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        surface: 'cache',
        operation: 'names',
        message: expect.stringContaining('would not be the hash tag'),
        hint: expect.stringContaining('such as tk:{tenant}:'),
      }),
    );
    expect(new CacheNames({ names }).of('acme').prefix).toContain('acme');
  });

  it.each(['', 'tk:', '{tenant}', 'tk:{tenant}-x', '{tenant}{tenant}:', 'tk!{tenant}:', 'a\n{tenant}:'])(
    'that are not injective are refused: %j',
    (names) => {
      expect(() => new CacheNames({ names })).toThrow(
        expect.objectContaining({ code: 'CONFIG_INVALID', surface: 'cache' }),
      );
    },
  );

  it.each(['é{tenant}:', 'tk:{tenant}:é', 'tk:{tenant}:\u007F', '\u001Ftk:{tenant}:'])(
    'that hold something else than printable ASCII characters are refused: %j',
    (names) => {
      expect(() => new CacheNames({ names })).toThrow(
        expect.objectContaining({
          code: 'CONFIG_INVALID',
          surface: 'cache',
          operation: 'names',
          message: expect.stringContaining('something else than printable ASCII characters'),
          hint: 'Use one such as tk:{tenant}:.',
        }),
      );
      expect(new CacheNames({ names: ' ~{tenant}~ ' }).of('acme').prefix).toBe(' ~acme~ ');
    },
  );
});

describe('the hash tag', () => {
  it.each<[string, boolean | undefined, boolean]>([
    ['tk:{tenant}:', undefined, false],
    ['tk:{tenant}:', true, true],
    ['tk:{{tenant}}:', undefined, true],
    ['{{tenant}}:', false, true],
    ['{tenant}:', undefined, false],
    // Redis would take what stands in the braces before it.
    ['{x}:{{tenant}}:', undefined, false],
    ['{{{tenant}}:', undefined, false],
    ['}{{tenant}}:', undefined, true],
  ])('of %s, asked for: %s', (names, hashTag, isTagged) => {
    const made = new CacheNames({ names, hashTag });
    expect(made.isTagged).toBe(isTagged);
    // The slot is that of what stands between the first brace and the next that closes it.
    const tag = /\{([^}]+)\}/.exec(made.of('acme').prefix)?.[1];
    expect(tag === 'acme').toBe(isTagged);
  });
});

describe('globs', () => {
  it('match the text itself and nothing that differs', () => {
    fc.assert(
      fc.property(near, near, (text, other) => {
        expect(matches(escapeGlob(text), text)).toBe(true);
        expect(matches(escapeGlob(text), other)).toBe(text === other);
      }),
    );
  });

  it('of a tenant match its own keys only, whatever pattern a caller gives', () => {
    fc.assert(
      fc.property(template, tenant, tenant, near, near, (names, a, b, pattern, key) => {
        fc.pre(a !== b);
        const made = new CacheNames({ names });
        expect(matches(made.of(a).glob(pattern), made.of(b).encode(key))).toBe(false);
        expect(matches(made.of(a).glob('*'), made.of(a).encode(key))).toBe(true);
        const bytes = made.of(a).glob(Buffer.from(pattern));
        expect(bytes.equals(Buffer.from(made.of(a).glob(pattern)))).toBe(true);
      }),
    );
  });
});

// The part of Redis's stringmatchlen that the letters above can reach: `*`, `?`, `\` and plain characters.
function matches(pattern: string, text: string): boolean {
  if (pattern === '') return text === '';
  const [first = '', ...others] = pattern;
  const rest = others.join('');
  if (first === '*') {
    for (let skip = 0; skip <= text.length; skip += 1) if (matches(rest, text.slice(skip))) return true;
    return false;
  }
  if (text === '') return false;
  if (first === '?') return matches(rest, text.slice(1));
  if (first === '\\' && rest !== '') return rest[0] === text[0] && matches(rest.slice(1), text.slice(1));
  return first === text[0] && matches(rest, text.slice(1));
}
