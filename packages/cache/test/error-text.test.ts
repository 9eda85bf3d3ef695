import { describe, expect, it } from 'vitest';
import { logicalText } from '../src/error-text.ts';
import { CacheNames } from '../src/names.ts';

const names = new CacheNames().of('acme');

describe('the text of an error', () => {
  it.each([
    ['ERR no such key tk:acme:a', ['tk:acme:a'], 'ERR no such key a'],
    ["ERR 'tk:acme:cut", [], "ERR 'cut"],
    ['tk:acme:a', [], 'a'],
    ['ERR tk:acme:a and tk:acme:b', [], 'ERR a and b'],
    // A key may itself begin with what looks like a prefix, and may begin as a shorter one does.
    ['ERR tk:acme:tk:acme:a', ['tk:acme:tk:acme:a'], 'ERR tk:acme:a'],
    ['ERR tk:acme:a tk:acme:', ['tk:acme:a', 'tk:acme:a tk:acme:'], 'ERR a tk:acme:'],
    ['ERR tk:acme:a tk:acme:', ['tk:acme:a tk:acme:', 'tk:acme:a'], 'ERR a tk:acme:'],
    // No name begins inside a word.
    ['ERR xtk:acme:a -tk:acme:a', [], 'ERR xtk:acme:a -tk:acme:a'],
    ['ERR xtk:acme:a', ['tk:acme:a'], 'ERR xa'],
    // A key is no pattern.
    ['ERR tk:acme:a+b tk:acme:aab', ['tk:acme:a+b'], 'ERR a+b aab'],
    ['ERR tk:acme:(', ['tk:acme:('], 'ERR ('],
    ['ERR tk:acme:|tk:acme:x', ['tk:acme:|tk:acme:x'], 'ERR |tk:acme:x'],
    ['ERR tk:acme2:a', [], 'ERR tk:acme2:a'],
    ['tk:acme:tk:acme:a', ['tk:acme:tk:acme:a'], 'tk:acme:a'],
    ['xtk:acme:a tk:acme:b', [], 'xtk:acme:a b'],
    ["'tk:acme:a' tk:acme:b", [], "'a' b"],
    ['ERR tk:acme:x tk:acme:y tk:acme:x', ['tk:acme:x', 'tk:acme:y'], 'ERR x y x'],
    ['ERR tk:acme:y tk:acme:x tk:acme:cut tk:acme:y', ['tk:acme:x', 'tk:acme:y'], 'ERR y x cut y'],
    ['ERR tk:acme:tk:acme:a tk:acme:tk:acme:a', ['tk:acme:tk:acme:a'], 'ERR tk:acme:a tk:acme:a'],
    // What has no prefix may be a letter of any word.
    ['ERR channel not reached', ['n', 'e', 'ERR'], 'ERR channel not reached'],
    ['ERR', [], 'ERR'],
  ])('%j with the keys %j', (text, keys, logical) => {
    expect(logicalText(text, keys, names)).toBe(logical);
    expect(
      logicalText(
        text,
        keys.map((key) => Buffer.from(key)),
        names,
      ),
    ).toBe(logical);
  });

  it('has a prefix that is no pattern either', () => {
    const dotted = new CacheNames({ names: 'a.{tenant}+' }).of('acme');
    expect(logicalText('ERR a.acme+k axacme+k a.acmee', [], dotted)).toBe('ERR k axacme+k a.acmee');
  });
});
