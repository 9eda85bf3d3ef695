import { defineConfig } from 'vitest/config';
import { limits, source } from './vitest.config.ts';

// What `pnpm test:mutation` runs for each mutant: the tests of the rewriting that need no server, so that a mutant costs
// about a second. Tests on servers kill more; a mutant that only they see is listed as a survivor all the same.
export default defineConfig({
  ...source,
  test: {
    ...limits,
    include: ['packages/cache/test/pure.ts'],
  },
});
