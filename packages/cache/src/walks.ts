import { word, type Argument } from './keyspec.ts';
import { idOf } from './portions.ts';
import type { TenantKeys } from './tenant-keys.ts';

/** A command on the whole keyspace, which for a tenant is one on its own keys. */
export interface Walk {
  /** Whether the arguments are understood. */
  takes(args: readonly Argument[]): boolean;
  /** @returns the reply, as the server would give it */
  run(keys: TenantKeys, args: readonly Argument[]): Promise<unknown>;
}

const flush: Walk = {
  takes: (args) => args.length === 0 || (args.length === 1 && ['async', 'sync'].includes(word(args[0]))),
  async run(keys) {
    for await (const page of keys.pages('*', true)) await page.remove();
    return Buffer.from('OK');
  },
};

/**
 * Commands that the server answers for all tenants together, and what they are for one. None of them is atomic:
 * the keys are read in pages between which others, and the tenant itself, go on.
 */
export const WALKS: Readonly<Record<string, Walk>> = Object.assign(
  Object.create(null) as Record<string, Walk>,
  {
    flushall: flush,
    flushdb: flush,
    dbsize: {
      takes: (args) => args.length === 0,
      run: (keys) => keys.count(),
    },
    keys: {
      takes: (args) => args.length === 1,
      async run(keys, [pattern]) {
        const found = new Map<string, Buffer>();
        for await (const page of keys.pages(pattern)) for (const key of page.keys) found.set(idOf(key), key);
        return [...found.values()];
      },
    },
    randomkey: {
      takes: (args) => args.length === 0,
      run: async (keys) => (await keys.random()) ?? null,
    },
  } satisfies Record<string, Walk>,
);
