import type { NameCodec } from '@tenantkit/core';

/**
 * A worker's loop holds jobs of many lanes and knows them by their ids alone. Those of the lane's tenant say which lane
 * they are from (`acme~7`). Others are there only when somebody wrote to Redis past us, and have to be failed in the
 * lane in which they are, whatever their ids say: outside of the lane they get its tenant and a colon before them
 * (`acme~:7`), which no id of a caller begins with. An id that begins so itself gets them too, so that each has one
 * reading.
 */
const STRAY = ':';

/** The id of a job of a lane, as the loop knows it. Injective over (tenant, id). */
export function outerId(names: NameCodec, tenant: string, id: string): string {
  const own = names.prefix(tenant);
  return id.startsWith(own) && !id.startsWith(STRAY, own.length) ? id : own + STRAY + id;
}

/** The id in the lane of this tenant. */
export function innerId(names: NameCodec, tenant: string, outer: string): string {
  return isStray(names, tenant, outer) ? outer.slice(names.prefix(tenant).length + STRAY.length) : outer;
}

/** Whether the job is in this tenant's lane, and no id of this tenant: nobody but an operator may hear of it. */
export function isStray(names: NameCodec, tenant: string, outer: string): boolean {
  return outer.startsWith(names.prefix(tenant) + STRAY);
}
