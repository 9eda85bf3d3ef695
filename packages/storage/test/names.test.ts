import { ConfigError, IsolationBreachError, OperationRefusedError, withTenant } from '@tenantkit/core';
import { storageNames, type StorageNames } from '@tenantkit/storage';
import { TENANTS } from '@tenantkit/testing';
import { describe, expect, it } from 'vitest';
import { keyProblem } from '../src/grammar.ts';

const names = (): StorageNames => storageNames();
const AT = { operation: 'GetObjectCommand', field: 'Key' } as const;
const encode = (tenant: string, key: unknown): string => names().encode(tenant, key, AT);

const ACCEPTED: readonly string[] = [
  'a',
  'folder/',
  'a/b/c.txt',
  'a%2Fb',
  '100%',
  '%zz',
  '...',
  '+',
  '+1.5',
  '5¥',
  '%',
  '%09',
  'a%0ab',
  'a..b',
  '..a',
  'a..',
  '.hidden',
  '.well-known/x',
  'a b',
  ' ',
  'a+b?c#d&e=f~g!h*i(j)k\'l"m<n>o|p',
  'a:b',
  'a;b',
  'x;..',
  'tenants/acme2/one',
  'é',
  '👩‍👩‍👧.png',
  'ﬁle',
  '½',
  '．hidden',
  'a%00b',
  '__proto__',
  'x'.repeat(1024 - 'tenants/acme/'.length),
];

/** A key that is refused, and the words by which the error names the rule and the place. */
const REFUSED: readonly (readonly [key: string, words: string])[] = [
  ['', 'is empty'],
  ['/', 'a leading slash at index 0'],
  ['/a', 'a leading slash at index 0'],
  ['a//b', 'an empty segment at index 1'],
  ['.', 'a "." or ".." segment at index 0'],
  ['..', 'a "." or ".." segment at index 0'],
  ['../acme2/one', 'a "." or ".." segment at index 0'],
  ['a/../../acme2/one', 'a "." or ".." segment at index 2'],
  ['a/./b', 'a "." or ".." segment at index 2'],
  ['a/..', 'a "." or ".." segment at index 2'],
  ['a\\b', 'a backslash at index 1'],
  ['..\\acme2', 'a backslash at index 2'],
  ['a\u0000b', 'a control character at index 1'],
  ['a\nb', 'a control character at index 1'],
  ['a\u0085', 'a control character at index 1'],
  ['a\u202eb', 'a bidirectional control character at index 1'],
  ['\u200ea', 'a bidirectional control character at index 0'],
  ['a\u2066', 'a bidirectional control character at index 1'],
  ['\ud800', 'a lone surrogate at index 0'],
  ['a\udc00b', 'a lone surrogate at index 1'],
  ['a\uffff', 'a noncharacter at index 1'],
  ['e\u0301', 'not in Unicode normal form C at index 0'],
  ['a/%2e%2e/b', 'decodes or folds to "." or ".." at index 2'],
  ['%2E', 'decodes or folds to "." or ".." at index 0'],
  ['.%2e', 'decodes or folds to "." or ".." at index 0'],
  ['a/%252e%252e/b', 'decodes or folds to "." or ".." at index 2'],
  ['%c0%ae%c0%ae', 'decodes or folds to "." or ".." at index 0'],
  ['%e0%80%ae.', 'decodes or folds to "." or ".." at index 0'],
  ['%u002e%u002e', 'decodes or folds to "." or ".." at index 0'],
  ['..%2facme2', 'decodes or folds to "." or ".." at index 0'],
  ['a%2f..%2fb', 'decodes or folds to "." or ".." at index 0'],
  ['..%5cacme2', 'decodes or folds to "." or ".." at index 0'],
  ['．．', 'decodes or folds to "." or ".." at index 0'],
  ['‥', 'decodes or folds to "." or ".." at index 0'],
  ['..／acme2', 'decodes or folds to "." or ".." at index 0'],
  ['..＼acme2', 'decodes or folds to "." or ".." at index 0'],
  ['..∕acme2', 'decodes or folds to "." or ".." at index 0'],
  ['％2e％2e', 'decodes or folds to "." or ".." at index 0'],
  ['..;x', 'decodes or folds to "." or ".." at index 0'],
  ['a/..;x=1/b', 'decodes or folds to "." or ".." at index 2'],
  ['..?x', 'decodes or folds to "." or ".." at index 0'],
  ['..#x', 'decodes or folds to "." or ".." at index 0'],
  ['..:x', 'decodes or folds to "." or ".." at index 0'],
  ['..%00', 'decodes or folds to "." or ".." at index 0'],
  ['.. ', 'decodes or folds to "." or ".." at index 0'],
  ['..%20', 'decodes or folds to "." or ".." at index 0'],
  ['.\u200b.', 'decodes or folds to "." or ".." at index 0'],
  ['%00..', 'decodes or folds to "." or ".." at index 0'],
  ['%09../acme2/one', 'decodes or folds to "." or ".." at index 0'],
  ['a/%0a..', 'decodes or folds to "." or ".." at index 2'],
  ['.%0d.', 'decodes or folds to "." or ".." at index 0'],
  ['%2%09e.', 'decodes or folds to "." or ".." at index 0'],
  ['..+', 'decodes or folds to "." or ".." at index 0'],
  ['+..', 'decodes or folds to "." or ".." at index 0'],
  ['..%', 'decodes or folds to "." or ".." at index 0'],
  ['..¥acme2', 'decodes or folds to "." or ".." at index 0'],
  ['..₩acme2', 'decodes or folds to "." or ".." at index 0'],
  ['x'.repeat(1024 - 'tenants/acme/'.length + 1), '1025 bytes long'],
  ['é'.repeat(512), 'bytes long'],
];

describe('keys', () => {
  it.each(ACCEPTED)('accepts %j and round-trips it', (key) => {
    const physical = encode('acme', key);
    expect(physical).toBe(`tenants/acme/${key}`);
    expect(names().decode('acme', physical, 'ListObjectsV2Command')).toBe(key);
    expect(names().accepts('acme', physical)).toBe(true);
  });

  it.each(REFUSED)('refuses %j and says which rule and where', (key, words) => {
    const refused = (): string => withTenant('acme', () => encode('acme', key));
    expect(refused).toThrow(OperationRefusedError);
    expect(refused).toThrow(words);
    expect(names().accepts('acme', `tenants/acme/${key}`)).toBe(false);
    // The same place accepts an ordinary key.
    expect(encode('acme', 'ordinary')).toBe('tenants/acme/ordinary');
  });

  it('never repeats in the message what would hide or reorder text on a terminal', () => {
    for (const [key] of REFUSED) {
      const { why, instead } = keyProblem(key, { prefix: 'tenants/acme/' }) ?? { why: '', instead: '' };
      expect(`${why} ${instead}`).toMatch(/^[\x20-\x7e]+$/);
      expect(instead).toMatch(/^[A-Z].*\.$/);
    }
  });

  it.each([undefined, null, 7, true, {}, ['a'], { toString: () => 'a' }])(
    'refuses %j, which is no text',
    (key) => {
      expect(() => encode('acme', key)).toThrow(/Key is (?:missing|not a text)/);
    },
  );

  it('takes beginnings of keys for a listing, and refuses in them what a key may not hold', () => {
    const partial = (text: string): string => names().encode('acme', text, AT, 'partial');
    expect(partial('')).toBe('tenants/acme/');
    expect(partial('folder')).toBe('tenants/acme/folder');
    expect(partial('folder/')).toBe('tenants/acme/folder/');
    for (const text of ['/', '../', '..', 'a/../', 'a//', '\u0000', '%2e%2e/']) {
      expect(() => partial(text), text).toThrow(OperationRefusedError);
    }
  });
});

describe('the codec', () => {
  it('takes a physical key for the tenant that it was made for, and for no other', () => {
    for (const tenant of TENANTS) {
      const physical = encode(tenant, 'one');
      expect(names().decode(tenant, physical, 'x')).toBe('one');
      expect(names().tenantOf(physical)).toBe(tenant);
      for (const other of TENANTS.filter((candidate) => candidate !== tenant)) {
        expect(() => names().decode(other, physical, 'x'), `${other} decodes ${physical}`).toThrow(
          IsolationBreachError,
        );
        expect(names().accepts(other, physical)).toBe(false);
      }
    }
  });

  it('decodes a percent-encoded listing, whether the server encodes the slash or not', () => {
    const decode = (physical: string, encoded = true): string =>
      names().decode('acme', physical, 'x', encoded);
    expect(decode('tenants%2Facme%2Fa%20b')).toBe('a%20b');
    expect(decode('tenants/acme/a+b')).toBe('a+b');
    expect(decode('tenants%2facme/x')).toBe('x');
    for (const foreign of [
      'tenants%2Facme2%2Fx',
      'tenants%2Facm',
      'tenants%252Facme%252Fx',
      '%2E%2E/tenants/acme/x',
    ]) {
      expect(() => decode(foreign), foreign).toThrow(IsolationBreachError);
    }
    // Without the encoding, a percent sign is part of the key.
    expect(() => decode('tenants%2Facme%2Fx', false)).toThrow(IsolationBreachError);
  });

  it.each(['customers/{tenant}/', '{tenant}/', 'v=1/tenant={tenant}/files/'])(
    'accepts the template %s',
    (template) => {
      const own = storageNames(template);
      expect(own.decode('acme', own.encode('acme', 'one', AT), 'x')).toBe('one');
    },
  );

  it.each([
    'tenants/',
    '{tenant}',
    'tenants/{tenant}',
    'tenants/{tenant}-x/',
    '/tenants/{tenant}/',
    'tenants//{tenant}/',
    '../{tenant}/',
    'tenants/{tenant}/./',
    'tenants\\{tenant}/',
    'tenants/{tenant}/*/',
    'tenants/{tenant}/${x}/',
    'tk!/{tenant}/',
    'ténants/{tenant}/',
    'tenants/{tenant}:',
    'a/{tenant}/{tenant}/',
  ])('refuses the template %s', (template) => {
    expect(() => storageNames(template)).toThrow(ConfigError);
  });
});
