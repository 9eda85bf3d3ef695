import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The links of a page that lead to no file, or to no heading of one. */
export function brokenLinks(page: URL): string[] {
  return brokenLinksOf(textOf(page), (path) => {
    const target = path === '' ? page : new URL(path, page);
    return existsSync(fileURLToPath(target)) ? () => textOf(target) : undefined;
  });
}

/**
 * The links of a text that lead to no file, or to no heading of one; those that lead into the web are not looked at.
 *
 * @param find - what reads the file of a relative path, that of the page itself for an empty one; `undefined` when there
 * is none
 */
export function brokenLinksOf(text: string, find: (path: string) => (() => string) | undefined): string[] {
  // Code may look like a link: `[Symbol.asyncDispose]()`.
  const prose = text.replace(/^[ \t]*```[^]*?^[ \t]*```/gm, '').replace(/`[^`\n]*`/g, '');
  const links = [...prose.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)];
  const broken = links.filter(([, path = '', anchor]) => {
    const read = find(path);
    return read === undefined || (anchor !== undefined && !anchorsOf(read()).has(anchor));
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
