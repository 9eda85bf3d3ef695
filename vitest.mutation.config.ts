import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { limits, source } from './vitest.config.ts';

// The tests take the ids of tenants from there, and would load the clients of every store with them for each mutant.
const tenants = fileURLToPath(new URL('packages/testing/src/tenants.ts', import.meta.url));

// What `pnpm test:mutation` runs for each mutant: the tests of the rewriting that need no server, so that a mutant costs
// about a second. Tests on servers kill more; a mutant that only they see is listed as a survivor all the same.
export default defineConfig({
  ...source,
  resolve: { ...source.resolve, alias: { '@tenantkit/testing': tenants } },
  test: {
    ...limits,
    include: ['packages/cache/test/pure.ts'],
  },
});
