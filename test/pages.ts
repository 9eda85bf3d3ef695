import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The links of a page that lead to no file, or to no heading of one. */
export function brokenLinks(page: URL): string[] {
  const links = [...textOf(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)];
  const broken = links.filter(([, path = '', anchor]) => {
    const target = path === '' ? page : new URL(path, page);
    if (!existsSync(fileURLToPath(target))) return true;
    return anchor !== undefined && !anchorsOf(textOf(target)).has(anchor);
  });
  return broken.map(([link]) => link);
}

/** A page, with line ends of one kind. */
export function textOf(page: URL): string {
  return readFileSync(page, 'utf8').replaceAll('\r', '');
}

/** The anchors that GitHub and npm make of headings. */
function anchorsOf(text: string): ReadonlySet<string> {
  const titles = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => title);
  return new Set(
    titles.map((title) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
