import { acrossTenants, withTenant } from '@tenantkit/core';
import { type Cluster, Redis, type RedisOptions } from '@tenantkit/cache';
import { freshRedis } from '@tenantkit/testing';
import { Redis as Raw, type RedisOptions as RawOptions } from 'ioredis';
import { once } from 'node:events';
import { inspect } from 'node:util';
import { inject } from 'vitest';

/** A database of one's own, the guarded client, and plain ioredis as the witness of what is really stored. */
export interface Opened extends AsyncDisposable {
  readonly redis: Redis;
  readonly raw: Raw;
  readonly url: string;
  /** A further guarded client of the same database. */
  guarded(options?: RedisOptions): Redis;
  /** A further witness, by default of the same database. */
  witness(options?: RawOptions): Raw;
}

export async function openCache(options: RedisOptions = {}): Promise<Opened> {
  const own = await freshRedis(inject('servers').redis);
  const clients: { disconnect(): void }[] = [];
  const keep = <C extends { disconnect(): void }>(client: C): C => {
    clients.push(client);
    return client;
  };
  const guarded = (more: RedisOptions = {}): Redis => keep(new Redis(own.url, more as Plain<RedisOptions>));
  const witness = (more: RawOptions = {}): Raw => keep(new Raw(own.url, more as Plain<RawOptions>));
  const redis = guarded(options);
  const raw = witness();
  if (options.lazyConnect !== true) await ready(redis);
  return {
    redis,
    raw,
    url: own.url,
    guarded,
    witness,
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.disconnect();
      await own.cleanup();
    },
  };
}

// The constructors of ioredis infer the form of replies from this option.
type Plain<O> = O & { replyMapping?: 'legacy' };

export async function ready(client: Redis | Cluster | Raw): Promise<void> {
  if (client.status !== 'ready') await once(client, 'ready');
}

/** Everything in the database: physical key → what DUMP says, without the time to live. */
export async function everythingIn(raw: Raw): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for (const key of (await raw.keysBuffer('*')).sort((a, b) => a.compare(b))) {
    const dumped = await raw.dumpBuffer(key);
    if (dumped !== null) all[key.toString('latin1')] = dumped.toString('base64');
  }
  return all;
}

export const acme = <T>(fn: () => T): T => withTenant('acme', fn);
export const acme2 = <T>(fn: () => T): T => withTenant('acme2', fn);
export const operator = <T>(fn: () => T): T => acrossTenants({ reason: 'test', actor: 'tester' }, fn);

/** The error that a call ends with, thrown or rejected. */
export async function failure(call: () => unknown): Promise<Error & { code?: string }> {
  try {
    await call();
  } catch (error) {
    if (error instanceof Error) return error;
    throw new TypeError(`not an error: ${String(error)}`, { cause: error });
  }
  throw new Error('the call has succeeded');
}

/** Everything that an error shows to whoever prints it. */
export function shown(error: unknown): string {
  return inspect(error, { depth: 8, showHidden: true });
}

/** Resolves once `condition` holds, which other work of this process brings about. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => void setImmediate(resolve));
}

/** Cannot be made text, as an argument of a command must be. */
export const NO_TEXT = Object.create(null) as string;

/** Throws when it is made text. */
export const THROWING = {
  toString(): string {
    throw new Error('toString has thrown');
  },
} as unknown as string;
