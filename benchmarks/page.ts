import { readFile, writeFile } from 'node:fs/promises';

const PAGE = new URL('../docs/benchmarks.md', import.meta.url);

/** Whether the figures shall go into docs/benchmarks.md: `pnpm bench cache --write`. */
export const isWritten = process.argv.includes('--write');

/**
 * Puts figures between `<!-- name -->` and `<!-- /name -->` of docs/benchmarks.md. What is said about them there is
 * written by hand.
 *
 * @throws Error when the page has no such place
 */
export async function writeFigures(name: string, figures: string): Promise<void> {
  const page = await readFile(PAGE, 'utf8');
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no place for ${name}`);
  await writeFile(PAGE, `${page.slice(0, from)}${begin}\n\n${figures}\n\n${page.slice(to)}`);
}
