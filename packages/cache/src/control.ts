import { controlTenant } from '@tenantkit/core';
import { setImmediate as turn } from 'node:timers/promises';
import type { TenantNames } from './names.ts';
import type { RawStore } from './raw-store.ts';
import { hasFixedSlot, slotOf } from './registry-names.ts';

// Slots in a row that get one control together: a master that holds as many in a row has one.
const SLOTS = 512;
const BLOCKS = 16_384 / SLOTS;

// Labels until there is one for each of 32 blocks: four times as many as are needed on average.
const MAX_LABELS = 512;

// Ids that are tried before others have their turn, at some microseconds each.
const AT_ONCE = 128;

/**
 * A throw-away tenant whose keys are where those of `tenant` are. A control that is on another master shows nothing
 * about that one: a client may not know yet that a slot has a new master, whose keys no walk would find. What is
 * written follows redirections, and gets there.
 */
export async function controlOf(raw: RawStore, tenant: TenantNames): Promise<TenantNames> {
  const { names } = raw.wiring.guard;
  let id = controlTenant();
  if (raw.isCluster && hasFixedSlot(tenant.prefix)) {
    const slot = slotOf(tenant.prefix);
    for (let tried = 1; slotOf(names.codec.prefix(id)) !== slot; tried += 1) {
      if (tried % AT_ONCE === 0) await turn();
      id = controlTenant();
    }
  }
  return names.of(id);
}

/**
 * Keys of a throw-away tenant, in logical names: one, or where keys are spread over the slots of a Cluster one for all
 * of these.
 *
 * @param nameOf - makes a name out of a label
 */
export function controlKeys(
  raw: RawStore,
  names: TenantNames,
  nameOf: (label: string) => string = (label) => label,
): string[] {
  if (!raw.isCluster || hasFixedSlot(names.prefix)) return [nameOf('control')];
  const keys = new Map<number, string>();
  for (let tried = 0; tried < MAX_LABELS && keys.size < BLOCKS; tried += 1) {
    const key = nameOf(`control-${tried}`);
    const block = Math.floor(slotOf(names.encode(key)) / SLOTS);
    if (!keys.has(block)) keys.set(block, key);
  }
  return [...keys.values()];
}
