import { defineConfig } from 'vitest/config';
import { LONG, limits, source } from './vitest.config.ts';

// What takes minutes: not part of `pnpm test`.
export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        ...source,
        test: {
          name: 'long',
          include: [LONG],
          exclude: ['**/node_modules/**', '**/dist/**'],
          globalSetup: ['./test/servers.setup.ts'],
          ...limits,
          testTimeout: 1_800_000,
        },
      },
    ],
  },
});
