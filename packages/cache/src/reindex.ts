import { ConfigError, parseOptions, tenantId } from '@tenantkit/core';
import { z } from 'zod';
import type { Cluster, Redis } from './client.ts';
import type { Argument } from './keyspec.ts';
import { assertGuarded } from './fit.ts';
import { portionsOfNames, startOf } from './portions.ts';
import type { RawCall } from './raw-call.ts';
import { RawStore, type RawStoreOptions } from './raw-store.ts';
import { hasFixedSlot, indexedName, keyEntry, keysName, slotOf, slotTag } from './registry-names.ts';

/** Options of {@link indexCache}. */
export interface IndexCacheOptions extends RawStoreOptions {
  /** Aborted when it has to stop; it can be run again from the beginning. */
  readonly signal?: AbortSignal | undefined;
  /** With the option `place` of the client: tenants whose places are looked at beside those that are known. */
  readonly tenants?: readonly string[] | undefined;
}

/** What {@link indexCache} has found. */
export interface Indexed {
  /** Keys of tenants that are now in the registry of their tenant. */
  readonly keys: number;
  readonly tenants: number;
}

const schema = z.strictObject({
  timeout: z.number().int().positive().optional(),
  signal: z.instanceof(AbortSignal).optional(),
  tenants: z.array(tenantId).optional(),
});

// Names of registries in an error.
const SHOWN = 3;

/**
 * Completes the registries of all tenants with the keys that are stored already, and marks them as complete: from
 * then on the eraser need not walk the keyspace. Run it once, when every process that writes to this store has the
 * option `index`, and again after one has written without it. Persons are not found in this way.
 *
 * With the option `place` it does so in the pool, in the places that tenants were in since the client was made, and in
 * those of `tenants`.
 *
 * It walks all keys with SCAN, those of frozen tenants too. It skips tenants that the fence knows as erased, of which
 * there must be nothing: erasing one once more walks.
 *
 * @param client - a client of this package with `tenant: { index: true }`
 * @returns how many keys of how many tenants there are
 * @throws {@link ConfigError} for another client, or unknown options; and when something stands in the place of a
 * registry: the keys of all others are entered before, and nothing is marked in that place
 * @throws {@link StoreUnreachableError} when there is no answer in time
 *
 * @example
 * ```ts
 * import { Redis, indexCache } from '@tenantkit/cache';
 * const { keys } = await indexCache(new Redis({ tenant: { index: true } }));
 * ```
 */
export async function indexCache(client: Redis | Cluster, options: IndexCacheOptions = {}): Promise<Indexed> {
  const { timeout, signal, tenants: listed } = parseOptions('cache', schema, options, 'indexCache');
  const { tenant, silos } = assertGuarded(client);
  if (tenant.index !== true) throw notIndexed();
  const tenants = new Set<string>();
  const broken = new Set<string>();
  let keys = 0;
  using others = silos?.everywhere(listed);
  for (const one of [client, ...(others?.clients ?? [])])
    keys += await indexPlace(
      new RawStore(one, 'indexCache', 'registry of all keys', { timeout }),
      tenants,
      broken,
      signal,
    );
  if (broken.size > 0) throw notRegistries([...broken]);
  return { keys, tenants: tenants.size };
}

// The registry of a tenant is where its keys are, and each place is marked as complete for itself.
async function indexPlace(
  raw: RawStore,
  tenants: Set<string>,
  broken: Set<string>,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { guard } = raw.wiring;
  const { codec } = guard.names;
  let keys = 0;
  let isComplete = true;
  for await (const page of raw.pages({ ...(signal && { signal }) })) {
    const entries = new Map<string, Argument[]>();
    for (const key of await present(raw, page.keys)) {
      const owner = codec.tenantOf(startOf(key));
      if (owner === undefined || guard.fence?.state(owner) === 'erased') continue;
      const names = guard.names.of(owner);
      const perSlot = raw.isCluster && !hasFixedSlot(names.prefix);
      const name = keysName(names.prefix, perSlot ? slotTag(slotOf(key)) : undefined);
      const entry = keyEntry(names.decode(key, 'indexCache'));
      const some = entries.get(name);
      if (some === undefined) entries.set(name, [entry]);
      else some.push(entry);
      tenants.add(owner);
      keys += 1;
    }
    for (const name of await enter(raw, entries)) {
      broken.add(name);
      isComplete = false;
    }
  }
  const mark = indexedName(codec.template);
  if (isComplete) await raw.ask('set', mark, new Date().toISOString());
  // An earlier one would be believed again, once what stands there has been removed.
  else await raw.ask('del', mark);
  return keys;
}

// A frozen tenant may be about to be erased, and an entry would outlast its key: nobody else of it writes any more.
async function present(raw: RawStore, keys: readonly Buffer[]): Promise<readonly Buffer[]> {
  const { names, fence } = raw.wiring.guard;
  const isFrozen = (key: Buffer): boolean => {
    const owner = names.codec.tenantOf(startOf(key));
    return owner !== undefined && fence?.state(owner) === 'frozen';
  };
  const frozen = keys.filter(isFrozen);
  const there = await raw.numbers(frozen.map((key) => ['exists', key]));
  const gone = new Set(frozen.filter((_, place) => there[place] === 0));
  return keys.filter((key) => !gone.has(key));
}

/**
 * Commands of one page together: they may go to as many registries as there are keys.
 *
 * @returns what stands in the place of a registry and is none: the others must not wait for it
 */
async function enter(raw: RawStore, entries: ReadonlyMap<string, Argument[]>): Promise<readonly string[]> {
  const score = `${Date.now()}`;
  const calls: RawCall[] = [];
  // An entry that is kept for a command in the server keeps its score; one that was about to go is written anew.
  for (const [name, all] of entries)
    for (const some of portionsOfNames(all))
      calls.push(['zadd', name, 'GT', ...some.flatMap((entry) => [score, entry])]);
  const replies = await raw.tryEach(calls);
  return calls.flatMap(([, name], place) => {
    const reply = replies[place];
    if (!(reply instanceof Error)) return [];
    if (!reply.message.startsWith('WRONGTYPE')) throw reply;
    return [String(name)];
  });
}

function notRegistries(names: readonly string[]): ConfigError {
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  return new ConfigError({
    surface: 'cache',
    operation: 'indexCache',
    problem: `what stands in the place of a registry is no sorted set: ${names.slice(0, SHOWN).join(', ')}${more}`,
    hint: 'Find out who writes to names that begin with tk!, remove it, and run indexCache again: all others are complete, and are not marked as such yet.',
  });
}

function notIndexed(): ConfigError {
  return new ConfigError({
    surface: 'cache',
    operation: 'indexCache',
    problem: 'the client keeps no registry, so what it writes from now on would be missing',
    hint: 'Set tenant: { index: true } in the options of every client that writes to this store.',
  });
}
