import { defineConfig } from 'vitest/config';
import { leftOut } from './packages/storage/test/servers/table.ts';

// Packages that talk to no server: their tests start in a second, without waiting for any.
const pure = ['packages/core/test/**/*.test.ts', 'packages/crypto/test/**/*.test.ts'];

// Tests of the storage that a second server would add nothing to, since they talk to none.
const serverless = [
  'allowed.test.ts',
  'checksum-cut.test.ts',
  'copy-source.test.ts',
  'documents.test.ts',
  'events.test.ts',
  'grammar-random.test.ts',
  'grammar.test.ts',
  'head.test.ts',
  'key-text.test.ts',
  'listing-endless.test.ts',
  'last-checks.test.ts',
  'names-random.test.ts',
  'pattern.test.ts',
  'names.test.ts',
  'parts.test.ts',
  'post-asked.test.ts',
  'post-signed.test.ts',
  'replies-errors.test.ts',
  'replies.test.ts',
  'requests-presigned.test.ts',
  'requests.test.ts',
  'required.test.ts',
  'rewriting-refused.test.ts',
  'rewriting-subjects.test.ts',
  'rewriting.test.ts',
  'roles.test.ts',
  'rules.test.ts',
  'seal.test.ts',
  'speaking.test.ts',
  'subject-names.test.ts',
];
const once = [...serverless, ...leftOut('s3rver')].map((file) => `packages/storage/test/${file}`);

/** Tests that take minutes: `pnpm test:long` runs them, and nothing else does. */
export const LONG = '**/test/**/*.long.test.ts';

// On sources, in every environment of Vite: tests run in `ssr`, a globalSetup in `__vitest__`. Without the latter a
// tree that was never built has no servers, and one that was has those of its last build.
const conditions = { conditions: ['@tenantkit/source'], externalConditions: ['@tenantkit/source'] };
export const source = {
  resolve: { conditions: ['@tenantkit/source'] },
  ssr: { resolve: conditions },
  environments: { __vitest__: { resolve: conditions } },
};
// Nothing is shown by these: they end what hangs, also on a machine that has much else to do.
export const limits = {
  testTimeout: 180_000,
  hookTimeout: 180_000,
  teardownTimeout: 20_000,
  expect: { poll: { timeout: 30_000 } },
};

export default defineConfig({
  test: {
    // On two cores: half of the time a test waits for a server.
    maxWorkers: 3,
    projects: [
      { ...source, test: { name: 'pure', include: pure, exclude: ['**/node_modules/**', LONG], ...limits } },
      {
        ...source,
        test: {
          name: 'servers',
          include: ['packages/*/test/**/*.test.ts', 'examples/*/test/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['**/node_modules/**', '**/dist/**', LONG, ...pure],
          globalSetup: ['./test/servers.setup.ts'],
          ...limits,
        },
      },
      // The tests of the storage once more, on a server of another kind.
      {
        ...source,
        test: {
          name: 's3rver',
          include: ['packages/storage/test/**/*.test.ts'],
          exclude: ['**/node_modules/**', '**/dist/**', LONG, ...once],
          globalSetup: ['./packages/storage/test/servers/s3rver.setup.ts'],
          provide: { s3Server: 's3rver' },
          ...limits,
        },
      },
    ],
  },
});
