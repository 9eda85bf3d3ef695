// Runs Vitest in this process, as `vitest run` does: the arguments are its path and its own arguments.
import { pathToFileURL } from 'node:url';

const [path = ''] = process.argv.splice(1, 2).slice(1);
process.argv.splice(1, 0, path);
await import(pathToFileURL(path).href);
