import { ConfigError } from '@tenantkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { storageNames } from '../src/names.ts';
import { assertPatterns, match, readPattern, tokensOf } from '../src/pattern.ts';

const refusedFor = (pattern: string, names?: string): string => {
  try {
    assertPatterns([pattern], storageNames(names));
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  return 'accepted';
};

describe('a pattern that no key can match', () => {
  it.each([
    ['/users/{subject}/**', 'a leading slash'],
    ['users//{subject}', 'an empty segment'],
    ['../{subject}', '"." or ".." segment'],
    ['users/./{subject}', '"." or ".." segment'],
    ['%2e%2e/{subject}', 'decodes or folds'],
    ['use\u0301rs/{subject}/**', 'Unicode normal form C'],
    ['users\\{subject}', 'a backslash'],
    ['users/{subject}/\u0000', 'a control character'],
    ['users/{subject}/\u202E', 'a bidirectional control character'],
    [`${'u'.repeat(1100)}/{subject}`, 'bytes long'],
    ['tenants/{tenant}/users/{subject}/**', 'the tenant’s prefix'],
    ['tenants/acme/users/{subject}/**', 'the tenant’s prefix'],
    ['tenants/*/{subject}', 'the tenant’s prefix'],
    ['{tenant}/users/{subject}', 'the tenant’s prefix'],
  ])('%j is refused: %s', (pattern, words) => {
    const message = refusedFor(pattern);
    expect(message).toContain('tenant.subjects.0 is a pattern that no key can match');
    expect(message).toContain(words);
  });

  it('is told from others by the template of the names', () => {
    expect(refusedFor('files/acme/{subject}', 'files/{tenant}/')).toContain('the tenant’s prefix');
    expect(refusedFor('tenants/acme/{subject}', 'files/{tenant}/')).toBe('accepted');
    expect(refusedFor('a/{subject}', '{tenant}/')).toBe('accepted');
  });

  it.each([
    'users/{subject}/**',
    'users/{subject}/',
    '**/{subject}/**/*.pdf',
    'avatars/*/{subject}.p?g',
    '{subject}',
    'tenants/{subject}/**',
    'usérs/{subject}/**',
  ])('is not %s', (pattern) => {
    expect(refusedFor(pattern)).toBe('accepted');
  });
});

describe('matching', () => {
  const of = (pattern: string) => readPattern(pattern, 'p1', 'tenants/acme/');

  it.each([
    ['users/{subject}/**', 'users/p1/a/b', true],
    ['users/{subject}/**', 'users/p1/', true],
    ['users/{subject}/**', 'users/p10/a', false],
    ['a/*/{subject}', 'a/b/p1', true],
    ['a/*/{subject}', 'a/b/c/p1', false],
    ['a/**/{subject}', 'a/b/c/p1', true],
    ['{subject}/a.*', 'p1/axb', false],
    ['{subject}/?', 'p1/\u{1F600}', true],
    ['{subject}/?', 'p1//', false],
    ['{subject}/***', 'p1/a\nb', true],
    ['{subject}/(a|b)+[c]$', 'p1/(a|b)+[c]$', true],
    ['{subject}/*a*b', 'p1/aabab', true],
    ['{subject}/*a*b', 'p1/aaba', false],
  ])('%s and %j: %s', (pattern, key, expected) => {
    expect(of(pattern).matches(key)).toBe(expected);
    expect(of(pattern).prefix).toBe(`tenants/acme/${pattern.replace('{subject}', 'p1').split(/[*?]/, 1)[0]}`);
  });

  it('is what a regular expression says', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '\n'), maxLength: 8 });
    const wild = fc.constantFrom('*', '**', '?', 'a', 'b', '/');
    fc.assert(
      fc.property(fc.array(wild, { maxLength: 6 }), text, (parts, key) => {
        const meaning: Readonly<Record<string, string>> = { '*': '[^/]*', '**': '.*', '?': '[^/]' };
        const source = (parts.join('').match(/\*\*|[^]/g) ?? [])
          .map((part) => meaning[part] ?? part)
          .join('');
        expect(match(tokensOf(parts.join('')), key).isMatch).toBe(new RegExp(`^${source}$`, 'su').test(key));
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    '**/p1/**/in/**/*.pdf',
    '**/a/**/p1/**/in/**/*.pdf',
    `${'**/p1/'.repeat(20)}*.pdf`,
    `${'*a'.repeat(60)}x`,
    `${'**a'.repeat(60)}x`,
  ])('of %s takes at most one step per character and sign, whatever the key', (pattern) => {
    const tokens = tokensOf(pattern);
    for (const unit of ['a/p1/in/', 'p1/', 'a', '/', '.pdf']) {
      const [short, long] = [64, 1024].map((length) => {
        const key = unit.repeat(length).slice(0, length - 1);
        return match(tokens, `${key}!`).steps;
      }) as [number, number];
      expect(long).toBeLessThanOrEqual(1024 * tokens.length);
      // Sixteen times the key, sixteen times the work, and what the first characters have less to do.
      expect(long).toBeLessThanOrEqual(short * 16 + 16 * tokens.length ** 2);
    }
  });
});
