import { cacheAuditor, cacheEraser, type RedisOptions } from '@tenantkit/cache';
import { adapterContract } from '@tenantkit/testing';
import type { Redis as Raw } from 'ioredis';
import { describe, it } from 'vitest';
import { everythingIn, openCache } from './support.ts';

const STORES: Readonly<Record<string, RedisOptions>> = {
  cache: {},
  // A template full of glob characters, as an existing data set may have it.
  'cache with adopted names, the hash tag and autopipelining': {
    tenant: { names: 'app*[x]:{tenant}:', hashTag: true },
    enableAutoPipelining: true,
  },
  'cache with a registry': { tenant: { index: true, subjects: ['about:{subject}:*'] } },
};

for (const [store, options] of Object.entries(STORES)) {
  adapterContract({
    store,
    runner: { describe, it },
    open: () => openCache(options),
    write: ({ redis }, id, value) => redis.set(id, value),
    read: ({ redis }, id) => redis.get(id),
    list: async ({ redis }) => {
      const keys: string[] = [];
      for await (const page of redis.scanStream()) keys.push(...(page as string[]));
      return [...new Set(keys)];
    },
    remove: ({ redis }, id) => redis.del(id),
    refused: [
      { operation: 'config', call: ({ redis }) => redis.config('GET', '*') },
      { operation: 'info', call: ({ redis }) => redis.info() },
      { operation: 'a command that nobody knows', call: ({ redis }) => redis.call('FROBNICATE', 'one') },
      { operation: 'a property of every object', call: ({ redis }) => redis.call('constructor', 'one') },
      {
        operation: 'a pipeline of refused commands',
        call: async ({ redis }) => {
          const [[error] = []] = (await redis.multi().flushall().exec()) ?? [];
          throw error ?? new Error('not refused');
        },
      },
    ],
    dump: ({ raw }) => dump(raw),
    sent: ({ redis }) => redis.stream.bytesWritten,
    eraser: ({ redis }) => cacheEraser(redis),
    auditor: ({ redis }) => cacheAuditor(redis),
    plant: ({ raw }) => raw.set('user:1', 'written past the adapter'),
  });
}

// Each entry of a registry by itself, without its score, which says when it was written last.
async function dump(raw: Raw): Promise<Record<string, string>> {
  const all = await everythingIn(raw);
  for (const name of Object.keys(all).filter((key) => key.startsWith('tk!'))) {
    delete all[name];
    for (const entry of await raw.zrangeBuffer(name, '0', '-1'))
      all[`${name} ${entry.toString('latin1')}`] = '';
  }
  return all;
}
