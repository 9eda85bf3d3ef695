import type { NameCodec } from '@tenantkit/core';
import { isIteration } from '../schedulers/ids.ts';

/**
 * A worker's loop holds jobs of many lanes and knows them by their ids alone. Those of the lane's tenant say which lane
 * they are from (`acme~7`). Others are there only when somebody wrote to Redis past us, and have to be failed in the
 * lane in which they are, whatever their ids say: outside of the lane they get its tenant and a colon before them
 * (`acme~:7`), which no id of a caller begins with. An id that begins so itself gets them too, so that each has one
 * reading. What a scheduler makes has no tenant in its id (`repeat:nightly:1700000000000`): outside of the lane it gets
 * the tenant before it, and an id that reads so in a lane is a stray.
 */
const STRAY = ':';

/** The id of a job of a lane, as the loop knows it. Injective over (tenant, id). */
export function outerId(names: NameCodec, tenant: string, id: string): string {
  const own = names.prefix(tenant);
  if (isIteration(id)) return own + id;
  const isOwn = id.startsWith(own) && !id.startsWith(STRAY, own.length) && !isIteration(id.slice(own.length));
  return isOwn ? id : own + STRAY + id;
}

/** The id in the lane of this tenant. */
export function innerId(names: NameCodec, tenant: string, outer: string): string {
  const own = names.prefix(tenant);
  if (isStray(names, tenant, outer)) return outer.slice(own.length + STRAY.length);
  const rest = outer.slice(own.length);
  return outer.startsWith(own) && isIteration(rest) ? rest : outer;
}

/** The id in the lane of this tenant of a job that a caller names. */
export function laneId(names: NameCodec, tenant: string, logical: string): string {
  return isIteration(logical) ? logical : names.encode(tenant, logical);
}

/** The id by which the tenant knows a job of its lane; `undefined` for what is no job of ours. */
export function logicalId(names: NameCodec, tenant: string, id: string): string | undefined {
  if (isIteration(id)) return id;
  return names.owns(tenant, id) ? names.decode(tenant, id) : undefined;
}

/** Whether the job is in this tenant's lane, and no id of this tenant: nobody but an operator may hear of it. */
export function isStray(names: NameCodec, tenant: string, outer: string): boolean {
  return outer.startsWith(names.prefix(tenant) + STRAY);
}
