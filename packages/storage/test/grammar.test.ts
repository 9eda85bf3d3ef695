import {
  ConfigError,
  InvalidTenantError,
  IsolationBreachError,
  OperationRefusedError,
} from '@tenantkit/core';
import { afterEach, describe, expect, it } from 'vitest';
import { keyProblem, shown } from '../src/grammar.ts';
import { storageNames, type StorageNames } from '../src/names.ts';

const nested = (text: string, levels: number): string =>
  levels === 0 ? text : nested(text.replaceAll('%', '%25'), levels - 1);

describe('a key', () => {
  it.each([
    'x'.repeat(1024),
    // What decodes to no dots, however careless: bytes of which no character can be made stand for themselves.
    '%6e%6e',
    '%2e%2e%zz',
    '..%c0',
    '..%c0%41',
    '..%e0%80%41',
    '%f7%bf%bf%bf',
    '.%f7%bf%bf%bf.',
    nested('%61', 3),
    // What follows a dot in more bytes than it needs.
    '%e0%80%aea',
    '%f0%80%80%aea',
    // As far as it is unfolded: without the control character, two levels more than with it.
    '%%00252561',
    `${'\ufdfa'.repeat(113)}${'x'.repeat(14)}`,
  ])('%j is accepted', (key) => {
    expect(keyProblem(key)).toBeUndefined();
  });

  it.each([
    // Four bytes for one dot; a byte that is no character behind one.
    '%f0%80%80%ae.',
    '%2e%80',
    '%c0%ae%80',
    '%e0%80%ae%e0%80%ae',
    '%%0025252561',
    `${'\ufdfa'.repeat(113)}${'x'.repeat(15)}`,
    // Cut off at a control character, or dropped with it.
    '..%00x',
    'a／．．',
    nested('%61', 4),
    nested('%61', 40),
  ])('%j is refused, since it folds to dots', (key) => {
    expect(keyProblem(key)?.why).toBe('Key has a segment that decodes or folds to "." or ".." at index 0');
  });

  it.each<[unknown, string, string]>([
    [undefined, 'Key is missing', 'Give Key as a text.'],
    [null, 'Key is not a text', 'Give Key as a text.'],
    ['', 'Key is empty', 'Give a key of at least one character.'],
    [
      'ae\u0301',
      'Key has a character that is not in Unicode normal form C at index 1',
      "Name a new object key.normalize('NFC'). One that is stored under the other form is another object: rename it under acrossTenants.",
    ],
    [
      'x'.repeat(1025),
      "Key is 1025 bytes long with the tenant's prefix, 1024 are allowed",
      'Shorten the key; count its bytes in UTF-8.',
    ],
  ])('%j has its words', (key, why, instead) => {
    expect(keyProblem(key)).toEqual({ kind: 'refuse', why, instead });
  });

  it('is shown without what would hide or reorder text', () => {
    expect(shown('a\u0000\ud800\uffff\u061c\u200b\u2028\u2060\ufeff\u{10ffff} é')).toBe(
      String.raw`a\u{0}\u{d800}\u{ffff}\u{61c}\u{200b}\u{2028}\u{2060}\u{feff}\u{10ffff} é`,
    );
  });
});

describe('the work that a key makes', () => {
  const COUNTED = ['normalize', 'replace', 'replaceAll', 'search', 'split'] as const;
  const { prototype } = String;
  const own = COUNTED.map((name) => [name, prototype[name] as (...args: unknown[]) => unknown] as const);
  const restore = (): void => {
    for (const [name, value] of own) Object.defineProperty(prototype, name, { value });
  };
  afterEach(restore);

  /** How many characters were gone through. */
  const workOf = (key: string): number => {
    let count = 0;
    for (const [name, method] of own) {
      const value = function (this: string, ...args: unknown[]): unknown {
        count += this.length;
        return Reflect.apply(method, this, args);
      };
      Object.defineProperty(prototype, name, { value });
    }
    try {
      keyProblem(key, { prefix: 'tenants/acme/' });
    } finally {
      restore();
    }
    return count;
  };

  const ordinary = (): number => workOf('é'.repeat(500));
  const ACCEPTED: readonly (readonly [string, key: string])[] = [
    ['characters that stand for many', '\ufdfa'.repeat(110)],
    ['and escapes of escapes', `${'\ufdfa'.repeat(90)}${'%25252541'.repeat(40)}`],
    ['and many segments', 'x\ufdfa/'.repeat(100)],
    ['escapes of such characters', '%EF%B7%BA'.repeat(110)],
    ['escapes without end', `${'%25252541'.repeat(110)}x`],
    ['controls, which are read in two ways', `${'%2500a'.repeat(150)}x`],
    ['segments', 'é/'.repeat(330)],
  ];

  it.each(ACCEPTED)('is bounded where it has %s', (_what, key) => {
    expect(keyProblem(key)).toBeUndefined();
    expect(ordinary()).toBeGreaterThan(500);
    expect(workOf(key)).toBeLessThan(20 * ordinary());
  });

  it.each([
    ['\ufdfa'.repeat(114), '\ufdfa'.repeat(113)],
    [`${'\ufdfa'.repeat(300)}${nested('%61', 13)}`, `\ufdfa${nested('%61', 3)}`],
    [nested('%61', 40), nested('%61', 3)],
  ])('ends where it would go on: %j is refused', (key, control) => {
    expect(keyProblem(key)?.why).toBe('Key has a segment that decodes or folds to "." or ".." at index 0');
    expect(workOf(key)).toBeLessThan(20 * ordinary());
    expect(keyProblem(control)).toBeUndefined();
  });
});

describe('names', () => {
  const names = (): StorageNames => storageNames();

  it('begin with the prefix of the tenant', () => {
    expect(names().prefix('acme')).toBe('tenants/acme/');
    expect(names().template).toBe('tenants/{tenant}/');
    // One tenant after the other, and what is none.
    const own = names();
    for (const tenant of ['acme', 'acme', 'acme2', 'acme'])
      expect(own.prefix(tenant)).toBe(`tenants/${tenant}/`);
    for (const none of ['', '../acme']) expect(() => names().prefix(none)).toThrow(InvalidTenantError);
  });

  it('in a reply are plain unless it says otherwise, and a text', () => {
    expect(names().decode('acme', 'tenants/acme/a', 'GetObjectCommand')).toBe('a');
    for (const physical of ['tenants%2Facme%2Fa', undefined, 7, ['tenants/acme/a']]) {
      for (const encoded of [undefined, false]) {
        const read = (): string => names().decode('acme', physical, 'GetObjectCommand', encoded);
        expect(read).toThrow(IsolationBreachError);
        expect(read).toThrow('storage.GetObjectCommand: a key outside the tenant came back');
      }
    }
    expect(() => names().decode('acme', 7, 'GetObjectCommand', true)).toThrow(IsolationBreachError);
  });

  it('that are refused name the command and the field', () => {
    const refused = (): string =>
      names().encode('acme', '', { operation: 'ListPartsCommand', field: 'Marker' });
    expect(refused).toThrow(OperationRefusedError);
    expect(refused).toThrow('storage.ListPartsCommand is refused: Marker is empty.');
  });

  it.each(['tenants/{tenant}/x', 'tenants/{tenant}./', 'tenants/{tenant}x/', 'tenants/', 'a b/{tenant}/'])(
    'have no template %s',
    (template) => {
      expect(() => storageNames(template)).toThrow(ConfigError);
      expect(() => storageNames(template)).toThrow(
        /^Invalid configuration of storage\.names: .+\. Use a template such as tenants\/\{tenant\}\/ or customers\/\{tenant\}\/files\/\.$/,
      );
    },
  );
});
