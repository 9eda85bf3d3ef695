import { extendedEncodeURIComponent } from '@smithy/core/protocols';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VERSION_ID, encodePath, formatCopySource, parseCopySource } from '../src/copy-source.ts';

// A character of each kind that is spelled in its own way.
const ANY_KIND = fc.constantFrom(...Array.from('aZ09/_.~-!"#$%&\'()*+,:;<=>?@[]^`{|} \n\u0000é\u0301中😀'));

describe('CopySource', () => {
  it.each([
    ['b/k', { bucket: 'b', key: 'k' }],
    ['/b/k', { bucket: 'b', key: 'k' }],
    ['b/a/b c', { bucket: 'b', key: 'a/b c' }],
    ['b/a%2Fb%20c', { bucket: 'b', key: 'a/b c' }],
    ['b%2Fk', { bucket: 'b', key: 'k' }],
    ['%2Fb%2Fk', { bucket: 'b', key: 'k' }],
    ['b/a+b', { bucket: 'b', key: 'a+b' }],
    ['b/a%2Bb', { bucket: 'b', key: 'a+b' }],
    [
      'b/k?versionId=3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY',
      { bucket: 'b', key: 'k', versionId: '3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY' },
    ],
    ['b/k%3FversionId=x', { bucket: 'b', key: 'k?versionId=x' }],
    ['b/arn:x', { bucket: 'b', key: 'arn:x' }],
    // Decoded once: what is left is the key, and the grammar of keys decides about it.
    ['b/%252e%252e/x', { bucket: 'b', key: '%2e%2e/x' }],
    ['b/../x', { bucket: 'b', key: '../x' }],
  ])('reads %s', (text, source) => {
    expect(parseCopySource(text)).toStrictEqual(source);
  });

  it.each([
    undefined,
    7,
    '',
    'b',
    'b/',
    '/',
    '//k',
    'b%2',
    'b/%zz',
    'b/%ff',
    'arn:aws:s3:us-east-1:123456789012:accesspoint/x/object/k',
    '/arn:aws:s3:::b/k',
    'ARN:aws:s3:::b/k',
    'b/k?versionId=',
    'b/k?versionId=x&acl',
    'b/k?acl',
    'b/k?',
    'b/k?versionId=a b',
    'b/k?versionId=%2e',
    'b/k?a?versionId=x',
    'b/k?versionId=x\ny',
  ])('refuses %j', (text) => {
    const refused = parseCopySource(text);
    // 'b/' names a bucket and an empty key: the grammar of keys refuses that.
    if (text === 'b/') expect(refused).toEqual({ bucket: 'b', key: '' });
    else expect(refused).toHaveProperty('kind', 'refuse');
  });

  it('is written in one spelling, which reads as what it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: ANY_KIND, minLength: 1 }), fc.boolean(), (key, versioned) => {
        const source = { bucket: 'uploads', key, ...(versioned ? { versionId: 'v1' } : {}) };
        const text = formatCopySource(source);
        expect(text).toMatch(/^uploads\/[A-Za-z0-9._~/%-]*(?:\?versionId=v1)?$/);
        expect(parseCopySource(text)).toEqual(source);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    [7, 'is not a text'],
    ['', 'is not a text'],
    ['/arn:aws:s3:::b/k', 'is an ARN, which names a bucket behind an access point'],
    ['b?versionId=x', 'names no bucket or no key'],
    ['b/k?acl', 'has a query other than ?versionId='],
    ['b/%zz', 'is not well-formed percent-encoding'],
  ])('says why it refuses %j', (text, words) => {
    expect(parseCopySource(text)).toEqual({
      kind: 'refuse',
      why: `CopySource ${words}`,
      instead: 'Give it as `${bucket}/${encodeURIComponent(key)}`, with the logical key of this tenant.',
    });
  });

  it('has the SDK’s own spelling of a path', () => {
    expect(encodePath("a/b !'()*é+%")).toBe('a/b%20%21%27%28%29%2A%C3%A9%2B%25');
  });

  it('spells a path of harmless characters as it spells each of its characters', () => {
    const one = (char: string): string =>
      char === '/' ? char : extendedEncodeURIComponent(char).replaceAll('%2f', '%2F');
    const key = fc.string({ unit: ANY_KIND });
    fc.assert(fc.property(key, (text) => encodePath(text) === Array.from(text, one).join('')));
    for (let code = 0; code < 128; code += 1) {
      const char = String.fromCharCode(code);
      expect(encodePath(char)).toBe(one(char));
    }
  });
});

describe('a version id', () => {
  it.each(['v', '...', '.v', 'v.', 'a/b', 'a/.b/..c', '3/L4kq+J~_-=', 'x'.repeat(1024)])(
    'may be %s',
    (id) => {
      expect(VERSION_ID.test(id)).toBe(true);
    },
  );

  it.each([
    '',
    '.',
    '..',
    './v',
    '../v',
    'a/.',
    'a/..',
    'ab/cd/..',
    'a/../b',
    'a/./b',
    'a b',
    'a\n',
    'x'.repeat(1025),
  ])('is not %j', (id) => {
    expect(VERSION_ID.test(id)).toBe(false);
  });
});
