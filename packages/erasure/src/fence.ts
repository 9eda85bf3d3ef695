import { setTimeout as sleep } from 'node:timers/promises';
import type { TenantRegistry } from '@tenantkit/core';
import type { FenceMode } from './events.ts';
import type { ErasureRecord } from './record.ts';
import type { Run } from './run.ts';
import { configChanged } from './steps.ts';

/** What the certificate will say about the fence. */
export function fenceMode(fence: TenantRegistry | undefined, person: boolean): FenceMode {
  if (fence === undefined) return { mode: 'none', why: 'not_configured' };
  // A fence holds tenants: freezing all of one for every person who leaves it would be an outage.
  if (person) return { mode: 'none', why: 'subject_scope' };
  return { mode: 'tenant', maxStaleness: fence.maxStaleness };
}

/**
 * Freezes (again) and waits until no process can still write for the tenant. A wait that was interrupted begins
 * anew: the clocks of two machines are no ground to shorten it.
 */
export async function drain(run: Run, { fence: mode, tenant, id }: ErasureRecord): Promise<void> {
  if (mode?.mode !== 'tenant') return;
  const { fence } = run.input;
  if (fence === undefined) throw configChanged(id, { missing: ['the fence'] });
  await fence.freeze(tenant);
  // The fence may be set up differently by now; whoever still runs with the older setting counts too.
  const total = Math.max(fence.maxStaleness, mode.maxStaleness);
  const end = performance.now() + total;
  for (let remaining = total; remaining > 0; remaining = end - performance.now()) {
    run.report({ type: 'waiting', remaining: Math.ceil(remaining), total });
    await sleep(Math.min(1_000, remaining), undefined, { signal: run.signal });
  }
}

/**
 * Somebody may have lifted the freeze, or the registry may have lost it: then all is done anew.
 *
 * @returns whether it has held
 */
export async function holdFence(run: Run): Promise<boolean> {
  const record = await run.load();
  if (record.fence?.mode !== 'tenant') return true;
  const { fence } = run.input;
  if (fence === undefined) throw configChanged(record.id, { missing: ['the fence'] });
  await fence.refresh();
  const state = fence.state(record.tenant);
  if (record.fenceHeld && (state === 'frozen' || state === 'erased')) return true;
  if (record.fenceHeld) await run.append({ type: 'fence_lost' });
  await drain(run, record);
  await run.append({ type: 'fence_restored' });
  return false;
}
