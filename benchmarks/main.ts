/**
 * `pnpm bench [name …]`: runs the benchmarks of the named packages, or all of them. Ratios come from one
 * interleaved run; nothing here is a test, since a time on a shared machine proves nothing.
 */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2).filter((name) => name !== '--');
const files = (await readdir(folder)).filter((file) => file.endsWith('.bench.ts')).toSorted();
const chosen =
  wanted.length === 0 ? files : files.filter((file) => wanted.includes(file.replace('.bench.ts', '')));

if (chosen.length === 0) {
  console.error(
    `No such benchmark. There are: ${files.map((file) => file.replace('.bench.ts', '')).join(', ')}`,
  );
  process.exitCode = 2;
}
for (const file of chosen) {
  console.log(`\n# ${file.replace('.bench.ts', '')}`);
  await import(pathToFileURL(join(folder, file)).href);
}
