import type { TenantNames } from './names.ts';
import { FIRST, PageSize } from './page-size.ts';
import { BATCH } from './portions.ts';
import type { RawStore } from './raw-store.ts';
import {
  hasFixedSlot,
  indexedName,
  isOwnTag,
  keyEntry,
  keysName,
  parseEntry,
  parseRegistryName,
  slotOf,
  slotTag,
  subjectName,
} from './registry-names.ts';

/** A name of tenantkit's own that belongs to a tenant. */
export interface OwnName {
  readonly names: TenantNames;
  readonly tenant: string;
}

/** What is wrong with one registry. */
export interface RegistryReport {
  /** It is of another type. */
  readonly broken: boolean;
  /** How many entries nobody of this package has written. */
  readonly foreign: number;
  /** How many entries have no key; 0 unless asked for. */
  readonly dead: number;
}

/**
 * Whose registry a reserved name is.
 * @returns `mark` for the mark that registries are complete, `undefined` for a name that this client does not write
 */
export function ownNameOf(raw: RawStore, name: string): OwnName | 'mark' | undefined {
  const { names } = raw.wiring.guard;
  const parsed = parseRegistryName(name);
  if (parsed === undefined) return undefined;
  if (parsed.kind === 'indexed') return name === indexedName(names.codec.template) ? 'mark' : undefined;
  const tenant = names.codec.tenantOf(parsed.of);
  if (tenant === undefined) return undefined;
  const own = names.of(tenant);
  return own.prefix === parsed.of && isOwnTag(parsed.tag, own.prefix, raw.isCluster)
    ? { names: own, tenant }
    : undefined;
}

/** Looks at every entry of one registry. @param deep - whether it is asked for the key of each */
export async function inspectRegistry(
  raw: RawStore,
  { names }: OwnName,
  name: string,
  { deep, signal }: { readonly deep: boolean; readonly signal: AbortSignal },
): Promise<RegistryReport> {
  const type = String(await raw.ask('type', name));
  if (type !== 'zset') return { broken: type !== 'none', foreign: 0, dead: 0 };
  let foreign = 0;
  let dead = 0;
  let cursor = '0';
  const size = new PageSize(FIRST, BATCH);
  do {
    signal.throwIfAborted();
    const page = await raw.ask('zscan', name, cursor, 'COUNT', `${size.count}`);
    const [next, flat] = page as [Buffer, Buffer[]];
    size.came(flat);
    cursor = String(next);
    const keys: (string | Buffer)[] = [];
    for (let at = 0; at < flat.length; at += 2) {
      const parsed = parseEntry(flat[at] as Buffer);
      if (parsed === undefined) foreign += 1;
      else if ('key' in parsed) keys.push(names.encode(parsed.key));
      // In a Cluster its set is in the slot of this registry.
      else keys.push(subjectName(names.prefix, parsed.subject, /^tk!\w+\{(\w+)\}/.exec(name)?.[1]));
    }
    if (!deep) continue;
    const there = await raw.numbers(keys.map((key) => ['exists', key]));
    dead += there.filter((one) => one === 0).length;
  } while (cursor !== '0');
  return { broken: false, foreign, dead };
}

/** Those keys of one tenant that its registry does not name. */
export async function notEntered(
  raw: RawStore,
  names: TenantNames,
  keys: readonly Buffer[],
): Promise<readonly Buffer[]> {
  const perSlot = raw.isCluster && !hasFixedSlot(names.prefix);
  const scores = await raw.tryEach(
    keys.map((key) => [
      'zscore',
      keysName(names.prefix, perSlot ? slotTag(slotOf(key)) : undefined),
      keyEntry(names.decode(key, 'audit')),
    ]),
  );
  return keys.filter((_, place) => isMissing(scores[place]));
}

// A registry of another type names nothing. It is told of when it comes itself, and must not end the audit of the rest.
function isMissing(score: unknown): boolean {
  if (score instanceof Error && !score.message.startsWith('WRONGTYPE')) throw score;
  return score === null || score instanceof Error;
}
