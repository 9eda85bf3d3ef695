import type { EventEmitter } from 'node:events';
import { currentTenant } from '@tenantkit/core';
import { Job } from './job.ts';
import { isStray } from './lanes/ids.ts';
import type { Delivery } from './listeners.ts';
import type { EventCustom, workerEventRules } from './rules.ts';
import { engines, picked, type Engine } from './worker-engine.ts';

/** What is said of an event of a Worker. */
export type EventRow = (typeof workerEventRules)[keyof typeof workerEventRules];

/** Who hears of an event of a Worker, and what. */
export function deliveries(
  worker: object,
  event: string,
  rule: EventRow,
  args: readonly unknown[],
): readonly Delivery[] {
  if (rule.kind === 'pass') return [{ context: undefined, args }];
  const engine = engines.get(worker);
  if (engine === undefined) return [];
  try {
    return cut[rule.custom](engine, args, event === 'failed');
  } catch (fault) {
    // Thrown on, it would be taken for the failure of a job that has ended, and the next one would be forgotten.
    (worker as EventEmitter).emit('error', fault);
    return [];
  }
}

/** How an event is cut into what each tenant may hear. */
const cut: Readonly<
  Record<EventCustom, (engine: Engine, args: readonly unknown[], isFailure: boolean) => readonly Delivery[]>
> = {
  job(_engine, [job, ...rest], isFailure) {
    const entry = typeof job === 'object' && job !== null ? picked.get(job) : undefined;
    if (entry?.tenant !== undefined) {
      const [outcome, ...others] = rest;
      return [{ context: entry.tenant, args: [entry.show(), entry.original(outcome), ...others] }];
    }
    // The processor's own job, which reports progress from inside its tenant.
    if (job instanceof Job) {
      const context = currentTenant();
      return context === undefined ? [] : [{ context, args: [job, ...rest] }];
    }
    return isFailure ? [{ context: undefined, operatorsOnly: true, args: [undefined, ...rest] }] : [];
  },
  id: (engine, [id, ...rest]) =>
    byTenant(engine, [id]).map(({ ids, ...delivery }) => ({ ...delivery, args: [ids[0], ...rest] })),
  ids: (engine, [list, ...rest]) =>
    byTenant(engine, list).map(({ ids, ...delivery }) => ({ ...delivery, args: [ids, ...rest] })),
  idsIn: (engine, [data, ...rest]) =>
    byTenant(engine, (data as { jobIds?: unknown }).jobIds).map(({ ids, ...delivery }) => ({
      ...delivery,
      args: [{ count: ids.length, jobIds: ids }, ...rest],
    })),
};

function byTenant(
  { context: { names } }: Engine,
  list: unknown,
): readonly (Omit<Delivery, 'args'> & { readonly ids: readonly string[] })[] {
  const physical = Array.isArray(list) ? list.map(String) : [];
  const groups = new Map<string | undefined, string[]>();
  for (const id of physical) {
    // What lies in a tenant's lane and is not its own is shown to operators.
    const lane = names.tenantOf(id);
    const tenant = lane === undefined || isStray(names, lane, id) ? undefined : lane;
    groups.set(tenant, [...(groups.get(tenant) ?? []), id]);
  }
  return [...groups].map(([tenant, ids]) =>
    tenant === undefined
      ? { context: undefined, operatorsOnly: true, ids }
      : { context: { tenant }, ids: ids.map((id) => names.decode(tenant, id)) },
  );
}
