/**
 * The examples that people copy: every block of TypeScript in the READMEs, in their pages in docs and in the comments of the exported
 * sources, as modules of their own that the compiler can check.
 */
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { NAMES } from './example-names.ts';

export interface Example {
  /** The file and line that the block begins on, for messages. */
  readonly from: string;
  /** The name of the module. */
  readonly file: string;
  readonly text: string;
}

const BLOCK = /^([ \t]*(?:\*[ \t]?)?)```ts\n([\s\S]*?)^[ \t]*(?:\*[ \t]?)?```$/gm;

/** Reads the examples of one package, or of the root when no name is given. */
export async function readExamples(root: string, name?: string): Promise<Example[]> {
  const folder = name === undefined ? root : join(root, 'packages', name);
  const files = [join(folder, 'README.md')];
  if (name !== undefined) {
    const sources = await readdir(join(folder, 'src'), { recursive: true });
    files.push(...sources.filter((file) => file.endsWith('.ts')).map((file) => join(folder, 'src', file)));
    const pages = join(folder, 'docs');
    if (existsSync(pages)) files.push(...(await readdir(pages)).map((file) => join(pages, file)));
  }
  const found = await Promise.all(files.map((file) => examplesOf(root, file, name ?? 'root')));
  return found.flat();
}

async function examplesOf(root: string, file: string, name: string): Promise<Example[]> {
  const text = await readFile(file, 'utf8');
  return [...text.matchAll(BLOCK)].map(({ index, 1: margin = '', 2: block = '' }) => {
    const line = text.slice(0, index).split('\n').length;
    const stripped = block
      .split('\n')
      .map((one) => (one.startsWith(margin) ? one.slice(margin.length) : one.replace(/^[ \t]*\*[ \t]?/, '')))
      .join('\n');
    const from = `${relative(root, file)}:${line}`;
    return { from, file: `example-${from.replace(/\W+/g, '-')}.ts`, text: withNames(stripped, name) };
  });
}

// An example leaves out what its reader has anyway: `redis`, `app`, the row of a database.
function withNames(block: string, name: string): string {
  const imports = (block.match(/^import [^;]*;$/gm) ?? [])
    .map((one) => one.replace(/ from .*/, ''))
    .join('\n');
  const declared = Object.entries(NAMES[name] ?? {}).filter(
    ([known]) =>
      new RegExp(String.raw`(?<![.\w])${known}\b`).test(block) &&
      !new RegExp(String.raw`\b(?:const|let|var|using|function|class)\s+${known}\b`).test(block) &&
      !new RegExp(String.raw`\b(?:const|let|var)\s+\{(?:[^}]*[,:])?\s*${known}\s*[,}=]`).test(block) &&
      !new RegExp(String.raw`\b${known}\b`).test(imports),
  );
  return `${block}\nexport {};\n${declared.map(([, declaration]) => declaration).join('\n')}\n`;
}
