import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { limits, source } from './vitest.config.ts';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** By their names, so that the tests of the tables come first. */
export class ByName extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(files.toSorted((one, other) => (one.moduleId < other.moduleId ? -1 : 1)));
  }
}

// What `pnpm test:mutation:storage` runs for each mutant; see vitest.mutation.config.ts. The tests of names take the
// codec from the package, which would load the whole SDK for each mutant.
// Where each of a thousand tests stands in its file, which Stryker asks for and nobody reads, is a fifth of the work of a
// mutant.
export const withoutPlaces: Plugin = {
  name: 'without-places',
  configureVitest({ project }) {
    project.config.includeTaskLocation = false;
  },
};

export default defineConfig({
  ...source,
  plugins: [withoutPlaces],
  resolve: {
    ...source.resolve,
    alias: {
      '@tenantkit/testing': file('packages/testing/src/tenants.ts'),
      '@tenantkit/storage': file('packages/storage/src/names.ts'),
    },
  },
  test: {
    ...limits,
    include: ['packages/storage/test/pure-tables.ts', 'packages/storage/test/pure.ts'],
    sequence: { sequencer: ByName },
  },
});
