/**
 * `pnpm bench [name …] [--write]`: runs the benchmarks of the named packages, or all of them but the long ones, which
 * have to be named. `--write` puts the figures into docs/benchmarks.md. Ratios come from one interleaved run;
 * nothing here is a test, since a time on a shared machine proves nothing.
 */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const files = (await readdir(folder)).filter((file) => /\.(?:bench|long)\.ts$/.test(file)).toSorted();
const chosen = files.filter((file) =>
  wanted.length === 0 ? file.endsWith('.bench.ts') : wanted.includes(nameOf(file)),
);

if (chosen.length === 0) {
  console.error(`No such benchmark. There are: ${files.map(nameOf).join(', ')}`);
  process.exitCode = 2;
}
for (const file of chosen) {
  console.log(`\n# ${nameOf(file)}`);
  await import(pathToFileURL(join(folder, file)).href);
}

function nameOf(file: string): string {
  return file.replace(/\.(?:bench|long)\.ts$/, '');
}
