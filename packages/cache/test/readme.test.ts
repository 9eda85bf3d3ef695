import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { brokenLinks, textOf } from '../../../test/pages.ts';
import { ruleOf } from '../src/rules.ts';
import { NEWER } from '../src/rules/newer.ts';
import { readPage, withTable } from './readme-commands.ts';

describe('the tables of commands', () => {
  it.each(['refused', 'scoped'] as const)(
    '%s is that of the rules; node --conditions=@tenantkit/source packages/cache/test/readme-commands.ts writes it',
    (name) => {
      expect(readPage(name)).toBe(withTable(readPage(name), name));
    },
  );

  it('are written anew whatever stood there before', () => {
    const readme = readPage('refused');
    const emptied = readme.replace(/(<!-- refused: [^>]*-->)[^]*(<!-- \/refused -->)/, '$1 old $2');
    expect(emptied.length).toBeLessThan(readme.length);
    expect(withTable(emptied, 'refused')).toBe(readme);
    expect(() => withTable(readme.replace('<!-- /refused -->', ''), 'refused')).toThrow(/no place/);
  });

  it('say the release of allowed commands only', () => {
    expect([...NEWER.keys()].filter((name) => ['refuse', undefined].includes(ruleOf(name)?.kind))).toEqual(
      [],
    );
  });
});

describe('the README and its pages', () => {
  const folder = new URL('../docs/', import.meta.url);
  const readme = new URL('../README.md', import.meta.url);
  const pages = [readme, ...readdirSync(folder).map((file) => new URL(file, folder))];

  it('is short enough to be read', () => {
    expect(textOf(readme).length).toBeLessThan(30_000);
  });

  it.each(pages.map((page) => [page.pathname.replace(/.*\/(?=\w+\/)/, ''), page] as const))(
    'has links that lead somewhere: %s',
    (_, page) => {
      expect(brokenLinks(page)).toEqual([]);
    },
  );
});
