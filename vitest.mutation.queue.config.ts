import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { limits, source } from './vitest.config.ts';
import { ByName, withoutPlaces } from './vitest.mutation.storage.config.ts';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

// What `pnpm test:mutation:queue` runs for each mutant; see vitest.mutation.config.ts. The tests of names take the ids of
// tenants from there, and would load the clients of every store with them for each mutant.
export default defineConfig({
  ...source,
  plugins: [withoutPlaces],
  resolve: {
    ...source.resolve,
    alias: { '@tenantkit/testing': file('packages/testing/src/tenants.ts') },
  },
  test: {
    ...limits,
    include: ['packages/queue/test/pure-tables.ts', 'packages/queue/test/pure.ts'],
    sequence: { sequencer: ByName },
  },
});
