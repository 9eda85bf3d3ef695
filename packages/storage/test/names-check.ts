import { posix, win32 } from 'node:path';
import { IsolationBreachError } from '@tenantkit/core';
import { storageNames } from '@tenantkit/storage';
import { TENANTS } from '@tenantkit/testing';
import fc, { type Arbitrary } from 'fast-check';
import { expect } from 'vitest';
import { encodePath } from '../src/copy-source.ts';
import { keyProblem } from '../src/grammar.ts';

// What an honest key is made of, and what others decode, fold, ignore or cut off before they look for dots.
const PLAIN = [
  'a',
  'b.txt',
  'acme',
  'acme2',
  'tenants',
  'é',
  '🙂',
  '0',
  '~',
  '!',
  "'",
  '(',
  '*',
  ',',
  '@',
  '$',
];
const DOTS = ['.', '..', '...', '%2e', '%2E', '%252e', '%c0%ae', '%e0%80%ae', '%u002e', '．', '‥', '․', '﹒'];
const SLASHES = [
  '/',
  '//',
  '\\',
  '%2f',
  '%2F',
  '%252F',
  '%5c',
  '%c0%af',
  '／',
  '＼',
  '∕',
  '⁄',
  '∖',
  '﹨',
  '¥',
  '₩',
];
const CUTS = [';', ';x=1', '；', '?', '#', ':', '::$DATA', '%00', '%3b', '%3f', '%23', '%3a', '&', '|'];
const BLANKS = [
  ' ',
  '+',
  '%20',
  '%09',
  '%0a',
  '%0d',
  '%7f',
  '%',
  '%2',
  'e',
  '%zz',
  '\u00a0',
  '\u3000',
  '\u2028',
];
const UNSEEN = [
  '\u200b',
  '\u200c',
  '\u200d',
  '\u00ad',
  '\ufe0f',
  '\u034f',
  '\u2060',
  '\ufeff',
  '\u202e',
  '\u200f',
];
const MARKS = [
  '\u0301',
  '\u0338',
  '\u0307',
  '\u20dd',
  '\ud800',
  '\udc00',
  '\u0000',
  '\u0009',
  '\u0085',
  '\uffff',
];

const PIECES: readonly (readonly [weight: number, pieces: readonly string[]])[] = [
  [4, PLAIN],
  [5, DOTS],
  [4, SLASHES],
  [3, CUTS],
  [3, BLANKS],
  [2, UNSEEN],
  [1, MARKS],
];

const hostile = fc
  .array(fc.oneof(...PIECES.map(([weight, pieces]) => ({ weight, arbitrary: fc.constantFrom(...pieces) }))), {
    minLength: 1,
    maxLength: 9,
  })
  .map((pieces) => pieces.join(''));
const segments = (segment: Arbitrary<string>): Arbitrary<string> =>
  fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const anyText = fc.string({ unit: 'binary', minLength: 1, maxLength: 24 });

/** Keys of all Unicode, with much of what escapes are made of. */
export const keys: Arbitrary<string> = fc.oneof(
  { weight: 5, arbitrary: hostile },
  { weight: 2, arbitrary: segments(hostile) },
  { weight: 2, arbitrary: anyText },
  { weight: 1, arbitrary: segments(fc.oneof(anyText, hostile)) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 24 }) },
  // Up to the limit of bytes, and beyond it.
  { weight: 1, arbitrary: fc.tuple(anyText, fc.nat(1100)).map(([text, length]) => text.padEnd(length, 'é')) },
);

const idChar = fc.constantFrom(...'A B Z a b z 0 9 _ -'.split(' '));
const tenants = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...TENANTS) },
  { weight: 1, arbitrary: fc.string({ unit: idChar, minLength: 1, maxLength: 64 }) },
);

const names = storageNames();
const AT = { operation: 'GetObjectCommand', field: 'Key' } as const;

/** What {@link checkNames} has seen. */
export interface Seen {
  readonly accepted: number;
  readonly refused: number;
}

/**
 * Checks the codec of names with random keys: it gives back bit for bit what it was given, nothing to another tenant,
 * no two keys under one name, and nothing that a resolver takes out of its tenant.
 *
 * @param runs - how many pairs of a tenant and a key
 */
export function checkNames(runs: number): Seen {
  const seen = { accepted: 0, refused: 0 };
  const made = new Map<string, string>();
  fc.assert(
    fc.property(tenants, keys, tenants, (tenant, key, other) => {
      const prefix = names.prefix(tenant);
      if (keyProblem(key, { prefix }) !== undefined) {
        seen.refused += 1;
        expectRefusal(tenant, key);
        return;
      }
      seen.accepted += 1;
      const physical = names.encode(tenant, key, AT);
      same(physical, `tenants/${tenant}/${key}`, 'the physical key');
      same(names.decode(tenant, physical, 'x'), key, 'what comes back');
      same(names.tenantOf(physical), tenant, 'whose it is');
      same(Buffer.from(physical, 'utf8').toString('utf8'), physical, 'what leaves as UTF-8');
      same(Buffer.byteLength(physical) <= 1024, true, 'within the limit of S3');
      if (other !== tenant) same(isBreach(other, physical), true, 'closed to others');
      same(made.get(physical) ?? `${tenant} ${key}`, `${tenant} ${key}`, 'one key under this name');
      made.set(physical, `${tenant} ${key}`);
      resolvesToItself(physical);
      for (const form of formsOf(physical)) staysInside(form, `tenants/${tenant}`);
    }),
    { numRuns: runs },
  );
  return seen;
}

function expectRefusal(tenant: string, key: string): void {
  let error: unknown;
  try {
    names.encode(tenant, key, AT);
  } catch (thrown) {
    error = thrown;
  }
  same((error as { code?: string } | undefined)?.code, 'OPERATION_REFUSED', 'how it is refused');
  same(names.accepts(tenant, `tenants/${tenant}/${key}`), false, 'not accepted');
}

function isBreach(tenant: string, physical: string): boolean {
  try {
    names.decode(tenant, physical, 'x');
    return false;
  } catch (error) {
    return error instanceof IsolationBreachError;
  }
}

/** As it is, a key is one name for whoever takes it as a path. */
function resolvesToItself(physical: string): void {
  const bare = physical.replace(/\/$/, '');
  same(posix.normalize(physical), physical, 'normalised as POSIX does');
  same(posix.resolve('/bucket', physical), `/bucket/${bare}`, 'resolved as POSIX does');
  // Node puts `.\` in front of a path with a colon, so that nobody takes what stands before it for a drive.
  const normal = win32.normalize(physical).replace(/^\.\\/, '');
  same(normal, physical.replaceAll('/', '\\'), 'normalised as Windows does');
  const windows = `C:\\bucket\\${bare.replaceAll('/', '\\')}`;
  same(win32.resolve('C:\\bucket', physical), windows, 'resolved as Windows does');
  const encoded = `/bucket/${encodePath(physical)}`;
  same(new URL(encoded, 'http://h').pathname, encoded, 'as the path of a URL');
  same(decodeURIComponent(encoded), `/bucket/${physical}`, 'read from a URL');
}

/** What careless readers make of a key before they take it as a path. */
function formsOf(physical: string): Set<string> {
  const forms = new Set([physical]);
  let decoded = physical;
  for (let round = 0; round < 3; round += 1) {
    decoded = decodeOnce(decoded);
    forms.add(decoded).add(decoded.replaceAll('+', ' '));
  }
  const decodedOnly = [...forms];
  for (const form of decodedOnly) {
    const folded = form.normalize('NFKC');
    forms.add(folded).add(decodeOnce(folded));
    forms.add(folded.replace(/\p{Default_Ignorable_Code_Point}/gu, ''));
    // oxlint-disable-next-line no-control-regex -- parsers of URLs drop tabs and line breaks, others every control
    forms.add(folded.replace(/[\u0000-\u001f\u007f]/g, ''));
    forms.add(folded.replace(/;[^/]*/g, ''));
  }
  return forms;
}

function decodeOnce(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not UTF-8 as a whole: as those decode who take a byte for a character.
    return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
  }
}

function staysInside(form: string, folder: string): void {
  inside(posix.resolve('/bucket', form), `/bucket/${folder}`, '/', form);
  inside(win32.resolve('C:\\bucket', form), `C:\\bucket\\${folder.replaceAll('/', '\\')}`, '\\', form);
  inside(new URL(form, 'http://h/').pathname, `/${folder}`, '/', form);
}

function inside(path: string, folder: string, separator: string, form: string): void {
  if (path === folder || path.startsWith(folder + separator)) return;
  expect.fail(`${JSON.stringify(form)} leads to ${JSON.stringify(path)}`);
}

// `expect` costs more than all that is checked here.
function same(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) expect(actual, what).toBe(expected);
}
