import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { brokenLinks, textOf } from '../../../test/pages.ts';

describe('the README and its pages', () => {
  const folder = new URL('../docs/', import.meta.url);
  const readme = new URL('../README.md', import.meta.url);
  const pages = [readme, ...readdirSync(folder).map((file) => new URL(file, folder))];

  it('is short enough to be read', () => {
    expect(Buffer.byteLength(textOf(readme))).toBeLessThan(30_000);
  });

  it.each(pages.map((page) => [page.pathname.replace(/.*\/(?=\w+\/)/, ''), page] as const))(
    'has links that lead somewhere: %s',
    (_, page) => {
      expect(brokenLinks(page)).toEqual([]);
    },
  );

  it('names every page', () => {
    const texts = pages.map((page) => textOf(page)).join('\n');
    const unnamed = readdirSync(folder).filter(
      (file) => !texts.includes(`${file})`) && !texts.includes(`${file}#`),
    );
    expect(unnamed).toEqual([]);
  });
});
