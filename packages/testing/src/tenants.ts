/**
 * Five tenants whose ids are as close to each other as ids can be: one is the beginning of another, with and
 * without a separator after it. In tests all of them own the same logical ids.
 */
export const TENANTS: readonly ['acme', 'acme2', 'a', 'a-b', 'ac'] = ['acme', 'acme2', 'a', 'a-b', 'ac'];

/** Well-formed ids that trip up careless code: other case, names of object properties, the longest one. */
export const HOSTILE_TENANTS: readonly string[] = [
  ...TENANTS,
  'Acme',
  'ACME',
  'acme-',
  'acme_',
  '-',
  '_',
  '--',
  '0',
  '00',
  '__proto__',
  'constructor',
  'toString',
  'true',
  'tenant',
  'default',
  'x'.repeat(64),
];

/** What is no tenant id and must be refused before any name is built from it. */
export const INVALID_TENANTS: readonly unknown[] = [
  'null',
  'undefined',
  '',
  ' ',
  'acme ',
  ' acme',
  'acme\n',
  'acme\u0000',
  'acme:1',
  'acme/1',
  'acme.1',
  '..',
  '../acme2',
  'acme*',
  'acme?',
  '[a]cme',
  '{acme}',
  '<acme-{now/d}>',
  'acme,acme2',
  'acme%2Facme2',
  'acmé',
  'ａｃｍｅ',
  'аcme',
  'acme\u200b',
  '\u202eacme',
  '\ud800',
  'x'.repeat(65),
  null,
  undefined,
  0,
  true,
  Symbol('acme'),
  {},
  ['acme'],
  { toString: () => 'acme' },
];
