import { defineConfig } from 'vitest/config';

const conditions = ['@tenantkit/source'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  environments: { __vitest__: { resolve: { conditions, externalConditions: conditions } } },
  test: {
    include: ['endless.ts'],
    globalSetup: ['./setup.ts'],
    testTimeout: 600_000,
    reporters: ['default'],
  },
});
