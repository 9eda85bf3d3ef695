import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Call, Realm } from '../src/call.ts';
import { storageNames } from '../src/names.ts';
import { speaker } from '../src/speaking.ts';

// A server chooses the texts and their number, a caller the names: the work is that of reading both once.

const realm = { names: storageNames(undefined) } as Realm;
const speak = (
  spellings: Iterable<readonly [string, string]>,
  home = { buckets: new Map<string, string>() },
) => speaker(realm, { tenant: 'acme', home, spellings: new Map(spellings) } as unknown as Call);
const P = 'tenants/acme/';
const sent = (...keys: string[]): (readonly [string, string])[] => keys.map((key) => [`${P}${key}`, key]);

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a text is made logical', () => {
  it.each([
    ['of the longest name that stands there', ['a', 'a/b', 'a/b/c'], `${P}a/b/x`, 'a/b/x'],
    ['of one that holds another', [`x${P}y`, 'x'], `<${P}x${P}y> ${P}xz`, `<x${P}y> xz`],
    ['of one that looks like a physical one', [`${P}a`, 'a'], `${P}${P}a, ${P}a`, `${P}a, a`],
    [
      'of one that looks like a physical one, among others',
      [`${P}a`, 'a', 'z'],
      `${P}${P}a, ${P}a`,
      `${P}a, a`,
    ],
    ['of names that nobody has sent', ['a'], `${P}b and ${P}`, 'b and '],
    ['of none', ['a'], 'tenants/acme2/a tenants/acm', 'tenants/acme2/a tenants/acm'],
    ['encoded', ['ü b', 'ü'], `${P}%C3%BC%20b ${P}ü%`, '%C3%BC%20b ü%'],
    ['that is empty', ['a'], '', ''],
  ])('%s', (_what, keys, text, logical) => {
    expect(speak(sent(...keys))(text)).toBe(logical);
    expect(speak(sent(...keys.toReversed()))(text)).toBe(logical);
  });

  it('with tokens, and buckets that the caller knows by other names', () => {
    const home = { buckets: new Map([['uploads', 'acme.up']]) };
    const spellings = [...sent('a'), ['token-of-the-server', 'sealed'] as const, ['', 'empty'] as const];
    expect(speak(spellings, home)(`acme.up/${P}a token-of-the-server acme.up acme.upx`)).toBe(
      'uploads/a sealed uploads acme.upx',
    );
  });

  it('with tokens of which one begins with the other, plain and encoded', () => {
    const token = [['abc', 'long'] as const, ['ab', 'short'] as const, ['a/=', 'sealed'] as const];
    for (const spellings of [token, token.toReversed()]) {
      const text = speak([...sent('a'), ...spellings]);
      expect(text('abc ab abd')).toBe('long short shortd');
      expect(text('abc% ab a/%3D a/=')).toBe('long% short sealed sealed');
    }
  });

  it('as it would be by trying all names, at each place the longest', () => {
    expect.hasAssertions();
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 48_271) % 0x7f_ff_ff_ff) % below;
    const word = (): string => Array.from({ length: random(5) }, () => 'ab/%'[random(4)]).join('');
    for (let turn = 0; turn < 500; turn += 1) {
      const keys = sent(...Array.from({ length: random(8) }, () => (random(4) === 0 ? P : '') + word()));
      const text = Array.from({ length: random(8) }, () => (random(2) === 0 ? P : word())).join('');
      const known = new Map([[P, ''], ...keys] as const);
      let slow = '';
      for (let at = 0; at < text.length;) {
        const names = [...known.keys()].filter((name) => text.startsWith(name, at));
        const [name] = names.sort((one, other) => other.length - one.length);
        slow += name === undefined ? text[at] : (known.get(name) ?? '');
        at += name?.length ?? 1;
      }
      // Where there are percent signs, names stand there encoded, too.
      if (!text.includes('%')) expect(speak(keys)(text)).toBe(slow);
    }
  });
});

it('each name is encoded once for all texts, however many there are', () => {
  const keys = Array.from({ length: 1_000 }, (_, index) => `${'ü'.repeat(40)}${index}`);
  const encode = vi.spyOn(globalThis, 'encodeURIComponent');
  const tell = speak(sent(...keys));
  for (let turn = 0; turn < 1_000; turn += 1) expect(tell('%')).toBe('%');
  expect(tell(`${P}${encodeURIComponent(keys[7] ?? '')}`)).toBe(encodeURIComponent(keys[7] ?? ''));
  expect(encode.mock.calls.length).toBeGreaterThan(1_000);
  expect(encode.mock.calls.length).toBeLessThan(2_100);
});
