import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { brokenLinks, textOf } from '../../../test/pages.ts';
import { NAMES, readPage, withTables } from './readme-commands.ts';

describe('the tables of commands', () => {
  it('are those of the rules; node --conditions=@tenantkit/source packages/storage/test/readme-commands.ts writes them', () => {
    expect(readPage()).toBe(withTables(readPage()));
  });

  it.each(NAMES)('are written anew whatever stood there before: %s', (name) => {
    const page = readPage();
    const emptied = page.replace(new RegExp(`(<!-- ${name}: [^>]*-->)[^]*(<!-- /${name} -->)`), '$1 old $2');
    expect(emptied.length).toBeLessThan(page.length);
    expect(withTables(emptied)).toBe(page);
    expect(() => withTables(page.replace(`<!-- /${name} -->`, ''))).toThrow(/no place/);
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
