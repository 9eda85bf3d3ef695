import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatCopySource, parseCopySource } from '../src/copy-source.ts';

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
    // Decoded once: what is left is the key, and the grammar of keys decides about it.
    ['b/%252e%252e/x', { bucket: 'b', key: '%2e%2e/x' }],
    ['b/../x', { bucket: 'b', key: '../x' }],
  ])('reads %s', (text, source) => {
    expect(parseCopySource(text)).toEqual(source);
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
  ])('refuses %j', (text) => {
    const refused = parseCopySource(text);
    // 'b/' names a bucket and an empty key: the grammar of keys refuses that.
    if (text === 'b/') expect(refused).toEqual({ bucket: 'b', key: '' });
    else expect(refused).toHaveProperty('kind', 'refuse');
  });

  it('is written in one spelling, which reads as what it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), fc.boolean(), (key, versioned) => {
        fc.pre(key.isWellFormed());
        const source = { bucket: 'uploads', key, ...(versioned ? { versionId: 'v1' } : {}) };
        const text = formatCopySource(source);
        expect(text).toMatch(/^uploads\/[A-Za-z0-9._~/%-]*(?:\?versionId=v1)?$/);
        expect(parseCopySource(text)).toEqual(source);
      }),
      { numRuns: 2000 },
    );
  });
});
