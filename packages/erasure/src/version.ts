import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** The version of this package, as certificates name it. The manifest is one folder up from src and from dist. */
export const VERSION: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))).version;
